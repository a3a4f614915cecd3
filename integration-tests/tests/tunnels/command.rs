//! The `maybetun` command: up, down, status, check, and what it says when something is wrong.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use maybetun_integration_tests::Implementation::Maybetun;
use maybetun_integration_tests::{
    ClientFile, Daemon, Finished, Host, Keys, Setup, eventually, interface_name, maybetun_program, run, status_json,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Runs `maybetun` on `host`. `line` is split at spaces.
fn maybetun(host: &Host, line: &str) -> Finished {
    run(host.command(maybetun_program()).args(line.split_whitespace()), "")
}

/// Starts `maybetun up` in the foreground.
fn up(file: &ClientFile, more: &[&str]) -> Daemon {
    let mut command = file.client.command(maybetun_program());
    Daemon::spawn(command.arg("up").arg(file.path()).args(more), &file.interface)
}

const INNER: &str = "10.9.0.0/24, fd09::/64";

#[test]
fn up_and_down_in_the_foreground() {
    let file = ClientFile::new(INNER, "");
    let mut daemon = up(&file, &[]);
    file.assert_up();
    maybetun(&file.client, &format!("down {}", file.interface)).success();
    let status = daemon.wait_for_exit();
    assert!(status.success(), "{status}: {}", daemon.log());
    file.assert_gone();
}

#[test]
fn up_detached() {
    let file = ClientFile::new(INNER, "");
    maybetun(&file.client, &format!("up -d {}", file.path().display())).success();
    // It is up as soon as the command returns.
    assert!(file.client.ip("-o link show up").contains(&file.interface));
    file.assert_up();
    maybetun(&file.client, &format!("down {}", file.interface)).success();
    file.assert_gone();
}

#[test]
fn up_under_another_name() {
    let file = ClientFile::new(INNER, "");
    let name = interface_name();
    maybetun(&file.client, &format!("up -d {} --name {name}", file.path().display())).success();
    file.client.reaches(&file.relay.v4());
    assert!(file.client.ip("-o link").contains(&name));
    maybetun(&file.client, &format!("down {name}")).success();
    file.assert_gone();
}

#[test]
fn default_route_and_back() {
    let file = ClientFile::new("0.0.0.0/0, ::/0", "");
    let daemon = up(&file, &[]);
    file.assert_up();
    // Addresses that only the default routes cover; the tunnel's own datagrams do not take them.
    file.client.reaches("203.0.113.5");
    file.client.reaches("2001:db8:5::5");
    assert!(file.client.ip("route get 203.0.113.5").contains(&file.interface));
    assert!(file.client.ip("route get 192.0.2.2").contains(&file.wire.left));
    daemon.terminate();
    file.assert_gone();
}

#[test]
fn every_signal_that_asks_for_a_stop_undoes_everything() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let file = ClientFile::new("0.0.0.0/0", "");
        let mut daemon = up(&file, &[]);
        eventually("the tunnel is up", Duration::from_secs(20), || {
            file.client.run("ping -n -q -c 1 -W 1 203.0.113.5").is_success()
        });
        daemon.signal(signal);
        let status = daemon.wait_for_exit();
        assert!(status.success(), "{signal}: {status}: {}", daemon.log());
        file.assert_gone();
    }
}

#[test]
fn table_off_adds_no_route() {
    let file = ClientFile::new("10.9.0.0/24, fd09::/64, 203.0.113.0/24", "Table = off\n");
    let daemon = up(&file, &[]);
    file.assert_up();
    assert!(!file.client.ip("route").contains("203.0.113"));
    daemon.terminate();
    file.assert_gone();
}

#[test]
fn hooks_run_only_when_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let mark = |name: &str| directory.path().join(name);
    let hooks =
        format!("PostUp = touch {}/%i.up\nPostDown = touch {}/%i.down\n", mark("").display(), mark("").display());
    let file = ClientFile::new(INNER, &hooks);
    let (was_up, was_down) = (mark(&format!("{}.up", file.interface)), mark(&format!("{}.down", file.interface)));

    let daemon = up(&file, &[]);
    file.assert_up();
    daemon.terminate();
    assert!(!was_up.exists() && !was_down.exists(), "hooks ran without leave");

    let daemon = up(&file, &["--allow-hooks"]);
    file.assert_up();
    eventually("PostUp has run", Duration::from_secs(20), || was_up.exists());
    assert!(!was_down.exists());
    daemon.terminate();
    assert!(was_down.exists());
}

#[test]
fn status_shows_the_tunnel_and_no_secret() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    pair.client.host.reaches(&pair.relay.v4());
    let interface = pair.client.daemon.interface();
    let text = maybetun(&pair.client.host, &format!("status {interface}")).success();
    for part in [interface, &pair.client.public_key, &pair.relay.public_key, "192.0.2.2:51820", "10.9.0.0/24"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!text.contains(&pair.client.config.private_key), "{text}");
    let json = status_json(&pair.client.host, interface);
    assert_eq!(json["name"], interface, "{json}");
    assert_eq!(json["public_key"], pair.client.public_key, "{json}");
    assert_eq!(json["listen_port"], 51820, "{json}");
}

#[test]
fn check_accepts_what_is_right_and_names_what_is_wrong() {
    let file = ClientFile::new(INNER, "");
    let check = || maybetun(&file.client, &format!("check {}", file.path().display()));
    check().success();
    let right = file.read();
    let wrong = [
        ("MTU = 1400", "MTU = many", 4, "MTU"),
        ("MTU = 1400", "Mut = 1400", 4, "Mut"),
        ("Address = 10.9.0.1/24", "Address = 10.9.0.1/33", 3, "Address"),
        ("AllowedIPs = 10.9.0.0/24", "AllowedIPs = 10.9.0.0.0/24", 8, "AllowedIPs"),
        ("Endpoint = 192.0.2.2:51820", "Endpoint = 192.0.2.2", 9, "Endpoint"),
        ("PrivateKey = ", "PrivateKey = x", 2, "PrivateKey"),
        ("[Peer]", "[Pear]", 6, "Pear"),
    ];
    for (good, bad, line, key) in wrong {
        assert!(right.contains(good), "{good} is not in\n{right}");
        file.write(&right.replace(good, bad));
        for finished in [check(), maybetun(&file.client, &format!("up {}", file.path().display()))] {
            assert_eq!(finished.code, Some(3), "{finished:#?}");
            let place = format!("{}:{line}:", file.path().display());
            assert!(finished.stderr.contains(&place) && finished.stderr.contains(key), "{bad}: {finished:#?}");
        }
    }
    file.assert_gone();
    let missing = maybetun(&file.client, "check /nonexistent/file.conf");
    assert_eq!(missing.code, Some(3), "{missing:#?}");
    assert!(missing.stderr.contains("/nonexistent/file.conf"), "{missing:#?}");
}

#[test]
fn malformed_files_never_crash_it() {
    let file = ClientFile::new(INNER, "");
    let right = file.read();
    let noise: String = (1..0xd7ff).filter_map(char::from_u32).collect();
    let texts = [String::new(), noise, "[".repeat(100_000), "=\n".repeat(100_000), right[..right.len() / 2].to_owned()];
    for text in texts {
        file.write(&text);
        let finished = maybetun(&file.client, &format!("check {}", file.path().display()));
        assert_eq!(finished.code, Some(3), "{:?}: {finished:#?}", text.chars().take(40).collect::<String>());
    }
    fs::write(file.path(), [0xff, 0xfe, 0, 0x80]).unwrap();
    assert_eq!(maybetun(&file.client, &format!("check {}", file.path().display())).code, Some(3));
}

#[test]
fn keys_agree_with_wg() {
    let host = Host::new();
    let private = maybetun(&host, "genkey").success();
    let public = run(host.command(maybetun_program()).arg("pubkey"), &private).success();
    assert_eq!(public, host.run_with_input("wg pubkey", &private).success());
    let preshared = maybetun(&host, "genpsk").success();
    assert_eq!(preshared.len(), 45, "44 characters and a line end");
    assert_ne!(maybetun(&host, "genkey").success(), private);
    assert!(!run(host.command(maybetun_program()).arg("pubkey"), "no key\n").is_success());
}

#[test]
fn without_permission_it_names_the_capability() {
    let file = ClientFile::new(INNER, "");
    let interface = interface_name();
    let path = file.path().display().to_string();
    for arguments in [vec!["-f", &interface], vec![&interface], vec!["up", &path], vec!["up", "-d", &path]] {
        let mut command = file.client.command("setpriv");
        command.args(["--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]).arg(maybetun_program());
        let finished = run(command.args(&arguments), "");
        assert_eq!(finished.code, Some(4), "{finished:#?}");
        assert!(finished.stderr.contains("CAP_NET_ADMIN"), "{finished:#?}");
    }
    file.assert_gone();
}

#[test]
fn taken_names_and_ports_are_refused() {
    let file = ClientFile::new(INNER, "ListenPort = 7000\n");
    let host = &file.client;
    let daemon = Daemon::start(Maybetun, host, &interface_name());
    let again = maybetun(host, &format!("-f {}", daemon.interface()));
    assert_eq!(again.code, Some(5), "{again:#?}");
    assert!(again.stderr.contains(daemon.interface()), "{again:#?}");
    daemon.wg(host, "show", "").success();
    drop(daemon);

    let _taken = host.inside(|| UdpSocket::bind("0.0.0.0:7000")).unwrap();
    let refused = maybetun(host, &format!("up {}", file.path().display()));
    assert_eq!(refused.code, Some(5), "{refused:#?}");
    assert!(refused.stderr.contains("7000"), "{refused:#?}");
    file.assert_gone();
}

#[test]
fn absent_tunnels_are_told_apart() {
    let host = Host::new();
    for line in ["down nosuch0", "status nosuch0", "status nosuch0 --json"] {
        let finished = maybetun(&host, line);
        assert_eq!(finished.code, Some(6), "{finished:#?}");
        assert!(finished.stderr.contains("nosuch0"), "{finished:#?}");
    }
    for line in ["", "-f", "up", "-f a-name-that-is-too-long", "bogus subcommand", "-f a/b"] {
        assert_eq!(maybetun(&host, line).code, Some(2), "{line}");
    }
}

#[test]
fn a_subcommand_with_a_slip_makes_no_interface_and_a_name_says_what_it_made() {
    let host = Host::new();
    let slip = maybetun(&host, "stauts");
    assert_eq!(slip.code, Some(2), "{slip:#?}");
    assert!(slip.stderr.contains("'stauts'") && slip.stderr.contains("'status'"), "{slip:#?}");
    assert!(!host.ip("-o link").contains("stauts") && host.processes().is_empty());

    let interface = interface_name();
    let made = maybetun(&host, &interface);
    assert!(made.is_success(), "{made:#?}");
    let said: Vec<_> = made.stderr.lines().chain(made.stdout.lines()).collect();
    assert!(matches!(said[..], [line] if line.contains(&format!("maybetun down {interface}"))), "{made:#?}");
    maybetun(&host, &format!("down {interface}")).success();
}

#[test]
fn a_user_without_rights_is_told_which_tunnels_he_may_not_see() {
    let host = Host::new();
    // Where such a user can read it.
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("maybetun");
    fs::copy(maybetun_program(), &program).unwrap();
    // The sockets' directory is its own: users may list it, or not, and may open nothing in it.
    let script = r#"
        mkdir -p /var/run/wireguard && mount -t tmpfs -o "mode=$1" none /var/run/wireguard && "$2" "$3" && "$2" "$4" &&
        exec setpriv --reuid 65534 --regid 65534 --clear-groups -- "$2" status
    "#;
    for mode in ["755", "700"] {
        let mut names = [interface_name(), interface_name()];
        names.sort();
        let mut command = host.command("sh");
        command.args(["-c", script, "sh", mode]).arg(&program).args(&names);
        let finished = run(&mut command, "");
        assert_eq!(finished.code, Some(4), "{mode}: {finished:#?}");
        assert!(finished.stderr.contains(&format!("cannot see {}", names.join(", "))), "{mode}: {finished:#?}");
        host.processes().into_iter().for_each(|id| kill(Pid::from_raw(id), Signal::SIGTERM).unwrap());
        eventually("they have stopped", Duration::from_secs(20), || host.processes().is_empty());
    }
}

#[test]
fn deleted_interface_ends_the_backend() {
    let host = Host::new();
    let mut daemon = Daemon::start(Maybetun, &host, &interface_name());
    daemon.wg_with_input(&host, "set", "private-key /dev/stdin listen-port 4000", &Keys::new().private).success();
    host.ip(&format!("link del {}", daemon.interface()));
    // This is how wg-quick stops a backend.
    let status = daemon.wait_for_exit();
    assert!(status.success(), "{status}: {}", daemon.log());
    assert!(!daemon.socket().exists());
    assert!(daemon.log().contains("deleted"), "{}", daemon.log());
}

#[test]
fn deleted_interface_fails_up() {
    let file = ClientFile::new("0.0.0.0/0, ::/0", "");
    let mut daemon = up(&file, &[]);
    file.assert_up();
    file.client.ip(&format!("link del {}", file.interface));
    let status = daemon.wait_for_exit();
    assert_eq!(status.code(), Some(7), "{}", daemon.log());
    assert!(daemon.log().contains("deleted"), "{}", daemon.log());
    file.assert_gone();
}

#[test]
fn backend_goes_to_the_background() {
    let host = Host::new();
    let interface = interface_name();
    maybetun(&host, &interface).success();
    // It answers as soon as the command returns.
    host.run(&format!("wg show {interface}")).success();
    maybetun(&host, &format!("down {interface}")).success();
    eventually("its process is gone", Duration::from_secs(20), || host.processes().is_empty());
}

#[test]
fn removed_socket_ends_the_backend() {
    let host = Host::new();
    let mut daemon = Daemon::start(Maybetun, &host, &interface_name());
    fs::remove_file(daemon.socket()).unwrap();
    let status = daemon.wait_for_exit();
    assert!(status.success(), "{status}: {}", daemon.log());
    assert!(!host.ip("-o link").contains(daemon.interface()));
}

#[test]
fn socket_left_by_a_killed_backend_is_no_hindrance() {
    let host = Host::new();
    let interface = interface_name();
    let mut killed = Daemon::start(Maybetun, &host, &interface);
    killed.signal(Signal::SIGKILL);
    killed.wait_for_exit();
    assert!(killed.socket().exists(), "nobody could remove it");
    let daemon = Daemon::start(Maybetun, &host, &interface);
    daemon.wg(&host, "show", "").success();
    daemon.terminate();
}

#[test]
fn no_secret_is_logged() {
    let host = Host::new();
    let interface = interface_name();
    let mut command = host.command(maybetun_program());
    let daemon = Daemon::spawn(command.args(["-f", &interface, "--log", "trace"]), &interface);
    eventually("the device answers", Duration::from_secs(20), || daemon.answers_uapi());
    let (keys, preshared) = (Keys::new(), maybetun_integration_tests::preshared_key());
    let config = format!(
        "[Interface]\nPrivateKey = {}\n[Peer]\nPublicKey = {}\nPresharedKey = {preshared}\nAllowedIPs = 10.0.0.0/8\n",
        keys.private,
        Keys::new().public
    );
    daemon.wg_with_input(&host, "setconf", "/dev/stdin", &config).success();
    daemon.wg(&host, "show", "dump").success();
    let hex = |key: &str| {
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD.decode(key).unwrap();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let log = daemon.log().to_lowercase();
    assert!(!log.is_empty());
    for secret in [&keys.private, &preshared] {
        assert!(!log.contains(&secret.to_lowercase()) && !log.contains(&hex(secret)), "{log}");
    }
}
