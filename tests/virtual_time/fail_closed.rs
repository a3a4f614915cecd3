//! Under non-bypassable blocking no datagram of any kind leaves; what waited leaves afterwards, in order and sealed then.

use std::time::Duration;

use maybetun::defense::Plan;
use maybetun::tunnel::{DatagramBatch, MAX_QUEUED_PACKETS};
use maybetun_lab::tunnels::{DELAY, Fate, TwoEnds, number, packet};

use crate::machines::{Step, script};

const MTU: usize = 1_420;

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Two sides with a session, of which the first blocks everything for `blocked` from a packet it sends at once.
fn closed(blocked: Duration) -> TwoEnds {
    let mut network = TwoEnds::connected();
    close(&mut network, 0, blocked);
    network
}

fn close(network: &mut TwoEnds, side: usize, blocked: Duration) {
    let plan = Plan::new(vec![script(&[Step::block(blocked)])]).unwrap();
    network.start(side, &plan, [1; 32]);
    network.send(side, &packet(side, 1, 100));
    network.run_for(Duration::from_millis(100));
    network.seen.clear();
    network.delivered = [Vec::new(), Vec::new()];
}

fn from_first(network: &TwoEnds) -> Vec<(Duration, u8, usize)> {
    network.seen.iter().filter(|seen| seen.from == 0).map(|seen| (seen.at, seen.kind, seen.length)).collect()
}

#[test]
fn data_waits_in_order_and_leaves_when_blocking_ends() {
    let mut network = closed(seconds(5));
    for count in 0..50 {
        network.send(0, &packet(0, count, 100 + count as usize));
        network.run_for(Duration::from_millis(20));
    }
    assert_eq!((from_first(&network), network.tunnels[0].queued()), (vec![], 50));
    network.run_for(seconds(5));
    let numbers: Vec<_> = network.delivered[1].iter().map(|packet| number(packet)).collect();
    assert_eq!(numbers, (0..50).collect::<Vec<_>>());
    assert!(
        from_first(&network).iter().all(|(at, kind, length)| *at >= seconds(7) && (*kind, *length) == (4, MTU + 32))
    );
}

#[test]
fn a_flood_is_dropped_from_its_end_and_nothing_leaves_early() {
    let mut network = closed(seconds(5));
    for count in 0..3_000 {
        network.send(0, &packet(0, count, 100));
    }
    assert_eq!(from_first(&network), []);
    let statistics = network.tunnels[0].statistics();
    assert_eq!(network.tunnels[0].queued(), MAX_QUEUED_PACKETS);
    assert_eq!(statistics.dropped.queue_full, 3_000 - MAX_QUEUED_PACKETS as u64);
    assert!(!network.tunnels[0].has_room());
    network.run_for(seconds(6));
    let numbers: Vec<_> = network.delivered[1].iter().map(|packet| number(packet)).collect();
    assert_eq!(numbers, (0..MAX_QUEUED_PACKETS as u32).collect::<Vec<_>>());
    assert!(network.tunnels[0].has_room());
}

#[test]
fn keepalives_of_both_kinds_wait() {
    let mut network = closed(seconds(60));
    let now = network.instant();
    network.tunnels[0].set_persistent_keepalive(10, now);
    // What is received is to be answered within ten seconds.
    network.send(1, &packet(1, 5, 100));
    network.run_for(seconds(50));
    assert_eq!(from_first(&network), []);
    network.run_for(seconds(20));
    let after = from_first(&network);
    assert!(after.iter().all(|(at, _, _)| *at >= seconds(62)));
    // The other side called for an answer several times; the answer to its last call is the one that counts.
    let kinds: Vec<_> = after.iter().map(|(_, kind, length)| (*kind, *length)).collect();
    assert_eq!(kinds, [(2, 92), (4, MTU + 32)]);
}

#[test]
fn a_session_that_ends_meanwhile_is_made_anew_and_carries_what_waited() {
    for blocked in [170, 181, 200, 600, 3_600] {
        let mut network = closed(seconds(blocked));
        network.send(0, &packet(0, 9, 100));
        network.run_for(seconds(blocked - 5));
        assert_eq!(from_first(&network), [], "blocked for {blocked} s");
        network.send(0, &packet(0, 10, 100));
        network.run_for(seconds(20));
        let numbers: Vec<_> = network.delivered[1].iter().map(|packet| number(packet)).collect();
        assert_eq!(numbers, [9, 10], "blocked for {blocked} s");
        let needs_handshake = blocked > 180;
        let first = from_first(&network)[0];
        assert_eq!(first.1, if needs_handshake { 1 } else { 4 }, "blocked for {blocked} s");
    }
}

#[test]
fn an_initiation_is_answered_when_blocking_ends() {
    let mut network = closed(seconds(4));
    network.restart(1);
    let endpoint = network.tunnels[0].endpoint();
    let other = maybetun::tunnel::Endpoint::from(std::net::SocketAddr::from(([192, 0, 2, 1], 51_820)));
    network.tunnels[1].set_endpoint(Some(other));
    assert!(endpoint.is_some());
    network.send(1, &packet(1, 7, 100));
    network.run_for(seconds(3));
    assert_eq!(from_first(&network), []);
    assert_eq!(network.seen.iter().filter(|seen| seen.kind == 1).count(), 1, "the initiation came");
    network.run_for(seconds(2));
    let after = from_first(&network);
    assert_eq!((after[0].1, after[0].2), (2, 92));
    assert!(after[0].0 >= seconds(6));
    assert_eq!(network.delivered[0], [packet(1, 7, 100)]);
}

#[test]
fn an_initiation_that_comes_before_its_timer_was_looked_at_is_not_answered() {
    let mut network = closed(seconds(4));
    network.run_for(seconds(5));
    // Blocking is asked for 1 s after a packet; the driver is late, and an initiation comes first.
    let now = network.instant();
    let plan = Plan::new(vec![script(&[Step::block(seconds(10)).after(seconds(1))])]).unwrap();
    network.start(0, &plan, [1; 32]);
    network.send(0, &packet(0, 1, 100));
    let mut out = DatagramBatch::new();
    network.tunnels[1].start_handshake(now, &mut out);
    let initiation = out.iter().find(|datagram| datagram[0] == 1).unwrap().to_vec();
    let mut answer = DatagramBatch::new();
    let mut buffer = vec![0; 200];
    let from = network.tunnels[0].endpoint().unwrap();
    let late = now + Duration::from_millis(1_001);
    network.tunnels[0].receive(&initiation, from, late, |_| true, &mut buffer, &mut answer);
    assert_eq!(answer.len(), 0);
}

#[test]
fn handshake_messages_leave_as_soon_as_blocking_may_be_bypassed() {
    let mut network = closed(seconds(1));
    network.run_for(seconds(2));
    let plan = Plan::new(vec![script(&[
        Step::block(seconds(20)),
        Step::block(seconds(15)).bypassable().replacing().after(seconds(5)),
    ])])
    .unwrap();
    network.start(0, &plan, [1; 32]);
    network.send(0, &packet(0, 1, 100));
    network.run_for(Duration::from_millis(100));
    network.seen.clear();
    let start = network.now();
    let mut out = DatagramBatch::new();
    let now = network.instant();
    network.tunnels[1].start_handshake(now, &mut out);
    network.inject(1, &out);
    network.run_for(seconds(10));
    let first = from_first(&network)[0];
    assert_eq!((first.1, first.0 - start), (2, seconds(5) - Duration::from_millis(100)));
}

#[test]
fn permanent_blocking_ends_with_the_defense_and_what_waited_leaves() {
    let mut network = closed(seconds(86_400));
    network.send(0, &packet(0, 3, 100));
    network.run_for(seconds(10));
    assert_eq!(from_first(&network), []);
    network.stop_defense(0);
    network.run_for(DELAY);
    assert_eq!(network.delivered[1], [packet(0, 3, 100)]);
    assert!(!network.tunnels[0].is_defended());
}

#[test]
fn another_defense_lets_out_what_waited_for_the_first() {
    let mut network = closed(seconds(86_400));
    network.send(0, &packet(0, 3, 100));
    network.send(1, &packet(1, 3, 100));
    let mut out = DatagramBatch::new();
    let now = network.instant();
    network.tunnels[1].start_handshake(now, &mut out);
    network.inject(1, &out);
    network.run_for(seconds(1));
    assert_eq!(from_first(&network), []);
    network.start(0, &Plan::default(), [1; 32]);
    network.flush(0);
    network.run_for(seconds(1));
    assert_eq!(network.delivered[1], [packet(0, 3, 100)]);
    assert!(from_first(&network).iter().any(|(_, kind, _)| *kind == 2), "the answer to the handshake left, too");
}

#[test]
fn a_network_that_loses_everything_before_does_not_strand_what_waits() {
    let mut network = closed(seconds(30));
    network.fate = Box::new(|_| Fate::Lose);
    network.send(0, &packet(0, 3, 100));
    network.run_for(seconds(25));
    network.fate = Box::new(|_| Fate::Deliver);
    network.run_for(seconds(10));
    assert_eq!(network.delivered[1], [packet(0, 3, 100)]);
}
