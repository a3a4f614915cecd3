//! The defense of one end of a tunnel: switching it, and what is shown of it.

use serde_json::Value;

use crate::command::{Finished, run};
use crate::daemon::maybetun_program;
use crate::pair::{End, Pair};
use crate::status::status_json;
use crate::stream::{MEGABYTE, Stream};
use crate::uapi::{ask, key_in_hex};

/// Runs `maybetun defense INTERFACE LINE` at `end`.
#[track_caller]
pub fn defense(end: &End, line: &str) -> Finished {
    let mut command = end.host.command(maybetun_program());
    run(command.args(["defense", end.daemon.interface()]).args(line.split_whitespace()), "")
}

/// Runs machines at `end`, by the keys that gotatun documents, and returns the answer.
#[track_caller]
pub fn enable_machines(end: &End, peer: &End, machines: &[String]) -> String {
    let lines: String = machines.iter().map(|machine| format!("daita_machine={machine}\n")).collect();
    let request = format!(
        "set=1\npublic_key={}\nupdate_only=true\ndaita_enable=1\n{lines}daita_max_delayed_packets=1024\n\
         daita_min_delay_capacity=50\ndaita_max_decoy_frac=0\ndaita_max_delay_frac=0\n\n",
        key_in_hex(&peer.public_key)
    );
    ask(&end.daemon, &request)
}

/// Returns the defense that a maybetun shows for its only peer; null if there is none.
#[track_caller]
pub fn shown_defense(end: &End) -> Value {
    shown_peer(end)["defense"].take()
}

/// Returns what a maybetun shows of its only peer.
#[track_caller]
pub fn shown_peer(end: &End) -> Value {
    status_json(&end.host, end.daemon.interface())["peers"][0].take()
}

/// Returns a counter of a defense that a maybetun shows.
#[track_caller]
pub fn count(defense: &Value, member: &str) -> u64 {
    defense[member].as_u64().unwrap_or_else(|| panic!("no {member} in {defense}"))
}

/// Transfers two megabytes both ways at once through a tunnel.
#[track_caller]
pub fn transfer(pair: &Pair) {
    let up = Stream::start(&pair.client.host, &pair.relay.host, pair.relay.inner(5000));
    let down = Stream::start(&pair.relay.host, &pair.client.host, pair.client.inner(5000));
    up.advance(2 * MEGABYTE);
    down.advance(2 * MEGABYTE);
    up.finish();
    down.finish();
}
