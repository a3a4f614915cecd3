//! Settings that change under traffic: nothing is lost by it, and both ends end in agreement.

use std::time::Duration;

use maybetun::negotiation::Reason;
use maybetun::settings::{Cause, EphemeralSettings, Fraction, Limits, NegotiationPolicy, Protection, Strength};
use maybetun_lab::tunnels::{Fate, TwoEnds, number, packet};
use maybetun_machines::Tier;
use proptest::prelude::*;

use crate::machines::pad;
use crate::sealed::Ledger;

/// A change is told within this: the longest pause between exchanges at a relay's word, and the exchange.
const SETTLED: Duration = Duration::from_secs(15);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn settings(tier: Tier) -> EphemeralSettings {
    EphemeralSettings { tier, ..EphemeralSettings::default() }
}

/// Two ends that have agreed.
fn agreed(tier: Tier) -> TwoEnds {
    let mut network = TwoEnds::new();
    for side in [0, 1] {
        network.agree(side, &settings(tier));
    }
    network.send(0, &packet(0, 0, 1_000));
    // So long that the relay takes the next call.
    network.run_for(seconds(2));
    assert_protected(&network);
    network.delivered = [Vec::new(), Vec::new()];
    network
}

fn protections(network: &TwoEnds) -> [Protection; 2] {
    network.tunnels.each_ref().map(|tunnel| tunnel.protection())
}

#[track_caller]
fn assert_protected(network: &TwoEnds) {
    assert_eq!(protections(network), [Protection::Protected; 2]);
    let epochs = network.tunnels.each_ref().map(|tunnel| {
        let epoch = tunnel.negotiation_status(network.instant()).unwrap().epoch.unwrap();
        (epoch.number, epoch.fingerprint, epoch.digest)
    });
    assert_eq!(epochs[0], epochs[1]);
}

/// What an end may be told to run.
#[derive(Debug, Clone)]
enum Change {
    Agree(EphemeralSettings),
    Defend(&'static str),
    Renew,
    Off,
}

impl Change {
    fn make(&self, network: &mut TwoEnds, side: usize) {
        match self {
            Self::Agree(settings) => _ = network.agree(side, settings),
            Self::Defend(name) => {
                let defense = maybetun_machines::find(name).expect("it is in the catalogue");
                let role = [maybetun_machines::Role::Client, maybetun_machines::Role::Relay][side];
                network.defend(side, &maybetun::settings::DefenseSettings::of(defense, role).plan);
            }
            Self::Renew => network.renew(side),
            Self::Off => network.stop_defense(side),
        }
    }
}

#[test]
fn what_the_peer_bundles_is_taken_whatever_is_run_by_then() {
    let alone = EphemeralSettings { negotiation: NegotiationPolicy::Off, ..settings(Tier::Size) };
    let unbundled = EphemeralSettings { bundling: false, ..settings(Tier::Size) };
    for change in [Change::Off, Change::Defend("front"), Change::Agree(alone), Change::Agree(unbundled)] {
        for side in [0, 1] {
            let mut network = agreed(Tier::Size);
            // The peer does not hear of it.
            network.fate = Box::new(move |from| if from == side { Fate::Lose } else { Fate::Deliver });
            change.make(&mut network, side);
            let before = network.seen.len();
            (0..20).for_each(|count| network.send_once(1 - side, &packet(1 - side, count, 52)));
            network.flush(1 - side);
            assert_eq!(network.seen.len(), before + 1, "a bundle");
            network.run_for(Duration::from_millis(100));
            let delivered = network.delivered[side].iter().map(|packet| number(packet));
            assert!(delivered.eq(0..20), "{change:?} at side {side}");
            assert_eq!(network.tunnels[side].statistics().dropped.malformed, 0);
        }
    }
}

#[test]
fn who_changes_to_something_of_his_own_says_so_until_the_peer_has_heard_it() {
    let alone = EphemeralSettings { negotiation: NegotiationPolicy::Off, ..settings(Tier::Size) };
    for change in [Change::Off, Change::Defend("front"), Change::Agree(alone)] {
        for side in [0, 1] {
            let mut network = agreed(Tier::Padding);
            network.fate = Box::new(|_| Fate::Lose);
            change.make(&mut network, side);
            network.run_for(seconds(2));
            assert_eq!(network.tunnels[1 - side].protection(), Protection::Protected, "it cannot know");
            network.fate = Box::new(|_| Fate::Deliver);
            network.run_for(seconds(6));
            let cause = Cause::Refused(Reason::Requested);
            // A relay does not run for a client what that does not want.
            let expected = [Protection::NotProtected(cause), Protection::OneSided(cause)][side];
            assert_eq!(network.tunnels[1 - side].protection(), expected, "{change:?} at side {side}");
            // Once it was heard, it is not said any more.
            network.run_for(seconds(60));
            let sent = |network: &TwoEnds| network.tunnels[side].statistics().sent_bytes;
            let before = sent(&network);
            if matches!(change, Change::Off) {
                network.tunnels[1 - side].set_persistent_keepalive(0, network.instant());
                network.stop_defense(1 - side);
                network.run_for(seconds(60));
                assert!(sent(&network) - before < 10_000, "{} bytes", sent(&network) - before);
            }
        }
    }
}

#[test]
fn a_relay_that_is_given_other_settings_has_its_client_agree_anew_at_once() {
    for lost in [0, 3] {
        let mut network = agreed(Tier::Padding);
        let fingerprint = |network: &TwoEnds| {
            network.tunnels[0].negotiation_status(network.instant()).unwrap().epoch.map(|epoch| epoch.fingerprint)
        };
        let before = fingerprint(&network);
        network.fate = Box::new(|_| Fate::Lose);
        if lost == 0 {
            network.fate = Box::new(|_| Fate::Deliver);
        }
        let limits = Limits { max_padding_rate: Some(100_000), ..Limits::default() };
        network.agree(1, &EphemeralSettings { limits, ..settings(Tier::Padding) });
        network.run_for(seconds(lost));
        network.fate = Box::new(|_| Fate::Deliver);
        network.run_for(seconds(1 + 2 * lost));
        assert_protected(&network);
        assert_ne!(fingerprint(&network), before);
    }
}

#[test]
fn where_an_agreement_is_required_packets_wait_until_the_relay_is_called() {
    let mut network = TwoEnds::new();
    let required = EphemeralSettings { negotiation: NegotiationPolicy::Require, ..settings(Tier::Size) };
    for side in [0, 1] {
        network.agree(side, &required);
    }
    network.send(0, &packet(0, 0, 1_000));
    network.run_for(seconds(2));
    let mut count = 0;
    // The second time the relay's word comes so soon that it is put off.
    for _ in 0..2 {
        network.agree(1, &required);
        for _ in 0..10 {
            count += 1;
            network.send(0, &packet(0, count, 1_000));
            network.run_for(Duration::from_millis(100));
        }
    }
    network.run_for(SETTLED);
    assert_protected(&network);
    assert_eq!(network.tunnels[0].statistics().dropped.unprotected, 0);
    assert!(network.delivered[1].iter().map(|packet| number(packet)).eq(0..=count));
}

#[test]
fn a_client_that_is_given_other_settings_agrees_anew_at_once_and_counts_on() {
    let mut network = agreed(Tier::Padding);
    for number in 2..6 {
        network.agree(0, &settings(if number % 2 == 0 { Tier::Size } else { Tier::Padding }));
        network.run_for(seconds(1));
        assert_protected(&network);
        let epoch = network.tunnels[1].negotiation_status(network.instant()).unwrap().epoch.unwrap();
        assert_eq!(epoch.number, number, "no number is given twice");
    }
}

#[test]
fn an_address_that_moved_before_the_agreement_is_asked_to_show_that_it_receives() {
    let mut network = TwoEnds::connected();
    network.move_unseen(3);
    for side in [0, 1] {
        network.agree(side, &settings(Tier::Size));
    }
    network.send(0, &packet(0, 1, 100));
    network.run_for(seconds(2));
    assert_protected(&network);
    for _ in 0..50 {
        pad(&mut network, 1);
    }
    let statistics = network.tunnels[1].defense_statistics(network.instant()).unwrap();
    assert_eq!(statistics.padding_dropped.unproven, 0);
}

fn a_change(tiers: &'static [Tier]) -> impl Strategy<Value = Change> {
    let rate = prop_oneof![Just(None), Just(Some(0)), Just(Some(65_536))];
    let fraction = any::<bool>().prop_map(|some| Fraction::new(0.25).filter(|_| some));
    let limits = (rate, fraction).prop_map(|(max_padding_rate, fraction)| Limits {
        max_padding_frac: fraction,
        max_blocking_frac: fraction,
        ..Limits { max_padding_rate, ..Limits::default() }
    });
    let policy = prop_oneof![3 => Just(NegotiationPolicy::Prefer), 1 => Just(NegotiationPolicy::Off)];
    let strength = prop::sample::select(&Strength::ALL[..]);
    let agree = (prop::sample::select(tiers), strength, policy, any::<bool>(), limits).prop_map(
        |(tier, strength, negotiation, bundling, limits)| {
            let others = EphemeralSettings::default();
            Change::Agree(EphemeralSettings { tier, strength, negotiation, bundling, limits, ..others })
        },
    );
    prop_oneof![6 => agree, 1 => Just(Change::Defend("front")), 1 => Just(Change::Renew), 2 => Just(Change::Off)]
}

/// So many changes, each at a side, and the milliseconds until the next.
fn changes(tiers: &'static [Tier]) -> impl Strategy<Value = Vec<(usize, u64, Change)>> {
    prop::collection::vec((0..2usize, 0..2_500u64, a_change(tiers)), 100)
}

/// Makes the changes while numbered packets go both ways, and the network loses of all else `lost` in 256. Returns the
/// longest time in which none arrived at a side.
fn change_under_traffic(changes: &[(usize, u64, Change)], tier: Tier, lost: u32) -> Duration {
    const STEP: Duration = Duration::from_millis(20);
    let mut network = agreed(tier);
    let ledger = Ledger::open();
    network.spared = Some(Box::new(move |datagram| ledger.may_have_packets(datagram)));
    let mut state = 1_u32;
    network.fate = Box::new(move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if state >> 24 < lost { Fate::Lose } else { Fate::Deliver }
    });
    let (mut count, mut gap, mut last) = (0, Duration::ZERO, [(network.now(), 0); 2]);
    let mut step = |network: &mut TwoEnds| {
        for side in [0, 1] {
            // Three small ones, that may share a datagram, and now and then a large one.
            (0..3).for_each(|one| network.send_once(side, &packet(side, count + one, 60)));
            network.send_once(side, &packet(side, count + 3, if count % 28 == 0 { 1_300 } else { 300 }));
            network.flush(side);
        }
        count += 4;
        network.run_for(STEP);
        for (side, (since, delivered)) in last.iter_mut().enumerate() {
            gap = gap.max(network.now() - *since);
            if network.delivered[side].len() > *delivered {
                (*since, *delivered) = (network.now(), network.delivered[side].len());
            }
        }
    };
    for (side, pause, change) in changes {
        change.make(&mut network, *side);
        (0..=pause / STEP.as_millis() as u64).for_each(|_| step(&mut network));
    }
    for side in [0, 1] {
        network.agree(side, &settings(tier));
    }
    network.fate = Box::new(|_| Fate::Deliver);
    (0..SETTLED.as_millis() / STEP.as_millis()).for_each(|_| step(&mut network));
    assert_protected(&network);
    network.run_for(seconds(30));
    for side in [0, 1] {
        let numbers: Vec<_> = network.delivered[side].iter().map(|packet| number(packet)).collect();
        let statistics = network.tunnels[1 - side].statistics();
        // A gate that lets out less than comes in fills its queue: what has no room there, and nothing else, is lost.
        let without_room = statistics.dropped.queue_full;
        // Where frames get lost, the path seems to take less for a time, and a large packet is given up.
        let too_large = network.too_large(1 - side);
        assert!(lost > 0 || too_large == 0, "side {side}: {too_large}");
        assert!(tier == Tier::Blocking || without_room == 0, "side {side}: {statistics:?}");
        assert!(numbers.is_sorted_by(|one, next| one < next), "side {side}: {numbers:?}");
        assert_eq!(numbers.len() as u64 + without_room + too_large, u64::from(count), "side {side}: {statistics:?}");
    }
    gap
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn a_hundred_changes_at_either_end_leave_no_gap(
        changes in changes(&[Tier::Size, Tier::Padding]),
        lost in prop_oneof![Just(0), Just(64), Just(128)],
    ) {
        let gap = change_under_traffic(&changes, Tier::Padding, lost);
        prop_assert!(gap <= Duration::from_millis(40), "{gap:?}");
    }

    #[test]
    fn a_hundred_changes_lose_nothing_that_is_held_back(
        changes in changes(&Tier::ALL),
        lost in prop_oneof![Just(0), Just(64)],
    ) {
        change_under_traffic(&changes, Tier::Blocking, lost);
    }
}
