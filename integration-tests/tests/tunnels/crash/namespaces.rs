//! Tunnels of one name in two network namespaces do not meet, although `/run` is one for both.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use maybetun_integration_tests::{ClientFile, eventually, run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{EVERYTHING, SHARED, maybetun};

fn up(file: &ClientFile, name: &str) {
    maybetun(&file.client, &format!("up -d --name {name} {}", file.path().display())).success();
    assert_serves(file, name);
}

/// Makes sure that the tunnel of this very host is up, and that it is what is asked here.
fn assert_serves(file: &ClientFile, name: &str) {
    file.client.reaches(&file.relay.v4());
    let status = maybetun(&file.client, &format!("status {name}")).success();
    let private = file.read().lines().find_map(|line| line.strip_prefix("PrivateKey = ").map(str::to_owned)).unwrap();
    let public = run(std::process::Command::new("wg").arg("pubkey"), &private).success();
    assert!(status.contains(public.trim()), "{status}");
}

/// Kills what runs on the host.
fn kill_all(file: &ClientFile, socket: &Path) {
    for process in file.client.processes() {
        kill(Pid::from_raw(process), Signal::SIGKILL).unwrap();
    }
    // A process whose first thread has ended may have others yet, and its files.
    eventually("it is dead", Duration::from_secs(20), || UnixStream::connect(socket).is_err());
}

fn down(file: &ClientFile, name: &str) -> Option<i32> {
    maybetun(&file.client, &format!("down {name}")).code
}

#[test]
fn tunnels_of_one_name_in_two_namespaces_do_not_meet() {
    let (one, other) = (ClientFile::new(EVERYTHING, ""), ClientFile::new(EVERYTHING, ""));
    let name = one.interface.clone();
    let socket = Path::new(SHARED).join(format!("{name}.sock"));
    up(&one, &name);

    // One that runs elsewhere is neither shown, changed nor stopped; not even where something else has its name.
    for namesake in ["", "link add NAME type bridge", "tuntap add dev NAME mode tun"] {
        if !namesake.is_empty() {
            other.client.ip(&namesake.replace("NAME", &name));
        }
        for command in ["status NAME", "defense NAME off", "down NAME"] {
            let told = maybetun(&other.client, &command.replace("NAME", &name));
            assert!(told.code == Some(6) && told.stderr.contains("in another"), "{namesake}: {told:#?}");
        }
        if !namesake.is_empty() {
            other.client.ip(&format!("link del {name}"));
        }
    }
    up(&other, &name);
    assert_serves(&one, &name);

    kill_all(&one, &socket);
    assert_serves(&other, &name);
    let told = maybetun(&one.client, &format!("status {name}"));
    assert!(told.code == Some(6) && told.stderr.contains("has died"), "{told:#?}");
    assert_eq!((down(&one, &name), down(&one, &name)), (Some(0), Some(6)));
    assert!(!one.client.tunnels().exists());
    assert_serves(&other, &name);

    // Where `wg` looks, there is room again.
    assert!(!socket.exists());
    up(&one, &name);
    assert!(socket.exists());
    assert_serves(&other, &name);
    assert_eq!((down(&other, &name), down(&other, &name)), (Some(0), Some(6)));
    assert_serves(&one, &name);

    // What a dead one left there, a living one takes over, and keeps.
    kill_all(&one, &socket);
    up(&other, &name);
    assert_eq!(down(&one, &name), Some(0));
    assert_serves(&other, &name);
    other.client.run(&format!("wg show {name} peers")).success();
    assert_eq!(down(&other, &name), Some(0));
    for file in [&one, &other] {
        file.assert_gone();
        assert!(!file.client.tunnels().exists());
    }
    assert!(!fs::exists(&socket).unwrap());
}
