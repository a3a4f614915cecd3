//! From datagrams to IP packets.

use std::net::IpAddr;
use std::time::Instant;

use boringtun::noise::{Packet, Tunn};

use super::bundle;
use super::frame::{Frame, FrameKind, HEADER};
use super::noise::{KeysUsed, Message, MessageKind, Refused};
use super::timers::{KEEPALIVE_TIMEOUT, REKEY_ON_RECEIVE, Timer};
use super::{Content, DATA_OVERHEAD, DatagramBatch, Endpoint, IpHeader, Role, Tunnel};

/// What an authenticated payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accepted {
    /// IP packets: their length together, and their number.
    Packets { bytes: usize, count: usize },
    /// A control frame.
    Control,
    /// Padding, or nothing that may come from this peer.
    Nothing,
}

impl Tunnel {
    /// Takes a datagram from the peer, or from someone who claims to be.
    ///
    /// If it carries IP packets from an allowed source, they are written to the start of `packet`, one behind the other,
    /// and their length together is returned: one packet, unless the peer sends bundles; [`packets`](super::packets)
    /// splits them. `source_is_allowed` is asked, for the inner source address, whether cryptokey routing leads to this peer.
    /// The endpoint follows `from` only when the datagram authenticates. Answers and packets that waited for a session
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
        // What the machines do before this datagram decides whether it may be answered.
        self.run_defense(now, out);
        match Tunn::parse_incoming_packet(datagram) {
            Ok(Packet::PacketData(data)) => {
                let receiver = data.receiver_idx;
                self.end_old_sessions(now, out);
                self.receive_data(datagram, receiver, from, now, source_is_allowed, packet, out)
            }
            Ok(Packet::HandshakeInit(_) | Packet::HandshakeResponse(_) | Packet::PacketCookieReply(_)) => {
                self.tick(now, out);
                if out.is_full() {
                    return None;
                }
                self.receive_handshake(datagram, from, now, out);
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
        let opened = match self.noise.open(datagram, packet) {
            Ok(opened) => opened,
            Err(reason) => {
                self.refuse(reason);
                return None;
            }
        };
        self.received(datagram.len(), from, now);
        let payload = datagram.len() - DATA_OVERHEAD;
        let is_keepalive = payload == 0;
        let accepted =
            if is_keepalive { Accepted::Nothing } else { self.accept(&mut packet[..opened.length], source_is_allowed) };
        let (normal, packets) = match accepted {
            Accepted::Packets { bytes, count } => (bytes, count),
            Accepted::Control | Accepted::Nothing => (0, 0),
        };
        // One padding packet may be a keepalive that a defense hides: two sides that answered those would never be
        // silent again. Several are answered, for a peer may count them as data.
        if packets > 0 || (!is_keepalive && self.padding_since_sent > 0) {
            self.timers.set_first(Timer::Keepalive, now + KEEPALIVE_TIMEOUT);
        }
        if packets == 0 && !is_keepalive {
            self.padding_since_sent = self.padding_since_sent.saturating_add(1);
        }
        self.note_received(payload, normal, packets, now);
        if opened.keys == KeysUsed::InForce && self.unconfirmed.contains(&receiver) {
            self.unconfirmed.clear();
            self.start_session(Role::Responder, now, out);
        }
        self.rekey_if_older(REKEY_ON_RECEIVE, now, out);
        if accepted == Accepted::Control {
            self.receive_control(&packet[HEADER..opened.length], now, out);
        }
        self.run_defense(now, out);
        (packets > 0).then_some(normal)
    }

    /// Judges an authenticated payload. Packets that may come from this peer are at its start then.
    fn accept(&mut self, payload: &mut [u8], mut source_is_allowed: impl FnMut(IpAddr) -> bool) -> Accepted {
        let takes_bundles = self.takes_bundles();
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
            Some(FrameKind::Bundle) if takes_bundles => {
                if let Some((bytes, count)) = bundle::unpack(payload, is_allowed) {
                    self.note_bundle(count);
                    return if count > 0 { Accepted::Packets { bytes, count } } else { Accepted::Nothing };
                }
                self.statistics.dropped.malformed += 1;
                Accepted::Nothing
            }
            Some(FrameKind::Control) => Accepted::Control,
            Some(FrameKind::Bundle | FrameKind::Padding | FrameKind::Unknown(_)) => Accepted::Nothing,
            None => {
                self.statistics.dropped.malformed += 1;
                Accepted::Nothing
            }
        }
    }

    fn receive_handshake(&mut self, datagram: &[u8], from: Endpoint, now: Instant, out: &mut DatagramBatch) {
        let Message { kind, length } = match self.noise.answer(datagram, out.space()) {
            Ok(Some(answer)) => answer,
            // A cookie was taken: it goes into the next initiation.
            Ok(None) => return,
            Err(reason) => {
                self.refuse(reason);
                return;
            }
        };
        let sender = out.space().get(4..8).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
        self.received(datagram.len(), from, now);
        self.remember_session(now);
        match kind {
            MessageKind::Response => {
                self.emit_handshake(length, out);
                self.sent(Content::Handshake, length, now);
                if let Some(index) = sender {
                    self.answered(index, now);
                }
            }
            MessageKind::Data => {
                // boringtun confirms the session by a bare keepalive, which would stand out by its size.
                let is_bare = self.defended.is_none();
                if is_bare {
                    out.commit(length);
                    self.sent(Content::Keepalive, length, now);
                }
                self.start_session(Role::Initiator, now, out);
                if !is_bare && self.queue.is_empty() {
                    self.send_covert_keepalive(now, out);
                }
            }
            MessageKind::Initiation | MessageKind::CookieReply => {}
        }
    }

    fn refuse(&mut self, reason: Refused) {
        match reason {
            Refused::Replayed => self.statistics.dropped.replayed += 1,
            Refused::Unauthenticated => self.statistics.dropped.unauthenticated += 1,
        }
    }
}
