//! What implementations say of themselves: `wg show INTERFACE dump` and `maybetun status --json`.

use serde_json::Value;

use crate::command::run;
use crate::daemon::{Daemon, maybetun_program};
use crate::host::Host;

/// A peer's line of `wg show INTERFACE dump`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerDump {
    /// The public key, in base64.
    pub public_key: String,
    /// The preshared key, in base64, or `(none)`.
    pub preshared_key: String,
    /// The endpoint, or `(none)`.
    pub endpoint: String,
    /// The allowed IPs, separated by commas, or `(none)`.
    pub allowed_ips: String,
    /// When the last handshake completed, in seconds since 1970; 0 if never.
    pub latest_handshake: u64,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// The persistent keepalive in seconds, or `off`.
    pub keepalive: String,
}

/// Returns the peers that `wg show INTERFACE dump` lists.
#[track_caller]
pub fn dump(host: &Host, daemon: &Daemon) -> Vec<PeerDump> {
    let text = daemon.wg(host, "show", "dump").success();
    text.lines().skip(1).map(parse).collect()
}

#[track_caller]
fn parse(line: &str) -> PeerDump {
    let fields: Vec<&str> = line.split('\t').collect();
    let [public_key, preshared_key, endpoint, allowed_ips, handshake, received, sent, keepalive] = fields[..] else {
        panic!("not a peer's line of a dump: {line}");
    };
    let number = |text: &str| text.parse().unwrap_or_else(|error| panic!("{text} in {line}: {error}"));
    PeerDump {
        public_key: public_key.to_owned(),
        preshared_key: preshared_key.to_owned(),
        endpoint: endpoint.to_owned(),
        allowed_ips: allowed_ips.to_owned(),
        latest_handshake: number(handshake),
        received: number(received),
        sent: number(sent),
        keepalive: keepalive.to_owned(),
    }
}

/// Returns the only element of `interfaces` in what `maybetun status INTERFACE --json` prints.
#[track_caller]
pub fn status_json(host: &Host, interface: &str) -> Value {
    let mut command = host.command(maybetun_program());
    let text = run(command.args(["status", interface, "--json"]), "").success();
    let mut document: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("not JSON ({error}): {text}"));
    let Some([only]) = document["interfaces"].as_array_mut().map(Vec::as_mut_slice) else {
        panic!("not one interface in {text}");
    };
    only.take()
}
