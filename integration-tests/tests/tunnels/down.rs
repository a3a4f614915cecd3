//! `maybetun down` returns when nothing of the tunnel is left, however it was started and whatever it is doing.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use maybetun_integration_tests::Implementation::Maybetun;
use maybetun_integration_tests::{
    ClientFile, Daemon, Finished, Host, eventually, interface_name, maybetun_program, run,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const INNER: &str = "10.9.0.0/24, fd09::/64";

/// The lines of a hook of each kind for a stop, of which each takes a while and then leaves a file named for it.
fn slow_hooks(directory: &std::path::Path) -> String {
    let hook = |name: &str| format!("{name} = sleep 0.5; touch {}/{name}\n", directory.display());
    hook("PreDown") + &hook("PostDown")
}

/// Runs `maybetun` on `host`. `line` is split at spaces.
fn maybetun(host: &Host, line: &str) -> Finished {
    run(host.command(maybetun_program()).args(line.split_whitespace()), "")
}

fn up_in_the_background(file: &ClientFile) {
    maybetun(&file.client, &format!("up -d --allow-hooks {}", file.path().display())).success();
}

/// Says at once whether anything is left, where `assert_gone` would wait.
fn assert_nothing_left(file: &ClientFile) {
    assert_eq!(file.client.processes(), Vec::<i32>::new(), "a process is left");
    assert!(!file.client.ip("-o link").contains(&file.interface), "the interface is left");
    assert_eq!(file.client.run("ss -Hulpn").success(), "", "a port is left");
    for path in [PathBuf::from(format!("/var/run/wireguard/{}.sock", file.interface)), file.client.tunnels()] {
        assert!(!path.exists(), "{} is left", path.display());
    }
    file.assert_gone();
}

#[test]
fn a_tunnel_with_a_fixed_port_comes_up_again_at_once_and_again() {
    let file = ClientFile::new("0.0.0.0/0, ::/0", "ListenPort = 7000\n");
    for _ in 0..15 {
        up_in_the_background(&file);
        maybetun(&file.client, &format!("down {}", file.interface)).success();
        assert_nothing_left(&file);
    }
}

#[test]
fn a_backend_is_gone_too() {
    let host = Host::new();
    let interface = interface_name();
    for _ in 0..5 {
        maybetun(&host, &interface).success();
        maybetun(&host, &format!("down {interface}")).success();
        assert_eq!(host.processes(), Vec::<i32>::new());
    }
}

#[test]
fn the_hooks_of_a_stop_have_run() {
    let marks = tempfile::tempdir().unwrap();
    let file = ClientFile::new(INNER, &slow_hooks(marks.path()));
    up_in_the_background(&file);
    maybetun(&file.client, &format!("down {}", file.interface)).success();
    assert!(marks.path().join("PreDown").exists() && marks.path().join("PostDown").exists());
    assert_nothing_left(&file);
}

#[test]
fn a_hook_on_the_way_down_may_ask_wg() {
    let marks = tempfile::tempdir().unwrap();
    let answer = marks.path().join("answer");
    // As the example of wg-quick's manual does; and later than `down` looks again.
    let hooks = format!("FwMark = 0x99\nPreDown = sleep 0.5; echo $(wg show %i fwmark) >{}\n", answer.display());
    let file = ClientFile::new(INNER, &hooks);
    up_in_the_background(&file);
    maybetun(&file.client, &format!("down {}", file.interface)).success();
    assert_eq!(fs::read_to_string(answer).unwrap(), "0x99\n");
    assert_nothing_left(&file);
}

#[test]
fn a_private_key_may_come_from_a_hook() {
    let file = ClientFile::new(INNER, "");
    let text = file.read();
    let line = text.lines().find(|line| line.starts_with("PrivateKey")).expect("the key is there");
    let key = line.split_once(" = ").expect("a value").1;
    let hook = format!("PostUp = wg set %i private-key <(echo {key})");
    file.write(&text.replacen(line, &hook, 1));
    up_in_the_background(&file);
    file.assert_up();
    maybetun(&file.client, &format!("down {}", file.interface)).success();
    assert_nothing_left(&file);
}

#[test]
fn a_tunnel_in_the_foreground_is_gone_also_before_its_starter_looks() {
    let marks = tempfile::tempdir().unwrap();
    let file = ClientFile::new(INNER, &slow_hooks(marks.path()));
    let mut command = file.client.command(maybetun_program());
    let mut daemon = Daemon::spawn(command.args(["up", "--allow-hooks"]).arg(file.path()), &file.interface);
    file.assert_up();
    // Until it is waited for it is a process that has ended, of which nothing is left but its exit code.
    maybetun(&file.client, &format!("down {}", file.interface)).success();
    assert!(marks.path().join("PostDown").exists());
    let status = daemon.exit_status().expect("the process has ended");
    assert!(status.success(), "{status}: {}", daemon.log());
    assert_nothing_left(&file);
}

#[test]
fn a_tunnel_that_is_stopping_already_is_waited_for() {
    let marks = tempfile::tempdir().unwrap();
    let file = ClientFile::new(INNER, &slow_hooks(marks.path()));
    up_in_the_background(&file);
    let processes = file.client.processes();
    let [daemon] = processes[..] else { panic!("one process: {processes:?}") };
    kill(Pid::from_raw(daemon), Signal::SIGTERM).unwrap();
    // The interface and the socket go first, and the last hook runs when they are gone.
    eventually("the interface is gone", Duration::from_secs(20), || {
        !file.client.ip("-o link").contains(&file.interface)
    });
    assert!(!marks.path().join("PostDown").exists(), "the hook was to take longer than this");
    maybetun(&file.client, &format!("down {}", file.interface)).success();
    assert!(marks.path().join("PostDown").exists());
    assert_nothing_left(&file);
}

#[test]
fn of_two_at_once_both_wait() {
    let marks = tempfile::tempdir().unwrap();
    let file = ClientFile::new(INNER, &slow_hooks(marks.path()));
    up_in_the_background(&file);
    let line = format!("down {}", file.interface);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                maybetun(&file.client, &line).success();
                assert!(marks.path().join("PostDown").exists());
            });
        }
    });
    assert_nothing_left(&file);
}

#[test]
fn a_tunnel_starts_when_the_one_before_has_run_its_last_hook() {
    let marks = tempfile::tempdir().unwrap();
    let ended = marks.path().join("PostDown");
    // A PreUp that finds no file fails, and `up` with it.
    let again = format!("PreUp = test ! -e {0}/begun || test -e {0}/PostDown\n", marks.path().display());
    let file = ClientFile::new(INNER, &(slow_hooks(marks.path()) + &again));
    up_in_the_background(&file);
    fs::write(marks.path().join("begun"), "").unwrap();
    for daemon in file.client.processes() {
        kill(Pid::from_raw(daemon), Signal::SIGTERM).unwrap();
    }
    eventually("the interface is gone", Duration::from_secs(20), || {
        !file.client.ip("-o link").contains(&file.interface)
    });
    assert!(!ended.exists(), "the hook was to take longer than this");
    up_in_the_background(&file);
    maybetun(&file.client, &format!("down {}", file.interface)).success();
    assert_nothing_left(&file);
}

#[test]
fn a_hook_that_asks_its_own_tunnel_to_stop_neither_waits_for_itself_nor_opens_its_kill_switch() {
    let marks = tempfile::tempdir().unwrap();
    let program = maybetun_program().canonicalize().unwrap();
    // Behind an open switch it leaves no mark.
    let hook = |name: &str| {
        let (program, marks) = (program.display(), marks.path().display());
        format!("{name} = {program} down %i; nft list table inet maybetun_kill_switch && touch {marks}/{name}\n")
    };
    let file = ClientFile::new(INNER, &format!("KillSwitch = on\n{}{}", hook("PreDown"), hook("PostDown")));
    let mut command = file.client.command(maybetun_program());
    let daemon = Daemon::spawn(command.args(["up", "--allow-hooks"]).arg(file.path()), &file.interface);
    file.assert_up();
    daemon.terminate();
    assert!(marks.path().join("PreDown").exists() && marks.path().join("PostDown").exists());
    assert_nothing_left(&file);
}

#[test]
fn what_a_killed_tunnel_of_a_file_left_is_tidied_up_too() {
    let file = ClientFile::new(INNER, "");
    up_in_the_background(&file);
    file.client.processes().into_iter().for_each(|id| kill(Pid::from_raw(id), Signal::SIGKILL).unwrap());
    eventually("it is gone", Duration::from_secs(20), || {
        file.client.processes().is_empty() && !file.client.ip("-o link").contains(&file.interface)
    });
    assert!(file.client.tunnels().join(format!("{}.control", file.interface)).exists());
    let reload = maybetun(&file.client, &format!("reload {}", file.interface));
    assert_eq!(reload.code, Some(6), "{reload:#?}");
    maybetun(&file.client, &format!("down {}", file.interface)).success();
    assert_nothing_left(&file);
}

#[test]
fn what_a_killed_backend_left_is_tidied_up() {
    let host = Host::new();
    let interface = interface_name();
    let mut killed = Daemon::start(Maybetun, &host, &interface);
    killed.signal(Signal::SIGKILL);
    killed.wait_for_exit();
    assert!(killed.socket().exists() && host.tunnels().exists());
    let line = format!("down {interface}");
    let said = maybetun(&host, &line).success();
    assert!(said.contains("had died"), "{said}");
    assert!(!killed.socket().exists() && !host.tunnels().exists());
    assert_eq!(maybetun(&host, &line).code, Some(6));
}
