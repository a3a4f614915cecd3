//! A tunnel whose state the tests of each form render.

use std::time::{Duration, SystemTime};

use maybetun::defense::Plan;
use maybetun::keys::{PresharedKey, PrivateKey, PublicKey};
use maybetun::masking::{Activity, Shortfall};
use maybetun::seed::Fingerprint;
use maybetun::settings::{
    Band, Cause, DefenseSettings, DefenseStatistics, DefenseStatus, DeviceDrops, Drops, EphemeralSettings, EpochStatus,
    Fraction, HandshakeLoad, Limits, MaskingMode, MaskingSettings, MaskingStatus, NegotiationStatus, PaddingDrops,
    PeerStatus, Protection, Role, Statistics, Status,
};
use maybetun_machines::profile::ProfileName;
use maybetun_machines::{Digest, Strength, Tier};

use super::Named;

/// The instant at which the state is looked at.
pub(super) fn clock() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

/// A peer that was never heard from.
pub(crate) fn silent(public_key: PublicKey) -> PeerStatus {
    PeerStatus {
        public_key,
        preshared_key: None,
        endpoint: None,
        persistent_keepalive: 0,
        allowed_ips: vec![],
        last_handshake: None,
        last_handshake_age: None,
        statistics: Statistics::default(),
        role: None,
        defense: None,
        negotiation: None,
        protection: Some(Protection::NotProtected(Cause::Off)),
        path_mtu: None,
        masking: None,
    }
}

/// A defense with something in every counter.
pub(super) fn defense() -> DefenseStatus {
    let machine = maybetun_machines::find("front").unwrap().client().machines[0].clone();
    let plan = Plan::new([machine]).unwrap().limited(0.5, 0.0).unwrap();
    DefenseStatus {
        settings: DefenseSettings {
            name: "sample".to_owned(),
            role: Some(Role::Client),
            plan,
            limits: Limits { max_padding_frac: Fraction::new(0.25), ..Limits::default() },
            masking: MaskingSettings::default(),
        },
        statistics: DefenseStatistics {
            normal_sent_bytes: 1,
            normal_received_bytes: 2,
            constant_size_sent_bytes: 3,
            constant_size_received_bytes: 4,
            padding_sent_packets: 5,
            padding_sent_bytes: 6,
            padding_received_packets: 7,
            padding_received_bytes: 8,
            padding_dropped: PaddingDrops {
                no_session: 21,
                queue_full: 22,
                no_room: 9,
                over_frac: 23,
                over_rate: 24,
                over_device_rate: 25,
                unproven: 26,
                ..PaddingDrops { silent: 27, ..PaddingDrops::default() }
            },
            too_large: 10,
            marks_ignored: 19,
            bundles_sent: 16,
            bundled_sent_packets: 17,
            bundles_received: 18,
            bundled_received_packets: 19,
            padding_actions: 11,
            blocking_actions: 12,
            actions_capped: 13,
            blocked: Duration::from_micros(14_000),
            queue_high_water: 15,
            lateness_p50: Duration::from_micros(20),
            ..DefenseStatistics { lateness_p99: Duration::from_micros(125), ..DefenseStatistics::default() }
        },
    }
}

/// Masking with something in every field.
pub(super) fn masking() -> MaskingStatus {
    MaskingStatus {
        mode: MaskingMode::Adaptive,
        is_mutual: true,
        activity: Activity::Interactive,
        target: Some(ProfileName::Video),
        band: Band::USUAL,
        ratio: Some(520),
        rates: [5_200, 100_000],
        target_rates: [4_000, 1_200_000],
        is_visible: true,
        shortfall: Shortfall::MaskingBudget,
        spent: 12_000_000,
        allowed: Some(20_000_000),
    }
}

/// An agreement with something in every field.
pub(super) fn negotiation() -> NegotiationStatus {
    let epoch = EpochStatus {
        number: 4,
        age: Duration::from_secs(61),
        tier: Tier::Padding,
        strength: Strength::High,
        fingerprint: Fingerprint([5; 16]),
        digest: Digest([6; 32]),
    };
    let settings = EphemeralSettings { role: Some(Role::Client), ..EphemeralSettings::default() };
    NegotiationStatus { settings, epoch: Some(epoch), renewals: 3 }
}

/// A tunnel with a peer that was never heard from, and one with something in every field.
pub(super) fn sample() -> Named {
    let silent = silent(PublicKey::from_bytes(&[1; 32]).unwrap());
    let busy = PeerStatus {
        public_key: PublicKey::from_bytes(&[2; 32]).unwrap(),
        preshared_key: Some(PresharedKey::from_bytes(&[3; 32])),
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
            dropped: Drops { source_not_allowed: 5, replayed: 6, ..Drops::default() },
            ..Statistics { handshakes: 2, ..Statistics::default() }
        },
        role: Some(Role::Client),
        defense: Some(defense()),
        negotiation: Some(negotiation()),
        protection: Some(Protection::Protected),
        path_mtu: Some(1_400),
        masking: Some(masking()),
    };
    // RFC 7748 §6.1, Alice's private key.
    let private_key = PrivateKey::from_base64("dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=").unwrap();
    let status = Status {
        private_key: Some(private_key),
        listen_port: 51_820,
        is_port_fixed: true,
        fwmark: 51_820,
        dropped: DeviceDrops { unknown: 3, ..DeviceDrops::default() },
        handshakes: HandshakeLoad {
            is_under_load: true,
            per_second: 182,
            max_per_second: 100,
            cookies_sent: 90,
            too_many: 4,
            ..HandshakeLoad { invalid: 3, ..HandshakeLoad::default() }
        },
        peers: vec![silent, busy],
    };
    Named { name: "wg0".to_owned(), status, kill_switch: Some(true) }
}
