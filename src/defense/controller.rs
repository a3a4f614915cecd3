//! What decides when and with what datagrams leave, beside the user's packets: the machines of a defense first, and whatever joins
//! them.

use std::time::Instant;

use super::{Engine, Gate};
use crate::traffic::Traffic;

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

/// One that joined the machines.
struct Joined {
    controller: Box<dyn Controller>,
    /// Padding that it asked for.
    padding: u64,
}

/// What controls one tunnel: its machines, which each agreement makes anew, and the others, which outlive that.
pub(crate) struct Controllers {
    engine: Engine,
    others: Vec<Joined>,
}

impl Controllers {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine, others: Vec::new() }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Puts other machines in the place of those that run, at `now`: the bound on blocking, and all else that controls, goes on.
    #[must_use]
    pub(crate) fn with_machines(self, mut engine: Engine, now: Instant) -> Self {
        engine.succeed(&self.engine, now);
        Self { engine, ..self }
    }

    /// Has another one control the tunnel as well.
    pub(crate) fn join(&mut self, controller: Box<dyn Controller>) {
        self.others.push(Joined { controller, padding: 0 });
    }

    pub(crate) fn observe(&mut self, traffic: &Traffic) {
        self.engine.observe(traffic);
        for joined in &mut self.others {
            joined.controller.observe(traffic);
        }
    }

    /// Does the first thing that is due at `now`: the machines' before the others', in the order in which they joined.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Effect> {
        let others = &mut self.others;
        self.engine.poll(now).or_else(|| {
            others.iter_mut().find_map(|joined| {
                let effect = joined.controller.poll(now);
                joined.padding += u64::from(matches!(effect, Some(Effect::Pad { .. })));
                effect
            })
        })
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let others = self.others.iter().filter_map(|joined| joined.controller.next_timeout());
        self.engine.next_timeout().into_iter().chain(others).min()
    }

    /// Returns what may leave: what all of them let out.
    pub(crate) fn gate(&self) -> Gate {
        self.others.iter().map(|joined| joined.controller.gate()).fold(self.engine.gate(), Gate::max)
    }

    /// Lets everything out: nothing controls the tunnel any more.
    pub(crate) fn open(&mut self) {
        self.engine.open();
        self.others.clear();
    }

    /// Returns by whom how much padding was asked for; of the machines, whichever they were.
    pub(crate) fn padding(&self, now: Instant) -> impl Iterator<Item = (&'static str, u64)> {
        let machines = (Controller::name(&self.engine), self.engine.statistics(now).padding_actions);
        let others = self.others.iter().map(|joined| (joined.controller.name(), joined.padding));
        std::iter::once(machines).chain(others)
    }
}
