//! Machines that tests share.

use enum_map::enum_map;
use maybenot::Machine;
use maybenot::event::Event;
use maybenot::state::{State, Trans};

/// The text form of a machine that does nothing.
pub(crate) const NO_OP: &str = "02eNpjYEAHjOgCAAA0AAI=";

/// Returns a machine with as many states, each of which leads to itself.
pub(crate) fn states(count: usize) -> Machine {
    let state = |index| State::new(enum_map! { Event::NormalSent => vec![Trans(index, 1.0)], _ => vec![] });
    Machine {
        allowed_padding_packets: 0,
        max_padding_frac: 0.0,
        allowed_blocked_microsec: 0,
        max_blocking_frac: 0.0,
        states: (0..count).map(state).collect(),
    }
}
