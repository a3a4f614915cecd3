//! Maybenot machines that do one thing, in their text form.

use enum_map::enum_map;
use maybenot::Machine;
use maybenot::action::Action;
use maybenot::dist::{Dist, DistType};
use maybenot::event::Event;
use maybenot::state::{State, Trans};

/// Pads every `interval` microseconds for ever, once a packet was sent or received.
pub fn metronome(interval: f64) -> String {
    let action = Action::SendPadding { bypass: false, replace: false, timeout: constant(interval), limit: None };
    endless(action, Event::PaddingSent)
}

/// Pads without a pause for ever, once a packet was sent or received.
pub fn runaway() -> String {
    metronome(0.0)
}

/// Pads for ever at times that no memory links, `mean` microseconds apart, once a packet was sent or received.
pub fn random_padding(mean: f64) -> String {
    let action = Action::SendPadding { bypass: false, replace: false, timeout: exponential(mean), limit: None };
    endless(action, Event::PaddingSent)
}

/// Pads in bursts, of `packets` on average and 10 µs apart, that begin `mean` microseconds apart, once a packet was
/// sent or received.
pub fn padding_bursts(mean: f64, packets: f64) -> String {
    let padding = |timeout| Action::SendPadding { bypass: false, replace: false, timeout, limit: None };
    let goes_on = (1.0 - 1.0 / packets) as f32;
    let start = State::new(enum_map! { Event::NormalSent | Event::NormalRecv => vec![Trans(1, 1.0)], _ => vec![] });
    let next = || {
        let either = || vec![Trans(2, goes_on), Trans(1, 1.0 - goes_on)];
        enum_map! { of => if of == Event::PaddingSent { either() } else { vec![] } }
    };
    let (mut wait, mut burst) = (State::new(next()), State::new(next()));
    (wait.action, burst.action) = (Some(padding(exponential(mean))), Some(padding(constant(10.0))));
    Machine::new(u64::MAX, 0.0, u64::MAX, 0.0, vec![start, wait, burst]).expect("within the bounds").serialize()
}

/// Lets everything through for `pause` and nothing at all for `block`, both in microseconds, again and again, once a
/// packet was sent or received.
pub fn block_and_pause(block: f64, pause: f64) -> String {
    let action = Action::BlockOutgoing {
        bypass: false,
        replace: false,
        timeout: constant(pause),
        duration: constant(block),
        limit: None,
    };
    endless(action, Event::BlockingEnd)
}

/// Takes `action` once a packet was sent or received, and again after each `event`.
fn endless(action: Action, event: Event) -> String {
    let start = State::new(enum_map! { Event::NormalSent | Event::NormalRecv => vec![Trans(1, 1.0)], _ => vec![] });
    let mut act = State::new(enum_map! { of => if of == event { vec![Trans(1, 1.0)] } else { vec![] } });
    act.action = Some(action);
    Machine::new(u64::MAX, 0.0, u64::MAX, 0.0, vec![start, act]).expect("a machine within the bounds").serialize()
}

fn constant(value: f64) -> Dist {
    Dist::new(DistType::Uniform { low: value, high: value }, 0.0, 0.0)
}

fn exponential(mean: f64) -> Dist {
    Dist::new(DistType::Weibull { scale: mean, shape: 1.0 }, 0.0, 0.0)
}
