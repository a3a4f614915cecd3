//! What may leave, over random histories of both ends: traffic, machines, toggles, renewals, restarts, peers that become
//! plain, loss, other addresses, sleep.
//!
//! A long search: `DEPARTURE_HISTORIES=5000 cargo test --features virtual-time --test virtual_time departures`.

use std::time::Duration;

use maybetun::defense::Plan;
use maybetun::settings::{EphemeralSettings, Fraction, Limits, NegotiationPolicy};
use maybetun::tunnel::DatagramBatch;
use maybetun_lab::tunnels::{Fate, TwoEnds, address, number, packet, renew};
use maybetun_machines::Tier;
use proptest::prelude::*;

use crate::machines::{Step, metronome, script, slots};
use crate::sealed::Ledger;

/// Histories of one run, each of up to 40 turns, unless `DEPARTURE_HISTORIES` says otherwise.
const HISTORIES: u32 = 64;

/// Bytes a second that padding may take, and its fraction of all packets.
const RATE: u64 = 500_000;
const FRAC: f64 = 0.75;

/// Longer than any datagram is under way.
const UNDER_WAY: Duration = Duration::from_millis(500);

/// One turn of a history.
#[derive(Debug, Clone)]
enum Turn {
    /// So many packets, with a pause after each.
    Traffic {
        side: usize,
        packets: u8,
        length: usize,
        pause: Duration,
    },
    Pass(Duration),
    Agree {
        side: usize,
        tier: Tier,
    },
    Stop(usize),
    Renew,
    /// The side is started anew, and has no defense.
    Restart(usize),
    /// Machines of a hostile kind in the place of those that were agreed on.
    Machines {
        side: usize,
        kind: u8,
    },
    Weather(u8),
    ChangeNetwork,
    /// An address translator gives the client another address.
    Rebind(u8),
    Suspend(Duration),
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let side = || 0..2usize;
    let pause = prop_oneof![
        4 => (1..100u64).prop_map(Duration::from_millis),
        1 => (1..10u64).prop_map(Duration::from_secs),
    ];
    let tier = prop::sample::select(vec![Tier::Size, Tier::Padding, Tier::Blocking]);
    let turn = prop_oneof![
        8 => (side(), 1..20u8, 24..1_420usize, pause)
            .prop_map(|(side, packets, length, pause)| Turn::Traffic { side, packets, length, pause }),
        4 => (1..100u64).prop_map(|secs| Turn::Pass(Duration::from_secs(secs))),
        2 => (side(), tier).prop_map(|(side, tier)| Turn::Agree { side, tier }),
        1 => side().prop_map(Turn::Stop),
        2 => Just(Turn::Renew),
        2 => side().prop_map(Turn::Restart),
        3 => (side(), 0..4u8).prop_map(|(side, kind)| Turn::Machines { side, kind }),
        2 => (0..4u8).prop_map(Turn::Weather),
        1 => Just(Turn::ChangeNetwork),
        1 => (3..9u8).prop_map(Turn::Rebind),
        1 => (1..400u64).prop_map(|secs| Turn::Suspend(Duration::from_secs(secs))),
    ];
    prop::collection::vec(turn, 1..40)
}

/// Two ends, and what is known of them.
struct World {
    network: TwoEnds,
    ledger: Ledger,
    policy: NegotiationPolicy,
    /// Packets given to each side, and since it was started.
    sent: [u32; 2],
    since_start: [u64; 2],
    /// From when on a side requires an agreement; `None` while it does not.
    required_from: [Option<Duration>; 2],
    /// Whether datagrams were ever delayed or repeated.
    is_disordered: bool,
    /// The first datagram that counts for the fraction of padding, while that can be told.
    counted_from: [Option<usize>; 2],
}

impl World {
    fn new(policy: NegotiationPolicy, seed: u8) -> Self {
        let ledger = Ledger::open();
        let mut world = Self {
            network: TwoEnds::seeded(seed % 100),
            ledger,
            policy,
            sent: [0; 2],
            since_start: [0; 2],
            required_from: [None; 2],
            is_disordered: false,
            counted_from: [Some(0); 2],
        };
        world.agree(0, Tier::Blocking);
        world.agree(1, Tier::Blocking);
        world
    }

    fn agree(&mut self, side: usize, tier: Tier) {
        let limits =
            Limits { max_padding_frac: Fraction::new(FRAC), max_padding_rate: Some(RATE), ..Limits::default() };
        let is_waiting = self.network.tunnels[side].is_waiting();
        let settings = EphemeralSettings { negotiation: self.policy, tier, limits, ..Default::default() };
        let is_plain = self.network.tunnels[side].negotiation_status(self.network.instant()).is_none();
        let counted_from = (!is_waiting).then_some(self.network.raw.len());
        // Where the same is agreed on, or being so, it goes on undisturbed, and is counted on.
        if self.network.agree(side, &settings) {
            self.counted_from[side] = counted_from;
        }
        if is_plain {
            self.required_from[side] = Some(self.network.now() + UNDER_WAY);
        }
    }

    fn send(&mut self, side: usize, length: usize) -> Result<(), TestCaseError> {
        let (was_closed, before) = (self.network.tunnels[side].is_closed(), self.network.raw.len());
        self.network.send(side, &packet(side, self.sent[side], length));
        if was_closed && self.network.tunnels[side].is_closed() {
            prop_assert_eq!(self.network.raw.len(), before, "something passed a closed gate");
        }
        self.sent[side] += 1;
        self.since_start[side] += 1;
        self.judge()
    }

    fn play(&mut self, turn: &Turn) -> Result<(), TestCaseError> {
        match *turn {
            Turn::Traffic { side, packets, length, pause } => {
                for _ in 0..packets {
                    self.send(side, length)?;
                    self.network.run_for(pause);
                    self.judge()?;
                }
            }
            Turn::Pass(time) => self.network.run_for(time),
            Turn::Agree { side, tier } => self.agree(side, tier),
            Turn::Stop(side) => {
                self.network.stop_defense(side);
                (self.required_from[side], self.counted_from[side]) = (None, None);
            }
            Turn::Renew => {
                let (now, mut out) = (self.network.instant(), DatagramBatch::new());
                let _ = renew(&mut self.network.tunnels[0], now, &mut out);
                self.network.inject(0, &out);
                self.network.flush(0);
            }
            Turn::Restart(side) => {
                self.network.restart(side);
                self.network.tunnels[side].set_endpoint(Some(address(1 - side)));
                (self.required_from[side], self.counted_from[side]) = (None, None);
                self.since_start[side] = 0;
            }
            Turn::Machines { side, kind }
                if self.network.tunnels[side].negotiation_status(self.network.instant()).is_some() =>
            {
                let (now, block) = (self.network.instant(), Step::block(Duration::from_secs(3)));
                let machines = match kind {
                    0 => vec![script(&[block])],
                    1 => vec![script(&[block.bypassable().replacing()]), slots(Duration::from_millis(5))],
                    2 => vec![metronome(Duration::from_millis(2))],
                    _ => vec![script(&[block.after(Duration::from_millis(100))]), slots(Duration::from_millis(30))],
                };
                self.network.tunnels[side].run_machines(&Plan::new(machines).unwrap(), [kind; 32], now);
            }
            Turn::Machines { .. } => {}
            Turn::Weather(kind) => {
                self.is_disordered |= kind >= 2;
                let mut state = u32::from(kind) + 1;
                self.network.fate = Box::new(move |_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    match (kind, state >> 28) {
                        (0, _) => Fate::Deliver,
                        (_, 0..=3) => Fate::Lose,
                        (2.., 4..=6) => Fate::Delay(Duration::from_millis(300)),
                        (3, 7..=8) => Fate::Repeat,
                        _ => Fate::Deliver,
                    }
                });
            }
            // What was sealed and must not be seen where an end is now is forgotten, and was counted.
            Turn::ChangeNetwork => {
                self.counted_from = [None; 2];
                self.network.change_network();
            }
            Turn::Rebind(network) => {
                self.counted_from = [None; 2];
                self.network.move_unseen(network);
            }
            Turn::Suspend(time) => self.network.suspend(time),
        }
        self.judge()
    }

    fn judge(&mut self) -> Result<(), TestCaseError> {
        for side in [0, 1] {
            let from = 1 - side;
            let came = std::mem::take(&mut self.network.unvouched[side]);
            if let Some(required) = self.required_from[from].filter(|_| self.policy == NegotiationPolicy::Require) {
                prop_assert!(
                    came.iter().all(|at| *at < required),
                    "a packet came out at side {} in a session in which it had confirmed nothing: {:?}",
                    side,
                    came
                );
            }
            let statistics = self.network.tunnels[side].statistics();
            let dropped = statistics.dropped;
            let too_large = self.network.too_large(side);
            let given_up =
                dropped.queue_full + dropped.no_session + dropped.no_endpoint + dropped.unprotected + too_large;
            let waiting = self.network.tunnels[side].queued() as u64;
            prop_assert_eq!(
                self.since_start[side],
                statistics.sent_packets + given_up + waiting,
                "a packet of side {} is nowhere: {:?}",
                side,
                statistics
            );
        }
        Ok(())
    }

    /// Holds all that left against the limits, and all that came against the order.
    fn close(self) -> Result<(), TestCaseError> {
        for side in [0, 1] {
            let numbers: Vec<_> = self.network.delivered[side].iter().map(|packet| number(packet)).collect();
            if !self.is_disordered {
                prop_assert!(numbers.is_sorted(), "side {}: {:?}", side, numbers);
            }
            let from = self.counted_from[side].unwrap_or(self.network.raw.len());
            let of_side = self.network.raw.iter().zip(&self.network.seen).skip(from).filter(|((of, _), _)| *of == side);
            let (mut all, mut padding) = (0, 0);
            let mut first = None;
            let mut times = Vec::new();
            for ((_, raw), seen) in of_side.filter(|((_, raw), _)| raw[0] == 4) {
                all += 1;
                if self.ledger.kind_of(raw).as_deref() == Some("padding") {
                    padding += 1;
                    times.push(seen.at);
                }
                // Keepalives to a peer that knows no frames for them look the same, and leave in any case.
                let keepalives = 3.0 + (seen.at - *first.get_or_insert(seen.at)).as_secs_f64() / 5.0;
                prop_assert!(f64::from(padding) <= FRAC * f64::from(all) + keepalives, "{} of {}", padding, all);
            }
            for (first, at) in times.iter().enumerate() {
                let second = times[first..].iter().take_while(|time| **time < *at + Duration::from_secs(1)).count();
                // What a closed gate held leaves at once: at most what the rate allowed in the meantime.
                prop_assert!(second as u64 * 1_480 <= 2 * RATE + 4 * RATE, "{} in a second", second);
            }
        }
        Ok(())
    }
}

fn histories() -> ProptestConfig {
    let said = std::env::var("DEPARTURE_HISTORIES").ok().and_then(|count| count.parse().ok());
    ProptestConfig::with_cases(said.unwrap_or(HISTORIES))
}

proptest! {
    #![proptest_config(histories())]

    #[test]
    fn nothing_leaves_that_may_not(turns in turns(), requires: bool, seed: u8) {
        let policy = if requires { NegotiationPolicy::Require } else { NegotiationPolicy::Prefer };
        let mut world = World::new(policy, seed);
        world.send(0, 100)?;
        for turn in &turns {
            world.play(turn)?;
        }
        world.network.run_for(Duration::from_secs(30));
        world.judge()?;
        world.close()?;
    }
}
