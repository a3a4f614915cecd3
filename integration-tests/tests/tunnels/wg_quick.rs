//! `wg-quick` brings maybetun up and down as it does any other userspace implementation.

use maybetun_integration_tests::{ClientFile, Finished, maybetun_program, run};

/// Runs `wg-quick` as on a machine whose kernel has no WireGuard of its own.
fn wg_quick(file: &ClientFile, action: &str) -> Finished {
    let script = r#"mount -t tmpfs none /sys/module
        ip() { [[ $* == *"type wireguard"* ]] && return 95; command ip "$@"; }
        export -f ip
        exec wg-quick "$1" "$2""#;
    let mut command = file.client.command("unshare");
    command.args(["--mount", "bash", "-c", script, "wg-quick", action]).arg(file.path());
    run(command.env("WG_QUICK_USERSPACE_IMPLEMENTATION", maybetun_program()), "")
}

#[test]
fn up_strip_save_and_down() {
    let file = ClientFile::new("10.9.0.0/24, fd09::/64", "");
    wg_quick(&file, "up").success();
    file.assert_up();
    let stripped = wg_quick(&file, "strip").success();
    assert!(!stripped.contains("Address") && stripped.contains("[Peer]"), "{stripped}");
    file.client.run_with_input(&format!("wg syncconf {} /dev/stdin", file.interface), &stripped).success();
    file.assert_up();
    wg_quick(&file, "save").success();
    assert!(file.read().contains("Address = 10.9.0.1/24"), "{}", file.read());
    wg_quick(&file, "down").success();
    file.assert_gone();
    // What was saved comes up again.
    wg_quick(&file, "up").success();
    file.assert_up();
    wg_quick(&file, "down").success();
    file.assert_gone();
}

#[test]
fn default_route_and_back() {
    let file = ClientFile::new("0.0.0.0/0, ::/0", "");
    wg_quick(&file, "up").success();
    file.assert_up();
    // Addresses that only the default routes cover.
    file.client.reaches("203.0.113.5");
    file.client.reaches("2001:db8:5::5");
    assert!(file.client.ip("route get 203.0.113.5").contains(&file.interface));
    wg_quick(&file, "down").success();
    file.assert_gone();
}
