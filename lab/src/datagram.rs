//! A datagram on the wire, as an observer without keys reads it.

use std::net::IpAddr;
use std::time::Duration;

/// Bytes of Ethernet's header.
pub const ETHERNET: usize = 14;

/// Protocol numbers of UDP and of IPv6's fragment header.
const UDP: u8 = 17;
const FRAGMENT: u8 = 44;

/// Bytes of an IPv4 header without options.
const IPV4_HEADER: usize = 20;

/// Bytes of UDP's header.
const UDP_HEADER: usize = 8;

/// A UDP datagram on the wire, or a fragment of one: all that an observer reads of it before the ciphertext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// When it passed, since 1970.
    pub at: Duration,
    /// Where it came from.
    pub source: IpAddr,
    /// Where it goes.
    pub destination: IpAddr,
    /// The rest of the IP header.
    pub ip: IpFields,
    /// The UDP ports of sender and receiver; 0 in a later fragment.
    pub ports: [u16; 2],
    /// The length that the UDP header states, in bytes; 0 in a later fragment.
    pub udp_length: u16,
    /// The checksum of the UDP header; 0 is none.
    pub udp_checksum: u16,
    /// Bytes of UDP payload; 0 in a later fragment.
    pub length: usize,
    /// What the payload starts with.
    pub message: Message,
}

/// The fields of an IP header but for addresses and checksum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IpFields {
    /// Bytes of header and payload together.
    pub total_length: usize,
    /// DSCP and ECN: the type of service of IPv4, the traffic class of IPv6.
    pub traffic_class: u8,
    /// The identification of IPv4, or of IPv6's fragment header; 0 where there is none.
    pub id: u32,
    /// IPv4's DF bit.
    pub dont_fragment: bool,
    /// Whether another fragment follows.
    pub more_fragments: bool,
    /// Where a fragment belongs, in bytes.
    pub fragment_offset: usize,
    /// The time to live, or the hop limit.
    pub hops: u8,
    /// IPv6's flow label; 0 for IPv4.
    pub flow_label: u32,
}

/// The clear part of a WireGuard message (whitepaper, section 5.4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Message {
    /// The type byte: 1 initiation, 2 response, 3 cookie reply, 4 transport data; 0 if there is none.
    pub kind: u8,
    /// The three bytes behind it, which WireGuard leaves zero.
    pub reserved: [u8; 3],
    /// The sender's session index.
    pub sender: Option<u32>,
    /// The receiver's session index.
    pub receiver: Option<u32>,
    /// The counter of transport data.
    pub counter: Option<u64>,
}

impl Datagram {
    /// Tells whether it is a transport data message.
    pub fn is_data(&self) -> bool {
        self.message.counter.is_some()
    }

    /// Tells whether it is a part of a datagram that was cut.
    pub fn is_fragment(&self) -> bool {
        self.ip.more_fragments || self.ip.fragment_offset > 0
    }

    /// Reads an IP packet that was captured at `at`, and returns its UDP payload as far as it was captured; `None` if
    /// it is not UDP.
    pub fn parse(at: Duration, packet: &[u8]) -> Option<(Self, &[u8])> {
        let (source, destination, ip, protocol, payload) = match packet.first()? >> 4 {
            4 => parse_v4(packet)?,
            6 => parse_v6(packet)?,
            _ => return None,
        };
        if protocol != UDP {
            return None;
        }
        let datagram = Self {
            at,
            source,
            destination,
            ip,
            ports: [0; 2],
            udp_length: 0,
            udp_checksum: 0,
            length: 0,
            message: Message::default(),
        };
        if ip.fragment_offset > 0 {
            return Some((datagram, &[]));
        }
        let (header, payload) = payload.split_at_checked(UDP_HEADER)?;
        let [source_port, destination_port, udp_length, udp_checksum] = [0, 2, 4, 6].map(|at| be16(header, at));
        let datagram = Self {
            ports: [source_port, destination_port],
            udp_length,
            udp_checksum,
            length: usize::from(udp_length).checked_sub(UDP_HEADER)?,
            message: Message::parse(payload),
            ..datagram
        };
        Some((datagram, payload))
    }
}

impl Message {
    /// Reads the payload of a datagram, as far as it is there.
    pub fn parse(payload: &[u8]) -> Self {
        let word = |at: usize| Some(u32::from_le_bytes(payload.get(at..at + 4)?.try_into().ok()?));
        let Some(&[kind, first, second, third]) = payload.first_chunk() else { return Self::default() };
        let message = Self { kind, reserved: [first, second, third], ..Self::default() };
        match kind {
            1 => Self { sender: word(4), ..message },
            2 => Self { sender: word(4), receiver: word(8), ..message },
            3 => Self { receiver: word(4), ..message },
            4 => {
                let counter = payload.get(8..16).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
                Self { receiver: word(4), counter, ..message }
            }
            _ => message,
        }
    }
}

type Parsed<'a> = (IpAddr, IpAddr, IpFields, u8, &'a [u8]);

fn parse_v4(packet: &[u8]) -> Option<Parsed<'_>> {
    let (header, payload) = packet.split_at_checked(usize::from(packet.first()? & 15) * 4)?;
    if header.len() < IPV4_HEADER {
        return None;
    }
    let flags = be16(header, 6);
    let address = |at: usize| IpAddr::from([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let ip = IpFields {
        total_length: be16(header, 2).into(),
        traffic_class: header[1],
        id: be16(header, 4).into(),
        dont_fragment: flags & 1 << 14 != 0,
        more_fragments: flags & 1 << 13 != 0,
        fragment_offset: usize::from(flags & 0x1fff) * 8,
        hops: header[8],
        flow_label: 0,
    };
    Some((address(12), address(16), ip, header[9], payload))
}

fn parse_v6(packet: &[u8]) -> Option<Parsed<'_>> {
    let (header, payload) = packet.split_first_chunk::<40>()?;
    let first = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
    let address = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(&header[at..at + 16]).ok()?));
    let ip = IpFields {
        total_length: header.len() + usize::from(be16(header, 4)),
        traffic_class: (first >> 20) as u8,
        hops: header[7],
        flow_label: first & 0xf_ffff,
        ..IpFields::default()
    };
    let (source, destination) = (address(8)?, address(24)?);
    if header[6] != FRAGMENT {
        return Some((source, destination, ip, header[6], payload));
    }
    let (fragment, payload) = payload.split_first_chunk::<8>()?;
    let place = be16(fragment, 2);
    let id = u32::from_be_bytes([fragment[4], fragment[5], fragment[6], fragment[7]]);
    let ip = IpFields { id, more_fragments: place & 1 != 0, fragment_offset: usize::from(place & !7), ..ip };
    Some((source, destination, ip, fragment[0], payload))
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_field_of_ipv4_is_read() {
        let mut packet = vec![0x45, 0xb8, 0, 44, 0x12, 0x34, 0x40, 0, 63, UDP, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
        packet.extend([0xca, 0x6c, 0x12, 0x34, 0, 24, 0xab, 0xcd]);
        packet.extend([4, 0, 0, 0, 1, 2, 3, 4, 5, 0, 0, 0, 0, 0, 0, 0]);
        let (datagram, payload) = Datagram::parse(Duration::ZERO, &packet).expect("a datagram");
        assert_eq!([datagram.source, datagram.destination], [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from));
        let ip = IpFields { total_length: 44, traffic_class: 0xb8, id: 0x1234, hops: 63, ..IpFields::default() };
        assert_eq!(datagram.ip, IpFields { dont_fragment: true, ..ip });
        assert_eq!((datagram.ports, datagram.udp_length, datagram.udp_checksum), ([51820, 0x1234], 24, 0xabcd));
        let message = Message { kind: 4, receiver: Some(0x0403_0201), counter: Some(5), ..Message::default() };
        assert_eq!((datagram.message, datagram.length, payload.len()), (message, 16, 16));
        assert!(datagram.is_data() && !datagram.is_fragment());
    }

    #[test]
    fn every_field_of_ipv6_and_of_its_fragments_is_read() {
        let mut packet = vec![0x6b, 0x81, 0x23, 0x45, 0, 16, FRAGMENT, 61];
        packet.extend([[0x20; 16], [0x30; 16]].concat());
        packet.extend([UDP, 0, 0, 9, 1, 2, 3, 4]);
        packet.extend([0xca, 0x6c, 0xca, 0x6d, 0x05, 0x8c, 0, 1]);
        let (datagram, _) = Datagram::parse(Duration::ZERO, &packet).expect("a datagram");
        let ip = IpFields { total_length: 56, traffic_class: 0xb8, id: 0x0102_0304, ..IpFields::default() };
        assert_eq!(
            datagram.ip,
            IpFields { flow_label: 0x1_2345, hops: 61, fragment_offset: 8, more_fragments: true, ..ip }
        );
        assert_eq!((datagram.ports, datagram.length, datagram.message), ([0; 2], 0, Message::default()), "no header");
        packet[43] = 1;
        let (datagram, _) = Datagram::parse(Duration::ZERO, &packet).expect("a datagram");
        assert_eq!((datagram.ports, datagram.length), ([51820, 51821], 1_412));
        assert!(datagram.is_fragment());
    }

    proptest! {
        #[test]
        fn hostile_packets_never_panic(version in 0u8..16, mut packet in prop::collection::vec(any::<u8>(), 0..120)) {
            if let Some(first) = packet.first_mut() {
                *first = version << 4 | *first & 15;
            }
            Datagram::parse(Duration::ZERO, &packet);
        }
    }
}
