//! One run of both, and what they have to agree in: (side, event, time), within 1 µs.

use std::time::{Duration, Instant};

use maybenot::{Machine, TriggerEvent};
use maybenot_simulator::{SimulatorArgs, parse_trace, sim_advanced};
use maybetun::defense::Plan;
use maybetun_lab::tunnels::{TwoEnds, packet};

/// Time from one side to the other: no whole number of microseconds, as the timers of machines are, so that what arrives
/// does not meet them by chance.
const DELAY: Duration = Duration::from_nanos(10_000_137);

/// How far the times of one event may be apart.
const TOLERANCE: Duration = Duration::from_micros(1);

/// What is compared ends here: a passive keepalive, of which the simulator knows nothing, comes later.
pub(crate) const END: Duration = Duration::from_secs(8);

/// Most steps of the simulator.
const MAX_STEPS: usize = 20_000;

/// One packet of the user's: when, and from which side.
pub(crate) type Trace = Vec<(Duration, usize)>;

/// What both ends run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Defense {
    pub(crate) machines: [Vec<Machine>; 2],
    pub(crate) max_padding_frac: f64,
    pub(crate) max_blocking_frac: f64,
}

/// An event at a side.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Happened {
    pub(crate) at: Duration,
    pub(crate) side: usize,
    pub(crate) event: TriggerEvent,
    /// The simulator had moved the packets of this side to a later time.
    pub(crate) is_shifted: bool,
}

/// Runs the simulator; returns what happened, and up to when.
pub(crate) fn simulate(defense: &Defense, trace: &Trace) -> (Vec<Happened>, Duration) {
    // "The aggregate delay": packets that follow blocked ones come later, for whoever sends them waits. What it moved is
    // what our tunnels are given. The bottleneck is off.
    let network = maybenot_simulator::network::Network::new(DELAY, Some(usize::MAX));
    let lines = trace.iter().map(|(at, side)| {
        let (at, letter) = if *side == 0 { (*at, 's') } else { (*at + DELAY, 'r') };
        format!("{},{letter}\n", at.as_nanos())
    });
    let mut queue = parse_trace(&lines.collect::<String>(), network);
    let start = queue.get_first_time().expect("the trace has packets");
    let mut args = SimulatorArgs::new(network, 0, false);
    args.max_sim_iterations = MAX_STEPS;
    args.continue_after_all_normal_packets_processed = true;
    args.max_padding_frac_client = defense.max_padding_frac;
    args.max_padding_frac_server = defense.max_padding_frac;
    args.max_blocking_frac_client = defense.max_blocking_frac;
    args.max_blocking_frac_server = defense.max_blocking_frac;
    let events = sim_advanced(&defense.machines[0], &defense.machines[1], &mut queue, &args);
    let complete = events.len() < MAX_STEPS;
    let last = events.last().map_or(Duration::ZERO, |event| event.time - start);
    let happened = events.into_iter().map(|event| Happened {
        at: event.time - start,
        side: usize::from(!event.client),
        is_shifted: event.debug_note.is_some_and(|note| note != "agg. delay 0ns @c, 0ns @s"),
        event: event.event,
    });
    (happened.collect(), if complete { END } else { last.min(END) })
}

/// Runs two tunnels, and sends what the user sent in `reference`.
pub(crate) fn tunnel(defense: &Defense, reference: &[Happened], end: Duration) -> Vec<Happened> {
    let mut network = TwoEnds::new();
    network.set_delay(DELAY);
    network.send(0, &packet(0, 0, 100));
    network.run_for(Duration::from_millis(100));
    network.send(1, &packet(1, 0, 100));
    network.run_for(Duration::from_millis(100));
    let (start, now) = (network.now(), network.instant());
    for side in [0, 1] {
        let plan = Plan::new(defense.machines[side].clone()).expect("the simulator runs it, too");
        let plan = plan.limited(defense.max_padding_frac, defense.max_blocking_frac).expect("fractions");
        network.start(side, &plan, [7; 32]);
        network.tunnels[side].take_record();
    }
    let sent = reference.iter().filter(|it| it.event == TriggerEvent::NormalSent && it.at < end);
    for (number, packet_sent) in sent.enumerate() {
        network.run_until(start + packet_sent.at);
        network.send(packet_sent.side, &packet(packet_sent.side, number as u32, 100));
    }
    network.run_until(start + end);
    let mut happened: Vec<Happened> = Vec::new();
    for side in [0, 1] {
        let record = network.tunnels[side].take_record();
        happened.extend(record.into_iter().map(|(event, at): (_, Instant)| Happened {
            at: at.duration_since(now),
            side,
            event,
            is_shifted: false,
        }));
    }
    happened.sort_by_key(|happened| happened.at);
    happened
}

/// How far both agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Agreement {
    /// Events that agree.
    pub(crate) events: usize,
    /// Why the comparison ended before its time, if it did.
    pub(crate) cut: Option<Rule>,
}

/// A rule of the simulator that leads elsewhere, and that ends a comparison where it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Of what happens at one side in one nanosecond, the simulator takes what comes from outside (packets sent or
    /// received) before timers, and all `TunnelRecv` before the first `NormalRecv`; a tunnel takes timers that were set
    /// before first, and one packet after the other. The `TimerBegin` of several machines come in any order from its
    /// heap. Neither is wrong. If both agree in what happens in that nanosecond and only the order differs, the
    /// comparison goes on; but machines may go other ways from there on.
    OrderAtOneInstant,
    /// While the simulator holds packets of the user's back by its aggregate delay, it looks at the time they had before:
    /// the next of them hides padding that may bypass blocking, which then leaves late.
    HiddenByAggregateDelay,
}

/// Runs both and compares, up to the first instant at which they differ because its order is open.
///
/// # Errors
/// What differs.
pub(crate) fn compare(defense: &Defense, trace: &Trace) -> Result<Agreement, String> {
    let (reference, end) = simulate(defense, trace);
    let ours = tunnel(defense, &reference, end);
    let of_side = |all: &[Happened], side: usize| -> Vec<Happened> {
        all.iter().filter(|happened| happened.side == side && happened.at < end).cloned().collect()
    };
    let sides = [0, 1].map(|side| (of_side(&reference, side), of_side(&ours, side)));
    let found = sides.each_ref().map(|(reference, ours)| Difference::first(reference, ours));
    // What left one side in another order arrives at the other as something else.
    let reordered = found.iter().filter_map(|(reordered, _)| *reordered).min();
    let first = found.into_iter().filter_map(|(_, difference)| difference).min_by_key(|it| it.at);
    let first = match (first, reordered) {
        (Some(Difference { rule: None, at, text }), Some(reordered)) if reordered < at => {
            Some(Difference { at: reordered, rule: Some(Rule::OrderAtOneInstant), text })
        }
        (first, _) => first,
    };
    let until = first.as_ref().map_or(end, |first| first.at);
    let cut = match first {
        Some(Difference { rule: None, text, .. }) => return Err(text),
        Some(Difference { rule, .. }) => rule,
        None => None,
    };
    let events = sides.iter().flat_map(|(reference, _)| reference).filter(|happened| happened.at < until).count();
    Ok(Agreement { events, cut })
}

/// Where two sequences of events at one side part.
struct Difference {
    at: Duration,
    /// Which rule explains it.
    rule: Option<Rule>,
    text: String,
}

impl Difference {
    /// Returns the first instant at which only the order differs, and the first difference.
    fn first(reference: &[Happened], ours: &[Happened]) -> (Option<Duration>, Option<Self>) {
        let (mut expected, mut got) = (reference.chunk_by(|a, b| a.at == b.at), ours.chunk_by(|a, b| a.at == b.at));
        let (mut index, mut reordered) = (0, None);
        loop {
            let (expected, got) = match (expected.next(), got.next()) {
                (None, None) => return (reordered, None),
                (expected, got) => (expected.unwrap_or_default(), got.unwrap_or_default()),
            };
            let same_time = expected.first().zip(got.first()).is_some_and(|(a, b)| a.at.abs_diff(b.at) <= TOLERANCE);
            if same_time && expected.iter().map(|it| &it.event).eq(got.iter().map(|it| &it.event)) {
                index += expected.len();
                continue;
            }
            let Some(at) = expected.iter().chain(got).map(|happened| happened.at).min() else {
                return (reordered, None);
            };
            if same_time && is_permutation(expected, got) && is_open(expected) {
                reordered = reordered.or(Some(at));
                index += expected.len();
                continue;
            }
            let around = |all: &[Happened]| {
                let shown = &all[index.saturating_sub(8).min(all.len())..(index + 8).min(all.len())];
                shown.iter().map(|it| format!("\n    {:?} {:?}", it.at, it.event)).collect::<String>()
            };
            let text = format!("event {index}\n  simulator:{}\n  tunnel:{}", around(reference), around(ours));
            let (at, rule) = match reordered {
                Some(reordered) => (reordered, Some(Rule::OrderAtOneInstant)),
                None if is_open(expected) || is_open(got) => (at, Some(Rule::OrderAtOneInstant)),
                None if is_hidden(expected, got) => (at, Some(Rule::HiddenByAggregateDelay)),
                None => (at, None),
            };
            return (reordered, Some(Self { at, rule, text }));
        }
    }
}

fn is_permutation(a: &[Happened], b: &[Happened]) -> bool {
    let sorted = |all: &[Happened]| {
        let mut names: Vec<_> = all.iter().map(|it| format!("{:?}", it.event)).collect();
        names.sort_unstable();
        names
    };
    sorted(a) == sorted(b)
}

/// Tells whether padding left a tunnel, and in the simulator, which had moved packets of the user's, did not.
fn is_hidden(expected: &[Happened], got: &[Happened]) -> bool {
    let left = |all: &[Happened]| all.iter().filter(|it| it.event == TriggerEvent::TunnelSent).count();
    let is_padding = |it: &Happened| matches!(it.event, TriggerEvent::PaddingSent { .. });
    expected.first().is_some_and(|it| it.is_shifted) && expected.iter().any(is_padding) && left(got) > left(expected)
}

/// Tells whether the order of what happens at one instant is open.
fn is_open(instant: &[Happened]) -> bool {
    let is_from_outside = |it: &&Happened| matches!(it.event, TriggerEvent::NormalSent | TriggerEvent::TunnelRecv);
    let is_timer = |it: &Happened| {
        matches!(
            it.event,
            TriggerEvent::TimerEnd { .. }
                | TriggerEvent::PaddingSent { .. }
                | TriggerEvent::BlockingBegin { .. }
                | TriggerEvent::BlockingEnd
        )
    };
    let from_outside = instant.iter().filter(is_from_outside).count();
    let begun = instant.iter().filter(|it| matches!(it.event, TriggerEvent::TimerBegin { .. })).count();
    begun > 1 || from_outside > 1 || (from_outside == 1 && instant.iter().any(is_timer))
}
