//! How what passes through a tunnel is counted.

use super::{DefenseStatistics, PaddingDrops, Statistics};
use crate::traffic::{DATA_OVERHEAD, Direction, Drop, Kind, Layer, Traffic};

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
