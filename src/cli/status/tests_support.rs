//! A tunnel whose state the tests of each form render.

use std::time::{Duration, SystemTime};

use maybetun::keys::{PresharedKey, PrivateKey, PublicKey};
use maybetun::settings::{DeviceDrops, Drops, PeerStatus, Statistics, Status};

use super::Named;

/// The instant at which the state is looked at.
pub(super) fn clock() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

/// A tunnel with a peer that was never heard from, and one with something in every field.
pub(super) fn sample() -> Named {
    let silent = PeerStatus {
        public_key: PublicKey::from_bytes([1; 32]),
        preshared_key: None,
        endpoint: None,
        persistent_keepalive: 0,
        allowed_ips: vec![],
        last_handshake: None,
        last_handshake_age: None,
        statistics: Statistics::default(),
    };
    let busy = PeerStatus {
        public_key: PublicKey::from_bytes([2; 32]),
        preshared_key: Some(PresharedKey::from_bytes([3; 32])),
        endpoint: Some("[2001:db8::1]:51820".parse().unwrap()),
        persistent_keepalive: 25,
        allowed_ips: vec!["10.0.0.2/32".parse().unwrap(), "fd00::/64".parse().unwrap()],
        last_handshake: Some(clock() - Duration::from_secs(63)),
        last_handshake_age: Some(Duration::from_secs(63)),
        statistics: Statistics {
            received_bytes: 1_240,
            sent_bytes: 2 << 20,
            received_packets: 11,
            sent_packets: 12,
            handshakes: 2,
            dropped: Drops { source_not_allowed: 5, replayed: 6, ..Drops::default() },
        },
    };
    // RFC 7748 §6.1, Alice's private key.
    let private_key = PrivateKey::from_base64("dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=").unwrap();
    let status = Status {
        private_key: Some(private_key),
        listen_port: 51_820,
        fwmark: 51_820,
        dropped: DeviceDrops { unknown: 3, ..DeviceDrops::default() },
        peers: vec![silent, busy],
    };
    Named { name: "wg0".to_owned(), status }
}
