//! `maybetun reload`: a running tunnel takes its file as that is then, and peers that it says the same of do not notice.

mod asking;
mod names;
mod network;
mod peers;

use maybetun_integration_tests::{ClientFile, Daemon, Finished, Host, maybetun_program, run, status_json};
use serde_json::Value;

const INNER: &str = "10.9.0.0/24, fd09::/64";

/// Runs `maybetun` on `host`. `line` is split at spaces.
fn maybetun(host: &Host, line: &str) -> Finished {
    run(host.command(maybetun_program()).args(line.split_whitespace()), "")
}

/// Starts `maybetun up` in the foreground, without a terminal, and waits until the tunnel is up.
fn up(file: &ClientFile, more: &[&str]) -> Daemon {
    let mut command = file.client.command("setsid");
    let command = command.arg("--wait").arg(maybetun_program()).arg("up").arg(file.path()).args(more);
    let daemon = Daemon::spawn(command, &file.interface);
    file.assert_up();
    daemon
}

fn down(file: &ClientFile) {
    maybetun(&file.client, &format!("down {}", file.interface)).success();
    file.assert_gone();
}

/// Replaces a part of the file.
#[track_caller]
fn edit(file: &ClientFile, before: &str, after: &str) {
    let text = file.read();
    assert!(text.contains(before), "{before} is not in\n{text}");
    file.write(&text.replace(before, after));
}

/// Adds a section for a peer that is nowhere, and returns its key.
fn add_peer(file: &ClientFile, more: &str) -> String {
    let key = maybetun_integration_tests::Keys::new().public;
    file.write(&format!("{}\n[Peer]\nPublicKey = {key}\n{more}", file.read()));
    key
}

fn reload(file: &ClientFile) -> Finished {
    maybetun(&file.client, &format!("reload {}", file.interface))
}

/// Returns what `status` shows of the peer with that key.
#[track_caller]
fn shown(file: &ClientFile, key: &str) -> Value {
    let status = status_json(&file.client, &file.interface);
    let peer = status["peers"].as_array().unwrap().iter().find(|peer| peer["public_key"] == key);
    peer.unwrap_or_else(|| panic!("no peer {key} in {status}")).clone()
}

/// Returns all that a tunnel has set up on its host, and what it was told.
fn everything(file: &ClientFile) -> [String; 5] {
    let routes = ["route show table all", "-6 route show table all"].map(|line| file.client.ip(line)).concat();
    let ours = format!("dev {} ", file.interface);
    [
        file.client.ip(&format!("addr show dev {}", file.interface)),
        routes.lines().filter(|route| route.contains(&ours)).collect::<Vec<_>>().join("\n"),
        file.client.ip("rule") + &file.client.ip("-6 rule"),
        file.client.run("nft list ruleset").success(),
        file.client.run(&format!("wg showconf {}", file.interface)).success(),
    ]
}
