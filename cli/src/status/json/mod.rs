//! The state of tunnels as JSON, in a schema that scripts may rely on.

mod defense;
mod help;
mod masking;

use std::time::UNIX_EPOCH;

use maybetun::settings::{DeviceDrops, HandshakeLoad, NegotiationStatus, PeerStatus, Protection, Statistics};
use serde::Serialize;

use super::Named;
pub(super) use defense::Defense;
pub(super) use help::help;
pub(super) use masking::Masking;

/// Grows when a member changes its meaning or goes away; new members may come without.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Document {
    version: u32,
    interfaces: Vec<Interface>,
}

#[derive(Serialize)]
struct Interface {
    name: String,
    public_key: Option<String>,
    listen_port: u16,
    fwmark: u32,
    kill_switch: Option<bool>,
    dropped: DeviceDrops,
    handshake_load: HandshakeLoad,
    peers: Vec<Peer>,
}

#[derive(Serialize)]
struct Peer {
    public_key: String,
    has_preshared_key: bool,
    endpoint: Option<String>,
    allowed_ips: Vec<String>,
    persistent_keepalive: u16,
    last_handshake: Option<u64>,
    #[serde(flatten)]
    statistics: Statistics,
    role: Option<String>,
    path_mtu: Option<u32>,
    defense: Option<Defense>,
    masking: Option<Masking>,
    #[serde(flatten)]
    agreement: Agreement,
}

/// What a command tells of an interface's peers.
#[derive(Serialize)]
struct OfPeers<'a, P> {
    version: u32,
    interface: &'a str,
    peers: Vec<P>,
}

/// Renders what a command tells of an interface's peers, in this version of its schema, as a JSON document with a line end.
pub(super) fn render_peers<P: Serialize>(version: u32, interface: &str, peers: Vec<P>) -> serde_json::Result<String> {
    pretty(&OfPeers { version, interface, peers })
}

fn pretty(document: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string_pretty(document).map(|text| text + "\n")
}

/// How far the ends got with their agreement.
#[derive(Serialize)]
pub(super) struct Agreement {
    protection: Option<&'static str>,
    protection_cause: Option<String>,
    user_packets_leave: Option<bool>,
    negotiation: Option<NegotiationStatus>,
}

/// Renders the document, with a line end.
pub(super) fn render(interfaces: &[Named]) -> serde_json::Result<String> {
    let document = Document { version: VERSION, interfaces: interfaces.iter().map(Interface::of).collect() };
    pretty(&document)
}

impl Interface {
    fn of(named: &Named) -> Self {
        let status = &named.status;
        Self {
            name: named.name.clone(),
            public_key: status.private_key.as_ref().map(|key| key.public_key().to_base64()),
            listen_port: status.listen_port,
            fwmark: status.fwmark,
            kill_switch: named.kill_switch,
            dropped: status.dropped,
            handshake_load: status.handshakes,
            peers: status.peers.iter().map(Peer::of).collect(),
        }
    }
}

impl Peer {
    fn of(peer: &PeerStatus) -> Self {
        Self {
            public_key: peer.public_key.to_base64(),
            has_preshared_key: peer.preshared_key.is_some(),
            endpoint: peer.endpoint.map(|endpoint| endpoint.to_string()),
            allowed_ips: peer.allowed_ips.iter().map(ToString::to_string).collect(),
            persistent_keepalive: peer.persistent_keepalive,
            last_handshake: peer
                .last_handshake
                .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
                .map(|since| since.as_secs()),
            statistics: peer.statistics,
            role: peer.role.map(|role| role.to_string()),
            path_mtu: peer.path_mtu,
            defense: peer.defense.as_ref().map(Defense::of),
            masking: peer.masking.as_ref().map(Masking::of),
            agreement: Agreement::of(peer),
        }
    }
}

impl Agreement {
    pub(super) fn of(peer: &PeerStatus) -> Self {
        let cause = peer.protection.and_then(Protection::cause);
        Self {
            protection: peer.protection.map(Protection::word),
            protection_cause: cause.map(|cause| cause.to_string()),
            user_packets_leave: peer.holds_back().map(|holds_back| !holds_back),
            negotiation: peer.negotiation.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::sample;
    use super::*;

    /// Makes sure that every member is as expected. Others may come.
    fn holds(found: &serde_json::Value, expected: &serde_json::Value) {
        match (found, expected) {
            (serde_json::Value::Object(found), serde_json::Value::Object(expected)) => {
                expected.iter().for_each(|(member, expected)| holds(&found[member], expected));
            }
            (serde_json::Value::Array(found), serde_json::Value::Array(expected)) => {
                assert_eq!(found.len(), expected.len());
                found.iter().zip(expected).for_each(|(found, expected)| holds(found, expected));
            }
            _ => assert_eq!(found, expected),
        }
    }

    #[test]
    fn the_schema_is_as_the_help_tells_it() {
        let value: serde_json::Value = serde_json::from_str(&render(&[sample()]).unwrap()).unwrap();
        let defense = serde_json::json!({
            "name": "sample", "role": "client", "machines": 1,
            "max_padding_frac": 0.5, "max_blocking_frac": 0.0,
            "max_actions_per_second": maybetun::defense::DEFAULT_ACTIONS_PER_SECOND,
            "normal_sent_bytes": 1, "normal_received_bytes": 2,
            "constant_size_sent_bytes": 3, "constant_size_received_bytes": 4,
            "padding_sent_packets": 5, "padding_sent_bytes": 6,
            "padding_received_packets": 7, "padding_received_bytes": 8,
            "limits": {"max_padding_frac": 0.25, "max_blocking_frac": 0.0, "max_padding_rate": maybetun::settings::DEFAULT_MAX_PADDING_RATE},
            "padding_dropped": {"no_session": 21, "queue_full": 22, "no_room": 9, "over_frac": 23, "over_rate": 24,
                                "over_device_rate": 25, "unproven": 26, "silent": 27},
            "too_large": 10, "marks_ignored": 19, "padding_actions": 11, "blocking_actions": 12,
            "actions_capped": 13, "blocked_us": 14000, "queue_high_water": 15,
            "lateness_p50_us": 20, "lateness_p99_us": 125,
            "bundles_sent": 16, "bundled_sent_packets": 17, "bundles_received": 18, "bundled_received_packets": 19
        });
        let negotiation = serde_json::json!({
            "policy": "prefer", "tier": "padding", "strength": "medium", "bundling": true, "renewal": 3600,
            "renewals": 3,
            "epoch": {
                "number": 4, "age": 61, "tier": "padding", "strength": "high",
                "fingerprint": "05".repeat(16), "digest": "06".repeat(32)
            }
        });
        let masking = serde_json::json!({
            "mode": "adaptive", "mutual": true, "activity": "interactive", "target": "video",
            "band": [3.0, 8.0], "ratio": 5.2, "rates": [5200, 100000], "target_rates": [4000, 1200000],
            "visible": true, "shortfall": "masking-budget", "spent": 12000000, "allowed": 20000000
        });
        holds(
            &value,
            &serde_json::json!({
                "version": 1,
                "interfaces": [{
                    "name": "wg0",
                    "public_key": "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=",
                    "listen_port": 51820,
                    "fwmark": 51820,
                    "kill_switch": true,
                    "dropped": {"no_route": 0, "unknown": 3, "rate_limited": 0, "send_failed": 0, "congested": 0, "came_back": 0},
                    "handshake_load": {"under_load": true, "per_second": 182, "max_per_second": 100,
                                       "cookies_sent": 90, "too_many": 4, "invalid": 3},
                    "peers": [{
                        "public_key": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
                        "has_preshared_key": false,
                        "endpoint": null,
                        "allowed_ips": [],
                        "persistent_keepalive": 0,
                        "last_handshake": null,
                        "handshakes": 0,
                        "received_bytes": 0,
                        "sent_bytes": 0,
                        "received_packets": 0,
                        "sent_packets": 0,
                        "dropped": {"queue_full": 0, "no_session": 0, "no_endpoint": 0, "source_not_allowed": 0,
                                    "replayed": 0, "unauthenticated": 0, "malformed": 0, "unprotected": 0},
                        "role": null,
                        "path_mtu": null,
                        "defense": null,
                        "masking": null,
                        "protection": "not-protected",
                        "protection_cause": "off",
                        "user_packets_leave": true,
                        "negotiation": null
                    }, {
                        "public_key": "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",
                        "has_preshared_key": true,
                        "endpoint": "[2001:db8::1]:51820",
                        "allowed_ips": ["10.0.0.2/32", "fd00::/64"],
                        "persistent_keepalive": 25,
                        "last_handshake": 1_699_999_937,
                        "handshakes": 2,
                        "received_bytes": 1240,
                        "sent_bytes": 2097152,
                        "received_packets": 11,
                        "sent_packets": 12,
                        "dropped": {"queue_full": 0, "no_session": 0, "no_endpoint": 0, "source_not_allowed": 5,
                                    "replayed": 6, "unauthenticated": 0, "malformed": 0, "unprotected": 0},
                        "role": "client",
                        "path_mtu": 1400,
                        "defense": defense,
                        "masking": masking,
                        "protection": "protected",
                        "protection_cause": null,
                        "user_packets_leave": true,
                        "negotiation": negotiation
                    }]
                }]
            }),
        );
        let mut members =
            vec!["version", "interfaces", "kill_switch", "has_preshared_key", "path_mtu", "user_packets_leave"];
        let interface = &value["interfaces"][0];
        let peer = &interface["peers"][1];
        let (defense, negotiation) = (&peer["defense"], &peer["negotiation"]);
        for object in [
            interface,
            &interface["dropped"],
            &interface["handshake_load"],
            peer,
            &peer["dropped"],
            defense,
            &defense["limits"],
            &defense["masking_settings"],
            &peer["masking"],
            &defense["padding_dropped"],
            negotiation,
            &negotiation["epoch"],
        ] {
            members.extend(object.as_object().unwrap().keys().map(String::as_str));
        }
        let help = help();
        for member in members {
            assert!(help.contains(&format!("\"{member}\"")), "{member}");
        }
    }

    #[test]
    fn no_secret_is_in_it() {
        let named = sample();
        let text = render(std::slice::from_ref(&named)).unwrap();
        let private_key = named.status.private_key.unwrap();
        let preshared_key = named.status.peers[1].preshared_key.clone().unwrap();
        assert!(!text.contains(&private_key.to_base64()) && !text.contains(&preshared_key.to_base64()));
    }
}
