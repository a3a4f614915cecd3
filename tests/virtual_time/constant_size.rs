//! While a defense runs, every transport data packet has one size: the MTU and 32 bytes.

use std::time::Duration;

use maybetun::defense::Plan;
use maybetun_lab::tunnels::{TwoEnds, number, packet};

use crate::machines::{Step, metronome, script};

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn connected() -> TwoEnds {
    let mut network = TwoEnds::connected();
    network.seen.clear();
    network.delivered = [Vec::new(), Vec::new()];
    network
}

fn start(network: &mut TwoEnds, side: usize, plan: &Plan) {
    network.start(side, plan, [3; 32]);
}

/// The sizes of data packets from one side, without repetitions, in order.
fn sizes(network: &TwoEnds, side: usize) -> Vec<usize> {
    let mut sizes: Vec<_> =
        network.seen.iter().filter(|seen| seen.from == side && seen.kind == 4).map(|seen| seen.length).collect();
    sizes.dedup();
    sizes
}

#[test]
fn packets_of_all_sizes_and_padding_look_alike_from_the_first() {
    let mut network = connected();
    start(&mut network, 0, &Plan::new(vec![metronome(Duration::from_millis(7))]).unwrap());
    let lengths = [24, 52, 1_419, 1_420, 576];
    for (count, length) in lengths.into_iter().enumerate() {
        network.send(0, &packet(0, count as u32, length));
        network.run_for(Duration::from_millis(20));
    }
    network.run_for(seconds(1));
    assert_eq!(sizes(&network, 0), [1_452]);
    let arrived: Vec<_> = network.delivered[1].iter().map(Vec::len).collect();
    assert_eq!(arrived, lengths, "a receiver trims, and drops padding");
    assert_eq!(network.tunnels[1].statistics().dropped, Default::default(), "a plain peer drops padding quietly");
}

#[test]
fn keepalives_of_every_kind_look_like_packets() {
    // Passive: data came and nothing was sent for ten seconds.
    let mut network = connected();
    start(&mut network, 0, &Plan::default());
    network.send(1, &packet(1, 1, 100));
    network.run_for(seconds(12));
    assert_eq!(sizes(&network, 0), [1_452]);

    // Persistent.
    let now = network.instant();
    network.tunnels[0].set_persistent_keepalive(10, now);
    network.seen.clear();
    network.run_for(seconds(35));
    assert_eq!(network.seen.iter().filter(|seen| seen.from == 0 && seen.length == 1_452).count(), 3);
    assert_eq!(sizes(&network, 0), [1_452]);

    // The one that confirms a session.
    let mut network = TwoEnds::new();
    start(&mut network, 0, &Plan::default());
    let now = network.instant();
    let mut out = maybetun::tunnel::DatagramBatch::new();
    network.tunnels[0].start_handshake(now, &mut out);
    network.inject(0, &out);
    network.run_for(seconds(1));
    let kinds: Vec<_> = network.seen.iter().map(|seen| (seen.from, seen.kind, seen.length)).collect();
    assert_eq!(kinds, [(0, 1, 148), (1, 2, 92), (0, 4, 1_452)]);
}

#[test]
fn packets_that_waited_for_the_session_and_for_the_gate_look_alike() {
    let mut network = TwoEnds::new();
    start(
        &mut network,
        0,
        &Plan::new(vec![script(&[Step::block(seconds(2)).after(Duration::from_millis(100))])]).unwrap(),
    );
    for count in 0..30 {
        network.send(0, &packet(0, count, 60 + count as usize));
        network.run_for(Duration::from_millis(10));
    }
    network.run_for(seconds(3));
    assert_eq!(sizes(&network, 0), [1_452]);
    let numbers: Vec<_> = network.delivered[1].iter().map(|packet| number(packet)).collect();
    assert_eq!(numbers, (0..30).collect::<Vec<_>>());
}

#[test]
fn a_smaller_mtu_holds_at_once_and_larger_packets_are_dropped_and_counted() {
    let mut network = connected();
    start(&mut network, 0, &Plan::new(vec![script(&[Step::block(seconds(2))])]).unwrap());
    for (count, length) in [100, 1_420, 1_281, 1_280].into_iter().enumerate() {
        // The first one leaves before blocking begins.
        network.send(0, &packet(0, count as u32, length));
        network.run_for(Duration::from_millis(1));
    }
    network.seen.clear();
    network.tunnels[0].set_mtu(1_280);
    network.run_for(seconds(3));
    network.send(0, &packet(0, 9, 1_281));
    network.send(0, &packet(0, 10, 30));
    network.run_for(seconds(1));
    assert_eq!(sizes(&network, 0), [1_312]);
    let numbers: Vec<_> = network.delivered[1].iter().map(|packet| number(packet)).collect();
    assert_eq!(numbers, [0, 3, 10]);
    assert_eq!(network.tunnels[0].defense_statistics(network.instant()).unwrap().too_large, 3);
}

#[test]
fn a_larger_mtu_leaks_nothing_of_earlier_packets() {
    let mut network = connected();
    start(&mut network, 0, &Plan::default());
    for (mtu, length) in [(1_420, 1_420), (1_280, 60), (1_500, 24), (1_500, 1_500)] {
        network.tunnels[0].set_mtu(mtu);
        network.seen.clear();
        network.send(0, &packet(0, 5, length));
        network.run_for(seconds(1));
        assert_eq!(sizes(&network, 0), [usize::from(mtu) + 32]);
        assert_eq!(network.delivered[1].last(), Some(&packet(0, 5, length)));
    }
}

#[test]
fn switching_on_and_off_keeps_the_session_and_the_endpoint() {
    let mut network = connected();
    let (session, endpoint) = (network.tunnels[0].last_handshake(), network.tunnels[0].endpoint());
    for turn in 0..6 {
        network.seen.clear();
        let is_on = turn % 2 == 0;
        if is_on {
            start(&mut network, 0, &Plan::new(vec![metronome(Duration::from_millis(9))]).unwrap());
        } else {
            network.stop_defense(0);
        }
        network.send(0, &packet(0, turn, 100));
        network.run_for(seconds(1));
        assert_eq!(sizes(&network, 0), [if is_on { 1_452 } else { 144 }], "from the first packet on");
    }
    assert_eq!((network.tunnels[0].last_handshake(), network.tunnels[0].endpoint()), (session, endpoint));
    assert_eq!(network.delivered[1].len(), 6);
    assert_eq!(network.initiations().len(), 0);
}

#[test]
fn bytes_are_counted_by_what_they_are() {
    let mut network = connected();
    for side in [0, 1] {
        start(&mut network, side, &Plan::default());
    }
    start(
        &mut network,
        0,
        &Plan::new(vec![script(&[Step::pad(), Step::pad().after(Duration::from_millis(1))])]).unwrap(),
    );
    network.send(0, &packet(0, 1, 100));
    network.run_for(seconds(1));
    let [sent, received] = [0, 1].map(|side| network.tunnels[side].defense_statistics(network.instant()).unwrap());
    assert_eq!((sent.normal_sent_bytes, sent.constant_size_sent_bytes), (100, 1_320));
    assert_eq!((sent.padding_sent_packets, sent.padding_sent_bytes), (2, 2_840));
    assert_eq!((received.normal_received_bytes, received.constant_size_received_bytes), (100, 1_320));
    assert_eq!((received.padding_received_packets, received.padding_received_bytes), (2, 2_840));
}

#[test]
fn two_sides_that_hide_their_keepalives_fall_silent_when_nobody_speaks() {
    let mut network = connected();
    for side in [0, 1] {
        start(&mut network, side, &Plan::default());
    }
    network.send(0, &packet(0, 1, 100));
    network.run_for(seconds(60));
    network.seen.clear();
    network.run_for(seconds(600));
    assert_eq!(network.seen, []);
}
