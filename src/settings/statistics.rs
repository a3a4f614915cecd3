//! What a device and its tunnels have counted, and how what passes is counted.

use std::time::Duration;

use crate::traffic::{DATA_OVERHEAD, Direction, Drop, Kind, Layer, Traffic};

/// What one tunnel has counted since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Bytes of UDP payload received and authenticated: data, keepalives and handshake messages.
    pub received_bytes: u64,
    /// Bytes of UDP payload handed to the socket: data, keepalives and handshake messages.
    pub sent_bytes: u64,
    /// IP packets received from the peer and accepted.
    pub received_packets: u64,
    /// IP packets sealed for the peer.
    pub sent_packets: u64,
    /// Handshakes completed.
    pub handshakes: u64,
    /// IP packets and datagrams dropped, by reason.
    pub dropped: Drops,
}

/// Packets that a tunnel dropped, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drops {
    /// Outgoing IP packets that found the plaintext queue full.
    pub queue_full: u64,
    /// Outgoing IP packets given up because no handshake completed in time.
    pub no_session: u64,
    /// Outgoing IP packets for a peer whose endpoint is not known.
    pub no_endpoint: u64,
    /// Incoming IP packets whose inner source address is not among the peer's allowed IPs.
    pub source_not_allowed: u64,
    /// Incoming datagrams whose counter was seen before, or is too old to tell.
    pub replayed: u64,
    /// Incoming datagrams that did not authenticate, belong to no session, or came from port 0, to which nothing is answered.
    pub unauthenticated: u64,
    /// Incoming payloads that authenticated but are neither IP nor a frame; bundles and control frames that do not hold
    /// what they should.
    pub malformed: u64,
    /// Outgoing IP packets given up because the peer refused the defense that is required, or did not agree on it for 90 s.
    pub unprotected: u64,
}

/// Datagrams and packets that a device dropped before they reached a tunnel, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeviceDrops {
    /// Outgoing IP packets that no peer's allowed IPs cover, or that are not IP.
    pub no_route: u64,
    /// Incoming datagrams that are not WireGuard, or name no session or peer of ours; handshake messages from port 0.
    pub unknown: u64,
    /// Incoming handshake messages refused while under load: see [`HandshakeLoad`].
    pub rate_limited: u64,
    /// Outgoing datagrams that the socket refused.
    pub send_failed: u64,
    /// Incoming IP packets that the network marked for congestion and whose transport does not know the mark (RFC 6040).
    pub congested: u64,
    /// Outgoing datagrams of our own, and fragments of them, that the system routed back into the tunnel.
    pub came_back: u64,
}

/// What comes to a device of handshake messages, and what becomes of it. It counts anew with another private key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HandshakeLoad {
    /// Whether more came in the last second than the device takes from whomever they come.
    pub is_under_load: bool,
    /// Messages with a valid mac1 that came in a second: the last whole one, or this one if there are more in it.
    pub per_second: u64,
    /// Messages a second from which on the device is under load.
    pub max_per_second: u64,
    /// Messages refused under load, and answered by a cookie with which the sender may call again.
    pub cookies_sent: u64,
    /// Messages refused under load though they had a cookie: their source, or the network that it is in, sent too many.
    pub too_many: u64,
    /// Messages refused because they had no valid mac1: who sent them does not know the device's public key.
    pub invalid: u64,
}

/// What a defense has counted since it was first switched on for a tunnel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DefenseStatistics {
    /// Bytes of normal packets sealed, without what constant size added.
    pub normal_sent_bytes: u64,
    /// Bytes of normal packets received, without what constant size added.
    pub normal_received_bytes: u64,
    /// Bytes that constant size added to normal packets sealed.
    pub constant_size_sent_bytes: u64,
    /// Bytes that came with normal packets received, behind their end.
    pub constant_size_received_bytes: u64,
    /// Padding packets sealed, keepalives among them.
    pub padding_sent_packets: u64,
    /// Bytes of those, before sealing.
    pub padding_sent_bytes: u64,
    /// Padding packets received, and whatever else was no normal packet.
    pub padding_received_packets: u64,
    /// Bytes of those, after opening.
    pub padding_received_bytes: u64,
    /// Padding packets that were not sent, by cause.
    pub padding_dropped: PaddingDrops,
    /// Normal packets dropped because they were larger than the MTU.
    pub too_large: u64,
    /// Congestion marks on outer headers that were not passed inward: both ends run what they agreed on, so no router set them
    /// for our sake.
    pub marks_ignored: u64,
    /// Bundles sealed: datagrams with several normal packets.
    pub bundles_sent: u64,
    /// Normal packets in those.
    pub bundled_sent_packets: u64,
    /// Bundles received.
    pub bundles_received: u64,
    /// Normal packets in those.
    pub bundled_received_packets: u64,
    /// Padding actions that machines took.
    pub padding_actions: u64,
    /// Blocking actions that machines took.
    pub blocking_actions: u64,
    /// Actions that had to wait because machines took too many.
    pub actions_capped: u64,
    /// Time for which outgoing traffic was blocked, blocking in force included.
    pub blocked: Duration,
    /// Most normal packets that ever waited at once.
    pub queue_high_water: u64,
    /// Lateness of timers that half of them did not exceed.
    pub lateness_p50: Duration,
    /// Lateness of timers that 99 in 100 did not exceed.
    pub lateness_p99: Duration,
}

/// Padding packets that were not sent, by cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PaddingDrops {
    /// There was no session to seal it in.
    pub no_session: u64,
    /// Too many packets waited already.
    pub queue_full: u64,
    /// The socket was full.
    pub no_room: u64,
    /// It would have been more than [`Limits::max_padding_frac`](super::Limits::max_padding_frac).
    pub over_frac: u64,
    /// It would have been more than [`Limits::max_padding_rate`](super::Limits::max_padding_rate).
    pub over_rate: u64,
    /// It would have been more than what padding to all peers of the device may take together.
    pub over_device_rate: u64,
    /// The peer's address has not shown that it receives, and was sent three times what came from it.
    pub unproven: u64,
    /// Padding before it went unanswered, by anything at all, for [`MAX_SILENCE`](crate::tunnel::MAX_SILENCE).
    pub silent: u64,
}

impl PaddingDrops {
    /// Returns how many it were in all.
    pub fn total(self) -> u64 {
        let Self { no_session, queue_full, no_room, over_frac, over_rate, over_device_rate, unproven, silent } = self;
        no_session + queue_full + no_room + over_frac + over_rate + over_device_rate + unproven + silent
    }
}

impl Statistics {
    /// Counts what passes.
    pub(crate) fn observe(&mut self, traffic: &Traffic) {
        match (traffic.direction, traffic.layer) {
            (Direction::Sent, Layer::Datagram) => {
                self.sent_bytes += traffic.bytes as u64;
                self.sent_packets += traffic.packets as u64;
            }
            (Direction::Sent, Layer::Packet) => {}
            (Direction::Received, Layer::Datagram) => self.received_bytes += traffic.bytes as u64,
            (Direction::Received, Layer::Packet) => self.received_packets += traffic.packets as u64,
            (Direction::Dropped(why), _) if traffic.kind != Kind::Padding => {
                let dropped = &mut self.dropped;
                let counter = match why {
                    Drop::QueueFull => &mut dropped.queue_full,
                    Drop::NoSession => &mut dropped.no_session,
                    Drop::NoEndpoint => &mut dropped.no_endpoint,
                    Drop::SourceNotAllowed => &mut dropped.source_not_allowed,
                    Drop::Replayed => &mut dropped.replayed,
                    Drop::Unauthenticated => &mut dropped.unauthenticated,
                    Drop::Malformed => &mut dropped.malformed,
                    Drop::Unprotected => &mut dropped.unprotected,
                    // Those are a defense's.
                    Drop::TooLarge
                    | Drop::NoRoom
                    | Drop::OverFrac
                    | Drop::OverRate
                    | Drop::OverDeviceRate
                    | Drop::Unproven
                    | Drop::Silent => return,
                };
                *counter += traffic.packets as u64;
            }
            (Direction::Dropped(_), _) => {}
        }
    }
}

impl DefenseStatistics {
    /// Counts what passes while a defense runs.
    pub(crate) fn observe(&mut self, traffic: &Traffic) {
        let (packets, normal) = (traffic.packets as u64, traffic.normal_bytes as u64);
        let plaintext = traffic.bytes.saturating_sub(DATA_OVERHEAD) as u64;
        match (traffic.direction, traffic.layer, traffic.kind) {
            (Direction::Sent, Layer::Datagram, Kind::Normal) => {
                self.normal_sent_bytes += normal;
                self.constant_size_sent_bytes += plaintext.saturating_sub(normal);
                if packets > 1 {
                    self.bundles_sent += 1;
                    self.bundled_sent_packets += packets;
                }
            }
            (Direction::Received, Layer::Datagram, Kind::Normal) => {
                self.normal_received_bytes += normal;
                self.constant_size_received_bytes += plaintext.saturating_sub(normal);
            }
            (Direction::Sent, Layer::Datagram, _) if traffic.is_data() => {
                self.padding_sent_packets += 1;
                self.padding_sent_bytes += plaintext;
            }
            (Direction::Received, Layer::Datagram, _) if traffic.is_data() => {
                self.padding_received_packets += 1;
                self.padding_received_bytes += plaintext;
            }
            (Direction::Dropped(Drop::TooLarge), _, Kind::Normal) => self.too_large += packets,
            (Direction::Dropped(why), _, Kind::Padding) => {
                if let Some(counter) = self.padding_dropped.counter(why) {
                    *counter += packets;
                }
            }
            (Direction::Sent | Direction::Received | Direction::Dropped(_), ..) => {}
        }
    }
}

impl PaddingDrops {
    fn counter(&mut self, why: Drop) -> Option<&mut u64> {
        Some(match why {
            Drop::NoSession => &mut self.no_session,
            Drop::QueueFull => &mut self.queue_full,
            Drop::NoRoom => &mut self.no_room,
            Drop::OverFrac => &mut self.over_frac,
            Drop::OverRate => &mut self.over_rate,
            Drop::OverDeviceRate => &mut self.over_device_rate,
            Drop::Unproven => &mut self.unproven,
            Drop::Silent => &mut self.silent,
            Drop::NoEndpoint
            | Drop::SourceNotAllowed
            | Drop::Replayed
            | Drop::Unauthenticated
            | Drop::Malformed
            | Drop::Unprotected
            | Drop::TooLarge => return None,
        })
    }
}
