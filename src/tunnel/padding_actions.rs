//! What becomes of the padding that machines ask for.
//!
//! The framework is told `PaddingSent` when a machine's action is taken, and `TunnelSent` when a datagram is sealed that there
//! is room for: never for padding that is left out. Of its own action a machine has to hear in any case: most wait for
//! `PaddingSent` to choose their next instant, and one that did not hear would pad no more.
//!
//! Some wait for `TunnelSent` instead, Tamaraw's for one. Where nothing could leave in a slot that they gave, because there is no
//! session or a limit is reached, they give no other, and bypassable blocking would hold the user's packets for as long as it lasts.
//! Such a slot is *owed*: what is held next takes it, and they go on. Those that give the next slot by themselves owe none.

use std::time::Instant;

use super::controllers::Origin;
use super::defended::Defended;
use super::departure::{Agreement, Class, Departure};
use super::padding::Over;
use super::{DATA_OVERHEAD, DatagramBatch, Tunnel};
use crate::defense::{Bypass, Gate, Replace};
use crate::masking::Asker;
use crate::traffic::{Drop, Kind, Layer, Traffic};

/// A padding action, and whose it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) origin: Origin,
    pub(super) bypass: Bypass,
    pub(super) replace: Replace,
}

impl Tunnel {
    /// Does what a padding action asks for: the eight cells of the framework's table, and the ninth, no blocking. Padding
    /// that a limit forbids is left out, and the machine goes on as if it had been sent: what it sends is thinned out at the
    /// instants that it has chosen, rather than ended, or moved to others.
    pub(super) fn pad(&mut self, asked: Asked, now: Instant, out: &mut DatagramBatch) {
        if self.one_size().is_none() {
            // The peer wants no defense: what joined the machines may ask, and gets nothing.
            return;
        }
        let is_slot = self.is_slot(asked);
        let before = out.len();
        self.pad_now(asked, now, out);
        if let Some(defended) = self.defended.as_mut().filter(|_| is_slot) {
            defended.is_slot_owed = out.len() == before;
        }
    }

    /// Tells whether an action gives a slot of bypassable blocking.
    fn is_slot(&self, asked: Asked) -> bool {
        let Asked { bypass, replace, .. } = asked;
        bypass == Bypass::Yes && replace == Replace::Yes && self.gate() == Gate::Bypassable
    }

    /// Returns whose padding an action asks for.
    fn asker(&self, asked: Asked) -> Asker {
        match asked.origin {
            Origin::Masking => Asker::Masking,
            Origin::Machines | Origin::Joined(_) if self.is_slot(asked) => Asker::Slot,
            Origin::Machines | Origin::Joined(_) => Asker::Machines,
        }
    }

    /// Tells whether something waits that can have a slot that is owed. Where another is to come by itself, it waits for that: it would
    /// leave between slots.
    pub(super) fn can_use_owed_slot(&self) -> bool {
        let is_owed = |defended: &Defended| defended.is_slot_owed && !defended.controllers.engine().is_slot_due();
        self.defended.as_deref().is_some_and(is_owed)
            && self.sessions.is_in_use()
            && self.queue.first().is_some_and(|class| self.may_pass_in(Bypass::Yes, class))
    }

    /// Gives the slot that is owed to what waits for one.
    pub(super) fn use_owed_slot(&mut self, now: Instant, out: &mut DatagramBatch) {
        if !self.can_use_owed_slot() {
            return;
        }
        let before = out.len();
        // As in a slot: what cannot leave any more must not take it.
        while out.len() == before && out.has_room() && self.seal_next(Bypass::Yes, now, out) {}
        if let Some(defended) = &mut self.defended {
            defended.is_slot_owed = out.len() == before;
        }
    }

    fn pad_now(&mut self, asked: Asked, now: Instant, out: &mut DatagramBatch) {
        if !self.sessions.is_in_use() {
            self.pad_without_session(asked, now, out);
            return;
        }
        let Asked { bypass, replace, .. } = asked;
        // A slot of bypassable blocking is the only place for what the ends have to say while it lasts.
        let is_gated = self.departure(Class::Control, now) == Departure::Held;
        if is_gated && out.has_padding_room() && self.has_control_for(bypass, now) {
            self.send_control(bypass, now, out);
            return;
        }
        let is_served = replace == Replace::Yes && !self.queue.is_empty() && self.agreement() == Agreement::Free;
        if is_served {
            // What may leave by itself does, what waits for company leaves now if padding may, and what waits for the gate will.
            if self.is_gathering() {
                match self.padding_departure(self.asker(asked), bypass, now) {
                    Departure::Never(Some(over)) => self.refuse_padding(asked, over.into(), now),
                    Departure::Now | Departure::NotBefore(_) | Departure::Held | Departure::Never(None) => {
                        self.stop_gathering();
                        self.flush_queue(now, out);
                    }
                }
                return;
            }
            let is_for_slot = |class| !self.may_pass(class) && self.may_pass_in(bypass, class);
            if self.queue.first().is_some_and(is_for_slot) {
                self.seal_in_slot(asked, now, out);
            }
            return;
        }
        self.pad_by_itself(asked, now, out);
    }

    /// Sends a padding packet, or has it wait, or leaves it out.
    fn pad_by_itself(&mut self, asked: Asked, now: Instant, out: &mut DatagramBatch) {
        match self.padding_departure(self.asker(asked), asked.bypass, now) {
            Departure::Now if out.has_padding_room() => {
                self.take_padding(asked, now);
                self.seal_padding(now, out);
            }
            // Later it would be at another instant.
            Departure::Now => self.refuse_padding(asked, Drop::NoRoom, now),
            // Masking makes up for what passes now: behind a gate it would be in the user's way.
            Departure::Held | Departure::NotBefore(_) if asked.origin == Origin::Masking => {
                self.refuse_padding(asked, Drop::Gated, now);
            }
            Departure::Held | Departure::NotBefore(_) => self.queue_padding(asked, now),
            Departure::Never(over) => {
                if let Some(over) = over {
                    self.refuse_padding(asked, over.into(), now);
                }
            }
        }
    }

    /// Does it where there is no session. Between ends whose timers are alike padding waits for one, and asks for one, just
    /// as a packet does.
    fn pad_without_session(&mut self, asked: Asked, now: Instant, out: &mut DatagramBatch) {
        // Masking adds to what passes: it begins nothing.
        if !self.has_alike_timers() || asked.origin == Origin::Masking {
            self.refuse_padding(asked, Drop::NoSession, now);
            return;
        }
        match self.padding_over(self.asker(asked), now) {
            _ if asked.replace == Replace::Yes && !self.queue.is_empty() => {}
            None => self.queue_padding(asked, now),
            Some(over) => {
                self.refuse_padding(asked, over.into(), now);
                return;
            }
        }
        self.begin_handshake(now, out);
    }

    /// Gives a slot to what waits, or else to padding.
    fn seal_in_slot(&mut self, asked: Asked, now: Instant, out: &mut DatagramBatch) {
        // What cannot leave any more (a packet of a larger MTU) must not leave a gap.
        let before = out.len();
        while out.len() == before && out.has_padding_room() {
            if !self.seal_next(Bypass::Yes, now, out) {
                break;
            }
        }
        if out.len() > before {
            return;
        }
        self.pad_by_itself(Asked { bypass: Bypass::Yes, ..asked }, now, out);
    }

    fn queue_padding(&mut self, asked: Asked, now: Instant) {
        if self.queue.push_padding().is_err() {
            self.refuse_padding(asked, Drop::QueueFull, now);
            return;
        }
        self.take_padding(asked, now);
    }

    /// Leaves padding out, and says so to whom it is to matter.
    fn refuse_padding(&mut self, asked: Asked, why: Drop, now: Instant) {
        self.drop_padding(why, now);
        if let Some(defended) = &mut self.defended {
            defended.controllers.refused(asked.origin, why, now);
        }
    }

    pub(super) fn drop_padding(&mut self, why: Drop, now: Instant) {
        self.note(&Traffic::dropped(Layer::Packet, Kind::Padding, why, 1, now));
    }

    /// Counts padding of the one size against the limits.
    fn take_padding(&mut self, asked: Asked, now: Instant) {
        let (bytes, asker) = (self.size() + DATA_OVERHEAD, self.asker(asked));
        self.padding.take(bytes, self.remote(), now);
        if let Some(masking) = self.masking_mut() {
            masking.spend(asker, bytes, now);
        }
    }

    /// Tells whether the peer has been silent for so long that it gets no more padding. Between ends whose timers are alike
    /// there is no session then to send it in.
    pub(super) fn silence(&self, now: Instant) -> Option<Over> {
        (!self.has_alike_timers() && self.padding.is_unheard(now)).then_some(Over::Silent)
    }

    /// Returns the limit that padding of the one size would be over at `now`, if there is one.
    pub(super) fn padding_over(&self, asker: Asker, now: Instant) -> Option<Over> {
        let bytes = self.size() + DATA_OVERHEAD;
        let masked = || self.masking().and_then(|masking| masking.over(asker, bytes, now)).map(Over::Masked);
        self.padding.over(bytes, self.remote(), now).or_else(masked)
    }
}
