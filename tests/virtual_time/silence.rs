//! Padding to a peer that has fallen silent ends, and goes on when the peer is heard from; so does a session that is paused.

use std::time::Duration;

use maybetun::defense::Plan;
use maybetun::settings::{EphemeralSettings, NegotiationPolicy};
use maybetun::tunnel::{DatagramBatch, Event, MAX_SILENCE, REJECT_AFTER_TIME};
use maybetun_lab::tunnels::{DELAY, Fate, TwoEnds, address_on, packet};
use maybetun_machines::Tier;

use crate::machines::metronome;

const INTERVAL: Duration = Duration::from_millis(50);

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// How the ends came by what they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Agreed {
    /// One of them runs something; the other does not know of it.
    Not,
    By(NegotiationPolicy),
}

const ALL: [Agreed; 3] = [Agreed::Not, Agreed::By(NegotiationPolicy::Prefer), Agreed::By(NegotiationPolicy::Require)];

/// Two ends of which `side` pads every [`INTERVAL`].
fn padding_from(side: usize, agreed: Agreed) -> TwoEnds {
    let mut network = TwoEnds::connected();
    if let Agreed::By(negotiation) = agreed {
        // What is agreed on pads nothing: the machine below does.
        let settings = EphemeralSettings { negotiation, tier: Tier::Size, ..EphemeralSettings::default() };
        for side in [0, 1] {
            network.agree(side, &settings);
        }
        network.send(0, &packet(0, 0, 1_000));
        network.run_for(seconds(2));
    }
    let (now, plan) = (network.instant(), Plan::new(vec![metronome(INTERVAL)]).unwrap());
    match agreed {
        Agreed::Not => network.start(side, &plan, [1; 32]),
        Agreed::By(_) => network.tunnels[side].run_machines(&plan, [1; 32], now),
    }
    network.send(side, &packet(side, 0, 1_000));
    network.run_for(seconds(1));
    network
}

/// Returns when datagrams of data left `side` since `from`.
fn sent(network: &TwoEnds, side: usize, from: Duration) -> Vec<Duration> {
    let is_data = network.seen.iter().filter(|seen| seen.from == side && seen.kind == 4 && seen.at >= from);
    is_data.map(|seen| seen.at).collect()
}

#[test]
fn nothing_is_padded_to_a_peer_that_was_not_heard_for_twenty_seconds_until_it_is() {
    for (side, agreed) in [0, 1].into_iter().flat_map(|side| ALL.map(|agreed| (side, agreed))) {
        let mut network = padding_from(side, agreed);
        let silent = network.now();
        network.fate = Box::new(move |from| if from == side { Fate::Deliver } else { Fate::Lose });
        network.run_for(seconds(60));
        let times = sent(&network, side, silent);
        let (first, last) = (*times.first().unwrap(), *times.last().unwrap());
        assert!(last <= silent + DELAY + MAX_SILENCE, "{:?} after, side {side}, {agreed:?}", last - silent);
        assert!(last >= first + seconds(9), "it stops no sooner: {:?}, side {side}, {agreed:?}", last - first);
        let drops = network.tunnels[side].defense_statistics(network.instant()).unwrap().padding_dropped;
        // Between ends that agreed it waits for the session that is asked for, as packets do.
        assert_eq!(drops.silent > 700, agreed == Agreed::Not, "{drops:?}, side {side}, {agreed:?}");
        assert_eq!(network.tunnels[side].has_session(), agreed == Agreed::Not, "side {side}, {agreed:?}");

        network.fate = Box::new(|_| Fate::Deliver);
        let again = network.now();
        network.send(1 - side, &packet(1 - side, 0, 1_000));
        network.run_for(seconds(8));
        let times = sent(&network, side, again);
        assert!(times.len() > 20, "{} datagrams, side {side}, {agreed:?}", times.len());
    }
}

#[test]
fn an_end_that_only_answers_is_not_taken_for_one_that_is_gone() {
    for (side, agreed) in [0, 1].into_iter().flat_map(|side| ALL.map(|agreed| (side, agreed))) {
        let mut network = padding_from(side, agreed);
        let from = network.now();
        // Nobody sends a packet of the user's.
        network.run_for(seconds(100));
        let times = sent(&network, side, from);
        let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(longest <= 2 * INTERVAL, "a gap of {longest:?}, side {side}, {agreed:?}");
        assert!(*times.last().unwrap() >= from + seconds(99), "side {side}, {agreed:?}");
    }
}

/// Returns how often a side was told that its session ended.
fn ends(network: &TwoEnds, side: usize) -> usize {
    network.events[side].iter().filter(|event| **event == Event::SessionEnded).count()
}

/// Two ends that agreed on a defense that sends nothing by itself, silent since.
fn quiet() -> TwoEnds {
    let mut network = TwoEnds::connected();
    for side in [0, 1] {
        network.agree(side, &EphemeralSettings { tier: Tier::Size, ..EphemeralSettings::default() });
    }
    network.run_until(seconds(40));
    network
}

/// The same, after the relay sent a packet that its client's address translator had no mapping for any more, and paused.
fn paused_relay() -> TwoEnds {
    let mut network = quiet();
    network.move_unseen(3);
    network.send(1, &packet(1, 1, 1_000));
    network.run_for(seconds(21));
    assert!(!network.tunnels[1].has_session(), "it pauses");
    network
}

#[test]
fn a_session_that_silence_paused_ends_in_time_and_that_is_told_once() {
    for side in [0, 1] {
        let mut network = padding_from(side, Agreed::By(NegotiationPolicy::Prefer));
        network.fate = Box::new(move |from| if from == side { Fate::Deliver } else { Fate::Lose });
        network.run_for(seconds(60));
        assert!(!network.tunnels[side].has_session(), "it is paused, side {side}");
        assert_eq!(ends(&network, side), 0, "a pause is no end, side {side}");
        network.run_until(REJECT_AFTER_TIME + seconds(5));
        assert_eq!(ends(&network, side), 1, "side {side}");
        network.run_for(seconds(300));
        assert_eq!(ends(&network, side), 1, "side {side}");
    }
}

#[test]
fn a_session_that_a_call_from_elsewhere_paused_ends_in_time_and_that_is_told_once() {
    let mut network = TwoEnds::connected();
    let (now, mut call) = (network.instant(), DatagramBatch::new());
    network.tunnels[0].network_changed(now, &mut call);
    network.fate = Box::new(|_| Fate::Lose);
    network.deliver_from(1, call.iter().next().unwrap(), 3);
    network.run_for(seconds(60));
    assert!(!network.tunnels[1].has_session(), "it is paused");
    assert_eq!(ends(&network, 1), 0, "a pause is no end");
    network.run_for(REJECT_AFTER_TIME);
    assert_eq!(ends(&network, 1), 1);
}

#[test]
fn a_session_that_is_paused_as_an_end_moves_ends_and_the_next_is_asked_for_at_once() {
    for side in [0, 1] {
        let mut network = quiet();
        network.fate = Box::new(|_| Fate::Lose);
        network.send(side, &packet(side, 1, 1_000));
        // Nobody has answered the call that the pause began: it is given up.
        network.run_until(REJECT_AFTER_TIME - seconds(10));
        assert!(network.events[side].contains(&Event::HandshakeFailed) && !network.tunnels[side].has_session());
        assert_eq!(ends(&network, side), 0, "side {side}");
        let (now, mut out) = (network.instant(), DatagramBatch::new());
        network.tunnels[side].network_changed(now, &mut out);
        network.inject(side, &out);
        assert_eq!(ends(&network, side), 1, "side {side}");
        assert_eq!(out.iter().map(|datagram| datagram[0]).collect::<Vec<_>>(), [1], "side {side}");
    }
}

#[test]
fn data_from_another_mapping_ends_a_pause_for_silence_at_once() {
    let mut network = paused_relay();
    network.send(1, &packet(1, 2, 1_000));
    network.delivered[0].clear();
    network.send(0, &packet(0, 3, 1_000));
    network.run_for(2 * DELAY);
    assert_eq!(network.tunnels[1].endpoint(), Some(address_on(3, 0)), "it is where it was heard");
    assert!(network.tunnels[1].has_session());
    assert_eq!(network.delivered[0], [packet(1, 2, 1_000)], "what waited leaves");
}

#[test]
fn data_from_another_mapping_ends_no_pause_for_a_call_from_elsewhere() {
    let mut network = paused_relay();
    network.fate = Box::new(|_| Fate::Lose);
    network.send(0, &packet(0, 3, 1_000));
    let held = network.raw.last().unwrap().1.clone();
    network.change_network();
    let call = network.raw.last().unwrap().1.clone();
    network.deliver_from(1, &call, 4);
    network.seen.clear();
    network.deliver_from(1, &held, 5);
    network.send(1, &packet(1, 4, 1_000));
    assert_eq!(network.tunnels[1].endpoint(), Some(address_on(4, 0)), "it is where it called from");
    assert!(!network.tunnels[1].has_session() && network.seen.is_empty(), "{:?}", network.seen);
}

#[test]
fn who_calls_from_elsewhere_and_is_heard_at_home_is_told_to_be_back() {
    let mut network = TwoEnds::connected();
    network.fate = Box::new(|_| Fate::Lose);
    network.send(0, &packet(0, 1, 1_000));
    let data = network.raw.last().unwrap().1.clone();
    let (now, mut call) = (network.instant(), DatagramBatch::new());
    network.tunnels[0].network_changed(now, &mut call);
    network.events[1].clear();
    network.deliver_from(1, call.iter().next().unwrap(), 3);
    network.deliver_from(1, &data, 2);
    let told = [3, 2].map(|network| Event::EndpointChanged(address_on(network, 0).remote));
    assert_eq!(network.events[1], told);
}
