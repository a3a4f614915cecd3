//! A client that moves to another network takes nothing along by which the two could be linked.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use maybetun::defense::Plan;
use maybetun::settings::{EphemeralSettings, NegotiationPolicy, Tier};
use maybetun::tunnel::{DatagramBatch, Endpoint, Event};
use maybetun_lab::tunnels::{Fate, Sighting, TwoEnds, number, packet};
use proptest::prelude::*;

use crate::machines::metronome;

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Two sides with traffic, defended or not; the client calls.
fn connected(is_defended: bool) -> TwoEnds {
    let mut network = TwoEnds::new();
    if is_defended {
        let settings = EphemeralSettings {
            tier: Tier::Size,
            negotiation: NegotiationPolicy::Prefer,
            ..EphemeralSettings::default()
        };
        (0..2).for_each(|side| _ = network.agree(side, &settings));
    }
    talk(&mut network, 20);
    network
}

/// Sends packets both ways.
fn talk(network: &mut TwoEnds, count: u32) {
    for count in 0..count {
        network.send(0, &packet(0, count, 1_000));
        network.send(1, &packet(1, count, 1_000));
        network.run_for(Duration::from_millis(50));
    }
}

/// What was seen on one network.
fn on(network: &TwoEnds, number: u8) -> Vec<Sighting> {
    network.seen.iter().copied().filter(|seen| seen.network == number).collect()
}

/// The upper 24 bits of every session index in what was seen.
fn bits(seen: &[Sighting]) -> HashSet<u32> {
    seen.iter().flat_map(|seen| seen.indices).flatten().map(|index| index >> 8).collect()
}

#[test]
fn on_another_network_a_handshake_comes_first_and_no_index_is_seen_again() {
    for is_defended in [false, true] {
        let mut network = connected(is_defended);
        network.change_network();
        talk(&mut network, 40);
        let [before, new] = [2, 3].map(|number| on(&network, number));
        let kinds: Vec<_> = new.iter().map(|seen| (seen.from, seen.kind)).take(3).collect();
        assert_eq!(kinds, [(0, 1), (1, 2), (0, 4)], "the relay does not speak before it is spoken to");
        assert_eq!(bits(&before).intersection(&bits(&new)).count(), 0);
        for side in [0, 1] {
            let last = network.delivered[side].last().map(|packet| number(packet));
            assert_eq!(last, Some(39), "traffic goes on");
        }
        assert!(network.events[0].contains(&Event::SessionEnded));
    }
}

#[test]
fn what_is_given_while_the_new_session_is_made_waits_for_it_and_arrives() {
    let mut network = connected(true);
    network.delivered = [Vec::new(), Vec::new()];
    network.change_network();
    for count in 100..150 {
        network.send(0, &packet(0, count, 1_000));
    }
    network.run_for(seconds(1));
    assert!(network.delivered[1].iter().map(|packet| number(packet)).eq(100..150));
}

#[test]
fn a_handshake_that_was_under_way_is_begun_anew_under_another_index() {
    let mut network = TwoEnds::new();
    network.fate = Box::new(|_| Fate::Lose);
    network.send(0, &packet(0, 1, 100));
    network.change_network();
    let [first, second] = network.seen[..] else { panic!("{:?}", network.seen) };
    assert_eq!((first.kind, second.kind), (1, 1));
    assert_eq!(bits(&[first]).intersection(&bits(&[second])).count(), 0);
}

#[test]
fn an_idle_client_without_a_session_says_nothing_on_another_network() {
    let mut network = connected(false);
    network.run_for(seconds(400));
    network.seen.clear();
    network.change_network();
    network.run_for(seconds(100));
    assert_eq!(network.seen, []);
}

#[test]
fn no_two_sessions_of_one_network_share_an_index_either() {
    let mut network = connected(true);
    for _ in 0..3_000 {
        network.send(0, &packet(0, 1, 1_000));
        network.run_for(seconds(1));
    }
    let sessions = network.tunnels[0].statistics().handshakes;
    assert!(sessions > 20, "{sessions}");
    // Each end has one of its own for each session.
    assert_eq!(bits(&network.seen).len() as u64, 2 * sessions);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_happens_networks_share_no_index(
        moves in prop::collection::vec((0..40_000u64, 0..20u32), 1..8),
        fates in prop::collection::vec(prop_oneof![6 => Just(Fate::Deliver), 2 => Just(Fate::Lose),
            1 => (1..3_000u64).prop_map(|ms| Fate::Delay(Duration::from_millis(ms)))], 1..60),
    ) {
        let mut network = connected(true);
        let mut turn = 0;
        network.fate = Box::new(move |_| { turn += 1; fates[turn % fates.len()] });
        let networks = 2..=2 + moves.len() as u8;
        for (pause, packets) in moves {
            network.change_network();
            talk(&mut network, packets);
            network.run_for(Duration::from_millis(pause));
        }
        let seen: Vec<_> = networks.map(|number| bits(&on(&network, number))).collect();
        for (index, later) in seen.iter().enumerate() {
            for earlier in &seen[..index] {
                prop_assert_eq!(earlier.intersection(later).count(), 0);
            }
        }
    }
}

/// Runs a machine at one side that pads every millisecond, and looks away until padding is overdue.
fn padding_overdue(side: usize) -> TwoEnds {
    let mut network = connected(true);
    let now = network.instant();
    let plan = Plan::new(vec![metronome(Duration::from_millis(1))]).unwrap();
    network.tunnels[side].run_machines(&plan, [1; 32], now);
    network.send(side, &packet(side, 1, 1_000));
    network.run_for(Duration::from_millis(100));
    network.skip(Duration::from_millis(2));
    network
}

#[test]
fn padding_that_is_due_as_the_client_moves_does_not_leave_in_the_old_session() {
    let mut network = padding_overdue(0);
    network.change_network();
    network.run_for(Duration::from_millis(50));
    let [before, new] = [2, 3].map(|number| on(&network, number));
    assert!(new.len() > 3, "padding goes on");
    assert_eq!(bits(&before).intersection(&bits(&new)).count(), 0);
}

#[test]
fn padding_that_is_due_as_the_client_is_heard_from_elsewhere_does_not_leave_in_the_old_session() {
    let mut network = padding_overdue(1);
    let (now, mut call, mut answer) = (network.instant(), DatagramBatch::new(), DatagramBatch::new());
    network.tunnels[0].network_changed(now, &mut call);
    let initiation = call.iter().next().unwrap();
    let from = Endpoint::from(SocketAddr::from(([203, 0, 113, 7], 7)));
    network.tunnels[1].receive(initiation, from, now, |_| true, &mut [0; 2_000], &mut answer);
    assert_eq!(network.tunnels[1].endpoint(), Some(from));
    assert_eq!(answer.iter().map(|datagram| datagram[0]).collect::<Vec<_>>(), [2], "the answer, and nothing else");
}
