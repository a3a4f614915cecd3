//! Segmentation offload: one read or write of the device moves up to 64 KiB of one flow.
//!
//! The system sends what it would have a network card do in a [`VirtioHeader`] before each packet (`IFF_VNET_HDR`,
//! `linux/virtio_net.h`). [`segment`] cuts a burst that was read into packets, in place; [`coalesce`] finds packets that
//! can be written as one burst. Neither needs a device: both work on bytes, on every platform.

mod checksum;
pub(crate) mod coalesce;
mod packet;
pub(crate) mod segment;

/// Size of the header, in bytes.
pub(crate) const HEADER: usize = 10;

/// The checksum is a partial one: the sum over the pseudo-header, to be completed from `checksum_start` on.
const NEEDS_CHECKSUM: u8 = 1;

/// The kinds of burst (`VIRTIO_NET_HDR_GSO_*`).
const KIND_NONE: u8 = 0;
const KIND_TCP_V4: u8 = 1;
const KIND_TCP_V6: u8 = 4;
const KIND_UDP: u8 = 5;
/// Set beside a TCP kind when the first segment alone says CWR (RFC 3168).
const KIND_ECN: u8 = 0x80;

/// What stands before each packet of a device with offload, in the machine's byte order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct VirtioHeader {
    flags: u8,
    kind: u8,
    /// Bytes of all headers together; as the system gives it, only a hint.
    header_length: u16,
    /// Bytes of payload in each segment but the last.
    segment_size: u16,
    /// Where the transport header starts.
    checksum_start: u16,
    /// Where the checksum stands in it.
    checksum_offset: u16,
}

impl VirtioHeader {
    pub(crate) fn from_bytes(bytes: &[u8; HEADER]) -> Self {
        let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        Self {
            flags: bytes[0],
            kind: bytes[1],
            header_length: word(2),
            segment_size: word(4),
            checksum_start: word(6),
            checksum_offset: word(8),
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [self.flags, self.kind, 0, 0, 0, 0, 0, 0, 0, 0];
        let words = [self.header_length, self.segment_size, self.checksum_start, self.checksum_offset];
        for (place, word) in bytes[2..].chunks_exact_mut(2).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }
}

/// Whether the device takes bursts of UDP as well as of TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UdpBursts {
    Yes,
    No,
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod header_tests {
    use super::*;

    #[test]
    fn a_header_survives_its_bytes() {
        let header = VirtioHeader {
            flags: NEEDS_CHECKSUM,
            kind: KIND_TCP_V6 | KIND_ECN,
            header_length: 72,
            segment_size: 1_348,
            checksum_start: 40,
            checksum_offset: 16,
        };
        assert_eq!(VirtioHeader::from_bytes(&header.to_bytes()), header);
        assert_eq!(VirtioHeader::default().to_bytes(), [0; HEADER]);
    }
}
