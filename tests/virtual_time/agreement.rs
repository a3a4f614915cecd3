//! Tunnels that agree on what they run: with each other, with peers that know nothing of it, and what they send together.

use std::collections::HashSet;
use std::time::Duration;

use maybetun::defense::Event as MachineEvent;
use maybetun::negotiation::Reason;
use maybetun::settings::{Cause, EphemeralSettings, EpochStatus, NegotiationPolicy, Protection};
use maybetun::tunnel::{DatagramBatch, Ecn, Event};
use maybetun_lab::tunnels::{Fate, TwoEnds, number, packet, renew};
use maybetun_machines::{Strength, Tier};

/// One size for all: the default MTU and what sealing adds.
const SIZE: usize = 1_452;

fn settings(negotiation: NegotiationPolicy, tier: Tier) -> EphemeralSettings {
    EphemeralSettings { negotiation, tier, ..EphemeralSettings::default() }
}

/// Both sides, told to agree; the client calls.
fn both(negotiation: NegotiationPolicy, tier: Tier) -> TwoEnds {
    let mut network = TwoEnds::new();
    network.agree(0, &settings(negotiation, tier));
    network.agree(1, &settings(negotiation, tier));
    network.send(0, &packet(0, 1, 100));
    network
}

fn epochs(network: &TwoEnds) -> [Option<EpochStatus>; 2] {
    network.tunnels.each_ref().map(|tunnel| tunnel.negotiation_status(network.instant()).unwrap().epoch)
}

fn protections(network: &TwoEnds) -> [Protection; 2] {
    network.tunnels.each_ref().map(|tunnel| tunnel.protection())
}

#[track_caller]
fn assert_same_epoch(network: &TwoEnds) -> EpochStatus {
    let [client, relay] = epochs(network);
    let (client, relay) = (client.unwrap(), relay.unwrap());
    assert_eq!((client.number, client.fingerprint, client.digest), (relay.number, relay.fingerprint, relay.digest));
    client
}

#[test]
fn two_ends_agree_in_packets_of_the_one_size() {
    for policy in [NegotiationPolicy::Require, NegotiationPolicy::Prefer] {
        for tier in [Tier::Size, Tier::Padding, Tier::Blocking] {
            let mut network = both(policy, tier);
            network.run_for(Duration::from_secs(2));
            assert_eq!(protections(&network), [Protection::Protected; 2]);
            let epoch = assert_same_epoch(&network);
            assert_eq!((epoch.tier, epoch.strength), (tier, Strength::Medium));
            assert_eq!(network.delivered[1].len(), 1, "what waited, if it did, was delivered");
            assert!(network.seen.iter().all(|sighting| sighting.kind < 4 || sighting.length == SIZE));
            for side in 0..2 {
                let told = network.events[side].iter().rfind(|event| matches!(event, Event::Protection(_)));
                assert_eq!(told, Some(&Event::Protection(Protection::Protected)));
            }
        }
    }
}

#[test]
fn no_two_connections_run_the_same() {
    let fingerprints = (0..20).map(|_| {
        let mut network = both(NegotiationPolicy::Require, Tier::Padding);
        network.run_for(Duration::from_secs(2));
        let epoch = assert_same_epoch(&network);
        (epoch.fingerprint, epoch.digest)
    });
    let (fingerprints, digests): (HashSet<_>, HashSet<_>) = fingerprints.unzip();
    assert_eq!((fingerprints.len(), digests.len()), (20, 20));
}

#[test]
fn an_exchange_is_never_timed_like_another() {
    // Only control frames are sent: no machine, no packet but the first.
    let times = |_| {
        let mut network = both(NegotiationPolicy::Require, Tier::Size);
        network.run_for(Duration::from_secs(2));
        network.seen.iter().filter(|sighting| sighting.kind == 4).map(|sighting| sighting.at).collect::<Vec<_>>()
    };
    let runs: HashSet<_> = (0..10).map(times).collect();
    assert_eq!(runs.len(), 10);
    let firsts: HashSet<_> = runs.iter().map(|times| times[1]).collect();
    assert_eq!(firsts.len(), 10, "not even the hello comes at the same time");
}

#[test]
fn with_a_plain_peer_this_end_alone_is_defended_and_says_so() {
    let mut network = TwoEnds::new();
    network.agree(0, &settings(NegotiationPolicy::Prefer, Tier::Padding));
    for count in 0..100 {
        network.send(0, &packet(0, count, 100));
        network.send(1, &packet(1, count, 100));
        network.run_for(Duration::from_secs(1));
    }
    assert_eq!(network.tunnels[0].protection(), Protection::OneSided(Cause::Refused(Reason::Unanswered)));
    assert_eq!([0, 1].map(|side| network.delivered[side].len()), [100, 100]);
    let running = network.tunnels[0].defense().unwrap();
    assert_eq!(running.plan.machines().len(), 3, "a draw of its own");
    assert!(network.seen.iter().all(|sighting| sighting.from == 1 || sighting.kind < 4 || sighting.length == SIZE));
}

#[test]
fn what_is_required_lets_nothing_leave_unprotected() {
    let mut network = TwoEnds::new();
    network.agree(0, &settings(NegotiationPolicy::Require, Tier::Padding));
    for count in 0..90 {
        network.send(0, &packet(0, count, 100));
        network.run_for(Duration::from_secs(1));
    }
    assert_eq!(network.tunnels[0].protection(), Protection::NotProtected(Cause::Refused(Reason::Unanswered)));
    assert!(network.delivered[1].is_empty());
    let statistics = network.tunnels[0].statistics();
    assert_eq!((statistics.dropped.unprotected, statistics.sent_packets), (90, 0));
    // The peer learns it: asked again, it agrees, and packets leave.
    network.agree(1, &settings(NegotiationPolicy::Require, Tier::Padding));
    for count in 90..900 {
        network.send(0, &packet(0, count, 100));
        network.run_for(Duration::from_secs(1));
    }
    assert_eq!(network.tunnels[0].protection(), Protection::Protected);
    let first = number(&network.delivered[1][0]);
    assert!(network.delivered[1].iter().map(|packet| number(packet)).eq(first..900), "none is lost from then on");
}

#[test]
fn what_is_required_waits_for_a_relay_that_was_started_anew() {
    let mut network = both(NegotiationPolicy::Require, Tier::Size);
    network.run_for(Duration::from_secs(2));
    network.restart(1);
    network.agree(1, &settings(NegotiationPolicy::Require, Tier::Size));
    network.delivered[1].clear();
    // The client notices after 15 s of silence; from then on, what it is given waits until both agree.
    for count in 0..800 {
        network.send(0, &packet(0, count, 100));
        network.run_for(Duration::from_millis(25));
    }
    network.run_for(Duration::from_secs(1));
    assert_eq!(protections(&network), [Protection::Protected; 2]);
    assert_eq!(network.tunnels[0].statistics().dropped.unprotected, 0);
    let first = number(&network.delivered[1][0]);
    assert!(network.delivered[1].iter().map(|packet| number(packet)).eq(first..800));
}

#[test]
fn renewals_lose_nothing_and_change_everything() {
    let mut network = both(NegotiationPolicy::Prefer, Tier::Blocking);
    let mut seen = HashSet::new();
    let mut sent = 0;
    for _ in 0..20 {
        network.run_for(Duration::from_secs(1));
        seen.insert(assert_same_epoch(&network).fingerprint);
        let mut out = DatagramBatch::new();
        let now = network.instant();
        renew(&mut network.tunnels[0], now, &mut out).unwrap();
        network.inject(0, &out);
        for _ in 0..200 {
            sent += 1;
            network.send(0, &packet(0, sent, 1_200));
            network.send(1, &packet(1, sent, 1_200));
            network.run_for(Duration::from_millis(5));
        }
    }
    network.run_for(Duration::from_secs(30));
    assert_eq!(seen.len(), 20);
    let status = network.tunnels[1].negotiation_status(network.instant()).unwrap();
    assert_eq!(status.renewals, 20);
    assert_eq!(network.delivered[0].len(), sent as usize);
    assert_eq!(network.delivered[1].len(), 1 + sent as usize);
    assert!(network.seen.iter().all(|sighting| sighting.kind < 4 || sighting.length == SIZE));
}

#[test]
fn an_epoch_is_renewed_after_about_an_hour() {
    let mut network = both(NegotiationPolicy::Prefer, Tier::Size);
    for count in 1..(3 * 3_600) {
        network.send(0, &packet(0, count, 100));
        network.send(1, &packet(1, count, 100));
        network.run_for(Duration::from_secs(1));
    }
    let renewals = network.tunnels[0].negotiation_status(network.instant()).unwrap().renewals;
    assert!((2..=3).contains(&renewals), "{renewals}");
    assert_same_epoch(&network);
}

#[test]
fn a_peer_that_was_started_anew_agrees_anew() {
    for side in [0, 1] {
        let mut network = both(NegotiationPolicy::Prefer, Tier::Padding);
        network.run_for(Duration::from_secs(2));
        let before = assert_same_epoch(&network).fingerprint;
        network.restart(side);
        network.tunnels[side].set_endpoint(Some(maybetun_lab::tunnels::address(1 - side)));
        network.agree(side, &settings(NegotiationPolicy::Prefer, Tier::Padding));
        for count in 0..40 {
            network.send(0, &packet(0, count, 100));
            network.run_for(Duration::from_secs(1));
        }
        assert_ne!(assert_same_epoch(&network).fingerprint, before, "side {side}");
        assert_eq!(protections(&network), [Protection::Protected; 2]);
    }
}

#[test]
fn what_one_end_switches_off_the_other_notices() {
    let mut network = both(NegotiationPolicy::Prefer, Tier::Size);
    network.run_for(Duration::from_secs(2));
    network.stop_defense(0);
    network.run_for(Duration::from_secs(1));
    let alone = Protection::NotProtected(Cause::Refused(Reason::Requested));
    assert_eq!(protections(&network), [Protection::NotProtected(Cause::Off), alone]);
}

#[test]
fn a_network_that_loses_half_is_agreed_over() {
    let mut network = both(NegotiationPolicy::Require, Tier::Padding);
    let mut count = 0_u32;
    network.fate = Box::new(move |_| {
        count = count.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match count >> 30 {
            0 => Fate::Deliver,
            1 => Fate::Repeat,
            2 => Fate::Delay(Duration::from_millis(300)),
            _ => Fate::Lose,
        }
    });
    network.run_for(Duration::from_secs(60));
    assert_same_epoch(&network);
}

/// Hands small packets over as one batch, and returns how many datagrams they made.
fn send_batch(network: &mut TwoEnds, count: u32, length: usize) -> usize {
    let before = network.seen.len();
    (0..count).for_each(|serial| network.send_once(0, &packet(0, serial, length)));
    network.flush(0);
    network.seen.len() - before
}

#[test]
fn small_packets_of_a_batch_share_a_datagram() {
    let mut network = both(NegotiationPolicy::Prefer, Tier::Size);
    network.run_for(Duration::from_secs(2));
    network.delivered[1].clear();
    network.tunnels.each_mut().into_iter().for_each(|tunnel| drop(tunnel.take_record()));
    assert_eq!(send_batch(&mut network, 40, 52), 2, "27 of 52 bytes fit");
    network.run_for(Duration::from_secs(1));
    assert!(network.delivered[1].iter().map(|packet| number(packet)).eq(0..40));

    let counted = |record: Vec<(MachineEvent, _)>, event: MachineEvent| {
        record.iter().filter(|(happened, _)| *happened == event).count()
    };
    let [sent, received] = network.tunnels.each_mut().map(|tunnel| tunnel.take_record());
    assert_eq!(counted(sent.clone(), MachineEvent::NormalSent), 40);
    assert_eq!(counted(sent, MachineEvent::TunnelSent), 2);
    assert_eq!(counted(received.clone(), MachineEvent::NormalRecv), 40);
    assert_eq!(counted(received, MachineEvent::TunnelRecv), 2);
    let statistics = network.tunnels[0].defense_statistics(network.instant()).unwrap();
    assert_eq!((statistics.bundles_sent, statistics.bundled_sent_packets), (2, 40));
}

#[test]
fn order_is_kept_between_small_packets_and_large_ones() {
    let mut network = both(NegotiationPolicy::Prefer, Tier::Size);
    network.run_for(Duration::from_secs(2));
    network.delivered[1].clear();
    for serial in 0..300 {
        network.send_once(0, &packet(0, serial, if serial % 7 == 3 { 1_400 } else { 52 }));
    }
    network.flush(0);
    network.run_for(Duration::from_secs(1));
    assert!(network.delivered[1].iter().map(|packet| number(packet)).eq(0..300));
}

#[test]
fn nothing_is_bundled_for_a_peer_that_does_not_say_it_knows() {
    let mut network = TwoEnds::new();
    network.agree(0, &settings(NegotiationPolicy::Prefer, Tier::Size));
    network.agree(1, &EphemeralSettings { bundling: false, ..settings(NegotiationPolicy::Prefer, Tier::Size) });
    network.send(0, &packet(0, 1, 100));
    network.run_for(Duration::from_secs(2));
    assert_eq!(protections(&network), [Protection::Protected; 2]);
    assert_eq!(send_batch(&mut network, 40, 52), 40);
    // With a peer that was plain from one session to the next, nothing is bundled either.
    let mut network = both(NegotiationPolicy::Prefer, Tier::Size);
    network.run_for(Duration::from_secs(2));
    assert_eq!(send_batch(&mut network, 40, 52), 2);
    network.restart(1);
    network.run_for(Duration::from_secs(30));
    network.delivered[1].clear();
    let sent = send_batch(&mut network, 40, 52);
    network.run_for(Duration::from_secs(1));
    assert_eq!((sent, network.delivered[1].len()), (40, 40));
}

#[test]
fn the_one_size_is_the_smaller_of_both_ends_mtu() {
    for mtus in [[1_280, 1_500], [1_420, 1_280], [9_000, 1_400]] {
        let mut network = TwoEnds::new();
        for (side, mtu) in mtus.into_iter().enumerate() {
            network.tunnels[side].set_mtu(mtu);
            network.agree(side, &settings(NegotiationPolicy::Prefer, Tier::Padding));
        }
        network.send(0, &packet(0, 1, 100));
        network.run_for(Duration::from_secs(2));
        network.seen.clear();
        let smaller = usize::from(*mtus.iter().min().unwrap());
        for side in [0, 1] {
            assert_eq!(network.tunnels[side].one_size(), Some(smaller));
            network.send(side, &packet(side, 2, smaller));
            network.send(side, &packet(side, 3, smaller + 1));
        }
        network.run_for(Duration::from_secs(2));
        assert!(network.seen.iter().all(|seen| seen.kind < 4 || seen.length == smaller + 32));
        for side in [0, 1] {
            assert_eq!(network.delivered[side].last(), Some(&packet(1 - side, 2, smaller)));
            assert_eq!(network.tunnels[side].defense_statistics(network.instant()).unwrap().too_large, 1);
        }
    }
}

#[test]
fn a_congestion_mark_is_passed_inward_until_both_have_agreed() {
    let mut network = TwoEnds::new();
    network.agree(0, &settings(NegotiationPolicy::Prefer, Tier::Size));
    assert_eq!(network.tunnels[0].pass_mark(Ecn::Congested), Ecn::Congested, "the peer may be plain");
    network.agree(1, &settings(NegotiationPolicy::Prefer, Tier::Size));
    network.send(0, &packet(0, 1, 100));
    network.run_for(Duration::from_secs(2));
    for side in [0, 1] {
        for mark in [Ecn::Congested, Ecn::Capable0, Ecn::NotCapable] {
            assert_eq!(network.tunnels[side].pass_mark(mark), Ecn::NotCapable);
        }
        assert_eq!(network.tunnels[side].defense_statistics(network.instant()).unwrap().marks_ignored, 2);
    }
}
