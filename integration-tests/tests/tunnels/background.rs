//! A tunnel in the background, or started by `nohup`, does not end with the terminal that it was started from.

use std::fs;
use std::time::Duration;

use maybetun_integration_tests::{ClientFile, Daemon, Host, eventually, interface_name, maybetun_program, run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const INNER: &str = "10.9.0.0/24, fd09::/64";

/// Waits until a process handles `signal` itself, or ignores it: until then it might be ended by it.
fn await_handler(id: u32, signal: Signal) {
    let status = format!("/proc/{id}/status");
    eventually("the signal has no default action", Duration::from_secs(20), || {
        let text = fs::read_to_string(&status).unwrap();
        let mask = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        (mask("SigIgn:") | mask("SigCgt:")) >> (signal as u32 - 1) & 1 == 1
    });
}

/// Starts `program ARGUMENTS maybetun up FILE` and sends it `signal`, which it was told to ignore; it must go on.
fn ignores(signal: Signal, program: &str, arguments: &[&str]) {
    let file = ClientFile::new(INNER, "");
    let mut command = file.client.command(program);
    command.args(arguments).arg(maybetun_program()).arg("up").arg(file.path());
    let mut daemon = Daemon::spawn(&mut command, &file.interface);
    file.assert_up();
    await_handler(daemon.id(), signal);
    daemon.signal(signal);
    // What the tunnel does on its way down takes less than this, and the pings need it up.
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(daemon.exit_status(), None, "{signal}: {}", daemon.log());
    }
    assert!(!daemon.log().contains("stopping"), "{signal}: {}", daemon.log());
    file.client.reaches(&file.relay.v4());
    daemon.terminate();
    file.assert_gone();
}

#[test]
fn under_nohup_a_hangup_is_ignored() {
    ignores(Signal::SIGHUP, "nohup", &[]);
}

#[test]
fn in_the_background_of_a_shell_an_interrupt_is_ignored() {
    ignores(Signal::SIGINT, "env", &["--ignore-signal=INT"]);
}

/// Runs a shell's `line` on `host` in a terminal of its own, which is closed when the line has been run.
fn in_a_terminal(host: &Host, line: &str) {
    let mut command = host.command("script");
    run(command.args(["--quiet", "--return", "--command", line, "/dev/null"]), "").success();
}

#[test]
fn a_detached_tunnel_outlives_its_terminal_though_it_logs_to_it() {
    let file = ClientFile::new(INNER, "");
    let program = maybetun_program();
    let line = format!("{} --log trace up -d {}", program.display(), file.path().display());
    in_a_terminal(&file.client, &line);
    // Each packet writes lines to a terminal that is no longer there.
    file.assert_up();
    file.client.reaches(&file.relay.v4());
    run(file.client.command(&program).args(["down", &file.interface]), "").success();
    file.assert_gone();
}

#[test]
fn a_backend_outlives_its_terminal() {
    let host = Host::new();
    let interface = interface_name();
    let program = maybetun_program();
    in_a_terminal(&host, &format!("LOG_LEVEL=debug {} {interface}", program.display()));
    host.run(&format!("wg show {interface}")).success();
    // A hangup that is meant for it still ends it.
    let processes = host.processes();
    let [backend] = processes[..] else { panic!("one process: {processes:?}") };
    kill(Pid::from_raw(backend), Signal::SIGHUP).unwrap();
    eventually("it has stopped", Duration::from_secs(20), || host.processes().is_empty());
}
