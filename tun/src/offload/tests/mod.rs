//! Bursts that are cut and joined again, and what must never be joined.

mod routed;

use super::checksum::{fold, sum};
use super::coalesce::Coalescer;
use super::packet::{
    ACK, CWR, ECE, FIN, PSH, TCP, TCP_CHECKSUM, UDP, UDP_CHECKSUM, Version, pseudo_header, set_ip_length, set_u16,
    set_u32, transport_checksum, transport_is_intact, u16_at, u32_at,
};
use super::{HEADER, KIND_ECN, KIND_TCP_V4, KIND_TCP_V6, KIND_UDP, NEEDS_CHECKSUM, UdpBursts, VirtioHeader};
use crate::{MAX_PACKET, PacketBatch};

/// A packet of TCP with a timestamp option, or of UDP.
#[derive(Debug, Clone, Copy)]
struct Model {
    version: Version,
    protocol: u8,
    source_port: u16,
    sequence: u32,
    flags: u8,
    id: u16,
    dont_fragment: bool,
    timestamp: u32,
}

const TCP_V4: Model = Model {
    version: Version::V4,
    protocol: TCP,
    source_port: 5_201,
    sequence: u32::MAX - 2_000,
    flags: ACK,
    id: u16::MAX - 2,
    dont_fragment: true,
    timestamp: 7,
};
const TCP_V6: Model = Model { version: Version::V6, ..TCP_V4 };
const UDP_V4: Model = Model { protocol: UDP, ..TCP_V4 };
const UDP_V6: Model = Model { version: Version::V6, ..UDP_V4 };

impl Model {
    fn transport(&self) -> usize {
        self.version.header()
    }

    fn headers(&self) -> usize {
        self.transport() + if self.protocol == TCP { 32 } else { 8 }
    }

    /// The packet before its checksum of the transport.
    fn unsummed(&self, payload: &[u8]) -> Vec<u8> {
        let (transport, headers) = (self.transport(), self.headers());
        let mut packet = vec![0; headers + payload.len()];
        match self.version {
            Version::V4 => {
                packet[0] = 0x45;
                set_u16(&mut packet, 4, self.id);
                packet[6] = if self.dont_fragment { 0x40 } else { 0 };
                packet[8] = 64;
                packet[9] = self.protocol;
                packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
            }
            Version::V6 => {
                packet[0] = 0x60;
                packet[6] = self.protocol;
                packet[7] = 64;
                packet[23] = 1;
                packet[39] = 2;
            }
        }
        set_u16(&mut packet, transport, self.source_port);
        set_u16(&mut packet, transport + 2, 443);
        if self.protocol == TCP {
            set_u32(&mut packet, transport + 4, self.sequence);
            set_u32(&mut packet, transport + 8, 99);
            packet[transport + 12] = 0x80;
            packet[transport + 13] = self.flags;
            set_u16(&mut packet, transport + 14, 500);
            packet[transport + 20..transport + 24].copy_from_slice(&[1, 1, 8, 10]);
            set_u32(&mut packet, transport + 24, self.timestamp);
        } else {
            set_u16(&mut packet, transport + 4, (8 + payload.len()) as u16);
        }
        packet[headers..].copy_from_slice(payload);
        let length = packet.len();
        set_ip_length(&mut packet, self.version, transport, length);
        packet
    }

    fn checksum_offset(&self) -> usize {
        if self.protocol == TCP { TCP_CHECKSUM } else { UDP_CHECKSUM }
    }

    fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let mut packet = self.unsummed(payload);
        let checksum = checksum(&packet, self.version, self.protocol, self.transport());
        set_u16(&mut packet, self.transport() + self.checksum_offset(), checksum);
        packet
    }

    /// The same as the system gives it for segmentation.
    fn burst(&self, payload: &[u8], segment_size: u16, ecn: bool) -> Vec<u8> {
        let mut packet = self.unsummed(payload);
        let length = packet.len() - self.transport();
        let partial = fold(pseudo_header(&packet, self.version, self.protocol, length));
        set_u16(&mut packet, self.transport() + self.checksum_offset(), partial);
        let kind = match (self.protocol, self.version) {
            (TCP, Version::V4) => KIND_TCP_V4,
            (TCP, Version::V6) => KIND_TCP_V6,
            _ => KIND_UDP,
        };
        let header = VirtioHeader {
            flags: NEEDS_CHECKSUM,
            kind: if ecn { kind | KIND_ECN } else { kind },
            header_length: 0,
            segment_size,
            checksum_start: self.transport() as u16,
            checksum_offset: self.checksum_offset() as u16,
        };
        [&header.to_bytes()[..], &packet].concat()
    }

    /// Packets of `sizes` that follow one another.
    fn flow(mut self, sizes: &[usize]) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        for &size in sizes {
            packets.push(self.packet(&bytes(size, packets.len())));
            self.sequence = self.sequence.wrapping_add(size as u32);
            self.id = self.id.wrapping_add(1);
        }
        packets
    }
}

/// Returns the checksum of the transport segment `packet[transport..]`, whose own field must be zero.
fn checksum(packet: &[u8], version: Version, protocol: u8, transport: usize) -> u16 {
    let pseudo_header = fold(pseudo_header(packet, version, protocol, 0));
    transport_checksum(&packet[transport..], pseudo_header, protocol)
}

fn bytes(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|i| ((i * 31 + seed * 17) >> 2) as u8).collect()
}

/// What a device reads when it is given `burst`, cut into packets. Writes over the room behind each packet.
fn cut(burst: &[u8]) -> Vec<Vec<u8>> {
    let mut batch = PacketBatch::new();
    batch.space()[..burst.len()].copy_from_slice(burst);
    batch.commit_offloaded(burst.len()).unwrap();
    batch.push(&[0x45; 20]);
    let mut packets = Vec::new();
    while let Some((buffer, length)) = batch.next_packet(0) {
        packets.push(buffer[..length].to_vec());
        buffer[length..].fill(0xee);
    }
    assert_eq!(batch.next_packet(1).unwrap().0[..20], [0x45; 20]);
    packets
}

/// Writes `packets` as bursts, and returns for each its header and bytes.
fn join(packets: &[Vec<u8>], udp: UdpBursts) -> Vec<Vec<u8>> {
    let mut batch = PacketBatch::new();
    for packet in packets {
        batch.push(packet);
    }
    let mut coalescer = Coalescer::default();
    coalescer.group(&mut batch, udp);
    let write = |burst| {
        let (header, parts) = coalescer.parts(burst, &batch);
        let mut bytes = header.to_bytes().to_vec();
        parts.for_each(|part| bytes.extend_from_slice(part));
        bytes
    };
    coalescer.bursts().iter().map(write).collect()
}

#[test]
fn a_burst_is_cut_into_right_packets() {
    for model in [TCP_V4, TCP_V6, UDP_V4, UDP_V6] {
        for (length, size) in [(1, 1_000), (1_000, 1_000), (1_001, 1_000), (5_000, 10), (65_000, 1_368), (64, 1)] {
            let payload = bytes(length, 3);
            let packets = cut(&model.burst(&payload, size, false));
            assert_eq!(packets.len(), length.div_ceil(size.into()));
            let mut expected = model;
            for (packet, payload) in packets.iter().zip(payload.chunks(size.into())) {
                assert_eq!(packet, &expected.packet(payload), "{model:?} {length} {size}");
                expected.sequence = expected.sequence.wrapping_add(u32::from(size));
                expected.id = expected.id.wrapping_add(1);
            }
        }
    }
}

#[test]
fn the_last_packet_pushes_and_the_first_says_that_the_window_shrank() {
    let model = Model { flags: ACK | PSH | FIN | CWR | ECE, ..TCP_V4 };
    let flags: Vec<_> = cut(&model.burst(&bytes(300, 0), 100, true)).iter().map(|packet| packet[33]).collect();
    assert_eq!(flags, [ACK | CWR | ECE, ACK | ECE, ACK | ECE | PSH | FIN]);
}

#[test]
fn packets_join_and_come_back_as_they_were() {
    for model in [TCP_V4, TCP_V6, UDP_V4, UDP_V6, Model { dont_fragment: false, ..TCP_V4 }] {
        for sizes in [vec![1_368; 40], vec![1_368, 1_368, 12], vec![1; 30], vec![700, 699], vec![1_001, 1_001, 1]] {
            let packets = model.flow(&sizes);
            let bursts = join(&packets, UdpBursts::Yes);
            assert_eq!(bursts.len(), 1, "{model:?} {sizes:?}");
            assert_eq!(cut(&bursts[0]), packets);
        }
    }
}

#[test]
fn a_joined_burst_has_the_sum_that_the_system_completes() {
    let burst = &join(&TCP_V4.flow(&[500, 500]), UdpBursts::No)[0];
    let (header, packet) = burst.split_at(HEADER);
    assert_eq!(header[0], NEEDS_CHECKSUM);
    let mut packet = packet.to_vec();
    let checksum = !fold(sum(&packet[20..]));
    set_u16(&mut packet, 20 + TCP_CHECKSUM, checksum);
    assert!(transport_is_intact(&packet, Version::V4, TCP, 20));
    assert_eq!(fold(sum(&packet[..20])), 0xffff);
    assert_eq!(usize::from(u16_at(&packet, 2)), packet.len());
}

/// Each pair stays two, with every byte.
#[test]
fn packets_that_a_cut_would_not_give_back_do_not_join() {
    let first = TCP_V4.packet(&bytes(100, 0));
    let follows = Model { sequence: TCP_V4.sequence.wrapping_add(100), id: TCP_V4.id.wrapping_add(1), ..TCP_V4 };
    let good = follows.packet(&bytes(100, 1));
    assert_eq!(join(&[first.clone(), good.clone()], UdpBursts::No).len(), 1);

    let with = |change: fn(&mut Vec<u8>)| {
        let mut packet = good.clone();
        change(&mut packet);
        set_u16(&mut packet, 20 + TCP_CHECKSUM, 0);
        let checksum = checksum(&packet, Version::V4, TCP, 20);
        set_u16(&mut packet, 20 + TCP_CHECKSUM, checksum);
        let length = packet.len();
        set_ip_length(&mut packet, Version::V4, 20, length);
        packet
    };
    let strangers = [
        ("another service", with(|packet| packet[1] = 1)),
        ("another time to live", with(|packet| packet[8] = 63)),
        ("may be fragmented, with another identification", with(|packet| (packet[6], packet[5]) = (0, 77))),
        ("a fragment", with(|packet| packet[6] = 0x20)),
        ("another port", with(|packet| packet[21] ^= 1)),
        ("a gap", with(|packet| packet[27] ^= 1)),
        ("another acknowledgement", with(|packet| packet[31] ^= 1)),
        ("another window", with(|packet| packet[35] ^= 1)),
        ("an urgent pointer", with(|packet| packet[39] ^= 1)),
        ("another option", with(|packet| packet[47] ^= 1)),
        ("longer", follows.packet(&bytes(101, 1))),
        ("without payload", follows.packet(&[])),
        ("FIN", with(|packet| packet[33] |= FIN)),
        ("SYN", with(|packet| packet[33] |= 2)),
        ("RST", with(|packet| packet[33] |= 4)),
        ("URG", with(|packet| packet[33] |= 0x20)),
        ("CWR", with(|packet| packet[33] |= CWR)),
        ("ECE beside none", with(|packet| packet[33] |= ECE)),
        ("a wrong checksum", {
            let mut packet = good.clone();
            packet[60] ^= 1;
            packet
        }),
        ("a wrong header checksum", {
            let mut packet = good.clone();
            packet[10] ^= 1;
            packet
        }),
        ("bytes behind it", [&good[..], &[0; 4]].concat()),
        ("cut off", good[..good.len() - 1].to_vec()),
        ("UDP", UDP_V4.packet(&bytes(100, 1))),
        ("IPv6", TCP_V6.packet(&bytes(100, 1))),
    ];
    for (what, packet) in strangers {
        let packets = [first.clone(), packet];
        let bursts = join(&packets, UdpBursts::Yes);
        assert_eq!(bursts.len(), 2, "{what}");
        for (burst, packet) in bursts.iter().zip(&packets) {
            assert_eq!(burst[..HEADER], [0; HEADER], "{what}");
            assert_eq!(&burst[HEADER..], packet, "{what}");
        }
    }
}

#[test]
fn a_packet_with_a_wrong_checksum_at_the_start_is_never_repaired() {
    for model in [TCP_V4, UDP_V6] {
        let mut packets = model.flow(&[100, 100, 100]);
        *packets[0].last_mut().unwrap() ^= 1;
        let bursts = join(&packets, UdpBursts::Yes);
        assert_eq!(bursts.len(), 2);
        assert_eq!(&bursts[0][HEADER..], &packets[0]);
        assert_eq!(cut(&bursts[1]), packets[1..]);
    }
}

#[test]
fn a_push_and_a_shorter_packet_end_their_burst() {
    let mut packets = TCP_V4.flow(&[100; 4]);
    packets[1] = Model {
        flags: ACK | PSH,
        sequence: TCP_V4.sequence.wrapping_add(100),
        id: TCP_V4.id.wrapping_add(1),
        ..TCP_V4
    }
    .packet(&bytes(100, 1));
    let bursts = join(&packets, UdpBursts::No);
    assert_eq!(bursts.iter().map(|burst| cut(burst).len()).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(bursts.iter().flat_map(|burst| cut(burst)).collect::<Vec<_>>(), packets);

    let packets = TCP_V4.flow(&[100, 50, 50]);
    assert_eq!(join(&packets, UdpBursts::No).iter().map(|burst| cut(burst).len()).collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn flows_join_beside_each_other_and_each_keeps_its_order() {
    let other = Model { source_port: 9, ..TCP_V4 };
    let (a, b) = (TCP_V4.flow(&[100; 5]), other.flow(&[200; 5]));
    let ack = Model { sequence: u32_at(&a[3], 24), flags: ACK, ..TCP_V4 }.packet(&[]);
    let mixed: Vec<_> = [&a[0], &b[0], &a[1], &b[1], &a[2], &ack, &a[3], &b[2], &a[4]].map(Clone::clone).into();
    let bursts: Vec<_> = join(&mixed, UdpBursts::No);
    let counts: Vec<_> = bursts.iter().map(|burst| if burst[1] == 0 { 1 } else { cut(burst).len() }).collect();
    assert_eq!(counts, [3, 3, 1, 2]);

    // Nothing goes past a packet whose flow cannot be told.
    let fragment = {
        let mut packet = a[1].clone();
        packet[6] = 0x20;
        packet
    };
    assert_eq!(join(&[a[0].clone(), fragment, a[1].clone()], UdpBursts::No).len(), 3);
}

#[test]
fn datagrams_join_only_where_the_system_takes_them_so() {
    assert_eq!(join(&UDP_V4.flow(&[100; 5]), UdpBursts::No).len(), 5);
    assert_eq!(join(&UDP_V4.flow(&[100; 100]), UdpBursts::Yes).len(), 2);
    let mut bare = UDP_V4.flow(&[100; 2]);
    bare.iter_mut().for_each(|packet| set_u16(packet, 20 + UDP_CHECKSUM, 0));
    assert_eq!(join(&bare, UdpBursts::Yes).len(), 2, "no checksum");
}

#[test]
fn a_burst_is_never_larger_than_a_packet_may_be() {
    let bursts = join(&TCP_V4.flow(&[1_368; 100]), UdpBursts::No);
    assert!(bursts.iter().all(|burst| burst.len() <= HEADER + MAX_PACKET));
    assert_eq!(bursts.iter().map(|burst| cut(burst).len()).collect::<Vec<_>>(), [47, 47, 6]);
}

#[test]
fn headers_that_do_not_fit_their_packet_are_refused() {
    let good = TCP_V4.burst(&bytes(100, 0), 50, false);
    let refused = |bytes: &[u8]| {
        let mut batch = PacketBatch::new();
        batch.space()[..bytes.len()].copy_from_slice(bytes);
        batch.commit_offloaded(bytes.len()).is_err() && batch.is_empty()
    };
    assert!(!refused(&good));
    for length in 0..HEADER + 52 {
        assert!(refused(&good[..length]), "{length}");
    }
    let with = |at: usize, value: u16| {
        let mut bytes = good.clone();
        bytes[at..at + 2].copy_from_slice(&value.to_ne_bytes());
        bytes
    };
    assert!(refused(&with(4, 0)), "segments without payload");
    assert!(refused(&with(6, 19)), "a transport header within the IP header");
    assert!(refused(&with(6, 65_000)), "a transport header behind the packet");
    for kind in [2, 3, KIND_TCP_V6, 6, 0x7f] {
        let mut bytes = good.clone();
        bytes[1] = kind;
        assert!(refused(&bytes), "kind {kind}");
    }
    let mut plain = good.clone();
    plain[1] = 0;
    assert!(!refused(&plain));
    plain[8..10].copy_from_slice(&u16::MAX.to_ne_bytes());
    assert!(refused(&plain), "a checksum behind the packet");
}
