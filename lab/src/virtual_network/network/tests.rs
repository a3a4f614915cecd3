//! Hosts that send by a clock, on links with every fault.

use std::net::SocketAddr;

use super::*;
use crate::virtual_network::{Behind, Fate, Loss, Passing, Trace};

const MS: Duration = Duration::from_millis(1);

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 7))
}

/// Sends numbered packets at an interval, and notes what it receives.
#[derive(Default)]
struct Beat {
    own: u8,
    to: u8,
    interval: Duration,
    next: Option<Instant>,
    sent: u8,
    received: Vec<(Instant, u8)>,
}

impl Beat {
    fn new(own: u8, to: u8) -> Self {
        Self { own, to, interval: MS, ..Self::default() }
    }
}

impl Host for Beat {
    fn receive(&mut self, packet: Packet, now: Instant, out: &mut Outbox) {
        self.received.push((now, packet.payload[0]));
        out.recycle(packet.payload);
    }

    fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) {
        out.send(address(self.own), address(self.to), &[self.sent; 100]);
        self.sent += 1;
        self.next = (self.sent < 100).then(|| now + self.interval);
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.next
    }
}

/// Two hosts that send each other a hundred packets.
fn beats<T: Tap>(seed: u64, link: &Link, tap: T) -> Network<Beat, T> {
    let mut network = Network::new(seed, tap);
    let nodes = [(1, 2), (2, 1)].map(|(own, to)| network.add(address(own).ip(), Beat::new(own, to)));
    network.link_both(nodes[0], nodes[1], link);
    for node in nodes {
        network.act(node, |beat, now, _| beat.next = Some(now));
    }
    network
}

fn received(network: &Network<Beat, impl Tap>, node: usize) -> Vec<(Duration, u8)> {
    let received = network.host(Node(node)).received.iter();
    received.map(|(at, number)| (*at - network.start, *number)).collect()
}

/// Counts why packets do not arrive, and takes every third away.
#[derive(Default)]
struct Thief {
    seen: usize,
    arrived: usize,
    lost: Vec<Loss>,
}

impl Tap for Thief {
    fn sent(&mut self, _: Passing<'_>) -> Fate {
        self.seen += 1;
        if self.seen.is_multiple_of(3) { Fate::Lose } else { Fate::Deliver }
    }

    fn arrived(&mut self, _: Passing<'_>) {
        self.arrived += 1;
    }

    fn lost(&mut self, _: Passing<'_>, loss: Loss) {
        self.lost.push(loss);
    }
}

#[test]
fn packets_arrive_when_their_link_says() {
    let mut network = beats(1, &Link::with_delay(10 * MS), ());
    network.run_until(50 * MS);
    let expected: Vec<_> = (0..=40).map(|number| ((10 + u32::from(number)) * MS, number)).collect();
    assert_eq!([0, 1].map(|node| received(&network, node)), [expected.clone(), expected]);
    assert_eq!(network.now(), 50 * MS);
}

#[test]
fn the_same_seed_is_the_same_network_and_another_is_not() {
    let link = Link {
        rate: Some(90_000),
        queue: 2_000,
        jitter: 5 * MS,
        loss: 0.1,
        repetition: 0.1,
        reordering: 0.1,
        lateness: 20 * MS,
        ..Link::with_delay(10 * MS)
    };
    let play = |seed| {
        let mut network = beats(seed, &link, Trace::default());
        network.run_until(10_000 * MS);
        ([0, 1].map(|node| received(&network, node)), network.tap.passed)
    };
    assert_eq!(play(7), play(7));
    assert_ne!(play(7).0, play(8).0);
    let [one, other] = play(7).0;
    assert_ne!(one, other, "each direction draws for itself");
}

#[test]
fn a_packet_to_nobody_or_without_a_link_is_lost_and_told_of() {
    let mut network = beats(1, &Link::default(), Thief::default());
    let lonely = network.add(address(3).ip(), Beat::new(3, 1));
    let to = |last| Packet { from: address(3), to: address(last), payload: vec![0; 10] };
    for last in [9, 1, 1] {
        network.send(lonely, to(last));
    }
    assert_eq!(network.tap.lost, [Loss::NoSuchAddress, Loss::NoLink, Loss::Taken]);
}

#[test]
fn an_observer_takes_away_repeats_and_delays() {
    let mut network = beats(1, &Link::with_delay(MS), Thief::default());
    network.run_until(1_000 * MS);
    assert_eq!((network.tap.seen, network.tap.arrived, network.tap.lost.len()), (200, 134, 66));

    struct Meddler;
    impl Tap for Meddler {
        fn sent(&mut self, passing: Passing<'_>) -> Fate {
            match passing.packet.payload[0] {
                0 => Fate::Delay(MS + MS / 2),
                1 => Fate::Repeat,
                _ => Fate::Deliver,
            }
        }
    }
    let mut network = beats(1, &Link::with_delay(MS), Meddler);
    network.run_until(3 * MS);
    assert_eq!(received(&network, 0), [(2 * MS, 1), (2 * MS, 1), (2 * MS + MS / 2, 0), (3 * MS, 2)]);
}

#[test]
fn an_observer_beside_a_host_sees_what_it_sends_as_it_leaves_and_what_it_receives_as_it_arrives() {
    let mut network = beats(1, &Link::with_delay(10 * MS), Trace::beside(Node(0)));
    network.run_until(11 * MS);
    let of = |from| {
        let passed = network.tap.passed.iter().filter(move |passed| passed.from == from);
        passed.map(|passed| (passed.at.as_millis(), passed.size)).collect::<Vec<_>>()
    };
    assert_eq!(of(Node(0)), (0..=11).map(|at| (at, 128)).collect::<Vec<_>>());
    assert_eq!(of(Node(1)), [(10, 128), (11, 128)]);
}

#[test]
fn who_moves_is_at_the_new_address_alone() {
    let mut network = beats(1, &Link::with_delay(10 * MS), ());
    network.run_until(MS / 2);
    network.move_to(Node(1), address(9).ip());
    network.run_until(1_000 * MS);
    assert_eq!(
        received(&network, 1),
        [(10 * MS, 0)],
        "what was under way arrives, what is sent to the old address does not"
    );
    network.act(Node(0), |_, _, out| out.send(address(1), address(9), &[77; 10]));
    network.run_for(10 * MS);
    assert_eq!(received(&network, 1).last(), Some(&(1_010 * MS, 77)));
}

#[test]
fn a_run_ends_when_it_is_told_to() {
    let mut network = beats(1, &Link::with_delay(10 * MS), ());
    let ended = network.run_while(1_000 * MS, |network| network.host(Node(1)).received.len() < 5);
    assert_eq!((ended, network.now()), (true, 14 * MS));
    assert!(!network.run_while(20 * MS, |_| true));
    assert_eq!(network.now(), 20 * MS);
}

#[test]
fn a_host_behind_a_link_that_is_looked_at_late_has_done_all_at_its_time() {
    let (start, mut out) = (Instant::now(), Outbox::default());
    let mut behind = Behind::new(1, Beat::new(1, 2), Link::default(), Link::with_delay(2 * MS));
    behind.act(start, &mut out, |beat, now, _| beat.next = Some(now));
    behind.handle_timeout(start + 5 * MS, &mut out);
    assert_eq!(behind.host().sent, 6);
    assert_eq!(out.drain().map(|packet| packet.payload[0]).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn buffers_are_used_again() {
    let mut network = beats(1, &Link::default(), ());
    network.run_until(10 * MS);
    let buffer = network.act(Node(0), |_, _, out| out.buffer());
    assert!(buffer.is_empty() && buffer.capacity() >= 100);
}
