//! Packets on a route that their sender chose: the checksum is under the last address of it, not the one in the header.

use proptest::prelude::*;

use super::super::packet::UDP_LENGTH;
use super::*;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION: u8 = 60;

/// IPv4's options: no operation, and the two that name a route (RFC 791, section 3.1).
const NO_OPERATION: u8 = 1;
const LOOSE_ROUTE: u8 = 0x83;
const STRICT_ROUTE: u8 = 0x89;

/// A packet with headers between the IP header and the transport's.
#[derive(Debug, Clone)]
struct Routed {
    version: Version,
    protocol: u8,
    /// What stands before the transport header, as it is in the packet.
    between: Vec<u8>,
    /// The protocol of the first header behind IPv6's.
    first: u8,
    next_stop: Vec<u8>,
    last_stop: Vec<u8>,
}

impl Routed {
    fn transport(&self) -> usize {
        self.version.header() + self.between.len()
    }

    fn headers(&self) -> usize {
        self.transport() + if self.protocol == TCP { 20 } else { 8 }
    }

    /// The packet with this in the place of its checksum.
    fn packet(&self, payload: &[u8], checksum: u16) -> Vec<u8> {
        let mut packet = vec![0; self.version.header()];
        match self.version {
            Version::V4 => {
                packet[0] = 0x40 | (self.transport() / 4) as u8;
                (packet[6], packet[8], packet[9]) = (0x40, 64, self.protocol);
                packet[12..16].copy_from_slice(&[10, 0, 0, 1]);
                packet[16..20].copy_from_slice(&self.next_stop);
            }
            Version::V6 => {
                (packet[0], packet[6], packet[7]) = (0x60, self.first, 64);
                packet[8..24].copy_from_slice(&[0xfd; 16]);
                packet[24..40].copy_from_slice(&self.next_stop);
            }
        }
        packet.extend_from_slice(&self.between);
        let transport = self.transport();
        packet.resize(self.headers(), 0);
        packet.extend_from_slice(payload);
        set_u16(&mut packet, transport, 5_201);
        set_u16(&mut packet, transport + 2, 443);
        if self.protocol == TCP {
            (packet[transport + 12], packet[transport + 13]) = (0x50, ACK);
        } else {
            set_u16(&mut packet, transport + UDP_LENGTH, (8 + payload.len()) as u16);
        }
        set_u16(&mut packet, self.checksum(), checksum);
        let length = packet.len();
        set_ip_length(&mut packet, self.version, transport, length);
        packet
    }

    /// Where the checksum stands.
    fn checksum(&self) -> usize {
        self.transport() + if self.protocol == TCP { TCP_CHECKSUM } else { UDP_CHECKSUM }
    }

    /// The folded sum of the pseudo-header and of `segment`, word by word (RFC 1071, section 1).
    fn slow_sum(&self, segment: &[u8], length: usize) -> u16 {
        let source: &[u8] = if self.version == Version::V4 { &[10, 0, 0, 1] } else { &[0xfd; 16] };
        let length = (length as u32).to_be_bytes();
        let words = [source, &self.last_stop, &length, &[0, 0, 0, self.protocol], segment];
        let mut sum = 0u32;
        for pair in words.into_iter().flat_map(|part| part.chunks(2)) {
            sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    /// What a device reads: a burst of `payload`, to be cut into segments of `size`.
    fn burst(&self, payload: &[u8], size: u16) -> Vec<u8> {
        let partial = self.slow_sum(&[], self.headers() - self.transport() + payload.len());
        let kind = match (self.protocol, self.version) {
            (TCP, Version::V4) => KIND_TCP_V4,
            (TCP, Version::V6) => KIND_TCP_V6,
            _ => KIND_UDP,
        };
        let header = VirtioHeader {
            flags: NEEDS_CHECKSUM,
            kind,
            header_length: 0,
            segment_size: size,
            checksum_start: self.transport() as u16,
            checksum_offset: (self.checksum() - self.transport()) as u16,
        };
        [&header.to_bytes()[..], &self.packet(payload, partial)].concat()
    }

    /// The packet as it should leave.
    fn whole(&self, payload: &[u8]) -> Vec<u8> {
        let packet = self.packet(payload, 0);
        let segment = &packet[self.transport()..];
        let checksum = match !self.slow_sum(segment, segment.len()) {
            0 if self.protocol == UDP => 0xffff,
            checksum => checksum,
        };
        self.packet(payload, checksum)
    }
}

/// A route of IPv4: an option that names it, with some stops behind the present one.
fn v4() -> impl Strategy<Value = Routed> {
    let stops = prop::collection::vec(any::<[u8; 4]>(), 1..9);
    let kind = prop::sample::select(vec![LOOSE_ROUTE, STRICT_ROUTE]);
    (stops, kind, prop::sample::select(vec![TCP, UDP]), any::<prop::sample::Index>(), any::<[u8; 4]>()).prop_map(
        |(stops, kind, protocol, done, next_stop)| {
            let done = done.index(stops.len() + 1);
            let pointer = 4 + 4 * done as u8;
            let mut between = vec![NO_OPERATION, kind, 3 + 4 * stops.len() as u8, pointer];
            between.extend(stops.iter().flatten());
            let is_there = done == stops.len();
            let last_stop = if is_there { next_stop } else { stops[stops.len() - 1] }.to_vec();
            Routed {
                version: Version::V4,
                protocol,
                between,
                first: protocol,
                next_stop: next_stop.to_vec(),
                last_stop,
            }
        },
    )
}

/// A route of IPv6: a routing header of type 0 (RFC 2460, section 4.4) or 4 (RFC 8754, section 2), perhaps among other
/// headers.
fn v6() -> impl Strategy<Value = Routed> {
    let stops = prop::collection::vec(any::<[u8; 16]>(), 1..5);
    let others = (any::<bool>(), any::<bool>());
    let kind = prop::sample::select(vec![0u8, 4]);
    (stops, kind, others, prop::sample::select(vec![TCP, UDP]), any::<prop::sample::Index>(), any::<[u8; 16]>())
        .prop_map(|(stops, kind, (hops, options), protocol, left, next_stop)| {
            let left = left.index(stops.len() + 1);
            let mut between = Vec::new();
            if hops {
                between.extend([ROUTING, 0, 1, 4, 0, 0, 0, 0]);
            }
            let behind = if options { DESTINATION } else { protocol };
            between.extend([behind, 2 * stops.len() as u8, kind, left as u8, 0, 0, 0, 0]);
            between.extend(stops.iter().flatten());
            if options {
                between.extend([protocol, 0, 1, 4, 0, 0, 0, 0]);
            }
            let last = if kind == 4 { stops[0] } else { stops[stops.len() - 1] };
            Routed {
                version: Version::V6,
                protocol,
                between,
                first: if hops { HOP_BY_HOP } else { ROUTING },
                next_stop: next_stop.to_vec(),
                last_stop: if left == 0 { next_stop } else { last }.to_vec(),
            }
        })
}

proptest! {
    #[test]
    fn a_burst_on_a_route_is_cut_into_packets_with_the_checksums_of_its_end(
        routed in prop_oneof![v4(), v6()],
        length in 1..5_000usize,
        size in 1..2_000u16,
    ) {
        let payload = bytes(length, 3);
        let packets = cut(&routed.burst(&payload, size));
        prop_assert_eq!(packets.len(), length.div_ceil(size.into()));
        for (index, (packet, payload)) in packets.into_iter().zip(payload.chunks(size.into())).enumerate() {
            // All but what a cut counts on: the identification and the sequence number.
            let mut expected = routed.clone().whole(payload);
            let (transport, checksum) = (routed.transport(), routed.checksum());
            if routed.version == Version::V4 {
                set_u16(&mut expected, 4, index as u16);
                set_ip_length(&mut expected, Version::V4, transport, packet.len());
            }
            if routed.protocol == TCP {
                set_u32(&mut expected, transport + 4, index as u32 * u32::from(size));
                set_u16(&mut expected, checksum, 0);
                let sum = !routed.slow_sum(&expected[transport..], expected.len() - transport);
                set_u16(&mut expected, checksum, sum);
            }
            prop_assert_eq!(packet, expected, "{}", index);
        }
    }

    #[test]
    fn packets_on_a_route_are_written_one_by_one_as_they_are(routed in prop_oneof![v4(), v6()], length in 1..1_000usize) {
        let packets = [routed.whole(&bytes(length, 1)), routed.whole(&bytes(length, 2))];
        let bursts = join(&packets, UdpBursts::Yes);
        prop_assert_eq!(bursts.len(), 2);
        for (burst, packet) in bursts.iter().zip(&packets) {
            prop_assert_eq!(&burst[..HEADER], &[0; HEADER]);
            prop_assert_eq!(&burst[HEADER..], packet);
        }
    }
}

#[test]
fn a_burst_on_a_route_without_a_sum_is_refused() {
    let routed = Routed {
        version: Version::V6,
        protocol: TCP,
        between: [&[TCP, 2, 0, 1, 0, 0, 0, 0][..], &[7; 16]].concat(),
        first: ROUTING,
        next_stop: vec![5; 16],
        last_stop: vec![7; 16],
    };
    let refused = |change: fn(&mut Vec<u8>, usize)| {
        let mut bytes = routed.burst(&bytes(100, 1), 50);
        change(&mut bytes, HEADER + routed.checksum());
        let mut batch = PacketBatch::new();
        batch.space()[..bytes.len()].copy_from_slice(&bytes);
        batch.commit_offloaded(bytes.len()).is_err()
    };
    assert!(!refused(|_, _| ()));
    assert!(refused(|bytes, _| bytes[0] = 0));
    assert!(refused(|bytes, checksum| bytes[checksum..checksum + 2].fill(0)));
}
