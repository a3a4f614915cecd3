//! Fields of the IP, TCP and UDP headers that offload reads and writes (RFC 791, 8200, 9293, 768).

use super::checksum::{fold, sum};

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;

/// TCP flags, in byte 13 of the header.
pub(super) const FIN: u8 = 0x01;
pub(super) const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;
pub(super) const ECE: u8 = 0x40;
pub(super) const CWR: u8 = 0x80;

/// Bytes of the IPv6 header, and of the IPv4 header without options.
pub(super) const IPV6_HEADER: usize = 40;
pub(super) const IPV4_HEADER: usize = 20;

/// Places in the TCP header.
pub(super) const TCP_SEQUENCE: usize = 4;
pub(super) const TCP_DATA_OFFSET: usize = 12;
pub(super) const TCP_FLAGS: usize = 13;
pub(super) const TCP_CHECKSUM: usize = 16;
pub(super) const TCP_HEADER: usize = 20;

/// Places in the UDP header.
pub(super) const UDP_LENGTH: usize = 4;
pub(super) const UDP_CHECKSUM: usize = 6;
pub(super) const UDP_HEADER: usize = 8;

/// The version of a packet that offload knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V4,
    V6,
}

impl Version {
    pub(super) fn of(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Some(Self::V4),
            6 => Some(Self::V6),
            _ => None,
        }
    }

    /// Bytes of the header without options.
    pub(super) fn header(self) -> usize {
        match self {
            Self::V4 => IPV4_HEADER,
            Self::V6 => IPV6_HEADER,
        }
    }

    /// Returns both addresses of a packet that is long enough to have them.
    pub(super) fn addresses(self, packet: &[u8]) -> &[u8] {
        match self {
            Self::V4 => &packet[12..20],
            Self::V6 => &packet[8..40],
        }
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn set_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(super) fn set_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

/// Writes the length of the packet into its IP header, and the header's checksum.
pub(super) fn set_ip_length(packet: &mut [u8], version: Version, transport: usize, length: usize) {
    match version {
        Version::V4 => {
            set_u16(packet, 2, length as u16);
            set_u16(packet, 10, 0);
            let header = &packet[..transport];
            let checksum = !fold(sum(header));
            set_u16(packet, 10, checksum);
        }
        Version::V6 => set_u16(packet, 4, (length - IPV6_HEADER) as u16),
    }
}

/// Sums the pseudo-header of a transport segment of `length` bytes.
pub(super) fn pseudo_header(packet: &[u8], version: Version, protocol: u8, length: usize) -> u64 {
    sum(version.addresses(packet)) + u64::from(protocol) + length as u64
}

/// Returns the checksum of a transport segment, whose own field must be zero, under a pseudo-header of this sum but for
/// the segment's length. Of UDP never zero, which it takes for none.
pub(super) fn transport_checksum(segment: &[u8], pseudo_header: u16, protocol: u8) -> u16 {
    let total = u64::from(pseudo_header) + segment.len() as u64 + sum(segment);
    match !fold(total) {
        0 if protocol == UDP => 0xffff,
        checksum => checksum,
    }
}

/// Tells whether the checksum of the transport segment `packet[transport..]` is right.
pub(super) fn transport_is_intact(packet: &[u8], version: Version, protocol: u8, transport: usize) -> bool {
    let segment = &packet[transport..];
    fold(pseudo_header(packet, version, protocol, segment.len()) + sum(segment)) == 0xffff
}
