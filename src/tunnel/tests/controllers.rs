//! Several controllers of one tunnel.

use std::time::Duration;

use super::*;
use crate::defense::{Bypass, Controller, Effect, Gate, Replace};
use crate::traffic::Direction;

const INTERVAL: Duration = Duration::from_secs(1);

/// Pads once in an interval, counts what is sent, and holds everything back until something was.
struct Beat {
    next: Instant,
    sent: usize,
    gate: Gate,
}

impl Beat {
    fn boxed(now: Instant, gate: Gate) -> Box<Self> {
        Box::new(Self { next: now + INTERVAL, sent: 0, gate })
    }
}

impl Controller for Beat {
    fn name(&self) -> &'static str {
        "beat"
    }

    fn observe(&mut self, traffic: &Traffic) {
        let is_sent = traffic.layer == Layer::Datagram && traffic.direction == Direction::Sent;
        self.sent += usize::from(is_sent && traffic.is_data());
    }

    fn poll(&mut self, now: Instant) -> Option<Effect> {
        if now < self.next {
            return None;
        }
        self.next += INTERVAL;
        let opens = std::mem::replace(&mut self.gate, Gate::Open) != Gate::Open;
        Some(if opens { Effect::Unblocked } else { Effect::Pad { bypass: Bypass::No, replace: Replace::No } })
    }

    fn next_timeout(&self) -> Option<Instant> {
        Some(self.next)
    }

    fn gate(&self) -> Gate {
        self.gate
    }
}

/// Lets a second pass, and returns how many datagrams left.
fn pass(pair: &mut Pair) -> usize {
    pair.now += INTERVAL;
    let mut out = DatagramBatch::new();
    assert!(pair.tunnels[0].next_timeout().is_some_and(|at| at <= pair.now));
    pair.tunnels[0].handle_timeout(pair.now, &mut out);
    out.len()
}

fn defended() -> Pair {
    let mut pair = Pair::connected();
    defend(&mut pair.tunnels[0], Plan::default(), [1; 32], pair.now);
    pair
}

#[test]
fn a_controller_pads_beside_the_machines_and_outlives_them() {
    let mut pair = defended();
    let now = pair.now;
    assert!(pair.tunnels[0].join(Beat::boxed(now, Gate::Open)) && pair.tunnels[0].join(Beat::boxed(now, Gate::Open)));
    assert_eq!(pass(&mut pair), 2);
    // Other machines, as each agreement brings.
    defend(&mut pair.tunnels[0], Plan::default().capped(7), [2; 32], pair.now);
    assert_eq!(pass(&mut pair), 2);
    let causes = pair.tunnels[0].padding_by_cause(pair.now);
    assert_eq!(causes, [("machines", 0), ("beat", 2), ("beat", 2)]);
    assert_eq!(pair.tunnels[0].defense_statistics(pair.now).unwrap().padding_sent_packets, 4);
}

#[test]
fn the_strictest_gate_counts_until_it_opens() {
    let mut pair = defended();
    let now = pair.now;
    pair.tunnels[0].join(Beat::boxed(now, Gate::Open));
    pair.tunnels[0].join(Beat::boxed(now, Gate::Closed));
    assert!(pair.tunnels[0].is_closed());
    assert_eq!(pair.send(0, &ipv4(A, B, &[7; 1_000])).len(), 0);
    // The one pads, which waits as the packet does; the other opens.
    assert_eq!(pass(&mut pair), 2);
    assert!(!pair.tunnels[0].is_closed());
}

#[test]
fn they_end_with_the_defense_and_join_none_that_is_not_there() {
    let mut pair = defended();
    let now = pair.now;
    pair.tunnels[0].join(Beat::boxed(now, Gate::Closed));
    pair.send(0, &ipv4(A, B, &[7; 1_000]));
    let mut out = DatagramBatch::new();
    pair.tunnels[0].set_defense(DefenseChange::Off, Role::Client, [0; 32], now, &mut out).unwrap();
    assert_eq!(out.len(), 1, "what it held leaves");
    assert!(!pair.tunnels[0].join(Beat::boxed(now, Gate::Closed)));
    assert!(pair.tunnels[0].padding_by_cause(now).is_empty() && !pair.tunnels[0].is_closed());
}

#[test]
fn they_get_no_padding_while_the_peer_wants_no_defense() {
    let mut pair = defended();
    let now = pair.now;
    pair.tunnels[0].join(Beat::boxed(now, Gate::Open));
    pair.tunnels[0].stand_down(now);
    assert!(!pair.tunnels[0].join(Beat::boxed(now, Gate::Open)));
    assert_eq!((pair.tunnels[0].one_size(), pass(&mut pair)), (None, 0));
}
