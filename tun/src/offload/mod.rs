//! Segmentation offload: one read or write of the device moves up to 64 KiB of one flow.
//!
//! The system sends what it would have a network card do in a [`VirtioHeader`] before each packet (`IFF_VNET_HDR`,
//! `linux/virtio_net.h`). [`segment`] cuts a burst that was read into packets, in place; [`coalesce`] finds packets that
//! can be written as one burst. Neither needs a device: both work on bytes. Only Linux has such devices.

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

/// The two halves of offload on packets of TCP over IPv4, for benchmarks.
pub(crate) mod for_benchmarks {
    use super::coalesce::Coalescer;
    use super::packet::{ACK, TCP, TCP_CHECKSUM, Version, set_ip_length, set_u16};
    use super::{KIND_TCP_V4, NEEDS_CHECKSUM, UdpBursts, VirtioHeader};
    use crate::PacketBatch;

    const HEADERS: usize = 40;

    /// Returns a burst with `payload` bytes, to be cut into packets with `size`, as a device gives it.
    pub fn burst(payload: usize, size: u16) -> Vec<u8> {
        let mut packet = vec![0x45; HEADERS + payload];
        (packet[6], packet[7], packet[9], packet[32], packet[33]) = (0x40, 0, TCP, 0x50, ACK);
        set_ip_length(&mut packet, Version::V4, 20, HEADERS + payload);
        set_u16(&mut packet, 20 + TCP_CHECKSUM, 0);
        let header = VirtioHeader {
            flags: NEEDS_CHECKSUM,
            kind: KIND_TCP_V4,
            header_length: HEADERS as u16,
            segment_size: size,
            checksum_start: 20,
            checksum_offset: TCP_CHECKSUM as u16,
        };
        [&header.to_bytes()[..], &packet].concat()
    }

    /// Cuts a burst, and gives each packet to `take`; `batch` is used for it.
    ///
    /// # Panics
    /// Panics if it is no burst.
    pub fn cut(burst: &[u8], batch: &mut PacketBatch, mut take: impl FnMut(&[u8])) {
        batch.clear();
        batch.space()[..burst.len()].copy_from_slice(burst);
        batch.commit_offloaded(burst.len()).expect("a burst");
        while let Some((packet, length)) = batch.next_packet(0) {
            take(&packet[..length]);
        }
    }

    /// Joins the packets of `batch`, and returns how many bursts they make.
    pub fn join(batch: &mut PacketBatch) -> usize {
        let mut coalescer = Coalescer::default();
        coalescer.group(batch, UdpBursts::Yes);
        coalescer.bursts().len()
    }
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
