//! Machines for tests: scripts that one packet starts, and loops. And padding without a machine.

use std::time::Duration;

use enum_map::enum_map;
use maybenot::action::Action;
use maybenot::dist::{Dist, DistType};
use maybenot::event::Event;
use maybenot::state::{State, Trans};
use maybetun::defense::Machine;
use maybetun_lab::tunnels::TwoEnds;

/// One action of a script.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    action: Action,
}

impl Step {
    pub(crate) fn pad() -> Self {
        Self {
            action: Action::SendPadding { bypass: false, replace: false, timeout: fixed(Duration::ZERO), limit: None },
        }
    }

    /// Blocking that nothing bypasses.
    pub(crate) fn block(duration: Duration) -> Self {
        let (timeout, duration) = (fixed(Duration::ZERO), fixed(duration));
        Self { action: Action::BlockOutgoing { bypass: false, replace: false, timeout, duration, limit: None } }
    }

    pub(crate) fn bypassable(mut self) -> Self {
        if let Action::BlockOutgoing { bypass, .. } | Action::SendPadding { bypass, .. } = &mut self.action {
            *bypass = true;
        }
        self
    }

    pub(crate) fn replacing(mut self) -> Self {
        if let Action::BlockOutgoing { replace, .. } | Action::SendPadding { replace, .. } = &mut self.action {
            *replace = true;
        }
        self
    }

    pub(crate) fn after(mut self, wait: Duration) -> Self {
        if let Action::BlockOutgoing { timeout, .. } | Action::SendPadding { timeout, .. } = &mut self.action {
            *timeout = fixed(wait);
        }
        self
    }

    fn done(self) -> Event {
        match self.action {
            Action::SendPadding { .. } => Event::PaddingSent,
            Action::BlockOutgoing { .. } => Event::BlockingBegin,
            Action::Cancel { .. } | Action::UpdateTimer { .. } => Event::TimerBegin,
        }
    }
}

pub(crate) fn fixed(time: Duration) -> Dist {
    let micros = time.as_micros() as f64;
    Dist::new(DistType::Uniform { low: micros, high: micros }, 0.0, 0.0)
}

/// Takes the steps in turn, the first upon the first packet of the user's, each after the one before.
pub(crate) fn script(steps: &[Step]) -> Machine {
    let mut states = vec![State::new(enum_map! { Event::NormalSent => vec![Trans(1, 1.0)], _ => vec![] })];
    for (index, step) in steps.iter().enumerate() {
        let next = if index + 1 < steps.len() { vec![Trans(index + 2, 1.0)] } else { vec![] };
        let done = step.done();
        let mut state = State::new(enum_map! { event => if event == done { next.clone() } else { vec![] } });
        state.action = Some(step.action);
        states.push(state);
    }
    machine(states)
}

/// Pads every `interval`, for ever, from the first packet of the user's.
pub(crate) fn metronome(interval: Duration) -> Machine {
    let start = State::new(enum_map! { Event::NormalSent => vec![Trans(1, 1.0)], _ => vec![] });
    let mut pad = State::new(enum_map! { Event::PaddingSent => vec![Trans(1, 1.0)], _ => vec![] });
    pad.action = Some(Step::pad().after(interval).action);
    machine(vec![start, pad])
}

/// Fills a slot every `interval`, for ever, from the first packet of the user's: with what waits, or with padding.
pub(crate) fn slots(interval: Duration) -> Machine {
    let start = State::new(enum_map! { Event::NormalSent => vec![Trans(1, 1.0)], _ => vec![] });
    let mut pad = State::new(enum_map! { Event::PaddingSent => vec![Trans(1, 1.0)], _ => vec![] });
    pad.action = Some(Step::pad().bypassable().replacing().after(interval).action);
    machine(vec![start, pad])
}

/// Takes one action again and again, whatever happens, without ever waiting.
pub(crate) fn frenzy(action: Action) -> Machine {
    let any = || enum_map! { Event::Signal => vec![], Event::LimitReached => vec![], Event::CounterZero => vec![], _ => vec![Trans(0, 1.0)] };
    let mut state = State::new(any());
    state.action = Some(action);
    machine(vec![state])
}

fn machine(states: Vec<State>) -> Machine {
    Machine::new(u64::MAX, 0.0, u64::MAX, 0.0, states).unwrap()
}

/// Has a side send a padding packet.
pub(crate) fn pad(network: &mut TwoEnds, side: usize) {
    network.act(side, |tunnel, now, out| tunnel.pad_once(now, out));
}
