//! The configuration socket answers every request with an errno, and outlives the malformed ones.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use maybetun_integration_tests::Implementation::Maybetun;
use maybetun_integration_tests::{Daemon, Host, Keys, Setup, dump, interface_name};

/// Sends `request`, ends the sending side, and returns all that comes back.
fn ask(daemon: &Daemon, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    // The device may hang up on an endless line before it has read all of it.
    stream.write_all(request).ok();
    stream.shutdown(Shutdown::Write).ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    String::from_utf8(answer).unwrap()
}

fn errno(answer: &str) -> Option<i32> {
    answer.lines().find_map(|line| line.strip_prefix("errno=")).map(|number| number.parse().unwrap())
}

#[test]
fn malformed_requests_are_refused_and_change_nothing() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    let daemon = &pair.relay.daemon;
    let before = daemon.wg(&pair.relay.host, "showconf", "").success();
    let key = "a".repeat(64);
    let requests = [
        "set=1\nbogus=1\n\n".to_owned(),
        "set=1\nlisten_port\n\n".to_owned(),
        "set=1\nlisten_port=\n\n".to_owned(),
        "set=1\nlisten_port=65536\n\n".to_owned(),
        "set=1\nlisten_port=-1\n\n".to_owned(),
        "set=1\nfwmark=4294967296\n\n".to_owned(),
        "set=1\nprivate_key=zz\n\n".to_owned(),
        format!("set=1\nprivate_key={}\n\n", "z".repeat(64)),
        format!("set=1\nprivate_key={key}0\n\n"),
        "set=1\nreplace_peers=false\n\n".to_owned(),
        "set=1\npublic_key=\n\n".to_owned(),
        "set=1\nallowed_ip=10.0.0.0/8\n\n".to_owned(),
        format!("set=1\npublic_key={key}\nallowed_ip=10.0.0.0/33\n\n"),
        format!("set=1\npublic_key={key}\nallowed_ip=fd00::/129\n\n"),
        format!("set=1\npublic_key={key}\nallowed_ip=10.0.0/8\n\n"),
        format!("set=1\npublic_key={key}\nendpoint=192.0.2.1\n\n"),
        format!("set=1\npublic_key={key}\nendpoint=192.0.2.1:65536\n\n"),
        format!("set=1\npublic_key={key}\nendpoint=2001:db8::1:1\n\n"),
        format!("set=1\npublic_key={key}\nendpoint=localhost:1\n\n"),
        format!("set=1\npublic_key={key}\npersistent_keepalive_interval=65536\n\n"),
        format!("set=1\npublic_key={key}\nprotocol_version=2\n\n"),
        format!("set=1\npublic_key={key}\npreshared_key=0\n\n"),
        format!("set=1\npublic_key={key}\nlisten_port=1\n\n"),
        format!("set=1\npublic_key={key}\nupdate_only=maybe\n\n"),
    ];
    for request in requests {
        let answer = ask(daemon, request.as_bytes());
        let errno = errno(&answer).unwrap_or_else(|| panic!("no errno for {request:?}: {answer:?}"));
        assert_ne!(errno, 0, "{request:?} was accepted");
        assert_eq!(daemon.wg(&pair.relay.host, "showconf", "").success(), before, "{request:?} changed something");
    }
    pair.client.host.reaches(&pair.relay.v4());
}

#[test]
fn noise_ends_the_connection_and_nothing_else() {
    let host = Host::new();
    let daemon = Daemon::start(Maybetun, &host, &interface_name());
    let binary: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let requests: [&[u8]; 8] =
        [b"", b"\n", b"\n\n\n\n", b"get=2\n\n", b"delete=1\n\n", b"set=1\nlisten_port=1", &binary, &[b'x'; 5_000_000]];
    for request in requests {
        let answer = ask(&daemon, request);
        assert_ne!(errno(&answer), Some(0), "{:?} was accepted", &request[..request.len().min(32)]);
        assert_eq!(errno(&ask(&daemon, b"get=1\n\n")), Some(0));
    }
    assert_ne!(daemon.wg(&host, "show", "listen-port").success().trim(), "1", "half a request was applied");
}

#[test]
fn silent_connections_do_not_hold_others_up() {
    let host = Host::new();
    let daemon = Daemon::start(Maybetun, &host, &interface_name());
    // Fewer than are served at a time.
    let mut silent: Vec<UnixStream> = (0..12).map(|_| UnixStream::connect(daemon.socket()).unwrap()).collect();
    for stream in &mut silent {
        stream.write_all(b"set=1\nfwmark=").unwrap();
    }
    assert_eq!(errno(&ask(&daemon, b"get=1\n\n")), Some(0));
    drop(silent);
    assert_eq!(errno(&ask(&daemon, b"get=1\n\n")), Some(0));
    assert_eq!(daemon.wg(&host, "show", "fwmark").success().trim(), "off");
}

#[test]
fn silent_connections_are_hung_up_on() {
    let host = Host::new();
    let daemon = Daemon::start(Maybetun, &host, &interface_name());
    // More than are served at a time, and they stay open.
    let silent: Vec<UnixStream> = (0..20).map(|_| UnixStream::connect(daemon.socket()).unwrap()).collect();
    assert_eq!(errno(&ask(&daemon, b"get=1\n\n")), Some(0));
    drop(silent);
}

#[test]
fn one_connection_carries_many_requests() {
    let host = Host::new();
    let daemon = Daemon::start(Maybetun, &host, &interface_name());
    let key = "b".repeat(64);
    let answer = ask(&daemon, format!("set=1\nfwmark=5\npublic_key={key}\n\nget=1\n\nget=1\n\n").as_bytes());
    assert_eq!(answer.matches("errno=0\n\n").count(), 3, "{answer}");
    assert_eq!(answer.matches(&format!("public_key={key}\n")).count(), 2, "{answer}");
}

#[test]
fn update_only_and_remove_do_not_add_peers() {
    let host = Host::new();
    let daemon = Daemon::start(Maybetun, &host, &interface_name());
    let key = "c".repeat(64);
    let update = format!("set=1\npublic_key={key}\nupdate_only=true\nallowed_ip=10.0.0.0/8\n\n");
    assert_eq!(errno(&ask(&daemon, update.as_bytes())), Some(0));
    assert_eq!(errno(&ask(&daemon, format!("set=1\npublic_key={key}\nremove=true\n\n").as_bytes())), Some(0));
    assert_eq!(dump(&host, &daemon), []);
}

#[test]
fn only_the_owner_may_connect() {
    let host = Host::new();
    let daemon = Daemon::start(Maybetun, &host, &interface_name());
    let mode = fs::metadata(daemon.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
}

#[test]
fn socket_is_removed_when_the_device_stops() {
    let host = Host::new();
    let daemon = Daemon::start(Maybetun, &host, &interface_name());
    daemon.wg_with_input(&host, "set", "private-key /dev/stdin", &Keys::new().private).success();
    let (socket, interface) = (daemon.socket(), daemon.interface().to_owned());
    daemon.terminate();
    assert!(!socket.exists(), "{} is still there", socket.display());
    assert!(!host.ip("-o link").contains(&interface), "the interface is still there");
}
