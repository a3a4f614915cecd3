//! TCP segments: what their headers say, and how they are written with the options that Linux sends.

use std::ops::Range;

use smoltcp::phy::{Checksum, ChecksumCapabilities};
use smoltcp::wire::{
    IpAddress, IpProtocol, Ipv4Address, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};

/// The bytes of a header of IPv4 without options, and of TCP without.
const IP_HEADER: usize = 20;
const TCP_HEADER: usize = 20;

/// The bytes of a time stamp among the options, aligned as Linux does (RFC 7323, appendix A).
pub(super) const TIMESTAMP: usize = 12;

/// The most blocks of an acknowledgement: what fits beside a time stamp.
pub(super) const MAX_BLOCKS: usize = 3;

/// The two ends of a connection, as the host sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::hosts) struct Tuple {
    pub(in crate::hosts) local: (Ipv4Address, u16),
    pub(in crate::hosts) remote: (Ipv4Address, u16),
}

impl Tuple {
    fn turned(self) -> Self {
        Self { local: self.remote, remote: self.local }
    }
}

/// What a segment says, and where in the packet its bytes are.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    /// Seen from who has sent it.
    ends: Tuple,
    /// Where the header of TCP begins.
    header: usize,
    pub(super) control: TcpControl,
    pub(super) seq: u32,
    pub(super) ack: Option<u32>,
    pub(super) window: u16,
    pub(super) window_scale: Option<u8>,
    pub(super) mss: Option<u16>,
    pub(super) sack_permitted: bool,
    pub(super) blocks: [Option<(u32, u32)>; MAX_BLOCKS],
    pub(super) timestamp: Option<(u32, u32)>,
    pub(super) payload: Range<usize>,
}

impl Segment {
    /// Reads a packet; `None` if it is no segment, or a part of one.
    pub(super) fn parse(packet: &[u8]) -> Option<Self> {
        let ip = Ipv4Packet::new_checked(packet).ok()?;
        let is_whole = !ip.more_frags() && ip.frag_offset() == 0;
        if ip.version() != 4 || ip.next_header() != IpProtocol::Tcp || !is_whole {
            return None;
        }
        let header = usize::from(ip.header_len());
        let tcp = TcpPacket::new_checked(ip.payload()).ok()?;
        let [from, to] = [ip.src_addr(), ip.dst_addr()];
        let repr = TcpRepr::parse(&tcp, &from.into(), &to.into(), &unchecked()).ok()?;
        let start = header + usize::from(tcp.header_len());
        Some(Self {
            ends: Tuple { local: (from, repr.src_port), remote: (to, repr.dst_port) },
            header,
            control: repr.control,
            seq: repr.seq_number.0 as u32,
            ack: repr.ack_number.map(|number| number.0 as u32),
            window: repr.window_len,
            window_scale: repr.window_scale,
            mss: repr.max_seg_size,
            sack_permitted: repr.sack_permitted,
            blocks: repr.sack_ranges,
            timestamp: repr.timestamp.map(|timestamp| (timestamp.tsval, timestamp.tsecr)),
            payload: start..start + repr.payload.len(),
        })
    }

    /// Returns the connection of the host that has sent it.
    pub(super) fn of_sender(&self) -> Tuple {
        self.ends
    }

    /// Returns the connection of the host that it goes to.
    pub(super) fn of_receiver(&self) -> Tuple {
        self.ends.turned()
    }

    /// Has it say another acknowledgement and window. Who takes it checks no sum.
    pub(super) fn patch(&self, packet: &mut [u8], ack: u32, window: u16) {
        let mut tcp = TcpPacket::new_unchecked(&mut packet[self.header..]);
        tcp.set_ack_number(TcpSeqNumber(ack as i32));
        tcp.set_window_len(window);
    }

    /// Writes the time into a packet that has a time stamp, and the sum.
    pub(super) fn stamp(&self, packet: &mut [u8], now: u32) {
        let Tuple { local: (from, _), remote: (to, _) } = self.ends;
        let end = self.payload.end;
        let options = self.header + TCP_HEADER..self.payload.start;
        if let Some((before, echo)) = self.timestamp
            && let Some(at) = find_timestamp(&packet[options.clone()], before, echo)
        {
            packet[options.start + at..][..4].copy_from_slice(&now.to_be_bytes());
        }
        TcpPacket::new_unchecked(&mut packet[self.header..end])
            .fill_checksum(&IpAddress::Ipv4(from), &IpAddress::Ipv4(to));
    }
}

/// Finds a time stamp that was read: the place of its first number.
fn find_timestamp(options: &[u8], value: u32, echo: u32) -> Option<usize> {
    let mut wanted = [8, 10, 0, 0, 0, 0, 0, 0, 0, 0];
    wanted[2..6].copy_from_slice(&value.to_be_bytes());
    wanted[6..].copy_from_slice(&echo.to_be_bytes());
    options.windows(wanted.len()).position(|window| window == wanted).map(|at| at + 2)
}

fn unchecked() -> ChecksumCapabilities {
    let mut checksums = ChecksumCapabilities::default();
    [checksums.ipv4, checksums.tcp] = [Checksum::Tx; 2];
    checksums
}

/// A segment to be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draft<'a> {
    /// Seen from who sends it.
    pub(super) ends: Tuple,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) window: u16,
    pub(super) is_pushed: bool,
    pub(super) is_last: bool,
    pub(super) timestamp: Option<(u32, u32)>,
    /// What has arrived beyond the acknowledgement: at most three.
    pub(super) blocks: &'a [(u32, u32)],
    /// In two parts, as it lies in a ring.
    pub(super) payload: [&'a [u8]; 2],
}

impl Draft<'static> {
    /// Returns one that is nothing but an acknowledgement.
    pub(super) fn bare(ends: Tuple, ack: u32, window: u16) -> Self {
        let payload: [&[u8]; 2] = [&[]; 2];
        Self { ends, seq: 0, ack, window, is_pushed: false, is_last: false, timestamp: None, blocks: &[], payload }
    }
}

impl Draft<'_> {
    /// Writes it into a buffer.
    pub(super) fn write(&self, packet: &mut Vec<u8>) {
        let Tuple { local: (from, port), remote: (to, remote_port) } = self.ends;
        let [timestamp, blocks] = self.options();
        let options = timestamp + blocks;
        let length = self.payload[0].len() + self.payload[1].len();
        packet.clear();
        packet.resize(IP_HEADER + TCP_HEADER + options, 0);
        let ip = Ipv4Repr {
            src_addr: from,
            dst_addr: to,
            next_header: IpProtocol::Tcp,
            payload_len: TCP_HEADER + options + length,
            hop_limit: 64,
        };
        self.payload.iter().for_each(|part| packet.extend_from_slice(part));
        ip.emit(&mut Ipv4Packet::new_unchecked(&mut packet[..]), &ChecksumCapabilities::default());
        let mut tcp = TcpPacket::new_unchecked(&mut packet[IP_HEADER..]);
        tcp.set_src_port(port);
        tcp.set_dst_port(remote_port);
        tcp.set_seq_number(TcpSeqNumber(self.seq as i32));
        tcp.set_ack_number(TcpSeqNumber(self.ack as i32));
        tcp.set_header_len((TCP_HEADER + options) as u8);
        tcp.set_ack(true);
        tcp.set_psh(self.is_pushed);
        tcp.set_fin(self.is_last);
        tcp.set_window_len(self.window);
        let written = tcp.options_mut();
        if let Some((value, echo)) = self.timestamp {
            written[..4].copy_from_slice(&[1, 1, 8, 10]);
            written[4..8].copy_from_slice(&value.to_be_bytes());
            written[8..12].copy_from_slice(&echo.to_be_bytes());
        }
        if blocks > 0 {
            let written = &mut written[timestamp..];
            written[..4].copy_from_slice(&[1, 1, 5, (blocks - 2) as u8]);
            let numbers = self.blocks.iter().flat_map(|(start, end)| [start, end]);
            for (place, number) in written[4..].chunks_exact_mut(4).zip(numbers) {
                place.copy_from_slice(&number.to_be_bytes());
            }
        }
        tcp.fill_checksum(&IpAddress::Ipv4(from), &IpAddress::Ipv4(to));
    }

    /// Returns the bytes of the time stamp and of the blocks.
    fn options(&self) -> [usize; 2] {
        [if self.timestamp.is_some() { TIMESTAMP } else { 0 }, bytes_of_blocks(self.blocks.len())]
    }
}

/// Returns how many bytes so many blocks take.
pub(super) fn bytes_of_blocks(blocks: usize) -> usize {
    if blocks == 0 { 0 } else { 4 + 8 * blocks }
}

/// A place in a stream: a sequence number that does not wrap. Its lower 32 bits are what is on the wire.
pub(super) type Place = u64;

/// Returns the place of a first sequence number.
pub(super) fn first_place(seq: u32) -> Place {
    // Far from 0, so that nothing near it is below.
    1 << 40 | Place::from(seq)
}

/// Returns the place of a sequence number that is nearest to another.
pub(super) fn place(seq: u32, near: Place) -> Place {
    let ahead = seq.wrapping_sub(near as u32) as i32;
    near.saturating_add_signed(ahead.into())
}
