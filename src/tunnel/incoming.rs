//! From datagrams to IP packets.

use std::net::IpAddr;
use std::time::Instant;

use boringtun::noise::{Packet, Tunn};

use super::bundle;
use super::frame::{Frame, FrameKind, HEADER};
use super::noise::{Handshaken, Refused, Which};
use super::sessions::{Caller, Doubt};
use super::timers::REKEY_ON_RECEIVE;
use super::{DATA_OVERHEAD, DatagramBatch, Endpoint, IpHeader, Tunnel};
use crate::traffic::{Direction, Drop, Kind, Layer, Traffic};

/// What an authenticated payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accepted {
    /// IP packets: their length together, and their number.
    Packets { bytes: usize, count: usize },
    /// A control frame.
    Control,
    /// A probe of the path, or its echo.
    Path,
    /// A keepalive, bare or a frame.
    Keepalive,
    /// Padding, or nothing that may come from this peer.
    Nothing,
}

impl Accepted {
    /// Names it for who is told of what passes.
    fn kind(self) -> Kind {
        match self {
            Self::Packets { .. } => Kind::Normal,
            Self::Control | Self::Path => Kind::Control,
            Self::Keepalive => Kind::Keepalive,
            Self::Nothing => Kind::Padding,
        }
    }
}

impl Tunnel {
    /// Takes a datagram from the peer, or from someone who claims to be.
    ///
    /// If it carries IP packets from an allowed source, they are written to the start of `packet`, one behind the other,
    /// and their length together is returned: one packet, unless the peer sends bundles; [`packets`](super::packets)
    /// splits them. `source_is_allowed` is asked, for the inner source address, whether cryptokey routing leads to this peer.
    /// The endpoint follows `from` only when the datagram authenticates; one from port 0 is dropped. Answers and packets that waited for a session
    /// are sealed into `out`; when [`has_ready`](Self::has_ready) afterwards, there are more.
    ///
    /// # Panics
    /// Panics if `packet` is shorter than the datagram, or `out` is full.
    pub fn receive(
        &mut self,
        datagram: &[u8],
        from: Endpoint,
        now: Instant,
        source_is_allowed: impl FnMut(IpAddr) -> bool,
        packet: &mut [u8],
        out: &mut DatagramBatch,
    ) -> Option<usize> {
        assert!(packet.len() >= datagram.len() && !out.is_full(), "a tunnel needs room for what it is given");
        if from.is_nowhere() {
            self.note_refused(Drop::Unauthenticated, 1, now);
            return None;
        }
        self.turn(now, out, |tunnel, out| tunnel.take(datagram, from, now, source_is_allowed, packet, out))
    }

    fn take(
        &mut self,
        datagram: &[u8],
        from: Endpoint,
        now: Instant,
        source_is_allowed: impl FnMut(IpAddr) -> bool,
        packet: &mut [u8],
        out: &mut DatagramBatch,
    ) -> Option<usize> {
        match Tunn::parse_incoming_packet(datagram) {
            Ok(Packet::PacketData(data)) => {
                let receiver = data.receiver_idx;
                self.receive_data(datagram, receiver, from, now, source_is_allowed, packet, out)
            }
            Ok(message) => {
                let receiver = match message {
                    Packet::HandshakeResponse(response) => Some(response.receiver_idx),
                    Packet::PacketCookieReply(reply) => Some(reply.receiver_idx),
                    Packet::HandshakeInit(_) | Packet::PacketData(_) => None,
                };
                if !out.is_full() {
                    self.receive_handshake(datagram, receiver, from, now, out);
                }
                None
            }
            Err(_) => {
                self.note_refused(Drop::Unauthenticated, 1, now);
                None
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one datagram's journey; a struct would be used once")]
    fn receive_data(
        &mut self,
        datagram: &[u8],
        receiver: u32,
        from: Endpoint,
        now: Instant,
        source_is_allowed: impl FnMut(IpAddr) -> bool,
        packet: &mut [u8],
        out: &mut DatagramBatch,
    ) -> Option<usize> {
        let opened = match self.noise.open(receiver, datagram, now, packet) {
            Ok(opened) => opened,
            Err(reason) => {
                self.note_refused(reason.into(), 1, now);
                return None;
            }
        };
        match opened.session {
            Which::New | Which::Current => self.received_from(datagram.len(), from, now),
            Which::Paused if self.sessions.is_doubt_over(from.remote) => {
                self.stop_doubting();
                self.received_from(datagram.len(), from, now);
            }
            // It may be late: it does not say where the peer is now.
            Which::Paused | Which::Old => self.received(now),
        }
        let payload = datagram.len() - DATA_OVERHEAD;
        let accepted = match payload {
            0 => Accepted::Keepalive,
            _ => self.accept(&mut packet[..opened.length], source_is_allowed, now),
        };
        let (normal, packets) = match accepted {
            Accepted::Packets { bytes, count } => (bytes, count),
            Accepted::Control | Accepted::Path | Accepted::Keepalive | Accepted::Nothing => (0, 0),
        };
        if self.is_answered(accepted) {
            self.await_answer(now);
        }
        if packets > 0 {
            self.note_received_packets(&packet[..normal], now);
        }
        if packets == 0 && payload > 0 {
            self.padding_since_sent = self.padding_since_sent.saturating_add(1);
        }
        match accepted {
            Accepted::Packets { .. } | Accepted::Nothing => self.note_traffic(now),
            Accepted::Control | Accepted::Path | Accepted::Keepalive => {}
        }
        let datagram = Traffic::datagram(accepted.kind(), Direction::Received, datagram.len(), now);
        self.note(&datagram.carrying(packets, normal));
        let inside = Traffic { layer: Layer::Packet, bytes: if packets > 0 { normal } else { payload }, ..datagram };
        self.note(&inside.carrying(packets, normal));
        if opened.session == Which::New {
            self.note_sessions();
            self.start_session(Caller::Peer, now, out);
        }
        self.rekey_if_older(REKEY_ON_RECEIVE, now, out);
        self.unanswered = 0;
        match accepted {
            Accepted::Control => self.receive_control(&packet[HEADER..opened.length], opened.bits, now),
            Accepted::Path => {
                self.receive_path_frame(&packet[HEADER..opened.length], payload, opened.bits, now, out);
            }
            Accepted::Packets { .. } | Accepted::Keepalive | Accepted::Nothing => {}
        }
        (packets > 0).then_some(normal)
    }

    /// Tells whether the peer awaits an answer to what it sent, by a keepalive if by nothing else.
    fn is_answered(&self, accepted: Accepted) -> bool {
        match accepted {
            Accepted::Keepalive => false,
            Accepted::Packets { .. } => true,
            Accepted::Control | Accepted::Path | Accepted::Nothing if self.has_alike_timers() => true,
            // One padding packet may be a keepalive that a defense hides: two sides that answered those would never be
            // silent again. Several are answered, for a peer may count them as data.
            Accepted::Control | Accepted::Path | Accepted::Nothing => self.padding_since_sent > 0,
        }
    }

    /// Judges an authenticated payload. Packets that may come from this peer are at its start then.
    fn accept(
        &mut self,
        payload: &mut [u8],
        mut source_is_allowed: impl FnMut(IpAddr) -> bool,
        now: Instant,
    ) -> Accepted {
        let mut refused = 0;
        let accepted = self.judge(
            payload,
            |header| {
                let is_allowed = source_is_allowed(header.source);
                refused += usize::from(!is_allowed);
                is_allowed
            },
            now,
        );
        if refused > 0 {
            self.note_dropped(Drop::SourceNotAllowed, refused, now);
        }
        accepted
    }

    fn judge(&mut self, payload: &mut [u8], mut is_allowed: impl FnMut(&IpHeader) -> bool, now: Instant) -> Accepted {
        if let Some(header) = IpHeader::parse(payload) {
            return if is_allowed(&header) {
                Accepted::Packets { bytes: header.length, count: 1 }
            } else {
                Accepted::Nothing
            };
        }
        match Frame::parse(payload).map(|frame| frame.kind) {
            // It may have been sent before the peer heard of what is run here now.
            Some(FrameKind::Bundle) => {
                if let Some((bytes, count)) = bundle::unpack(payload, is_allowed) {
                    self.note_bundle(count);
                    return if count > 0 { Accepted::Packets { bytes, count } } else { Accepted::Nothing };
                }
                self.note_refused(Drop::Malformed, 1, now);
                Accepted::Nothing
            }
            Some(FrameKind::Control) => Accepted::Control,
            Some(FrameKind::Path) => Accepted::Path,
            Some(FrameKind::Keepalive) => Accepted::Keepalive,
            Some(FrameKind::Padding | FrameKind::Unknown(_)) => Accepted::Nothing,
            None => {
                self.note_refused(Drop::Malformed, 1, now);
                Accepted::Nothing
            }
        }
    }

    fn receive_handshake(
        &mut self,
        datagram: &[u8],
        receiver: Option<u32>,
        from: Endpoint,
        now: Instant,
        out: &mut DatagramBatch,
    ) {
        let handshaken = match self.noise.take(receiver, datagram, now, from.remote, &mut self.rng, out.space()) {
            Ok(handshaken) => handshaken,
            Err(reason) => {
                self.note_refused(reason.into(), 1, now);
                return;
            }
        };
        match handshaken {
            Handshaken::Cookie => {}
            Handshaken::Answer(length) => {
                if let Some(home) = self.endpoint.filter(|endpoint| endpoint.remote != from.remote) {
                    self.doubt(Doubt::Away { home });
                    let forgotten = out.forget_but_next(length);
                    self.unsent(forgotten);
                }
                self.note(&Traffic::datagram(Kind::Handshake, Direction::Received, datagram.len(), now));
                self.received_from(datagram.len(), from, now);
                self.note_sessions();
                self.emit_handshake(length, out);
                self.sent(Traffic::datagram(Kind::Handshake, Direction::Sent, length, now));
                self.answered(now);
            }
            Handshaken::Session(length) => {
                self.note(&Traffic::datagram(Kind::Handshake, Direction::Received, datagram.len(), now));
                self.received_from(datagram.len(), from, now);
                self.note_sessions();
                // boringtun confirms the session by a bare keepalive, which would stand out by its size.
                let is_bare = self.defended.is_none();
                if is_bare {
                    out.commit(length);
                    self.sent(Traffic::datagram(Kind::Keepalive, Direction::Sent, length, now));
                }
                self.start_session(Caller::Us, now, out);
                // Where what was sealed in before goes on, what the ends say to confirm the new session shows it to the peer.
                if !is_bare && self.queue.is_empty() && !self.noise.is_lagging() {
                    self.send_covert_keepalive(now, out);
                }
            }
        }
    }
}

impl From<Refused> for Drop {
    fn from(reason: Refused) -> Self {
        match reason {
            Refused::Replayed => Self::Replayed,
            Refused::Unauthenticated => Self::Unauthenticated,
        }
    }
}
