//! What an observer of the wire counts: pure arithmetic over the captured packets.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::capture::Captured;
use crate::sighting::{Direction, Ends, Kind, Sighting};

/// Silence, in microseconds, that ends a burst.
pub const BURST_GAP_US: u64 = 10_000;

/// A datagram of the tunnel, and when it passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packet {
    /// Microseconds since the observation began.
    pub at_us: u64,
    /// The datagram.
    #[serde(flatten)]
    pub datagram: Sighting,
}

/// Everything that one capture saw.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// The tunnel's datagrams, in order of time.
    pub packets: Vec<Packet>,
    /// Frames that are not the tunnel's: address resolution and the like.
    pub other_frames: u64,
    /// Frames that passed while the capture was too slow to take them.
    pub missed_frames: u64,
}

impl Observation {
    /// Reads what a capture of [`HEADER_BYTES`](crate::sighting::HEADER_BYTES) of each frame has got, as of the tunnel
    /// between `ends`.
    pub fn of(captured: &Captured, ends: Ends) -> Self {
        let mut observation = Self { missed_frames: captured.missed, ..Self::default() };
        for frame in &captured.frames {
            match Sighting::parse(&frame.bytes, ends) {
                Some(datagram) => {
                    let at = frame.at.saturating_sub(captured.since);
                    let at_us = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
                    observation.packets.push(Packet { at_us, datagram });
                }
                None => observation.other_frames += 1,
            }
        }
        observation
    }
}

/// One direction, or both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Flow {
    /// Datagrams.
    pub packets: u64,
    /// Bytes of UDP payload.
    pub bytes: u64,
    /// Bytes of IP packets, headers included.
    pub ip_bytes: u64,
}

impl Flow {
    fn add(&mut self, datagram: &Sighting) {
        self.packets += 1;
        self.bytes += u64::from(datagram.bytes);
        self.ip_bytes += u64::from(datagram.ip_bytes);
    }
}

/// How often one size was seen in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SizeCount {
    /// Bytes of UDP payload.
    pub bytes: u32,
    /// Datagrams of that size.
    pub packets: u64,
    /// Their direction.
    pub direction: Direction,
}

/// What the observer has in the end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    #[serde(flatten)]
    /// Both directions.
    pub total: Flow,
    /// From the client.
    pub upload: Flow,
    /// To the client.
    pub download: Flow,
    /// The upload's part of all bytes of UDP payload, in percent, to two digits.
    pub upload_share: f64,
    /// Number of different sizes, directions apart from each other ignored.
    pub distinct_sizes: usize,
    /// Every size of each direction, the most frequent first.
    pub sizes: Vec<SizeCount>,
    /// Handshake messages, cookies included.
    pub handshake_messages: u64,
    /// Data messages with nothing inside.
    pub keepalives: u64,
    /// Runs of packets with less than [`BURST_GAP_US`] between neighbours.
    pub bursts: u64,
    /// Milliseconds from the first packet to the last.
    pub duration_ms: f64,
    /// IP bits a second over that time, both directions; 0 if it has no length.
    pub bits_per_second: u64,
    /// Frames that are not the tunnel's.
    pub other_frames: u64,
    /// Frames that the capture was too slow for.
    pub missed_frames: u64,
}

impl Summary {
    /// Counts what `observation` holds.
    pub fn new(observation: &Observation) -> Self {
        let packets = &observation.packets;
        let (mut total, mut upload, mut download) = (Flow::default(), Flow::default(), Flow::default());
        let mut counts = BTreeMap::<(u32, Direction), u64>::new();
        let (mut handshake_messages, mut keepalives) = (0, 0);
        for Packet { datagram, .. } in packets {
            total.add(datagram);
            match datagram.direction {
                Direction::Upload => upload.add(datagram),
                Direction::Download => download.add(datagram),
            }
            match datagram.message {
                Kind::Initiation | Kind::Response | Kind::Cookie => handshake_messages += 1,
                Kind::Keepalive => keepalives += 1,
                Kind::Data | Kind::Unknown => {}
            }
            *counts.entry((datagram.bytes, datagram.direction)).or_default() += 1;
        }
        let distinct_sizes = counts.keys().map(|(bytes, _)| bytes).collect::<BTreeSet<_>>().len();
        let mut sizes: Vec<_> =
            counts.into_iter().map(|((bytes, direction), packets)| SizeCount { bytes, packets, direction }).collect();
        sizes.sort_by_key(|size| std::cmp::Reverse((size.packets, size.bytes)));

        let duration_us = match (packets.first(), packets.last()) {
            (Some(first), Some(last)) => last.at_us.saturating_sub(first.at_us),
            _ => 0,
        };
        Self {
            upload_share: share(upload.bytes, total.bytes),
            total,
            upload,
            download,
            distinct_sizes,
            sizes,
            handshake_messages,
            keepalives,
            bursts: bursts(packets),
            duration_ms: round(duration_us as f64 / 1_000.0),
            bits_per_second: (total.ip_bytes * 8_000_000).checked_div(duration_us).unwrap_or(0),
            other_frames: observation.other_frames,
            missed_frames: observation.missed_frames,
        }
    }
}

/// `part` of `whole` in percent, to two digits; 0 of nothing.
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    round(part as f64 * 100.0 / whole as f64)
}

/// To two digits after the point.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn bursts(packets: &[Packet]) -> u64 {
    let pauses = packets.windows(2).filter(|pair| pair[1].at_us.saturating_sub(pair[0].at_us) >= BURST_GAP_US).count();
    if packets.is_empty() { 0 } else { pauses as u64 + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(at_us: u64, direction: Direction, bytes: u32, message: Kind) -> Packet {
        Packet { at_us, datagram: Sighting { direction, bytes, ip_bytes: bytes + 28, message } }
    }

    fn observed(packets: Vec<Packet>) -> Summary {
        Summary::new(&Observation { packets, other_frames: 2, missed_frames: 0 })
    }

    fn handshake_and_four_packets() -> Vec<Packet> {
        use Direction::{Download, Upload};
        vec![
            packet(1_000, Upload, 148, Kind::Initiation),
            packet(1_500, Download, 92, Kind::Response),
            packet(2_000, Upload, 96, Kind::Data),
            packet(30_000, Download, 1452, Kind::Data),
            packet(30_100, Download, 1452, Kind::Data),
            packet(101_000, Upload, 32, Kind::Keepalive),
        ]
    }

    #[test]
    fn directions_add_up_to_the_total() {
        let summary = observed(handshake_and_four_packets());
        assert_eq!(summary.total, Flow { packets: 6, bytes: 3272, ip_bytes: 3272 + 6 * 28 });
        assert_eq!(summary.upload, Flow { packets: 3, bytes: 276, ip_bytes: 360 });
        assert_eq!(summary.download, Flow { packets: 3, bytes: 2996, ip_bytes: 3080 });
        assert_eq!(summary.upload_share, 8.44);
    }

    #[test]
    fn messages_are_counted_by_kind() {
        let summary = observed(handshake_and_four_packets());
        assert_eq!((summary.handshake_messages, summary.keepalives), (2, 1));
    }

    #[test]
    fn sizes_come_most_frequent_first_and_cover_every_packet() {
        let summary = observed(handshake_and_four_packets());
        assert_eq!(summary.distinct_sizes, 5);
        assert_eq!(summary.sizes[0], SizeCount { bytes: 1452, packets: 2, direction: Direction::Download });
        assert_eq!(summary.sizes.iter().map(|size| size.packets).sum::<u64>(), 6);
        assert_eq!(summary.sizes.iter().map(|size| size.packets * u64::from(size.bytes)).sum::<u64>(), 3272);
    }

    #[test]
    fn one_size_in_both_directions_is_one_distinct_size_and_two_counts() {
        let summary = observed(vec![
            packet(0, Direction::Upload, 1452, Kind::Data),
            packet(1, Direction::Download, 1452, Kind::Data),
        ]);
        assert_eq!((summary.distinct_sizes, summary.sizes.len()), (1, 2));
    }

    #[test]
    fn time_runs_from_the_first_packet_to_the_last() {
        let summary = observed(handshake_and_four_packets());
        assert_eq!(summary.duration_ms, 100.0);
        assert_eq!(summary.bits_per_second, 3440 * 8 * 10);
    }

    #[test]
    fn a_pause_of_the_gap_or_longer_parts_bursts() {
        assert_eq!(observed(handshake_and_four_packets()).bursts, 3);
        let at = |at_us| packet(at_us, Direction::Upload, 96, Kind::Data);
        assert_eq!(observed(vec![at(0), at(BURST_GAP_US - 1)]).bursts, 1);
        assert_eq!(observed(vec![at(0), at(BURST_GAP_US)]).bursts, 2);
    }

    #[test]
    fn nothing_seen_is_all_zeros() {
        let summary = observed(Vec::new());
        assert_eq!(summary.total, Flow::default());
        assert_eq!((summary.upload_share, summary.duration_ms, summary.bits_per_second), (0.0, 0.0, 0));
        assert_eq!((summary.bursts, summary.distinct_sizes), (0, 0));
    }

    #[test]
    fn one_packet_has_no_duration_and_no_rate() {
        let summary = observed(vec![packet(7, Direction::Upload, 148, Kind::Initiation)]);
        assert_eq!((summary.duration_ms, summary.bits_per_second, summary.bursts), (0.0, 0, 1));
    }
}
