//! Arbitrary updates and states, for property tests.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use proptest::prelude::*;

use maybetun_machines::profile::ProfileName;
use maybetun_machines::{Digest, Strength, Tier};

use crate::keys::{PresharedKey, PrivateKey, PublicKey};
use crate::masking::{Activity, Shortfall};
use crate::seed::Fingerprint;
use crate::settings::{
    AllowedIpChange, Band, Cause, Counters, DefenseChange, DefenseOptions, DefenseSettings, DefenseStatus, DeviceDrops,
    EphemeralSettings, EpochStatus, Fraction, HandshakeLoad, Limits, MaskingMode, MaskingSettings, MaskingStatus,
    NegotiationStatus, PeerAction, PeerStatus, PeerUpdate, Protection, Role, Spelling, Statistics, Status, Update,
};

fn endpoint() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        (any::<[u8; 4]>(), 1..=u16::MAX).prop_map(SocketAddr::from),
        (any::<[u8; 16]>(), 1..=u16::MAX, any::<u32>())
            .prop_map(|(address, port, zone)| SocketAddr::V6(SocketAddrV6::new(address.into(), port, 0, zone))),
    ]
}

fn prefix() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (any::<[u8; 4]>(), 0..=32u8).prop_map(|(address, length)| (IpAddr::from(address), length)),
        (any::<[u8; 16]>(), 0..=128u8).prop_map(|(address, length)| (IpAddr::from(address), length)),
    ]
    .prop_map(|(address, length)| IpNet::new(address, length).unwrap().trunc())
}

fn public_key() -> impl Strategy<Value = PublicKey> {
    any::<[u8; 32]>().prop_filter_map("of small order", |bytes| PublicKey::from_bytes(&bytes).ok())
}

fn private_key() -> impl Strategy<Value = PrivateKey> {
    any::<[u8; 32]>().prop_filter_map("all zeros", |bytes| PrivateKey::from_bytes(&bytes).ok())
}

fn preshared_key() -> impl Strategy<Value = PresharedKey> {
    any::<[u8; 32]>().prop_map(|bytes| PresharedKey::from_bytes(&bytes))
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Client), Just(Role::Relay)]
}

fn fraction() -> impl Strategy<Value = Option<Fraction>> {
    prop::option::of((0.0..=1.0).prop_map(|number| Fraction::new(number).unwrap()))
}

/// Some settings said, each with one of the values that it takes.
fn options() -> impl Strategy<Value = DefenseOptions> {
    prop::collection::vec(any::<Option<prop::sample::Index>>(), DefenseOptions::SETTINGS.len()).prop_map(|chosen| {
        let mut options = DefenseOptions::default();
        for (setting, index) in DefenseOptions::SETTINGS.iter().zip(chosen) {
            if let Some(index) = index {
                setting
                    .set(&mut options, setting.examples[index.index(setting.examples.len())], Spelling::File)
                    .unwrap();
            }
        }
        options
    })
}

fn limits() -> impl Strategy<Value = (Limits, MaskingSettings)> {
    options().prop_map(|options| (options.limits(), options.masking()))
}

/// Any defense of the catalogue, under any name and limits.
fn defense() -> impl Strategy<Value = DefenseSettings> {
    let catalogue =
        (0..maybetun_machines::catalogue().len()).prop_map(|index| maybetun_machines::catalogue()[index].defense());
    let name = "[a-np-z0-9-][a-z0-9-]{0,63}";
    (catalogue, role(), prop::option::of(role()), name, fraction(), fraction(), 1..=1_000_000u32, limits()).prop_map(
        |(catalogued, side, role, name, padding, blocking, actions, (limits, masking))| {
            let mut settings = DefenseSettings::of(catalogued, side);
            let plan = settings.plan.capped(actions);
            let padding = padding.map_or(plan.max_padding_frac(), Fraction::get);
            let blocking = blocking.map_or(plan.max_blocking_frac(), Fraction::get);
            settings.plan = plan.limited(padding, blocking).unwrap();
            DefenseSettings { name, role, limits, masking, ..settings }
        },
    )
}

fn defense_status() -> impl Strategy<Value = DefenseStatus> {
    (defense(), counted()).prop_map(|(settings, statistics)| DefenseStatus { settings, statistics })
}

/// Any value in each counter.
fn counted<T: Counters + Default + std::fmt::Debug>() -> impl Strategy<Value = T> {
    prop::collection::vec(any::<u64>(), T::all().len()).prop_map(|values| {
        let mut counters = T::default();
        for (counter, value) in T::all().into_iter().zip(values) {
            assert!(counters.set(counter.key, value));
        }
        counters
    })
}

fn tier() -> impl Strategy<Value = Tier> {
    prop_oneof![Just(Tier::Size), Just(Tier::Padding), Just(Tier::Blocking)]
}

fn strength() -> impl Strategy<Value = Strength> {
    prop_oneof![Just(Strength::Low), Just(Strength::Medium), Just(Strength::High)]
}

fn ephemeral() -> impl Strategy<Value = EphemeralSettings> {
    options().prop_map(|options| options.ephemeral())
}

fn negotiation() -> impl Strategy<Value = NegotiationStatus> {
    let epoch = (any::<(u32, u32)>(), tier(), strength(), any::<([u8; 16], [u8; 32])>()).prop_map(
        |((number, age), tier, strength, (fingerprint, digest))| EpochStatus {
            number,
            age: Duration::from_secs(age.into()),
            tier,
            strength,
            fingerprint: Fingerprint(fingerprint),
            digest: Digest(digest),
        },
    );
    (ephemeral(), prop::option::of(epoch), any::<u64>()).prop_map(|(settings, epoch, renewals)| NegotiationStatus {
        settings,
        epoch,
        renewals,
    })
}

fn protection() -> impl Strategy<Value = Option<Protection>> {
    let cause = prop_oneof![
        Just(Cause::Off),
        Just(Cause::NotNegotiated),
        Just(Cause::Negotiating),
        (0..7u8).prop_map(|reason| Cause::Refused(reason.into())),
    ];
    let with_cause = (cause, any::<bool>()).prop_map(|(cause, is_one_sided)| {
        if is_one_sided { Protection::OneSided(cause) } else { Protection::NotProtected(cause) }
    });
    prop::option::of(prop_oneof![Just(Protection::Protected), with_cause])
}

fn peer_update() -> impl Strategy<Value = PeerUpdate> {
    let action = prop_oneof![Just(PeerAction::AddOrUpdate), Just(PeerAction::UpdateOnly), Just(PeerAction::Remove)];
    let change = prop_oneof![prefix().prop_map(AllowedIpChange::Add), prefix().prop_map(AllowedIpChange::Remove)];
    (
        public_key(),
        action,
        prop::option::of(preshared_key()),
        prop::option::of(endpoint()),
        any::<Option<u16>>(),
        any::<bool>(),
        prop::collection::vec(change, 0..4),
        prop::option::of(prop_oneof![
            Just(DefenseChange::Off),
            Just(DefenseChange::Renew),
            defense().prop_map(DefenseChange::On),
            ephemeral().prop_map(DefenseChange::Ephemeral),
        ]),
    )
        .prop_map(
            |(public_key, action, preshared_key, endpoint, persistent_keepalive, replace, allowed_ips, defense)| {
                PeerUpdate {
                    public_key,
                    action,
                    preshared_key,
                    endpoint,
                    persistent_keepalive,
                    replace_allowed_ips: replace,
                    allowed_ips,
                    defense,
                }
            },
        )
}

/// Any update.
pub(super) fn update() -> impl Strategy<Value = Update> {
    (
        prop::option::of(prop::option::of(private_key())),
        any::<Option<u16>>(),
        any::<Option<u32>>(),
        any::<bool>(),
        prop::collection::vec(peer_update(), 0..4),
    )
        .prop_map(|(private_key, listen_port, fwmark, replace_peers, peers)| Update {
            private_key,
            listen_port,
            fwmark,
            replace_peers,
            peers,
        })
}

/// Anything that masking tells.
fn masking() -> impl Strategy<Value = MaskingStatus> {
    let modes =
        ProfileName::ALL.into_iter().map(MaskingMode::Profile).chain([MaskingMode::Adaptive]).collect::<Vec<_>>();
    let words = (
        prop::sample::select(modes),
        prop::sample::select(Activity::ALL.to_vec()),
        prop::option::of(prop::sample::select(ProfileName::ALL.to_vec())),
        prop::sample::select(Shortfall::ALL.to_vec()),
    );
    let band = (1..10_000u16, 1..10_000u16).prop_filter_map("a band", |(low, high)| Band::new(low, high));
    let numbers = any::<(bool, bool, Option<u32>, [u64; 2], [u64; 2], u64, Option<u64>)>();
    (words, band, numbers).prop_map(|((mode, activity, target, shortfall), band, numbers)| {
        let (is_mutual, is_visible, ratio, rates, target_rates, spent, allowed) = numbers;
        MaskingStatus {
            mode,
            is_mutual,
            activity,
            target,
            band,
            ratio,
            rates,
            target_rates,
            is_visible,
            shortfall,
            spent,
            allowed,
        }
    })
}

fn peer_status() -> impl Strategy<Value = PeerStatus> {
    (
        public_key(),
        prop::option::of(preshared_key().prop_filter("all zeros means none", |key| !key.is_zero())),
        prop::option::of(endpoint()),
        any::<u16>(),
        prop::collection::vec(prefix(), 0..4),
        prop::option::of((1..u64::from(u32::MAX), 0..1_000_000_000u32)),
        counted::<Statistics>(),
        (
            prop::option::of(role()),
            prop::option::of(defense_status()),
            prop::option::of(negotiation()),
            protection(),
            any::<Option<u32>>(),
            prop::option::of(masking()),
        ),
    )
        .prop_map(
            |(public_key, preshared_key, endpoint, persistent_keepalive, allowed_ips, handshake, statistics, run)| {
                PeerStatus {
                    public_key,
                    preshared_key,
                    endpoint,
                    persistent_keepalive,
                    allowed_ips,
                    last_handshake: handshake.map(|(sec, nsec)| SystemTime::UNIX_EPOCH + Duration::new(sec, nsec)),
                    last_handshake_age: None,
                    statistics,
                    role: run.0,
                    defense: run.1,
                    negotiation: run.2,
                    protection: run.3,
                    path_mtu: run.4,
                    masking: run.5,
                }
            },
        )
}

/// Any state of a device, in so far as the protocol can tell it.
pub(super) fn status() -> impl Strategy<Value = Status> {
    (
        prop::option::of(private_key()),
        any::<u16>(),
        any::<u32>(),
        counted::<DeviceDrops>(),
        (any::<bool>(), counted::<HandshakeLoad>()),
        prop::collection::vec(peer_status(), 0..4),
    )
        .prop_map(|(private_key, listen_port, fwmark, dropped, (is_under_load, load), peers)| {
            let handshakes = HandshakeLoad { is_under_load, ..load };
            Status { private_key, listen_port, is_port_fixed: false, fwmark, dropped, handshakes, peers }
        })
}
