//! From what may leave to sealed datagrams of the one size: packets, bundles of them, padding, and what the ends say.

use std::time::Instant;

use super::bundle;
use super::departure::{Class, Departure};
use super::frame::{Frame, FrameKind, HEADER};
use super::queue::Item;
use super::sealed;
use super::timers::REKEY_AFTER_TIME;
use super::{DATA_OVERHEAD, DatagramBatch, Tunnel};
use crate::defense::Bypass;
use crate::traffic::{Direction, Drop, Kind, Traffic};

impl Tunnel {
    /// Sends a keepalive that nothing tells from other packets, or lets it wait.
    pub(super) fn send_covert_keepalive(&mut self, now: Instant, out: &mut DatagramBatch) {
        match self.departure(Class::Keepalive, now) {
            Departure::Now => self.seal_keepalive(now, out),
            Departure::NotBefore(_) | Departure::Held | Departure::Never(_) => self.queue.push_keepalive(),
        }
    }

    /// Seals a keepalive: a frame of its own where the peer knows it, else padding, to which no answer is due either.
    fn seal_keepalive(&mut self, now: Instant, out: &mut DatagramBatch) {
        let kind = if self.has_alike_timers() { FrameKind::Keepalive } else { FrameKind::Padding };
        self.padding.note_other();
        self.seal_frame(&Frame::header(kind, self.size()), Kind::Keepalive, now, out);
    }

    /// Seals what waits at the front of the queue, and may leave in a slot of that kind: several small packets together where the peer takes that; `false` if
    /// nothing waits.
    pub(super) fn seal_next(&mut self, slot: Bypass, now: Instant, out: &mut DatagramBatch) -> bool {
        if self.departure_in(slot, Class::Bundle, now) == Departure::Now && self.seal_bundle(now, out) {
            return true;
        }
        let Some(item) = self.queue.pop() else { return false };
        self.seal_item(item, now, out);
        true
    }

    /// Seals small packets that wait as one; `false`, with nothing done, if there are not two.
    fn seal_bundle(&mut self, now: Instant, out: &mut DatagramBatch) -> bool {
        let size = self.size();
        let Some(defended) = &mut self.defended else { return false };
        let mut frame = std::mem::take(&mut defended.bundle);
        let packed = bundle::pack(&mut self.queue, size, &mut frame);
        if let Some(packets) = packed {
            self.seal_normal(&frame, frame.len() - HEADER, packets, now, out);
        }
        if let Some(defended) = &mut self.defended {
            defended.bundle = frame;
        }
        packed.is_some()
    }

    /// Seals what was taken from the queue.
    fn seal_item(&mut self, item: Item, now: Instant, out: &mut DatagramBatch) {
        match item {
            Item::Padding => self.seal_padding(now, out),
            Item::Keepalive => self.seal_keepalive(now, out),
            Item::Packet(mut packet) => {
                let length = packet.len();
                packet.resize(length + super::PADDING_MULTIPLE - 1, 0);
                self.seal(&mut packet, length, now, out);
            }
        }
    }

    /// Seals a packet at the one size. One that is larger was accepted under a larger MTU: it is dropped, for it would
    /// stand out.
    pub(super) fn seal_constant(&mut self, packet: &[u8], now: Instant, out: &mut DatagramBatch) {
        let size = self.size();
        if packet.len() > size {
            self.note_dropped(Drop::TooLarge, 1, now);
            return;
        }
        self.seal_normal(packet, packet.len(), 1, now, out);
    }

    /// Seals a plaintext with packets of the user's in it, `normal` bytes together, at the one size; where there is no session to
    /// seal it in, they are dropped.
    fn seal_normal(&mut self, content: &[u8], normal: usize, packets: usize, now: Instant, out: &mut DatagramBatch) {
        let size = self.size();
        let Some(defended) = &mut self.defended else { return };
        let size = defended.size_of(content.len(), size);
        let plaintext = defended.fill(content, size);
        let Some(length) = self.noise.seal(plaintext, out.space()) else {
            self.note_dropped(Drop::NoSession, packets, now);
            return;
        };
        sealed::trace(content, out.space());
        out.commit(length);
        self.padding.note_normal();
        self.sent(Traffic::datagram(Kind::Normal, Direction::Sent, length, now).carrying(packets, normal));
        self.note_traffic(now);
        self.rekey_if_older(REKEY_AFTER_TIME, now, out);
    }

    pub(super) fn seal_padding(&mut self, now: Instant, out: &mut DatagramBatch) {
        if self.silence(now).is_some() {
            self.drop_padding(Drop::Silent, now);
            return;
        }
        if !self.padding.leaves(self.size() + DATA_OVERHEAD, self.remote(), now) {
            self.drop_padding(Drop::Unproven, now);
            return;
        }
        self.seal_frame(&Frame::header(FrameKind::Padding, self.size()), Kind::Padding, now, out);
        self.note_traffic(now);
    }

    /// Seals a control frame in the newest session; it counts as padding. One that the MTU has no room for is dropped.
    pub(super) fn seal_control(&mut self, body: &[u8], now: Instant, out: &mut DatagramBatch) {
        let size = self.path.size_to_agree_in(self.full_size());
        let frame = [&Frame::header(FrameKind::Control, size), body].concat();
        if frame.len() <= size {
            self.padding.note_other();
            self.note_control_sent();
            self.seal_frame_of(size, &frame, Kind::Control, now, out);
        }
    }

    /// Seals a frame that carries nothing of the user's.
    fn seal_frame(&mut self, frame: &[u8], kind: Kind, now: Instant, out: &mut DatagramBatch) {
        self.seal_frame_of(self.size(), frame, kind, now, out);
    }

    /// Seals such a frame at a size of its own: where that is not the one size, it leaves whole or not at all.
    pub(super) fn seal_frame_of(
        &mut self,
        size: usize,
        frame: &[u8],
        kind: Kind,
        now: Instant,
        out: &mut DatagramBatch,
    ) {
        if !self.sessions.is_in_use() || out.is_full() {
            self.drop_padding(Drop::NoSession, now);
            return;
        }
        let mut bare = Vec::new();
        let plaintext = match &mut self.defended {
            Some(defended) => defended.fill(frame, size),
            // What is said of a defense that is over.
            None => {
                bare.extend_from_slice(frame);
                bare.resize(size, 0);
                &bare
            }
        };
        let sealed = match kind {
            Kind::Control => self.noise.seal_in_newest(plaintext, out.space()),
            Kind::Normal | Kind::Padding | Kind::Keepalive | Kind::Handshake | Kind::Unknown => {
                self.noise.seal(plaintext, out.space())
            }
        };
        let Some(length) = sealed else {
            self.drop_padding(Drop::NoSession, now);
            return;
        };
        sealed::trace(frame, out.space());
        match Frame::kind_of(frame) {
            Some(FrameKind::Path) => out.commit_whole(length),
            _ => out.commit(length),
        }
        self.sent(Traffic::datagram(kind, Direction::Sent, length, now));
        if kind != Kind::Keepalive || !self.has_alike_timers() {
            self.rekey_if_older(REKEY_AFTER_TIME, now, out);
        }
    }

    /// Takes a packet while a defense runs.
    pub(super) fn send_defended(&mut self, buffer: &mut [u8], length: usize, now: Instant, out: &mut DatagramBatch) {
        if length > self.size() {
            self.note_dropped(Drop::TooLarge, 1, now);
            return;
        }
        let departure = self.departure(Class::User, now);
        if matches!(departure, Departure::Never(_)) {
            self.note_dropped(Drop::Unprotected, 1, now);
            if !self.sessions.is_in_use() {
                self.begin_handshake(now, out);
            }
            return;
        }
        let may_bundle = !matches!(self.departure(Class::Bundle, now), Departure::Never(_));
        // Two of these fit: it may share a datagram with what the owner gives next, or else leaves when it flushes.
        let is_small = may_bundle && length <= self.size().saturating_sub(HEADER) / 2;
        if may_bundle && !is_small {
            self.stop_gathering();
            self.flush_queue(now, out);
        }
        self.note_sent_packet(&buffer[..length], now);
        let passes = departure == Departure::Now && self.queue.is_empty() && out.has_room() && !is_small;
        if passes {
            self.note(&Traffic::packets(Direction::Sent, 1, length, now));
            self.seal_constant(&buffer[..length], now, out);
        } else if self.queue.push(&buffer[..length], now).is_err() {
            self.note_dropped(Drop::QueueFull, 1, now);
        } else {
            self.bound_wait();
            self.note(&Traffic::packets(Direction::Sent, 1, length, now));
            if is_small {
                self.gather(now);
            }
        }
        // Machines that block at a packet hold the handshake that it asks for.
        self.run_defense(now, out);
        if !self.sessions.is_in_use() {
            self.begin_handshake(now, out);
        }
    }
}
