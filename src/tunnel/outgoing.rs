//! From IP packets to sealed datagrams.

use std::time::Instant;

use super::departure::Class;
use super::queue::QueueFull;
use super::timers::REKEY_AFTER_TIME;
use super::{DatagramBatch, Ecn, PADDING_MULTIPLE, Tunnel};
use crate::defense::Bypass;
use crate::traffic::{Direction, Drop, Kind, Traffic};

impl Tunnel {
    /// Takes an IP packet, the first `length` bytes of `buffer`, to be sent to the peer.
    ///
    /// With a session it is sealed into `out` at once, or, if it is small and the peer takes bundles, when the next
    /// [`flush`](Self::flush) finds what it can share a datagram with: flush after the last of several packets, when
    /// [`has_ready`](Self::has_ready). Without a session it waits, at most
    /// [`MAX_QUEUED_PACKETS`](super::MAX_QUEUED_PACKETS) with it, and
    /// a handshake begins. Bytes of `buffer` behind the packet may be overwritten: give at least 15, in which the packet
    /// is padded to a multiple of 16 bytes. A packet for a peer without an endpoint, or that finds the queue full, is
    /// dropped and counted.
    ///
    /// # Panics
    /// Panics if `length` is over the buffer's length or 65,535.
    pub fn send(&mut self, buffer: &mut [u8], length: usize, now: Instant, out: &mut DatagramBatch) {
        assert!(length <= buffer.len() && length <= usize::from(u16::MAX), "an IP packet is at most 65,535 bytes");
        if self.endpoint.is_none() {
            self.note_dropped(Drop::NoEndpoint, 1, now);
            return;
        }
        self.turn(now, out, |tunnel, out| match tunnel.defended {
            Some(_) => tunnel.send_defended(buffer, length, now, out),
            None => tunnel.send_plain(buffer, length, now, out),
        });
    }

    /// Takes a packet while no defense runs.
    fn send_plain(&mut self, buffer: &mut [u8], length: usize, now: Instant, out: &mut DatagramBatch) {
        if self.may_leave(Class::User, now) && self.queue.is_empty() && out.has_room() {
            self.note(&Traffic::packets(Direction::Sent, 1, length, now));
            self.seal(buffer, length, now, out);
            return;
        }
        match self.queue.push(&buffer[..length], now) {
            Ok(()) => self.note(&Traffic::packets(Direction::Sent, 1, length, now)),
            Err(QueueFull) => self.note_dropped(Drop::QueueFull, 1, now),
        }
        if !self.sessions.is_in_use() {
            self.begin_handshake(now, out);
        }
    }

    /// Tells whether packets wait that could be sealed now: they found no room in the batch, or are small and may go together.
    pub fn has_ready(&self) -> bool {
        self.has_sealable() || self.has_releasable() || self.can_use_owed_slot()
    }

    /// Tells whether what is first in the queue may leave. The limits on padding do not count: padding that waits was
    /// within them when it came due.
    fn has_sealable(&self) -> bool {
        self.queue.first().is_some_and(|class| self.may_pass(class)) && !self.is_gathering()
    }

    /// Seals waiting packets into `out` until it has no room or none may leave.
    pub fn flush(&mut self, now: Instant, out: &mut DatagramBatch) {
        self.turn(now, out, |tunnel, out| tunnel.flush_now(now, out));
    }

    /// Does the same, as part of a turn.
    pub(super) fn flush_now(&mut self, now: Instant, out: &mut DatagramBatch) {
        if let Some(defended) = &mut self.defended {
            defended.controllers.engine_mut().resume(now);
        }
        self.flush_queue(now, out);
    }

    /// Does the same, as part of what happens at the machines' present instant.
    pub(super) fn flush_queue(&mut self, now: Instant, out: &mut DatagramBatch) {
        self.release_held(out);
        self.use_owed_slot(now, out);
        while self.has_sealable() && out.has_room() {
            self.seal_next(Bypass::No, now, out);
        }
    }

    /// Sends a keepalive, or begins a handshake if there is no session to send it in.
    pub fn send_keepalive(&mut self, now: Instant, out: &mut DatagramBatch) {
        self.turn(now, out, |tunnel, out| tunnel.keep_alive(now, out));
    }

    /// Does the same, as part of a turn.
    pub(super) fn keep_alive(&mut self, now: Instant, out: &mut DatagramBatch) {
        self.answer_by_keepalive(now, out);
        self.rekey_if_older(REKEY_AFTER_TIME, now, out);
    }

    /// Does the same when it is due as an answer. Between ends whose timers are alike it does not renew the session, so
    /// that a tunnel that nobody uses falls silent.
    pub(super) fn answer_by_keepalive(&mut self, now: Instant, out: &mut DatagramBatch) {
        if self.endpoint.is_none() {
            return;
        }
        if !self.sessions.is_in_use() {
            self.begin_handshake(now, out);
            return;
        }
        if out.is_full() {
            return;
        }
        if self.defended.is_some() {
            self.send_covert_keepalive(now, out);
        } else if self.may_leave(Class::Keepalive, now)
            && let Some(length) = self.noise.seal(&[], out.space())
        {
            out.commit(length);
            self.sent(Traffic::datagram(Kind::Keepalive, Direction::Sent, length, now));
        }
        if !self.has_alike_timers() {
            self.rekey_if_older(REKEY_AFTER_TIME, now, out);
        }
    }

    /// Pads and seals the packet; there is a session, and room in the batch.
    pub(super) fn seal(&mut self, buffer: &mut [u8], length: usize, now: Instant, out: &mut DatagramBatch) {
        if self.defended.is_some() {
            self.seal_constant(&buffer[..length], now, out);
            return;
        }
        let mark = Ecn::of(&buffer[..length]);
        let padded = length.next_multiple_of(PADDING_MULTIPLE).min(self.size().max(length)).min(buffer.len());
        buffer[length..padded].fill(0);
        let Some(sealed) = self.noise.seal(&buffer[..padded], out.space()) else {
            self.note_dropped(Drop::NoSession, 1, now);
            return;
        };
        out.commit_marked(sealed, mark.into());
        self.sent(Traffic::datagram(Kind::Normal, Direction::Sent, sealed, now).carrying(1, length));
        self.rekey_if_older(REKEY_AFTER_TIME, now, out);
    }
}
