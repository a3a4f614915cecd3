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

use super::defended::Defended;
use super::departure::{Agreement, Class, Departure};
use super::padding::Over;
use super::{DATA_OVERHEAD, DatagramBatch, Tunnel};
use crate::defense::{Bypass, Gate, Replace};
use crate::traffic::{Drop, Kind, Layer, Traffic};

impl Tunnel {
    /// Does what a padding action asks for: the eight cells of the framework's table, and the ninth, no blocking. Padding
    /// that a limit forbids is left out, and the machine goes on as if it had been sent: what it sends is thinned out at the
    /// instants that it has chosen, rather than ended, or moved to others.
    pub(super) fn pad(&mut self, bypass: Bypass, replace: Replace, now: Instant, out: &mut DatagramBatch) {
        if self.one_size().is_none() {
            // The peer wants no defense: what joined the machines may ask, and gets nothing.
            return;
        }
        let is_slot = bypass == Bypass::Yes && replace == Replace::Yes && self.gate() == Gate::Bypassable;
        let before = out.len();
        self.pad_now(bypass, replace, now, out);
        if let Some(defended) = self.defended.as_mut().filter(|_| is_slot) {
            defended.is_slot_owed = out.len() == before;
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

    fn pad_now(&mut self, bypass: Bypass, replace: Replace, now: Instant, out: &mut DatagramBatch) {
        if !self.sessions.is_in_use() {
            self.pad_without_session(replace, now, out);
            return;
        }
        // A slot of bypassable blocking is the only place for what the ends have to say while it lasts.
        let is_gated = self.departure(Class::Control, now) == Departure::Held;
        if is_gated && out.has_padding_room() && self.has_control_for(bypass, now) {
            self.send_control(bypass, now, out);
            return;
        }
        let is_served = replace == Replace::Yes && !self.queue.is_empty() && self.agreement() == Agreement::Free;
        if is_served {
            // What may leave by itself does, and what waits for the gate will.
            let is_for_slot = |class| !self.may_pass(class) && self.may_pass_in(bypass, class);
            if self.queue.first().is_some_and(is_for_slot) {
                self.seal_in_slot(now, out);
            }
            return;
        }
        self.pad_by_itself(bypass, now, out);
    }

    /// Sends a padding packet, or has it wait, or leaves it out.
    fn pad_by_itself(&mut self, bypass: Bypass, now: Instant, out: &mut DatagramBatch) {
        match self.departure_in(bypass, Class::Padding, now) {
            Departure::Now if out.has_padding_room() => {
                self.take_padding(now);
                self.seal_padding(now, out);
            }
            // Later it would be at another instant.
            Departure::Now => self.drop_padding(Drop::NoRoom, now),
            Departure::Held | Departure::NotBefore(_) => self.queue_padding(now),
            Departure::Never(over) => {
                if let Some(over) = over {
                    self.drop_padding(over.into(), now);
                }
            }
        }
    }

    /// Does it where there is no session. Between ends whose timers are alike padding waits for one, and asks for one, just
    /// as a packet does.
    fn pad_without_session(&mut self, replace: Replace, now: Instant, out: &mut DatagramBatch) {
        if !self.has_alike_timers() {
            self.drop_padding(Drop::NoSession, now);
            return;
        }
        match self.padding_over(now) {
            _ if replace == Replace::Yes && !self.queue.is_empty() => {}
            None => self.queue_padding(now),
            Some(over) => {
                self.drop_padding(over.into(), now);
                return;
            }
        }
        self.begin_handshake(now, out);
    }

    /// Gives a slot to what waits, or else to padding.
    fn seal_in_slot(&mut self, now: Instant, out: &mut DatagramBatch) {
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
        self.pad_by_itself(Bypass::Yes, now, out);
    }

    fn queue_padding(&mut self, now: Instant) {
        if self.queue.push_padding().is_err() {
            self.drop_padding(Drop::QueueFull, now);
            return;
        }
        self.take_padding(now);
    }

    pub(super) fn drop_padding(&mut self, why: Drop, now: Instant) {
        self.note(&Traffic::dropped(Layer::Packet, Kind::Padding, why, 1, now));
    }

    /// Counts padding of the one size against the limits.
    fn take_padding(&mut self, now: Instant) {
        self.padding.take(self.size() + DATA_OVERHEAD, self.remote(), now);
    }

    /// Tells whether the peer has been silent for so long that it gets no more padding. Between ends whose timers are alike
    /// there is no session then to send it in.
    pub(super) fn silence(&self, now: Instant) -> Option<Over> {
        (!self.has_alike_timers() && self.padding.is_unheard(now)).then_some(Over::Silent)
    }

    /// Returns the limit that padding of the one size would be over at `now`, if there is one.
    pub(super) fn padding_over(&self, now: Instant) -> Option<Over> {
        self.padding.over(self.size() + DATA_OVERHEAD, self.remote(), now)
    }
}
