//! `up` where `/proc/sys` cannot be written, as in a container.

use maybetun_integration_tests::{ClientFile, Finished, maybetun_program, run};

/// The setting that a default route of IPv4 needs.
const SETTING: &str = "net.ipv4.conf.all.src_valid_mark";

/// Runs `maybetun up -d FILE` with `/proc/sys` mounted read-only. The mounts are the process' own: `ip netns exec` has
/// given it a mount namespace.
fn up(file: &ClientFile) -> Finished {
    let script = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec \"$@\"";
    let mut command = file.client.command("sh");
    command.args(["-c", script, "sh"]).arg(maybetun_program()).args(["up", "-d"]).arg(file.path());
    run(&mut command, "")
}

fn down(file: &ClientFile) {
    run(file.client.command(maybetun_program()).args(["down", &file.interface]), "").success();
    file.assert_gone();
}

#[test]
fn a_default_route_of_ipv6_alone_comes_up() {
    let file = ClientFile::new("::/0", "");
    let finished = up(&file);
    assert!(finished.is_success(), "{finished:#?}");
    file.client.reaches("2001:db8:5::5");
    down(&file);
}

#[test]
fn one_of_ipv4_says_what_to_set_from_outside_and_comes_up_when_it_is_set() {
    let file = ClientFile::new("0.0.0.0/0, ::/0", "");
    let refused = up(&file);
    assert!(!refused.is_success(), "{refused:#?}");
    let said = refused.stderr.lines().filter(|line| line.contains(&format!("--sysctl {SETTING}=1"))).count();
    assert_eq!(said, 1, "{refused:#?}");
    file.assert_gone();

    file.client.run(&format!("sysctl -q -w {SETTING}=1")).success();
    let finished = up(&file);
    assert!(finished.is_success(), "{finished:#?}");
    file.client.reaches("203.0.113.5");
    down(&file);
}
