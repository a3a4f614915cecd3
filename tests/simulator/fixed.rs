//! Machines without randomness: every distribution a fixed value, every transition certain.

use maybenot::Machine;
use maybenot::action::Action;
use maybenot::counter::Counter;
use maybenot::dist::{Dist, DistType};
use maybenot::event::Event;
use maybenot::state::{State, Trans};

/// A distribution that always gives `value`.
pub(crate) fn always(value: u64) -> Dist {
    let value = value as f64;
    Dist::new(DistType::Uniform { low: value, high: value }, 0.0, 0.0)
}

/// Gives each distribution of a machine the value that takes its place.
pub(crate) trait Values {
    /// A time in microseconds.
    fn time(&mut self, dist: &Dist) -> u64;
    /// A number of packets or actions.
    fn count(&mut self, dist: &Dist) -> u64;
}

/// Returns `machine` with the likeliest transition of each event made certain, and `values` for distributions.
pub(crate) fn fixed(machine: &Machine, values: &mut impl Values) -> Machine {
    let states = machine.states.iter().map(|state| fixed_state(state, values)).collect();
    Machine { states, ..machine.clone() }
}

fn fixed_state(state: &State, values: &mut impl Values) -> State {
    let mut transitions = state.get_transitions();
    for (_, list) in &mut transitions {
        let likeliest = list.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
        *list = likeliest.map(|Trans(to, _)| Trans(to, 1.0)).into_iter().collect();
    }
    let mut fixed = State::new(transitions);
    fixed.action = state.action.map(|action| fixed_action(action, values));
    let mut counter =
        |counter: Counter| Counter { dist: counter.dist.map(|dist| always(values.count(&dist))), ..counter };
    fixed.counter = (state.counter.0.map(&mut counter), state.counter.1.map(&mut counter));
    fixed
}

fn fixed_action(action: Action, values: &mut impl Values) -> Action {
    match action {
        Action::Cancel { timer } => Action::Cancel { timer },
        Action::SendPadding { bypass, replace, timeout, limit } => {
            let timeout = always(values.time(&timeout));
            Action::SendPadding { bypass, replace, timeout, limit: limit.map(|limit| always(values.count(&limit))) }
        }
        Action::BlockOutgoing { bypass, replace, timeout, duration, limit } => {
            let timeout = always(values.time(&timeout));
            // A duration of zero is one of the rules in which the simulator differs.
            let duration = always(values.time(&duration).max(1));
            let limit = limit.map(|limit| always(values.count(&limit)));
            Action::BlockOutgoing { bypass, replace, timeout, duration, limit }
        }
        Action::UpdateTimer { replace, duration, limit } => {
            let duration = always(values.time(&duration));
            Action::UpdateTimer { replace, duration, limit: limit.map(|limit| always(values.count(&limit))) }
        }
    }
}

/// Changes the actions of a machine.
pub(crate) fn with_actions(mut machine: Machine, mut change: impl FnMut(&mut Action)) -> Machine {
    for state in &mut machine.states {
        if let Some(action) = &mut state.action {
            change(action);
        }
    }
    machine
}

/// Builds a state from the events that lead out of it.
pub(crate) fn state(action: Option<Action>, transitions: &[(Event, usize)]) -> State {
    let mut map = enum_map::enum_map! { _ => vec![] };
    for (event, to) in transitions {
        map[*event] = vec![Trans(*to, 1.0)];
    }
    let mut state = State::new(map);
    state.action = action;
    state
}
