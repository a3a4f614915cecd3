//! What controls one tunnel together: the machines of a defense first, then masking, then whatever joined them.

use std::time::Instant;

use crate::defense::{Controller, Effect, Engine, Gate};
use crate::masking::Masking;
use crate::traffic::{Drop, Traffic};

/// One beside the machines.
struct Joined {
    controller: Box<dyn Controller>,
    /// Padding that it asked for.
    padding: u64,
}

/// Who is to hear what became of what he asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Machines,
    Masking,
    /// The one that joined as this.
    Joined(usize),
}

/// What controls one tunnel: its machines, which each agreement makes anew, and the others, which outlive that.
pub(super) struct Controllers {
    engine: Engine,
    masking: Option<Box<Masking>>,
    /// Padding that masking asked for.
    masked: u64,
    others: Vec<Joined>,
}

impl Controllers {
    pub(super) fn new(engine: Engine) -> Self {
        Self { engine, masking: None, masked: 0, others: Vec::new() }
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    pub(super) fn masking(&self) -> Option<&Masking> {
        self.masking.as_deref()
    }

    pub(super) fn masking_mut(&mut self) -> Option<&mut Masking> {
        self.masking.as_deref_mut()
    }

    /// Has this one mask, or none.
    pub(super) fn set_masking(&mut self, masking: Option<Box<Masking>>) {
        self.masking = masking;
    }

    /// Returns what masks, which does not any more.
    pub(super) fn take_masking(&mut self) -> Option<Box<Masking>> {
        self.masking.take()
    }

    /// Puts other machines in the place of those that run, at `now`: the bound on blocking, and all else that controls, goes on.
    #[must_use]
    pub(super) fn with_machines(self, mut engine: Engine, now: Instant) -> Self {
        engine.succeed(&self.engine, now);
        Self { engine, ..self }
    }

    /// Has another one control the tunnel as well.
    pub(super) fn join(&mut self, controller: Box<dyn Controller>) {
        self.others.push(Joined { controller, padding: 0 });
    }

    pub(super) fn observe(&mut self, traffic: &Traffic) {
        self.engine.observe(traffic);
        if let Some(masking) = &mut self.masking {
            masking.observe(traffic);
        }
        for joined in &mut self.others {
            joined.controller.observe(traffic);
        }
    }

    /// Does the first thing that is due at `now`, and says who asks: the machines before masking, and that before the others, in the
    /// order in which they joined.
    pub(super) fn poll(&mut self, now: Instant) -> Option<(Origin, Effect)> {
        if let Some(effect) = self.engine.poll(now) {
            return Some((Origin::Machines, effect));
        }
        let asks = |effect: &Option<Effect>| u64::from(matches!(effect, Some(Effect::Pad { .. })));
        if let Some(masking) = &mut self.masking {
            let effect = masking.poll(now);
            self.masked += asks(&effect);
            if let Some(effect) = effect {
                return Some((Origin::Masking, effect));
            }
        }
        self.others.iter_mut().enumerate().find_map(|(number, joined)| {
            let effect = joined.controller.poll(now);
            joined.padding += asks(&effect);
            Some((Origin::Joined(number), effect?))
        })
    }

    /// Tells who asked for padding that it did not leave.
    pub(super) fn refused(&mut self, origin: Origin, why: Drop, now: Instant) {
        match origin {
            // A machine goes on as if it had been sent.
            Origin::Machines => {}
            Origin::Masking => {
                if let Some(masking) = &mut self.masking {
                    masking.refused(why, now);
                }
            }
            Origin::Joined(number) => {
                if let Some(joined) = self.others.get_mut(number) {
                    joined.controller.refused(why, now);
                }
            }
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let masking = self.masking.as_ref().and_then(|masking| masking.next_timeout());
        let others = self.others.iter().filter_map(|joined| joined.controller.next_timeout());
        self.engine.next_timeout().into_iter().chain(masking).chain(others).min()
    }

    /// Returns what may leave: what all of them let out.
    pub(super) fn gate(&self) -> Gate {
        self.others.iter().map(|joined| joined.controller.gate()).fold(self.engine.gate(), Gate::max)
    }

    /// Lets everything out: nothing controls the tunnel any more.
    pub(super) fn open(&mut self) {
        self.engine.open();
        self.masking = None;
        self.others.clear();
    }

    /// Returns by whom how much padding was asked for; of the machines, whichever they were.
    pub(super) fn padding(&self, now: Instant) -> impl Iterator<Item = (&'static str, u64)> {
        let machines = (Controller::name(&self.engine), self.engine.statistics(now).padding_actions);
        let masking = self.masking.as_ref().map(|masking| (masking.name(), self.masked));
        let others = self.others.iter().map(|joined| (joined.controller.name(), joined.padding));
        std::iter::once(machines).chain(masking).chain(others)
    }
}
