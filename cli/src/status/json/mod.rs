//! The state of tunnels as JSON, in a schema that scripts may rely on.

mod defense;

use std::time::UNIX_EPOCH;

use maybetun::settings::{
    DeviceDrops, Drops, EphemeralSettings, EpochStatus, HandshakeLoad, NegotiationStatus, PeerStatus, Protection,
    Statistics,
};
use serde::Serialize;

use super::Named;
pub(super) use defense::Defense;

/// Grows when a member changes its meaning or goes away; new members may come without.
const VERSION: u32 = 1;

/// The schema, as the help tells it.
pub(crate) const HELP: &str = r#"JSON schema (--json). Members may be added; `version` grows if one changes or goes:
  {
    "version": 1,
    "interfaces": [{
      "name": string,
      "public_key": string (base64) or null,
      "listen_port": number, 0 if none,
      "fwmark": number, 0 if none,
      "kill_switch": boolean (whether it is closed for this interface), null if it cannot be seen,
      "dropped": {"no_route", "unknown", "rate_limited", "send_failed", "congested", "came_back": number of packets},
      "handshake_load": {"under_load": boolean, "per_second", "max_per_second": number of messages,
                         "cookies_sent", "too_many", "invalid": number of messages},
      "peers": [{
        "public_key": string (base64),
        "has_preshared_key": boolean,
        "endpoint": string (address:port) or null,
        "allowed_ips": [string (address/bits)],
        "persistent_keepalive": seconds, 0 if off,
        "last_handshake": seconds since 1970 or null,
        "handshakes": number,
        "received_bytes", "sent_bytes", "received_packets", "sent_packets": number,
        "dropped": {"queue_full", "no_session", "no_endpoint", "source_not_allowed", "replayed",
                    "unauthenticated", "malformed", "unprotected": number of packets},
        "role": "client" or "relay" (which end this is), null if not known,
        "path_mtu": bytes of the largest IP packet that the peer is sent, where the path takes less than the
                    MTU asks for, else null,
        "defense": null if none runs, else {
          "name": string, "role": as above, "machines": number,
          "max_padding_frac", "max_blocking_frac": number from 0 to 1, 0 if there is no limit: the
            defense's own limits,
          "max_actions_per_second": number,
          "limits": {"max_padding_frac", "max_blocking_frac": as above, "max_padding_rate": bytes a
                     second, 0 if there is no limit}: the user's limits,
          "normal_received_bytes", "normal_sent_bytes", "constant_size_received_bytes",
          "constant_size_sent_bytes", "padding_received_bytes", "padding_sent_bytes": number,
          "padding_received_packets", "padding_sent_packets", "too_large", "marks_ignored",
          "padding_actions", "blocking_actions", "actions_capped", "queue_high_water",
          "bundles_sent", "bundled_sent_packets", "bundles_received", "bundled_received_packets": number,
          "padding_dropped": {"no_session", "queue_full", "no_room", "over_frac", "over_rate",
                              "over_device_rate", "unproven", "silent": number of packets},
          "blocked_us", "lateness_p50_us", "lateness_p99_us": microseconds
        },
        "protection": "protected", "one-sided" or "not-protected", null if not known,
        "protection_cause": null if protected or not known, else "off", "not-negotiated", "negotiating",
                            "version", "choice", "mismatch", "unknown", "unanswered", "requested", "bounds" or "other",
        "user_packets_leave": false while a defense is required and not agreed on, null if not known,
        "negotiation": null unless the defense is ephemeral, else {
          "policy": "require", "prefer" or "off", "tier": "size", "padding" or "blocking",
          "strength": "low", "medium" or "high", "bundling": boolean, "renewal": seconds,
          "renewals": number,
          "epoch": null while nothing is agreed on, else {
            "number": number, "age": seconds, "tier", "strength": as above, as the client asked for,
            "fingerprint", "digest": string (hexadecimal), the same at both ends
          }
        }
      }]
    }]
  }"#;

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
    dropped: DeviceDropCounts,
    handshake_load: Load,
    peers: Vec<Peer>,
}

#[derive(Serialize)]
struct Load {
    under_load: bool,
    per_second: u64,
    max_per_second: u64,
    cookies_sent: u64,
    too_many: u64,
    invalid: u64,
}

#[derive(Serialize)]
struct DeviceDropCounts {
    no_route: u64,
    unknown: u64,
    rate_limited: u64,
    send_failed: u64,
    congested: u64,
    came_back: u64,
}

#[derive(Serialize)]
struct Peer {
    public_key: String,
    has_preshared_key: bool,
    endpoint: Option<String>,
    allowed_ips: Vec<String>,
    persistent_keepalive: u16,
    last_handshake: Option<u64>,
    handshakes: u64,
    received_bytes: u64,
    sent_bytes: u64,
    received_packets: u64,
    sent_packets: u64,
    dropped: DropCounts,
    role: Option<String>,
    path_mtu: Option<u32>,
    defense: Option<Defense>,
    #[serde(flatten)]
    agreement: Agreement,
}

/// How far the ends got with their agreement.
#[derive(Serialize)]
pub(super) struct Agreement {
    protection: Option<&'static str>,
    protection_cause: Option<String>,
    user_packets_leave: Option<bool>,
    negotiation: Option<Negotiation>,
}

#[derive(Serialize)]
struct Negotiation {
    policy: String,
    tier: String,
    strength: String,
    bundling: bool,
    renewal: u64,
    renewals: u64,
    epoch: Option<Epoch>,
}

#[derive(Serialize)]
struct Epoch {
    number: u32,
    age: u64,
    tier: String,
    strength: String,
    fingerprint: String,
    digest: String,
}

#[derive(Serialize)]
struct DropCounts {
    queue_full: u64,
    no_session: u64,
    no_endpoint: u64,
    source_not_allowed: u64,
    replayed: u64,
    unauthenticated: u64,
    malformed: u64,
    unprotected: u64,
}

/// Renders the document, with a line end.
pub(super) fn render(interfaces: &[Named]) -> serde_json::Result<String> {
    let document = Document { version: VERSION, interfaces: interfaces.iter().map(Interface::of).collect() };
    serde_json::to_string_pretty(&document).map(|text| text + "\n")
}

impl Interface {
    fn of(named: &Named) -> Self {
        let status = &named.status;
        let DeviceDrops { no_route, unknown, rate_limited, send_failed, congested, came_back } = status.dropped;
        Self {
            name: named.name.clone(),
            public_key: status.private_key.as_ref().map(|key| key.public_key().to_base64()),
            listen_port: status.listen_port,
            fwmark: status.fwmark,
            kill_switch: named.kill_switch,
            dropped: DeviceDropCounts { no_route, unknown, rate_limited, send_failed, congested, came_back },
            handshake_load: Load::of(status.handshakes),
            peers: status.peers.iter().map(Peer::of).collect(),
        }
    }
}

impl Load {
    fn of(load: HandshakeLoad) -> Self {
        let HandshakeLoad { is_under_load, per_second, max_per_second, cookies_sent, too_many, invalid } = load;
        Self { under_load: is_under_load, per_second, max_per_second, cookies_sent, too_many, invalid }
    }
}

impl Peer {
    fn of(peer: &PeerStatus) -> Self {
        let Statistics { received_bytes, sent_bytes, received_packets, sent_packets, handshakes, dropped } =
            peer.statistics;
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
            handshakes,
            received_bytes,
            sent_bytes,
            received_packets,
            sent_packets,
            dropped: DropCounts::of(dropped),
            role: peer.role.map(|role| role.to_string()),
            path_mtu: peer.path_mtu,
            defense: peer.defense.as_ref().map(Defense::of),
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
            negotiation: peer.negotiation.as_ref().map(Negotiation::of),
        }
    }
}

impl Negotiation {
    fn of(status: &NegotiationStatus) -> Self {
        let EphemeralSettings { role: _, tier, strength, negotiation, bundling, renewal, limits: _ } = &status.settings;
        Self {
            policy: negotiation.to_string(),
            tier: tier.to_string(),
            strength: strength.to_string(),
            bundling: *bundling,
            renewal: renewal.as_secs(),
            renewals: status.renewals,
            epoch: status.epoch.as_ref().map(Epoch::of),
        }
    }
}

impl Epoch {
    fn of(epoch: &EpochStatus) -> Self {
        let EpochStatus { number, age, tier, strength, fingerprint, digest } = epoch;
        Self {
            number: *number,
            age: age.as_secs(),
            tier: tier.to_string(),
            strength: strength.to_string(),
            fingerprint: fingerprint.to_string(),
            digest: digest.to_string(),
        }
    }
}

impl DropCounts {
    fn of(drops: Drops) -> Self {
        let Drops {
            queue_full,
            no_session,
            no_endpoint,
            source_not_allowed,
            replayed,
            unauthenticated,
            malformed,
            unprotected,
        } = drops;
        Self {
            queue_full,
            no_session,
            no_endpoint,
            source_not_allowed,
            replayed,
            unauthenticated,
            malformed,
            unprotected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::sample;
    use super::*;

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
        assert_eq!(
            value,
            serde_json::json!({
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
                        "protection": "protected",
                        "protection_cause": null,
                        "user_packets_leave": true,
                        "negotiation": negotiation
                    }]
                }]
            })
        );
        let mut members = vec![
            "version",
            "interfaces",
            "kill_switch",
            "has_preshared_key",
            "rate_limited",
            "handshake_load",
            "source_not_allowed",
            "handshakes",
            "path_mtu",
        ];
        members.extend(value["interfaces"][0]["handshake_load"].as_object().unwrap().keys().map(String::as_str));
        let defense = value["interfaces"][0]["peers"][1]["defense"].as_object().unwrap();
        members.extend(defense.keys().map(String::as_str));
        let negotiation = &value["interfaces"][0]["peers"][1]["negotiation"];
        for object in [negotiation, &negotiation["epoch"], &defense["limits"], &defense["padding_dropped"]] {
            members.extend(object.as_object().unwrap().keys().map(String::as_str));
        }
        members.extend(["protection", "protection_cause", "user_packets_leave", "negotiation", "unprotected"]);
        for member in members {
            assert!(HELP.contains(&format!("\"{member}\"")), "{member}");
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
