//! Blocking: one for all machines of a tunnel.

use std::time::{Duration, Instant};

/// What may leave a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Everything.
    Open,
    /// Padding with the bypass flag, and handshake messages.
    Bypassable,
    /// Nothing.
    Closed,
}

/// Blocking in force, if any.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Blocking {
    active: Option<Active>,
}

#[derive(Debug, Clone, Copy)]
struct Active {
    since: Instant,
    until: Instant,
    gate: Gate,
}

impl Blocking {
    pub(super) fn gate(&self) -> Gate {
        self.active.map_or(Gate::Open, |active| active.gate)
    }

    pub(super) fn until(&self) -> Option<Instant> {
        self.active.map(|active| active.until)
    }

    /// Begins blocking, or changes the blocking in force: replaces its end, or takes the later one. The gate changes
    /// only when the end does.
    pub(super) fn begin(&mut self, now: Instant, duration: Duration, gate: Gate, replaces: bool) {
        let until = now + duration;
        match &mut self.active {
            None => self.active = Some(Active { since: now, until, gate }),
            Some(active) if replaces || until > active.until => {
                active.until = until;
                active.gate = gate;
            }
            Some(_) => {}
        }
    }

    /// Returns how long the blocking in force has lasted.
    pub(super) fn so_far(&self, now: Instant) -> Duration {
        self.active.map_or(Duration::ZERO, |active| now.saturating_duration_since(active.since))
    }

    /// Ends blocking, and returns how long it lasted.
    pub(super) fn end(&mut self, now: Instant) -> Duration {
        let lasted = self.so_far(now);
        self.active = None;
        lasted
    }
}
