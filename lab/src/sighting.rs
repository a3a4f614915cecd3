//! One packet on the wire, as an observer without keys reads it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::datagram::{Datagram, ETHERNET, Message};

/// Bytes of each frame that [`Sighting::parse`] looks at: Ethernet, the longest IPv4 header, UDP and WireGuard's message
/// type.
pub const HEADER_BYTES: u16 = 14 + 60 + 8 + 4;

/// The two ends of the tunnel on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    /// Where the client is.
    pub client: Ipv4Addr,
    /// Where the relay is.
    pub relay: Ipv4Addr,
}

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the client to the relay.
    Upload,
    /// From the relay to the client.
    Download,
}

/// What a datagram is by WireGuard's message type, which is not encrypted (whitepaper §5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
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
pub struct Sighting {
    /// Which way it goes.
    pub direction: Direction,
    /// Bytes of UDP payload.
    pub bytes: u32,
    /// Bytes of the IP packet, headers included.
    pub ip_bytes: u32,
    /// What it is.
    pub message: Kind,
}

impl Sighting {
    /// Reads an Ethernet frame, of which the end may be missing; `None` unless it holds a whole datagram between `ends`.
    pub fn parse(frame: &[u8], ends: Ends) -> Option<Self> {
        const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
        const HEADERS: usize = 20 + 8;

        let (ethernet, packet) = frame.split_at_checked(ETHERNET)?;
        if !ethernet.ends_with(&ETHERTYPE_IPV4) {
            return None;
        }
        let (datagram, _) = Datagram::parse(Duration::ZERO, packet)?;
        let direction = ends.direction(datagram.source, datagram.destination)?;
        if datagram.is_fragment() || datagram.length + HEADERS > datagram.ip.total_length {
            return None;
        }
        let (bytes, ip_bytes) = (datagram.length.try_into().ok()?, datagram.ip.total_length.try_into().ok()?);
        Some(Self { direction, bytes, ip_bytes, message: Kind::of(&datagram.message, datagram.length) })
    }
}

impl Ends {
    /// Tells which way something goes; `None` if it is not from one to the other.
    fn direction(self, source: IpAddr, destination: IpAddr) -> Option<Direction> {
        let (client, relay) = (IpAddr::V4(self.client), IpAddr::V4(self.relay));
        if (source, destination) == (client, relay) {
            Some(Direction::Upload)
        } else if (source, destination) == (relay, client) {
            Some(Direction::Download)
        } else {
            None
        }
    }
}

impl Kind {
    /// Names a message of `length` bytes by its type and the reserved bytes behind it.
    fn of(message: &Message, length: usize) -> Self {
        match (message.kind, message.reserved, length) {
            (1, [0, 0, 0], 148) => Self::Initiation,
            (2, [0, 0, 0], 92) => Self::Response,
            (3, [0, 0, 0], 64) => Self::Cookie,
            (4, [0, 0, 0], 32) => Self::Keepalive,
            (4, [0, 0, 0], 33..) => Self::Data,
            _ => Self::Unknown,
        }
    }
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
        let up = Sighting::parse(&frame(ENDS.client, ENDS.relay, &message(4, 96)), ENDS).unwrap();
        assert_eq!(up, Sighting { direction: Direction::Upload, bytes: 96, ip_bytes: 124, message: Kind::Data });
        let down = Sighting::parse(&frame(ENDS.relay, ENDS.client, &message(4, 1452)), ENDS).unwrap();
        assert_eq!(down.direction, Direction::Download);
        assert_eq!((down.bytes, down.ip_bytes), (1452, 1480));
    }

    #[test]
    fn message_types_are_told_by_type_and_length() {
        let cases = [
            (1, 148, Kind::Initiation),
            (2, 92, Kind::Response),
            (3, 64, Kind::Cookie),
            (4, 32, Kind::Keepalive),
            (4, 48, Kind::Data),
            (4, 31, Kind::Unknown),
            (1, 147, Kind::Unknown),
            (5, 100, Kind::Unknown),
        ];
        for (kind, length, expected) in cases {
            let datagram = Sighting::parse(&frame(ENDS.client, ENDS.relay, &message(kind, length)), ENDS).unwrap();
            assert_eq!(datagram.message, expected, "type {kind}, {length} bytes");
        }
    }

    #[test]
    fn a_frame_cut_after_the_headers_keeps_its_size() {
        let mut cut = frame(ENDS.relay, ENDS.client, &message(4, 1452));
        cut.truncate(HEADER_BYTES.into());
        assert_eq!(Sighting::parse(&cut, ENDS).unwrap().bytes, 1452);
    }

    #[test]
    fn what_is_not_the_tunnels_is_none() {
        let stranger = Ipv4Addr::new(192, 0, 2, 3);
        assert_eq!(Sighting::parse(&frame(stranger, ENDS.relay, &message(4, 96)), ENDS), None);
        let good = frame(ENDS.client, ENDS.relay, &message(4, 96));
        let with = |at: usize, byte: u8| {
            let mut frame = good.clone();
            frame[at] = byte;
            Sighting::parse(&frame, ENDS)
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
            Sighting::parse(&frame, ENDS);
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
            if let Some(datagram) = Sighting::parse(&frame, ENDS) {
                prop_assert!(datagram.bytes + 28 <= datagram.ip_bytes && datagram.ip_bytes <= 65_535);
            }
        }
    }
}
