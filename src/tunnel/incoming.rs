//! From datagrams to IP packets.

use std::net::IpAddr;
use std::time::Instant;

use boringtun::noise::{Packet, Tunn};

use super::bundle;
use super::frame::{Frame, FrameKind, HEADER};
use super::noise::{Handshaken, Refused, Which};
use super::sessions::{Caller, Doubt};
use super::timers::REKEY_ON_RECEIVE;
use super::{Content, DATA_OVERHEAD, DatagramBatch, Endpoint, IpHeader, Tunnel};

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
            self.statistics.dropped.unauthenticated += 1;
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
                self.statistics.dropped.unauthenticated += 1;
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
                self.refuse(reason);
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
            Which::Paused | Which::Old => self.received(datagram.len(), now),
        }
        let payload = datagram.len() - DATA_OVERHEAD;
        let accepted = match payload {
            0 => Accepted::Keepalive,
            _ => self.accept(&mut packet[..opened.length], source_is_allowed),
        };
        let (normal, packets) = match accepted {
            Accepted::Packets { bytes, count } => (bytes, count),
            Accepted::Control | Accepted::Path | Accepted::Keepalive | Accepted::Nothing => (0, 0),
        };
        if self.is_answered(accepted) {
            self.await_answer(now);
        }
        if packets == 0 && payload > 0 {
            self.padding_since_sent = self.padding_since_sent.saturating_add(1);
        }
        match accepted {
            Accepted::Packets { .. } | Accepted::Nothing => self.note_traffic(now),
            Accepted::Control | Accepted::Path | Accepted::Keepalive => {}
        }
        self.note_received(payload, normal, packets, now);
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
    fn accept(&mut self, payload: &mut [u8], mut source_is_allowed: impl FnMut(IpAddr) -> bool) -> Accepted {
        let mut is_allowed = |header: &IpHeader| {
            let is_allowed = source_is_allowed(header.source);
            match is_allowed {
                true => self.statistics.received_packets += 1,
                false => self.statistics.dropped.source_not_allowed += 1,
            }
            is_allowed
        };
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
                self.statistics.dropped.malformed += 1;
                Accepted::Nothing
            }
            Some(FrameKind::Control) => Accepted::Control,
            Some(FrameKind::Path) => Accepted::Path,
            Some(FrameKind::Keepalive) => Accepted::Keepalive,
            Some(FrameKind::Padding | FrameKind::Unknown(_)) => Accepted::Nothing,
            None => {
                self.statistics.dropped.malformed += 1;
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
                self.refuse(reason);
                return;
            }
        };
        match handshaken {
            Handshaken::Cookie => {}
            Handshaken::Answer(length) => {
                if let Some(home) = self.endpoint.filter(|endpoint| endpoint.remote != from.remote) {
                    self.doubt(Doubt::Away { home });
                    out.forget_but_next(length);
                }
                self.received_from(datagram.len(), from, now);
                self.note_sessions();
                self.emit_handshake(length, out);
                self.sent(Content::Handshake, length, now);
                self.answered(now);
            }
            Handshaken::Session(length) => {
                self.received_from(datagram.len(), from, now);
                self.note_sessions();
                // boringtun confirms the session by a bare keepalive, which would stand out by its size.
                let is_bare = self.defended.is_none();
                if is_bare {
                    out.commit(length);
                    self.sent(Content::Keepalive, length, now);
                }
                self.start_session(Caller::Us, now, out);
                // Where what was sealed in before goes on, what the ends say to confirm the new session shows it to the peer.
                if !is_bare && self.queue.is_empty() && !self.noise.is_lagging() {
                    self.send_covert_keepalive(now, out);
                }
            }
        }
    }

    fn refuse(&mut self, reason: Refused) {
        match reason {
            Refused::Replayed => self.statistics.dropped.replayed += 1,
            Refused::Unauthenticated => self.statistics.dropped.unauthenticated += 1,
        }
    }
}
