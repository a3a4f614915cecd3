//! The size of a tunnel's packets follows the path: what [`path_size`](super::path_size) finds out, as the tunnel carries it.
//!
//! A frame has the size that it tries, where all others have the one size; it leaves as a control frame does, never while
//! anything blocks, and counts as padding. A tunnel without an agreement sends none: it follows what the system says.

use std::time::Instant;

use super::departure::Class;
use super::frame::{Frame, FrameKind};
use super::path_size::{ECHO, PathFrame};
use super::{DATA_OVERHEAD, DatagramBatch, Event, Tunnel};
use crate::negotiation::Capabilities;
use crate::traffic::{Drop, Kind, V4_HEADERS, V6_HEADERS};

/// The least that a path is taken to carry, in bytes of an IP packet: what IPv6 promises (RFC 8200, section 5).
const MIN_PATH: usize = 1_280;

/// Unanswered control frames from which on a peer that has said nothing yet is asked in small ones.
const MAX_UNANSWERED: u32 = 3;

impl Tunnel {
    /// Takes what the system says of the path to the peer: the largest IP packet that passes whole, in bytes. `carries_v6`:
    /// packets of IPv6 are routed to the peer, which are to find room for their least MTU, 1,280 bytes; where the path has
    /// none for that, datagrams are cut.
    pub fn path_takes(&mut self, mtu: usize, carries_v6: bool, now: Instant) {
        let room = mtu.max(MIN_PATH).saturating_sub(self.overhead());
        let floor = if carries_v6 { MIN_PATH } else { MIN_PATH - self.overhead() };
        self.path.take_hint(room, floor, self.full_size(), now);
        self.note_size();
    }

    /// Returns the length of the largest packet that is taken, in bytes, where that is less than the MTU: it is the one size
    /// of a defense, or what the path takes.
    pub fn largest_packet(&self) -> Option<usize> {
        self.one_size().or_else(|| self.path.is_limited(self.full_size()).then(|| self.size()))
    }

    /// Returns the size of the largest IP packet that the peer is sent, in bytes, where the path takes less than both ends'
    /// MTU asks for.
    pub fn path_mtu(&self) -> Option<usize> {
        self.path.is_limited(self.full_size()).then(|| self.size() + self.overhead())
    }

    /// Tells whether datagrams are to leave whole, whatever the system takes the path for.
    pub fn leaves_whole(&self) -> bool {
        self.path.leaves_whole(self.full_size())
    }

    /// Returns the bytes around a plaintext.
    fn overhead(&self) -> usize {
        DATA_OVERHEAD + if self.remote().is_some_and(|remote| remote.is_ipv4()) { V4_HEADERS } else { V6_HEADERS }
    }

    /// Tells of the size of packets, if that changed.
    pub(super) fn note_size(&mut self) {
        let full = self.full_size();
        let size = self.size();
        let before = self.told_size.replace((size, full));
        let is_news = match before {
            // The MTU says that by itself.
            None => size < full,
            Some((before, before_full)) => before != size && (size < full || before < before_full),
        };
        if is_news {
            self.push_event(Event::PathTakes { datagram: size + self.overhead(), packet: size });
        }
    }

    /// Does what the search for the size asks for.
    pub(super) fn run_sizing(&mut self, now: Instant, out: &mut DatagramBatch) {
        let full = self.full_size();
        let can_probe =
            self.is_defended() && self.agreed().is_some_and(|agreed| agreed.capabilities.contains(Capabilities::SIZES));
        self.path.set_can_probe(can_probe, full);
        self.path.handle_timeout(full, now);
        while self.has_path_frame() && self.may_pass(Class::Control) && !out.is_full() {
            let Some(frame) = self.path.next_frame(full, now, &mut self.rng) else { break };
            self.seal_path_frame(&frame, now, out);
        }
        self.note_size();
    }

    /// Tells whether a frame waits that may leave: probes wait until the peer's address has shown that it receives. Else whoever
    /// seems to be elsewhere with each of his datagrams would have others sent many large ones.
    fn has_path_frame(&self) -> bool {
        self.path.owes_echo() || self.path.has_probe() && self.padding.is_proven(self.remote())
    }

    fn seal_path_frame(&mut self, PathFrame { body, size }: &PathFrame, now: Instant, out: &mut DatagramBatch) {
        let frame = [&Frame::header(FrameKind::Path, *size)[..], body].concat();
        if body[0] == ECHO && !self.padding.leaves(*size + DATA_OVERHEAD, self.remote(), now) {
            self.drop_padding(Drop::Unproven, now);
            return;
        }
        self.padding.note_other();
        self.seal_frame_of(*size, &frame, Kind::Control, now, out);
    }

    /// Takes the body of such a frame, which came in the session of these bits in a plaintext of `size` bytes.
    pub(super) fn receive_path_frame(
        &mut self,
        body: &[u8],
        size: usize,
        session: u32,
        now: Instant,
        out: &mut DatagramBatch,
    ) {
        if !self.noise.is_fresh(session) {
            return;
        }
        if !self.path.receive(body, size, self.full_size(), now) {
            self.note_refused(Drop::Malformed, 1, now);
        }
        self.run_sizing(now, out);
    }

    /// Returns when the search has something to do; `None` while it cannot.
    pub(super) fn sizing_timeout(&self) -> Option<Instant> {
        let started = self.sessions.started().filter(|_| self.may_pass(Class::Control))?;
        // What waits is due since whenever.
        if self.has_path_frame() { Some(started) } else { self.path.next_timeout() }
    }

    /// Notes that a control frame leaves: where none is answered, it may be for its size.
    pub(super) fn note_control_sent(&mut self) {
        self.unanswered += 1;
        if self.unanswered == MAX_UNANSWERED && self.agreed().is_none() {
            self.path.set_careful(true);
        }
    }

    /// Notes that the size in use may not pass any more.
    pub(super) fn doubt_size(&mut self) {
        self.path.doubt();
    }
}
