//! One packet on the wire, as an observer without keys reads it.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// Bytes of each frame that [`parse`] looks at: Ethernet, the longest IPv4 header, UDP and WireGuard's message type.
pub(super) const HEADER_BYTES: usize = 14 + 60 + 8 + 4;

/// The two ends of the tunnel on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ends {
    pub(super) client: Ipv4Addr,
    pub(super) relay: Ipv4Addr,
}

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Direction {
    /// From the client to the relay.
    Upload,
    /// From the relay to the client.
    Download,
}

/// What a datagram is by WireGuard's message type, which is not encrypted (whitepaper §5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Message {
    /// A handshake's first message.
    Initiation,
    /// A handshake's second message.
    Response,
    /// A cookie, asked of a sender under load.
    Cookie,
    /// Transport data with something inside.
    Data,
    /// Transport data with nothing inside.
    Keepalive,
    /// None of WireGuard's.
    Unknown,
}

/// A datagram of the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Datagram {
    pub(super) direction: Direction,
    /// Bytes of UDP payload.
    pub(super) bytes: u32,
    /// Bytes of the IP packet, headers included.
    pub(super) ip_bytes: u32,
    pub(super) message: Message,
}

/// Reads an Ethernet frame, of which the end may be missing; `None` unless it holds a whole datagram between `ends`.
pub(super) fn parse(frame: &[u8], ends: Ends) -> Option<Datagram> {
    const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
    const PROTOCOL_UDP: u8 = 17;
    /// The flag "more fragments" and the fragment's offset.
    const FRAGMENT: u16 = 0x3fff;

    if frame.get(12..14)? != ETHERTYPE_IPV4 {
        return None;
    }
    let ip = &frame[14..];
    let version_and_length = *ip.first()?;
    let header = usize::from(version_and_length & 0x0f) * 4;
    let total = usize::from(u16_at(ip, 2)?);
    if version_and_length >> 4 != 4 || header < 20 || total < header + 8 {
        return None;
    }
    if u16_at(ip, 6)? & FRAGMENT != 0 || *ip.get(9)? != PROTOCOL_UDP {
        return None;
    }
    let (source, destination) = (address_at(ip, 12)?, address_at(ip, 16)?);
    let direction = if (source, destination) == (ends.client, ends.relay) {
        Direction::Upload
    } else if (source, destination) == (ends.relay, ends.client) {
        Direction::Download
    } else {
        return None;
    };
    let udp = ip.get(header..)?;
    let length = usize::from(u16_at(udp, 4)?);
    if length < 8 || length > total - header {
        return None;
    }
    let bytes = length - 8;
    let message = udp.get(8..12).map_or(Message::Unknown, |start| classify(start, bytes));
    Some(Datagram { direction, bytes: u32::try_from(bytes).ok()?, ip_bytes: u32::try_from(total).ok()?, message })
}

/// Names a message by its first four bytes, little endian, and its length in bytes.
fn classify(start: &[u8], length: usize) -> Message {
    match (start, length) {
        ([1, 0, 0, 0], 148) => Message::Initiation,
        ([2, 0, 0, 0], 92) => Message::Response,
        ([3, 0, 0, 0], 64) => Message::Cookie,
        ([4, 0, 0, 0], 32) => Message::Keepalive,
        ([4, 0, 0, 0], 33..) => Message::Data,
        _ => Message::Unknown,
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let (value, _) = bytes.get(at..)?.split_first_chunk()?;
    Some(u16::from_be_bytes(*value))
}

fn address_at(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    let (octets, _) = bytes.get(at..)?.split_first_chunk::<4>()?;
    Some(Ipv4Addr::from(*octets))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ENDS: Ends = Ends { client: Ipv4Addr::new(192, 0, 2, 2), relay: Ipv4Addr::new(192, 0, 2, 1) };

    fn frame(source: Ipv4Addr, destination: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00]);
        let total = u16::try_from(28 + payload.len()).unwrap();
        frame.extend([0x45, 0]);
        frame.extend(total.to_be_bytes());
        frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
        frame.extend(source.octets());
        frame.extend(destination.octets());
        frame.extend([0xca, 0x6c, 0xca, 0x6c]);
        frame.extend((total - 20).to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(payload);
        frame
    }

    fn message(kind: u8, length: usize) -> Vec<u8> {
        let mut payload = vec![0; length];
        payload[0] = kind;
        payload
    }

    #[test]
    fn addresses_tell_the_direction_and_headers_the_size() {
        let up = parse(&frame(ENDS.client, ENDS.relay, &message(4, 96)), ENDS).unwrap();
        assert_eq!(up, Datagram { direction: Direction::Upload, bytes: 96, ip_bytes: 124, message: Message::Data });
        let down = parse(&frame(ENDS.relay, ENDS.client, &message(4, 1452)), ENDS).unwrap();
        assert_eq!(down.direction, Direction::Download);
        assert_eq!((down.bytes, down.ip_bytes), (1452, 1480));
    }

    #[test]
    fn message_types_are_told_by_type_and_length() {
        let cases = [
            (1, 148, Message::Initiation),
            (2, 92, Message::Response),
            (3, 64, Message::Cookie),
            (4, 32, Message::Keepalive),
            (4, 48, Message::Data),
            (4, 31, Message::Unknown),
            (1, 147, Message::Unknown),
            (5, 100, Message::Unknown),
        ];
        for (kind, length, expected) in cases {
            let datagram = parse(&frame(ENDS.client, ENDS.relay, &message(kind, length)), ENDS).unwrap();
            assert_eq!(datagram.message, expected, "type {kind}, {length} bytes");
        }
    }

    #[test]
    fn a_frame_cut_after_the_headers_keeps_its_size() {
        let mut cut = frame(ENDS.relay, ENDS.client, &message(4, 1452));
        cut.truncate(HEADER_BYTES);
        assert_eq!(parse(&cut, ENDS).unwrap().bytes, 1452);
    }

    #[test]
    fn what_is_not_the_tunnels_is_none() {
        let stranger = Ipv4Addr::new(192, 0, 2, 3);
        assert_eq!(parse(&frame(stranger, ENDS.relay, &message(4, 96)), ENDS), None);
        let good = frame(ENDS.client, ENDS.relay, &message(4, 96));
        let with = |at: usize, byte: u8| {
            let mut frame = good.clone();
            frame[at] = byte;
            parse(&frame, ENDS)
        };
        assert_eq!(with(13, 0x06), None, "ARP");
        assert_eq!(with(14, 0x65), None, "IP version 6");
        assert_eq!(with(14, 0x44), None, "an IP header of 16 bytes");
        assert_eq!(with(16, 0xff).map(|datagram| datagram.bytes), Some(96), "trailing bytes that UDP does not claim");
        assert_eq!(with(17, 27), None, "an IP packet too short for UDP");
        assert_eq!(with(20, 0x20), None, "a fragment");
        assert_eq!(with(23, 6), None, "TCP");
        assert_eq!(with(38, 0xff), None, "a UDP length beyond the packet");
        assert_eq!(with(39, 7), None, "a UDP length below its header");
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(frame in prop::collection::vec(any::<u8>(), 0..200)) {
            parse(&frame, ENDS);
        }

        #[test]
        fn damaged_frames_never_claim_more_than_an_ip_packet_holds(
            damage in prop::collection::vec((14usize..46, any::<u8>()), 0..4),
            length in 0usize..=110,
        ) {
            let mut frame = frame(ENDS.client, ENDS.relay, &message(4, 64));
            for (at, byte) in damage {
                frame[at] = byte;
            }
            frame.truncate(length);
            if let Some(datagram) = parse(&frame, ENDS) {
                prop_assert!(datagram.bytes + 28 <= datagram.ip_bytes && datagram.ip_bytes <= 65_535);
            }
        }
    }
}
