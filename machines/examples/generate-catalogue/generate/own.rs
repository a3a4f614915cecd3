//! Machines of our own, and what we make of those of others.

use enum_map::{EnumMap, enum_map};
use maybenot::Machine;
use maybenot::action::Action;
use maybenot::constants::{MAX_SAMPLED_BLOCK_DURATION, STATE_END, STATE_SIGNAL};
use maybenot::dist::{Dist, DistType};
use maybenot::event::Event;
use maybenot::state::{State, Trans};

/// Pads every `interval` microseconds for ever once a packet was sent or received, and blocks nothing.
pub(crate) fn metronome(interval: f64) -> Machine {
    let start = State::new(enum_map! {
        Event::NormalSent | Event::NormalRecv | Event::PaddingRecv => vec![Trans(1, 1.0)],
        _ => vec![],
    });
    let mut pad = State::new(enum_map! { Event::PaddingSent => vec![Trans(1, 1.0)], _ => vec![] });
    pad.action = Some(Action::SendPadding { bypass: false, replace: false, timeout: constant(interval), limit: None });
    endless(vec![start, pad])
}

/// Sends a packet every `interval` microseconds for ever once a packet was sent or received: a normal one if one waits,
/// else padding. Nothing leaves in between.
pub(crate) fn constant_rate(interval: f64) -> Machine {
    let start = State::new(enum_map! {
        Event::NormalSent | Event::NormalRecv | Event::PaddingRecv => vec![Trans(1, 1.0)],
        _ => vec![],
    });
    let mut block = State::new(enum_map! { Event::BlockingBegin => vec![Trans(2, 1.0)], _ => vec![] });
    block.action = Some(Action::BlockOutgoing {
        bypass: true,
        replace: true,
        timeout: constant(0.0),
        duration: constant(MAX_SAMPLED_BLOCK_DURATION),
        limit: None,
    });
    let mut pad = State::new(enum_map! {
        Event::PaddingSent => vec![Trans(2, 1.0)],
        // Blocking lasts a day at most.
        Event::BlockingEnd => vec![Trans(1, 1.0)],
        _ => vec![],
    });
    pad.action = Some(Action::SendPadding { bypass: true, replace: true, timeout: constant(interval), limit: None });
    endless(vec![start, block, pad])
}

/// Joins machines of which each leaves its first state on the same events: one of them, drawn anew each time, runs until
/// its end, then the next event starts one again.
///
/// A machine of FRONT is one draw of its budget and window, and runs once. A tunnel outlives the page load that started
/// it, and everyone has the same catalogue.
pub(crate) fn one_at_random_again_and_again(machines: &[Machine]) -> Machine {
    let share = 1.0 / machines.len() as f32;
    let mut start: EnumMap<Event, Vec<Trans>> = enum_map! { _ => vec![] };
    let mut states = vec![State::new(enum_map! { _ => vec![] })];
    for machine in machines {
        let offset = states.len() - 1;
        let moved = |Trans(to, probability)| match to {
            0 | STATE_END => Trans(0, probability),
            STATE_SIGNAL => Trans(STATE_SIGNAL, probability),
            _ => Trans(to + offset, probability),
        };
        for (event, transitions) in machine.states[0].get_transitions() {
            start[event].extend(transitions.into_iter().map(moved).map(|Trans(to, part)| Trans(to, part * share)));
        }
        states.extend(machine.states[1..].iter().map(|state| {
            let transitions = state.get_transitions().map(|_, vector| vector.into_iter().map(moved).collect());
            let mut joined = State::new(transitions);
            (joined.action, joined.counter) = (state.action, state.counter);
            joined
        }));
    }
    states[0] = State::new(start);
    endless(states)
}

/// Returns a machine without limits of its own.
fn endless(states: Vec<State>) -> Machine {
    Machine::new(u64::MAX, 0.0, u64::MAX, 0.0, states).expect("its transitions and distributions are constants")
}

fn constant(value: f64) -> Dist {
    Dist::new(DistType::Uniform { low: value, high: value }, 0.0, 0.0)
}
