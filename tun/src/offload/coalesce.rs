//! Finds packets that can be written as one burst.
//!
//! The rules are those of the kernel's own receive offload (`net/ipv4/tcp_offload.c`, `udp_offload.c`): packets join
//! only if cutting the burst again gives the same packets. They follow one another in one flow, their headers are the
//! same but for what a cut would write, all have one size but a shorter last one, and their checksums are right. A
//! packet that says PSH ends its burst. No packet overtakes another of its flow.

use super::checksum::fold;
use super::packet::{
    ACK, ECE, PSH, TCP, TCP_CHECKSUM, TCP_DATA_OFFSET, TCP_FLAGS, TCP_HEADER, TCP_SEQUENCE, UDP, UDP_CHECKSUM,
    UDP_HEADER, UDP_LENGTH, Version, pseudo_header, set_ip_length, set_u16, transport_is_intact, u16_at, u32_at,
};
use super::{KIND_TCP_V4, KIND_TCP_V6, KIND_UDP, NEEDS_CHECKSUM, UdpBursts, VirtioHeader};
use crate::{MAX_PACKET, PacketBatch};

/// Most packets of UDP in one burst (`UDP_MAX_SEGMENTS` of older kernels).
const MAX_UDP_SEGMENTS: usize = 64;

/// What one write carries: a packet, or several as one burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Burst {
    /// Index of the first packet in the batch.
    first: usize,
    last: usize,
    packets: usize,
    flow: Option<Flow>,
    /// Bytes of payload in the first packet, and in all.
    size: usize,
    payload: usize,
    /// Whether another packet may join.
    is_open: bool,
    /// Whether the checksum of the first packet was found right.
    is_checked: bool,
}

/// Where the headers of a packet of TCP or UDP lie, if it could be part of a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flow {
    version: Version,
    protocol: u8,
    transport: usize,
    /// Where the payload starts.
    headers: usize,
}

/// Groups the packets of a batch; kept between batches for its buffers.
#[derive(Debug, Default)]
pub(crate) struct Coalescer {
    bursts: Vec<Burst>,
    /// For each packet of the batch, the index of the next one in its burst.
    next: Vec<usize>,
}

impl Coalescer {
    /// Groups the packets of `batch`, and makes the headers of each burst in its first packet.
    pub(crate) fn group(&mut self, batch: &mut PacketBatch, udp: UdpBursts) {
        self.bursts.clear();
        self.next.clear();
        self.next.resize(batch.len(), usize::MAX);
        for index in 0..batch.len() {
            self.add(batch, index, udp);
        }
        for burst in &self.bursts {
            if burst.packets > 1 {
                let says_push = burst.flow.is_some_and(|flow| flow.says_push(batch.entry(burst.last)));
                burst.write_headers(batch.entry_mut(burst.first), says_push);
            }
        }
    }

    pub(crate) fn bursts(&self) -> &[Burst] {
        &self.bursts
    }

    /// Returns the header of a burst, and the bytes that follow it: the first packet whole, then payloads.
    pub(crate) fn parts<'a>(
        &'a self,
        burst: &Burst,
        batch: &'a PacketBatch,
    ) -> (VirtioHeader, impl Iterator<Item = &'a [u8]>) {
        let headers = burst.flow.map_or(0, |flow| flow.headers);
        let (first, mut next) = (burst.first, burst.first);
        let parts = (0..burst.packets).map(move |_| {
            let index = next;
            next = self.next[index];
            if index == first { batch.entry(index) } else { &batch.entry(index)[headers..] }
        });
        (burst.header(), parts)
    }

    fn add(&mut self, batch: &PacketBatch, index: usize, udp: UdpBursts) {
        let packet = batch.entry(index);
        let Some((flow, may_join)) = Flow::of(packet, udp) else {
            // Whose flow it belongs to is not known: nothing that comes later may go before it.
            self.bursts.iter_mut().for_each(|burst| burst.is_open = false);
            self.bursts.push(Burst::alone(index, None, 0, false));
            return;
        };
        let payload = packet.len() - flow.headers;
        let open = self.bursts.iter_mut().rev().filter(|burst| burst.is_open);
        for burst in open {
            if burst.flow.is_none_or(|of| !flow.is_same(packet, &of, batch.entry(burst.first))) {
                continue;
            }
            if may_join && burst.takes(packet, &flow, batch) {
                self.next[burst.last] = index;
                burst.last = index;
                burst.packets += 1;
                burst.payload += payload;
                let is_full = flow.protocol == UDP && burst.packets == MAX_UDP_SEGMENTS;
                burst.is_open = payload == burst.size && !flow.says_push(packet) && !is_full;
                return;
            }
            burst.is_open = false;
            break;
        }
        let is_open = may_join && !flow.says_push(packet);
        self.bursts.push(Burst::alone(index, Some(flow), payload, is_open));
    }
}

impl Burst {
    fn alone(index: usize, flow: Option<Flow>, payload: usize, is_open: bool) -> Self {
        let (first, last, size) = (index, index, payload);
        Self { first, last, packets: 1, flow, size, payload, is_open, is_checked: false }
    }

    /// Tells whether `packet`, of the same flow, may follow.
    fn takes(&mut self, packet: &[u8], flow: &Flow, batch: &PacketBatch) -> bool {
        let first = batch.entry(self.first);
        let payload = packet.len() - flow.headers;
        let fits = payload <= self.size && flow.headers + self.payload + payload <= MAX_PACKET;
        if !fits || !flow.continues(packet, first, self.payload, self.packets) || !flow.is_intact(packet) {
            return false;
        }
        self.is_checked = self.is_checked || flow.is_intact(first);
        self.is_checked
    }

    /// Turns the headers of the first packet into those of the burst.
    fn write_headers(&self, first: &mut [u8], says_push: bool) {
        let Some(Flow { version, protocol, transport, headers }) = self.flow else { return };
        let length = headers + self.payload;
        set_ip_length(first, version, transport, length);
        let checksum = fold(pseudo_header(first, version, protocol, length - transport));
        if protocol == TCP {
            if says_push {
                first[transport + TCP_FLAGS] |= PSH;
            }
            set_u16(first, transport + TCP_CHECKSUM, checksum);
        } else {
            set_u16(first, transport + UDP_LENGTH, (length - transport) as u16);
            set_u16(first, transport + UDP_CHECKSUM, checksum);
        }
    }

    fn header(&self) -> VirtioHeader {
        let Some(flow) = self.flow.filter(|_| self.packets > 1) else { return VirtioHeader::default() };
        let (kind, checksum_offset) = match (flow.protocol, flow.version) {
            (TCP, Version::V4) => (KIND_TCP_V4, TCP_CHECKSUM),
            (TCP, Version::V6) => (KIND_TCP_V6, TCP_CHECKSUM),
            _ => (KIND_UDP, UDP_CHECKSUM),
        };
        VirtioHeader {
            flags: NEEDS_CHECKSUM,
            kind,
            header_length: flow.headers as u16,
            segment_size: self.size as u16,
            checksum_start: flow.transport as u16,
            checksum_offset: checksum_offset as u16,
        }
    }
}

impl Flow {
    /// Reads the headers of a packet of TCP or UDP, and tells whether it may be part of a burst at all; `None` if its
    /// flow cannot be told: another protocol, a fragment, options, or a length that is not the packet's.
    fn of(packet: &[u8], udp: UdpBursts) -> Option<(Self, bool)> {
        let version = Version::of(packet)?;
        let transport = version.header();
        let (protocol, length) = match version {
            Version::V4 if packet.len() >= transport => {
                let is_plain = packet[0] == 0x45 && u16_at(packet, 6) & 0x3fff == 0;
                is_plain.then(|| (packet[9], usize::from(u16_at(packet, 2))))?
            }
            Version::V6 if packet.len() >= transport => (packet[6], transport + usize::from(u16_at(packet, 4))),
            Version::V4 | Version::V6 => return None,
        };
        if length != packet.len() {
            return None;
        }
        match protocol {
            TCP if length >= transport + TCP_HEADER => {
                let headers = transport + usize::from(packet[transport + TCP_DATA_OFFSET] >> 4) * 4;
                if headers < transport + TCP_HEADER || headers > length {
                    return None;
                }
                let flags = packet[transport + TCP_FLAGS];
                let may_join = flags & !(PSH | ECE) == ACK && length > headers;
                Some((Self { version, protocol, transport, headers }, may_join))
            }
            UDP if length >= transport + UDP_HEADER => {
                let headers = transport + UDP_HEADER;
                let is_whole = usize::from(u16_at(packet, transport + UDP_LENGTH)) == length - transport;
                let has_checksum = u16_at(packet, transport + UDP_CHECKSUM) != 0;
                let may_join = udp == UdpBursts::Yes && is_whole && has_checksum && length > headers;
                Some((Self { version, protocol, transport, headers }, may_join))
            }
            _ => None,
        }
    }

    /// Tells whether both packets have the same addresses, protocol and ports.
    fn is_same(&self, packet: &[u8], other: &Self, other_packet: &[u8]) -> bool {
        let ports = |packet: &[u8]| u32_at(packet, self.transport);
        (self.version, self.protocol) == (other.version, other.protocol)
            && ports(packet) == ports(other_packet)
            && self.version.addresses(packet) == self.version.addresses(other_packet)
    }

    /// Tells whether `packet` is what a cut would give behind `packets` packets with `payload` bytes, the first of
    /// which is `first`.
    fn continues(&self, packet: &[u8], first: &[u8], payload: usize, packets: usize) -> bool {
        let is_ip_same = match self.version {
            // All but the length, the identification and the checksum.
            Version::V4 => {
                let dont_fragment = packet[6] & 0x40 != 0;
                let id = u16_at(first, 4).wrapping_add(packets as u16);
                packet[..2] == first[..2] && packet[6..10] == first[6..10] && (dont_fragment || u16_at(packet, 4) == id)
            }
            // All but the length.
            Version::V6 => packet[..4] == first[..4] && packet[6..8] == first[6..8],
        };
        if !is_ip_same || self.protocol != TCP {
            return is_ip_same;
        }
        if first.len() < self.headers {
            return false;
        }
        let (ours, theirs) = (&packet[self.transport..self.headers], &first[self.transport..self.headers]);
        let sequence = u32_at(theirs, TCP_SEQUENCE).wrapping_add(payload as u32);
        u32_at(ours, TCP_SEQUENCE) == sequence
            // The acknowledgement, and the header's length: the same options follow.
            && ours[8..TCP_FLAGS] == theirs[8..TCP_FLAGS]
            && (ours[TCP_FLAGS] ^ theirs[TCP_FLAGS]) & !PSH == 0
            && ours[14..TCP_CHECKSUM] == theirs[14..TCP_CHECKSUM]
            && ours[18..] == theirs[18..]
    }

    fn is_intact(&self, packet: &[u8]) -> bool {
        let is_header_intact = match self.version {
            Version::V4 => fold(super::checksum::sum(&packet[..self.transport])) == 0xffff,
            Version::V6 => true,
        };
        is_header_intact && transport_is_intact(packet, self.version, self.protocol, self.transport)
    }

    fn says_push(&self, packet: &[u8]) -> bool {
        self.protocol == TCP && packet[self.transport + TCP_FLAGS] & PSH != 0
    }
}
