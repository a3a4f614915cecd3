//! What a device and its tunnels have counted, and how what passes is counted.

use std::time::Duration;

use super::counter::{Counters as _, Told, counters};
use crate::traffic::{DATA_OVERHEAD, Direction, Drop, Kind, Layer, Traffic};

counters! {
    /// What one tunnel has counted since it was made.
    Statistics {
        /// Bytes of UDP payload received and authenticated: data, keepalives and handshake messages.
        received_bytes: u64, "bytes of UDP payload", "rx_bytes", Told::Composed;
        /// Bytes of UDP payload handed to the socket: data, keepalives and handshake messages.
        sent_bytes: u64, "bytes of UDP payload", "tx_bytes", Told::Composed;
        /// IP packets received from the peer and accepted.
        received_packets: u64, "IP packets", "maybetun_rx_packets", Told::Composed;
        /// IP packets sealed for the peer.
        sent_packets: u64, "IP packets", "maybetun_tx_packets", Told::Composed;
        /// Handshakes completed.
        handshakes: u64, "handshakes", "maybetun_handshakes", Told::Unsaid;
        parts {
            /// IP packets and datagrams dropped, by reason.
            dropped: Drops;
        }
    }

    /// Packets that a tunnel dropped, by reason.
    Drops {
        /// Outgoing IP packets that found the plaintext queue full.
        queue_full: u64, "IP packets", "maybetun_dropped_queue_full", Told::Among("dropped", "queue full");
        /// Outgoing IP packets given up because no handshake completed for 90 s.
        no_session: u64, "IP packets", "maybetun_dropped_no_session", Told::Among("dropped", "without a session");
        /// Outgoing IP packets for a peer whose endpoint is not known.
        no_endpoint: u64, "IP packets", "maybetun_dropped_no_endpoint", Told::Among("dropped", "without an endpoint");
        /// Incoming IP packets whose inner source address is not among the peer's allowed IPs.
        source_not_allowed: u64, "IP packets", "maybetun_dropped_source_not_allowed",
            Told::Among("dropped", "from a source not allowed");
        /// Incoming datagrams whose counter was seen before, or is too old to tell.
        replayed: u64, "datagrams", "maybetun_dropped_replayed", Told::Among("dropped", "replayed");
        /// Incoming datagrams that did not authenticate, belong to no session, or came from port 0, to which nothing is
        /// answered.
        unauthenticated: u64, "datagrams", "maybetun_dropped_unauthenticated", Told::Among("dropped", "unauthenticated");
        /// Incoming payloads that authenticated but are neither IP nor a frame; bundles and control frames that do not hold
        /// what they should.
        malformed: u64, "datagrams", "maybetun_dropped_malformed", Told::Among("dropped", "malformed");
        /// Outgoing IP packets given up because the peer refused the defense that is required, or did not agree on it for
        /// 90 s.
        unprotected: u64, "IP packets", "maybetun_dropped_unprotected", Told::Among("dropped", "for want of a defense");
    }

    /// Datagrams and packets that a device dropped before they reached a tunnel, by reason.
    DeviceDrops {
        /// Outgoing IP packets that no peer's allowed IPs cover, or that are not IP, or while no private key is set.
        no_route: u64, "IP packets", "maybetun_dropped_no_route", Told::Among("dropped", "without a peer");
        /// Incoming datagrams that are not WireGuard, or name no session or peer of ours; handshake messages without a valid
        /// mac1 or from port 0.
        unknown: u64, "datagrams", "maybetun_dropped_unknown", Told::Among("dropped", "unknown");
        /// Incoming handshake messages refused while under load: `cookies_sent` and `too_many` of the handshake load
        /// together, since the interface is there.
        rate_limited: u64, "datagrams", "maybetun_dropped_rate_limited", Told::Among("dropped", "rate limited");
        /// Outgoing datagrams that the operating system refused.
        send_failed: u64, "datagrams", "maybetun_dropped_send_failed", Told::Among("dropped", "not sent");
        /// Incoming IP packets that the network marked for congestion and whose transport does not know the mark (RFC 6040).
        congested: u64, "IP packets", "maybetun_dropped_congested", Told::Among("dropped", "lost to congestion");
        /// Outgoing datagrams of our own, and fragments of them, that the system routed back into the tunnel.
        came_back: u64, "packets", "maybetun_dropped_came_back", Told::Among("dropped", "in a routing loop");
    }

    /// What comes to a device of handshake messages, and what becomes of it. It counts anew with another private key.
    HandshakeLoad {
        /// Messages with a valid mac1 that came in a second: the last whole one, or this one if there are more in it.
        per_second: u64, "messages", "maybetun_handshakes_per_second", Told::Composed;
        /// Messages a second from which on the device is under load: `HandshakesPerSecond`, else 100, or one for 20 peers if
        /// that is more.
        max_per_second: u64, "messages", "maybetun_handshakes_max_per_second", Told::Composed;
        /// Messages refused under load, and answered by a cookie with which the sender may call again.
        cookies_sent: u64, "messages", "maybetun_handshakes_cookies_sent",
            Told::Among("handshakes", "answered by a cookie");
        /// Messages refused under load though they had a cookie: their source, or the network that it is in, sent too many.
        too_many: u64, "messages", "maybetun_handshakes_too_many",
            Told::Among("handshakes", "over the share of their source");
        /// Messages refused because they had no valid mac1: who sent them does not know the device's public key. They are
        /// `unknown` among what is dropped, too.
        invalid: u64, "messages", "maybetun_handshakes_invalid", Told::Among("handshakes", "without a valid mac1");
        beside {
            /// Whether more came in the last second than the device takes from whomever they come.
            is_under_load as "under_load": bool;
        }
    }

    /// What a defense has counted since it was first switched on for a tunnel.
    DefenseStatistics {
        /// Bytes of normal packets received, without what constant size added.
        normal_received_bytes: u64, "bytes of IP packets", "maybetun_defense_rx_normal_bytes", Told::Composed;
        /// Bytes of normal packets sealed, without what constant size added.
        normal_sent_bytes: u64, "bytes of IP packets", "maybetun_defense_tx_normal_bytes", Told::Composed;
        /// Bytes that came with normal packets received, behind their end.
        constant_size_received_bytes: u64, "bytes", "daita_rx_padding_bytes", Told::Composed;
        /// Bytes that constant size added to normal packets sealed.
        constant_size_sent_bytes: u64, "bytes", "daita_tx_padding_bytes", Told::Composed;
        /// Padding packets received, and whatever else was no normal packet.
        padding_received_packets: u64, "packets", "maybetun_defense_rx_padding_packets", Told::Composed;
        /// Padding packets sealed, keepalives among them.
        padding_sent_packets: u64, "packets", "maybetun_defense_tx_padding_packets", Told::Composed;
        /// Bytes of padding packets received, after opening.
        padding_received_bytes: u64, "bytes", "daita_rx_decoy_packet_bytes", Told::Composed;
        /// Bytes of padding packets sealed, before sealing.
        padding_sent_bytes: u64, "bytes", "daita_tx_decoy_packet_bytes", Told::Composed;
        /// Normal packets dropped because they were larger than the one size: the smaller of both ends' MTU.
        too_large: u64, "packets", "maybetun_defense_too_large", Told::Among("defense dropped", "larger than the MTU");
        /// Congestion marks on outer headers that were not passed inward: both ends run what they agreed on, so no router set
        /// them for our sake.
        marks_ignored: u64, "packets", "maybetun_defense_marks_ignored",
            Told::Among("marks ignored", "set by somebody on the path");
        /// Bundles received: datagrams with several normal packets.
        bundles_received: u64, "datagrams", "maybetun_defense_rx_bundles", Told::Composed;
        /// Bundles sealed: datagrams with several normal packets.
        bundles_sent: u64, "datagrams", "maybetun_defense_tx_bundles", Told::Composed;
        /// Normal packets in bundles received.
        bundled_received_packets: u64, "IP packets", "maybetun_defense_rx_bundled_packets", Told::Composed;
        /// Normal packets in bundles sealed.
        bundled_sent_packets: u64, "IP packets", "maybetun_defense_tx_bundled_packets", Told::Composed;
        /// Padding actions that machines took.
        padding_actions: u64, "actions", "maybetun_defense_padding_actions", Told::Composed;
        /// Blocking actions that machines took.
        blocking_actions: u64, "actions", "maybetun_defense_blocking_actions", Told::Composed;
        /// Actions that had to wait because machines took too many.
        actions_capped: u64, "actions", "maybetun_defense_actions_capped", Told::Composed;
        /// Time for which outgoing traffic was blocked, blocking in force included.
        blocked as "blocked_us": Duration, "microseconds", "maybetun_defense_blocked_us", Told::Composed;
        /// Most normal packets that ever waited at once.
        queue_high_water: u64, "packets", "maybetun_defense_queue_high_water", Told::Composed;
        /// Lateness of timers that half of them did not exceed.
        lateness_p50 as "lateness_p50_us": Duration, "microseconds", "maybetun_defense_lateness_p50_us", Told::Composed;
        /// Lateness of timers that 99 in 100 did not exceed.
        lateness_p99 as "lateness_p99_us": Duration, "microseconds", "maybetun_defense_lateness_p99_us", Told::Composed;
        parts {
            /// Padding packets that were not sent, by cause.
            padding_dropped: PaddingDrops;
        }
    }

    /// Padding packets that were not sent, by cause.
    PaddingDrops {
        /// There was no session to seal it in.
        no_session: u64, "packets", "maybetun_defense_padding_dropped_no_session",
            Told::Among("padding not sent", "without a session");
        /// Too many packets waited already.
        queue_full: u64, "packets", "maybetun_defense_padding_dropped_queue_full",
            Told::Among("padding not sent", "queue full");
        /// The socket was full.
        no_room: u64, "packets", "maybetun_defense_padding_dropped_no_room",
            Told::Among("padding not sent", "socket full");
        /// It would have been more than the user's `max_padding_frac`.
        over_frac: u64, "packets", "maybetun_defense_padding_dropped_over_frac",
            Told::Among("padding not sent", "over your fraction of packets");
        /// It would have been more than the user's `max_padding_rate`.
        over_rate: u64, "packets", "maybetun_defense_padding_dropped_over_rate",
            Told::Among("padding not sent", "over your rate");
        /// It would have been more than what padding to all peers of the device may take together.
        over_device_rate: u64, "packets", "maybetun_defense_padding_dropped_over_device_rate",
            Told::Among("padding not sent", "over the rate of all peers together");
        /// The peer's address has not shown that it receives, and was sent three times what came from it.
        unproven: u64, "packets", "maybetun_defense_padding_dropped_unproven",
            Told::Among("padding not sent", "to an address that has not shown that it receives");
        /// Padding before it went unanswered, by anything at all, for 20 s.
        silent: u64, "packets", "maybetun_defense_padding_dropped_silent",
            Told::Among("padding not sent", "while the peer was silent");
        /// Masking kept it from leaving: the upload ratio would have left its band, or the user downloads and it hides nothing.
        suppressed: u64, "packets", "maybetun_defense_padding_dropped_suppressed",
            Told::Among("padding not sent", "suppressed by masking");
        /// Masking asked for it while outgoing traffic was blocked: it does not wait.
        gated: u64, "packets", "maybetun_defense_padding_dropped_gated",
            Told::Among("padding not sent", "of masking, while traffic was blocked");
        /// It would have been more than `masking_budget`.
        over_masking_budget: u64, "packets", "maybetun_defense_padding_dropped_over_masking_budget",
            Told::Among("padding not sent", "over the budget of masking");
        /// It would have been more than `padding_budget`.
        over_padding_budget: u64, "packets", "maybetun_defense_padding_dropped_over_padding_budget",
            Told::Among("padding not sent", "over the budget of all padding");
    }
}

impl PaddingDrops {
    /// Returns how many it were in all.
    pub fn total(self) -> u64 {
        let mut total = 0;
        self.each(&mut |_, packets| total += packets);
        total
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
                    | Drop::Silent
                    | Drop::Suppressed
                    | Drop::Gated
                    | Drop::OverMaskingBudget
                    | Drop::OverPaddingBudget => return,
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
            Drop::Suppressed => &mut self.suppressed,
            Drop::Gated => &mut self.gated,
            Drop::OverMaskingBudget => &mut self.over_masking_budget,
            Drop::OverPaddingBudget => &mut self.over_padding_budget,
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
