//! As much of an IP header as a tunnel needs: version, length and addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;

/// Bits of IPv4's fragment field (RFC 791, section 3.1): that more follow, and where the fragment belongs, in units of eight
/// bytes.
#[cfg(feature = "device")]
pub(crate) const MORE_FRAGMENTS: u16 = 0x2000;
#[cfg(feature = "device")]
pub(crate) const FRAGMENT_OFFSET: u16 = 0x1fff;

/// What the header of a packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpHeader {
    /// The source address.
    pub source: IpAddr,
    /// The destination address.
    pub destination: IpAddr,
    /// The length of the whole packet, in bytes, as the header states it.
    pub length: usize,
}

impl IpHeader {
    /// Reads the header of `packet`: RFC 791 §3.1 or RFC 8200 §3.
    ///
    /// Returns `None` unless the packet is IP version 4 or 6, holds a whole header, and states a length that covers the
    /// header and lies within `packet`.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => {
                let (header, _) = packet.split_first_chunk::<IPV4_HEADER>()?;
                let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
                let header_length = usize::from(header[0] & 0x0f) * 4;
                if header_length < IPV4_HEADER || length < header_length || length > packet.len() {
                    return None;
                }
                let address =
                    |at: usize| IpAddr::V4(Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]));
                Some(Self { source: address(12), destination: address(16), length })
            }
            6 => {
                let (header, _) = packet.split_first_chunk::<IPV6_HEADER>()?;
                let length = IPV6_HEADER + usize::from(u16::from_be_bytes([header[4], header[5]]));
                if length > packet.len() {
                    return None;
                }
                let address = |at: usize| {
                    let mut octets = [0; 16];
                    octets.copy_from_slice(&header[at..at + 16]);
                    IpAddr::V6(Ipv6Addr::from(octets))
                };
                Some(Self { source: address(8), destination: address(24), length })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Builds an IPv4 packet whose payload is `payload`.
    pub(crate) fn ipv4(source: [u8; 4], destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(IPV4_HEADER + payload.len()).unwrap();
        let mut packet = vec![0x45, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, 253, 0, 0]);
        packet.extend(source);
        packet.extend(destination);
        packet.extend(payload);
        packet
    }

    #[test]
    fn reads_both_versions() {
        let packet = ipv4([10, 0, 0, 1], [10, 0, 0, 2], b"hello");
        let header = IpHeader::parse(&packet).unwrap();
        assert_eq!(header.source, IpAddr::from([10, 0, 0, 1]));
        assert_eq!(header.destination, IpAddr::from([10, 0, 0, 2]));
        assert_eq!(header.length, 25);

        let mut packet = vec![0x60, 0, 0, 0, 0, 3, 59, 64];
        packet.extend(Ipv6Addr::LOCALHOST.octets());
        packet.extend(Ipv6Addr::UNSPECIFIED.octets());
        packet.extend(b"abc");
        let header = IpHeader::parse(&packet).unwrap();
        assert_eq!(header.source, IpAddr::V6(Ipv6Addr::LOCALHOST));
        assert_eq!(header.length, 43);
    }

    #[test]
    fn zeros_behind_the_packet_are_not_counted() {
        let mut packet = ipv4([10, 0, 0, 1], [10, 0, 0, 2], b"hello");
        packet.resize(1_420, 0);
        assert_eq!(IpHeader::parse(&packet).unwrap().length, 25);
    }

    #[test]
    fn a_length_that_lies_is_refused() {
        let mut packet = ipv4([10, 0, 0, 1], [10, 0, 0, 2], b"hello");
        for length in [0u16, 19, 26, u16::MAX] {
            packet[2..4].copy_from_slice(&length.to_be_bytes());
            assert_eq!(IpHeader::parse(&packet), None, "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_lie_within_the_packet(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Some(header) = IpHeader::parse(&bytes) {
                prop_assert!(header.length >= IPV4_HEADER && header.length <= bytes.len());
            }
        }
    }
}
