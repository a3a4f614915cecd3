//! What decides when and with what datagrams leave, beside the user's packets: the machines of a defense first, and whatever joins
//! them.

use std::time::Instant;

use super::{Engine, Gate};
use crate::traffic::{Drop, Traffic};

/// What the tunnel has to do because a timer fired. The events that go with it were told to the framework already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Send or queue a padding packet, as the table of blocking and flags says.
    Pad {
        /// The padding passes bypassable blocking.
        bypass: Bypass,
        /// A packet that waits already serves as the padding.
        replace: Replace,
    },
    /// Let out what waited for the end of blocking.
    Unblocked,
    /// Nothing: blocking began or was changed, or an internal timer fired.
    Nothing,
}

/// The bypass flag of padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bypass {
    /// It waits while outgoing traffic is blocked.
    No,
    /// It passes blocking that is bypassable.
    Yes,
}

/// The replace flag of padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// It is always a packet of its own.
    No,
    /// A packet that waits already takes its place.
    Yes,
}

/// Decides when and with what datagrams leave, beside the user's packets. It has no clock and sends nothing: it is told what
/// passes, and says what is to be done, and when it is to be asked again.
pub trait Controller: Send {
    /// Names it: what padding is counted under that it asks for.
    fn name(&self) -> &'static str;

    /// Takes what passes through the tunnel, each as it happens.
    fn observe(&mut self, traffic: &Traffic);

    /// Does the first thing that is due at `now`, and says what the tunnel has to do about it; `None` if nothing is due.
    fn poll(&mut self, now: Instant) -> Option<Effect>;

    /// Returns when [`poll`](Self::poll) has something to do next.
    fn next_timeout(&self) -> Option<Instant>;

    /// Returns what may leave at present, as far as it is concerned.
    fn gate(&self) -> Gate {
        Gate::Open
    }

    /// Takes word that padding that it asked for last did not leave, and why.
    fn refused(&mut self, _why: Drop, _now: Instant) {}
}

impl Controller for Engine {
    fn name(&self) -> &'static str {
        "machines"
    }

    fn observe(&mut self, traffic: &Traffic) {
        self.observe(traffic);
    }

    fn poll(&mut self, now: Instant) -> Option<Effect> {
        self.poll(now)
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.next_timeout()
    }

    fn gate(&self) -> Gate {
        self.gate()
    }
}
