//! `maybetun demo` runs anywhere, says what it saw, and leaves nothing behind.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::thread;
use std::time::Duration;

use maybetun_integration_tests::{Daemon, Finished, alone, eventually, interface_name, maybetun_program, run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// The variable in the environment by which a demo's processes are found.
const MARK: &str = "MAYBETUN_DEMO_TEST";

/// Returns the ids of the processes that carry the mark.
fn marked(mark: &str) -> Vec<u32> {
    let wanted = format!("{MARK}={mark}");
    let ids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let is_marked = |id: &u32| {
        let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    ids.filter(is_marked).collect()
}

fn assert_positive(value: &Value, pointer: &str) {
    let number = value.pointer(pointer).and_then(Value::as_f64);
    assert!(number.is_some_and(|number| number > 0.0), "{pointer} is {number:?} in {value}");
}

/// What a data packet of constant size is on the wire, at the demo's MTU of 1420, and the two handshake messages.
const CONSTANT: u64 = 1_420 + 32;
const HANDSHAKE: [u64; 2] = [148, 92];

fn assert_report(text: &str) {
    let report: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("not JSON ({error}): {text}"));
    let [plain, defended] = [&report["plain"], &report["defended"]];
    assert_run(plain);
    assert_run(defended);
    assert_eq!(plain["page"]["bytes"], defended["page"]["bytes"], "the same page");

    let data_sizes = |run: &Value| -> BTreeSet<u64> {
        let sizes = run["sizes"].as_array().unwrap().iter().map(|size| size["bytes"].as_u64().unwrap());
        sizes.filter(|size| !HANDSHAKE.contains(size)).collect()
    };
    assert!(data_sizes(plain).len() > 2, "without a defense the sizes are the packets' own: {plain}");
    assert_eq!(data_sizes(defended), BTreeSet::from([CONSTANT]), "{defended}");
    let upload_share = |run: &Value| run["upload_share"].as_f64().unwrap();
    assert!(upload_share(defended) > upload_share(plain), "{report}");
    assert!(defended["bytes"].as_u64() > plain["bytes"].as_u64(), "{report}");
}

fn assert_run(run: &Value) {
    for number in
        ["packets", "bytes", "upload/packets", "upload/bytes", "download/packets", "download/bytes", "duration_ms"]
    {
        assert_positive(run, &format!("/{number}"));
    }
    assert_eq!(run["missed_frames"], 0, "{run}");
    assert!(run["page"]["objects"].as_u64().unwrap() > 1, "{run}");
    // What was fetched has crossed the wire.
    let page = run["page"]["bytes"].as_u64().unwrap();
    assert!(run["download"]["bytes"].as_u64().unwrap() > page, "{run}");
}

#[test]
fn json_has_the_counts_and_nothing_is_left() {
    let _heavy = alone();
    let mark = interface_name();
    let text = run(Command::new(maybetun_program()).args(["demo", "--json"]).env(MARK, &mark), "").success();
    assert_report(&text);
    assert!(marked(&mark).is_empty());
}

#[test]
fn table_and_page() {
    let _heavy = alone();
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("page.html");
    let text = run(Command::new(maybetun_program()).args(["demo", "--html"]).arg(&page), "").success();
    assert!(text.contains("packets") && text.contains("bytes"), "{text}");
    let html = fs::read_to_string(page).unwrap();
    assert!(html.contains("<svg") && html.trim_end().ends_with("</html>"));
    assert!(!html.contains("src=\"http") && !html.contains("href=\"http"), "the page is self-contained");
}

/// Runs the demo as a user without rights, in a mount namespace of its own whose `/dev/net/tun` has `mode`. Whatever
/// the machine's own device allows, this is what the demo finds; it is gone with the process.
fn without_privileges(mode: &str) -> Finished {
    // Where an unprivileged user can read it.
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("maybetun");
    fs::copy(maybetun_program(), &program).unwrap();
    let devices = directory.path().join("devices");
    fs::create_dir(&devices).unwrap();
    // On a file system of its own: the directory's may know no devices.
    let script = r#"mount -t tmpfs -o mode=0755 none "$1" && mknod -m "$2" "$1/tun" c 10 200 &&
        mount --bind "$1/tun" /dev/net/tun && shift 2 && exec "$@""#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-euc", script, "sh"]).arg(devices).arg(mode);
    command.args(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--bounding-set", "-all"]);
    run(command.arg(program).args(["demo", "--json"]).current_dir("/"), "")
}

#[test]
fn without_privileges_it_makes_a_user_namespace() {
    let _heavy = alone();
    assert_report(&without_privileges("0666").success());
}

#[test]
fn a_user_who_may_not_open_the_tun_device_is_told_what_to_do() {
    let finished = without_privileges("0600");
    assert_eq!(finished.code, Some(4), "{finished:#?}");
    let said = &finished.stderr;
    assert!(said.contains("this user may not open /dev/net/tun, whose mode is 0600"), "{said}");
    assert!(said.contains("sudo maybetun demo") && said.contains("sudo chmod 0666 /dev/net/tun"), "{said}");
}

/// Interrupts a demo once it has `processes` processes and `wait` has passed.
///
/// Its hosts are frozen first, so that it cannot end by itself in the meantime.
fn interrupt(signal: Signal, processes: usize, wait: Duration) {
    let mark = interface_name();
    // A shell that runs the tests in its background has them ignore SIGINT, and all that they start.
    let mut command = Command::new("env");
    command.arg("--default-signal").arg(maybetun_program());
    command.args(["demo", "--json"]).env(MARK, &mark).process_group(0);
    let mut demo = Daemon::spawn(&mut command, &mark);
    // Until then it is `env`, which ignores what it is told to ignore.
    let name = format!("/proc/{}/comm", demo.id());
    let is_demo = || fs::read_to_string(&name).is_ok_and(|name| name.starts_with("maybetun"));
    eventually("the demo has started", Duration::from_secs(20), || {
        (marked(&mark).len() >= processes && is_demo()) || demo.exit_status().is_some()
    });
    thread::sleep(wait);
    for host in marked(&mark).into_iter().filter(|process| *process != demo.id()) {
        // It may be gone just now.
        let _ = kill(Pid::from_raw(host as i32), Signal::SIGSTOP);
    }
    let over = demo.exit_status().is_some();
    if !over {
        demo.signal(signal);
    }
    let status = demo.wait_for_exit();
    eventually("no process of the demo is left", Duration::from_secs(20), || marked(&mark).is_empty());
    assert!(over || !status.success(), "{signal} was ignored: {status}");
}

#[test]
fn interrupted_it_leaves_nothing() {
    let _heavy = alone();
    interrupt(Signal::SIGINT, 1, Duration::ZERO);
    for wait in [0, 100, 400] {
        interrupt(Signal::SIGINT, 4, Duration::from_millis(wait));
    }
    interrupt(Signal::SIGTERM, 4, Duration::from_millis(200));
}

#[test]
fn killed_it_leaves_nothing() {
    let _heavy = alone();
    interrupt(Signal::SIGKILL, 4, Duration::from_millis(200));
}
