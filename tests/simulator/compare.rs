//! One run of both, and what they have to agree in: (side, event, time), within 1 µs.

use std::time::{Duration, Instant};

use maybenot::{Machine, TriggerEvent};
use maybenot_simulator::{SimulatorArgs, parse_trace, sim_advanced};
use maybetun::defense::Plan;

use crate::network::{DELAY, Network, packet};

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
        event: event.event,
    });
    (happened.collect(), if complete { END } else { last.min(END) })
}

/// Runs two tunnels, and sends what `sent` says was sent.
pub(crate) fn tunnel(defense: &Defense, sent: &[Happened], end: Duration) -> Vec<Happened> {
    let mut network = Network::new();
    network.send(0, &packet(0, 0, 100));
    network.run_for(Duration::from_millis(100));
    network.send(1, &packet(1, 0, 100));
    network.run_for(Duration::from_millis(100));
    let (start, now) = (network.now(), network.instant());
    for side in [0, 1] {
        let plan = Plan {
            max_padding_frac: defense.max_padding_frac,
            max_blocking_frac: defense.max_blocking_frac,
            ..Plan::new(defense.machines[side].clone())
        };
        network.tunnels[side].start_defense(&plan, [7; 32], now).expect("the simulator runs it, too");
        network.tunnels[side].take_record();
    }
    for (number, packet_sent) in sent.iter().filter(|happened| happened.at < end).enumerate() {
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
        }));
    }
    happened.sort_by_key(|happened| happened.at);
    happened
}

/// What a comparison found.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Agreement {
    /// Events that agree.
    pub(crate) events: usize,
    /// Whether the comparison ended before its time, at an instant at which the order is open.
    pub(crate) is_cut: bool,
}

/// Runs both and compares, up to the first instant for which no rule gives the order of what happens.
///
/// # Errors
/// What differs.
pub(crate) fn compare(defense: &Defense, trace: &Trace) -> Result<Agreement, String> {
    let (reference, end) = simulate(defense, trace);
    let sent: Vec<_> =
        reference.iter().filter(|happened| happened.event == TriggerEvent::NormalSent).cloned().collect();
    let open = first_open_instant(&reference).filter(|at| *at < end);
    let end = open.unwrap_or(end);
    let ours = tunnel(defense, &sent, end);
    let mut agreed = 0;
    for side in [0, 1] {
        let of_side = |all: &[Happened]| -> Vec<Happened> {
            all.iter().filter(|happened| happened.side == side && happened.at < end).cloned().collect()
        };
        let (reference, ours) = (of_side(&reference), of_side(&ours));
        for (index, expected) in reference.iter().enumerate() {
            let agrees = ours
                .get(index)
                .is_some_and(|ours| ours.event == expected.event && ours.at.abs_diff(expected.at) <= TOLERANCE);
            if !agrees {
                let from = index.saturating_sub(6);
                return Err(format!(
                    "side {side}, event {index}:\nsimulator {:#?}\ntunnel {:#?}",
                    &reference[from..(index + 3).min(reference.len())],
                    &ours[from.min(ours.len())..(index + 3).min(ours.len())]
                ));
            }
        }
        if ours.len() > reference.len() {
            return Err(format!("side {side}, more than the simulator: {:#?}", &ours[reference.len()]));
        }
        agreed += reference.len();
    }
    Ok(Agreement { events: agreed, is_cut: open.is_some() })
}

/// "The order at one instant": the simulator takes what comes from outside (a packet sent or received) before timers of
/// the same nanosecond, a tunnel after them. Neither is wrong, but machines may go other ways from there on.
fn first_open_instant(reference: &[Happened]) -> Option<Duration> {
    let is_from_outside = |happened: &Happened| {
        matches!(happened.event, TriggerEvent::NormalSent | TriggerEvent::TunnelRecv)
    };
    let is_timer = |happened: &Happened| {
        matches!(
            happened.event,
            TriggerEvent::TimerEnd { .. }
                | TriggerEvent::PaddingSent { .. }
                | TriggerEvent::BlockingBegin { .. }
                | TriggerEvent::BlockingEnd
        )
    };
    for side in [0, 1] {
        let _ = side;
    }
    let mut first = None;
    for side in [0, 1] {
        let of_side: Vec<_> = reference.iter().filter(|happened| happened.side == side).collect();
        for instant in of_side.chunk_by(|a, b| a.at == b.at) {
            let outside = instant.iter().filter(|happened| is_from_outside(happened)).count();
            // A timer of no time that the packet set is no question: it fires after it in both.
            let is_open = outside > 1 || (outside == 1 && instant.iter().any(|happened| is_timer(happened)));
            if is_open {
                first = Some(first.map_or(instant[0].at, |first: Duration| first.min(instant[0].at)));
                break;
            }
        }
    }
    first
}
