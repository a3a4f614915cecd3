//! What becomes of a packet that is larger than a tunnel takes: the sender is told, as by a router, or it is cut.
//!
//! A tunnel that is defended may take less than the TUN device: the smaller of both ends' MTU. Whoever sends more
//! learns it by an ICMP message that is written back to the TUN device: IPv4's "fragmentation needed" (RFC 792, RFC
//! 1191) and IPv6's "packet too big" (RFC 4443, RFC 8201). An IPv4 packet that may be fragmented is (RFC 791).
//!
//! The message comes from the address that the packet was for. A router would give one of its own, but the device does
//! not know those of its interface; and a host drops what comes from one of its own addresses, or by an interface that
//! does not lead to where it comes from. What the packet was for is routed through the tunnel, and senders look only at
//! the packet that the message quotes.

use std::time::Instant;

use parking_lot::Mutex;

use super::bucket::{Bucket, Share};
use crate::tunnel::{DatagramBatch, FRAGMENT_OFFSET, IpHeader, MORE_FRAGMENTS, PADDING_MULTIPLE, Tunnel};

/// Messages that one device sends: as many as Linux (`icmp_msgs_per_sec`, `icmp_msgs_burst`).
const OF_DEVICE: Share = Share::new(1_000, 50);

/// Of those, the ones for packets to one peer: whoever has too much sent to itself leaves enough for the others.
const OF_PEER: Share = Share::new(100, 10);

/// The largest message for IPv4, in bytes (RFC 1812, section 4.3.2.3).
const MAX_V4: usize = 576;

/// The largest message for IPv6, in bytes, and the least MTU that IPv6 knows (RFC 8200, section 5).
const MIN_V6_MTU: usize = 1_280;

const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;
const ICMP_HEADER: usize = 8;

const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;

/// Hops that a message may take.
const TTL: u8 = 64;

/// The bit of IPv4's fragment field that forbids to cut (RFC 791, section 3.1), and the unit of its offset, in bytes.
const DONT_FRAGMENT: u16 = 0x4000;
const UNIT: usize = 8;

/// What is to be done for a packet that is too large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Remedy {
    /// This message goes to the sender.
    Message(Vec<u8>),
    /// These fragments go in the packet's place.
    Fragments(Vec<Vec<u8>>),
    /// Nothing: nobody may be told.
    Nothing,
}

/// How many messages may still be sent for packets to one peer.
pub(super) struct Budget<'a> {
    pub(super) peer: &'a mut Bucket,
    pub(super) device: &'a Mutex<Bucket>,
}

impl Budget<'_> {
    /// Takes one message off, if the peer and the device both have one left.
    fn take(&mut self, now: Instant) -> bool {
        self.peer.has_one(OF_PEER, now) && self.device.lock().take(OF_DEVICE, now) && self.peer.take(OF_PEER, now)
    }
}

/// Messages that wait to be written to the TUN device; at most what a device's budget gives for the packets that one read
/// brings.
pub(super) type Messages = Vec<Vec<u8>>;

/// Gives the tunnel what is larger than it takes: cut, if it may be, else to be counted and dropped, and its sender
/// told.
pub(super) fn send(
    tunnel: &mut Tunnel,
    (buffer, length): (&mut [u8], usize),
    now: Instant,
    out: &mut DatagramBatch,
    (mut budget, messages): (Budget<'_>, &mut Messages),
) {
    match remedy(&buffer[..length], tunnel.largest_packet().unwrap_or(length)) {
        Remedy::Fragments(fragments) => {
            for mut fragment in fragments {
                let length = fragment.len();
                fragment.resize(length + PADDING_MULTIPLE - 1, 0);
                tunnel.send(&mut fragment, length, now, out);
            }
            return;
        }
        Remedy::Message(message) if budget.take(now) => messages.push(message),
        Remedy::Message(_) | Remedy::Nothing => {}
    }
    tunnel.send(buffer, length, now, out);
}

/// Says what to do for `packet`, of which the tunnel takes `mtu` bytes.
pub(super) fn remedy(packet: &[u8], mtu: usize) -> Remedy {
    let Some(header) = IpHeader::parse(packet) else { return Remedy::Nothing };
    let packet = &packet[..header.length];
    let remedy = match packet[0] >> 4 {
        4 if fragment_field(packet) & DONT_FRAGMENT == 0 => fragments(packet, mtu).map(Remedy::Fragments),
        4 => fragmentation_needed(packet, mtu).map(Remedy::Message),
        _ => packet_too_big(packet, mtu).map(Remedy::Message),
    };
    remedy.unwrap_or(Remedy::Nothing)
}

/// Cuts an IPv4 packet into fragments of at most `mtu` bytes (RFC 791, section 3.2); `None` if not even eight bytes
/// fit.
fn fragments(packet: &[u8], mtu: usize) -> Option<Vec<Vec<u8>>> {
    let length = header_length(packet);
    let (header, payload) = packet.split_at(length);
    let step = mtu.checked_sub(length)? / UNIT * UNIT;
    if step == 0 {
        return None;
    }
    let field = fragment_field(packet);
    let later = repeated_header(header);
    let count = payload.len().div_ceil(step);
    let cut = payload.chunks(step).enumerate().map(|(index, part)| {
        let mut fragment = if index == 0 { header.to_vec() } else { later.clone() };
        let offset = u16::try_from(usize::from(field & FRAGMENT_OFFSET) + index * step / UNIT).ok()?;
        if offset > FRAGMENT_OFFSET {
            return None;
        }
        let more = if index + 1 < count { MORE_FRAGMENTS } else { field & MORE_FRAGMENTS };
        fragment.extend_from_slice(part);
        let total = u16::try_from(fragment.len()).ok()?;
        fragment[2..4].copy_from_slice(&total.to_be_bytes());
        fragment[6..8].copy_from_slice(&(more | offset).to_be_bytes());
        write_header_checksum(&mut fragment);
        Some(fragment)
    });
    cut.collect()
}

/// Returns the header of a later fragment: of the options, those that every fragment has (RFC 791, section 3.1); in the
/// place of the others what means nothing, so that fragments are cut alike.
fn repeated_header(header: &[u8]) -> Vec<u8> {
    const COPIED: u8 = 0x80;
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    let mut later = header.to_vec();
    let mut at = V4_HEADER;
    while at < later.len() {
        let length = match later[at] {
            END => break,
            NO_OPERATION => 1,
            _ => later.get(at + 1).map_or(0, |length| usize::from(*length)),
        };
        if length == 0 || at + length > later.len() {
            // Not to be read: what is behind it is not repeated.
            later[at..].fill(END);
            break;
        }
        if later[at] & COPIED == 0 {
            later[at..at + length].fill(NO_OPERATION);
        }
        at += length;
    }
    later
}

/// Writes "fragmentation needed" for an IPv4 packet (RFC 1191, section 4).
fn fragmentation_needed(packet: &[u8], mtu: usize) -> Option<Vec<u8>> {
    const UNREACHABLE: u8 = 3;
    const FRAGMENTATION_NEEDED: u8 = 4;
    let header = header_length(packet);
    let is_error = packet[9] == ICMP && packet.get(header).is_none_or(|kind| is_icmp_error(*kind));
    let [source, destination] = [&packet[12..16], &packet[16..20]];
    if fragment_field(packet) & FRAGMENT_OFFSET != 0 || is_error || !is_v4_host(source) || !is_v4_host(destination) {
        return None;
    }
    let quoted = &packet[..packet.len().min(MAX_V4 - V4_HEADER - ICMP_HEADER)];
    let total = u16::try_from(V4_HEADER + ICMP_HEADER + quoted.len()).ok()?;
    let mut message = vec![0x45, 0, 0, 0, 0, 0, 0, 0, TTL, ICMP, 0, 0];
    message[2..4].copy_from_slice(&total.to_be_bytes());
    message.extend_from_slice(destination);
    message.extend_from_slice(source);
    write_header_checksum(&mut message);
    message.extend_from_slice(&[UNREACHABLE, FRAGMENTATION_NEEDED, 0, 0, 0, 0]);
    message.extend_from_slice(&u16::try_from(mtu).unwrap_or(u16::MAX).to_be_bytes());
    message.extend_from_slice(quoted);
    let checksum = checksum([&message[V4_HEADER..]]);
    message[V4_HEADER + 2..V4_HEADER + 4].copy_from_slice(&checksum.to_be_bytes());
    Some(message)
}

/// Writes "packet too big" for an IPv6 packet (RFC 4443, section 3.2). Of a packet that every IPv6 path must take,
/// nobody would believe it.
fn packet_too_big(packet: &[u8], mtu: usize) -> Option<Vec<u8>> {
    const PACKET_TOO_BIG: u8 = 2;
    let [source, destination] = [&packet[8..24], &packet[24..40]];
    let may_answer = packet.len() > MIN_V6_MTU && may_answer_v6(packet);
    if !may_answer || !is_v6_host(source) || !is_v6_host(destination) {
        return None;
    }
    let quoted = &packet[..packet.len().min(MIN_V6_MTU - V6_HEADER - ICMP_HEADER)];
    let length = u16::try_from(ICMP_HEADER + quoted.len()).ok()?;
    let mut message = vec![0x60, 0, 0, 0, 0, 0, ICMP_V6, TTL];
    message[4..6].copy_from_slice(&length.to_be_bytes());
    message.extend_from_slice(destination);
    message.extend_from_slice(source);
    message.extend_from_slice(&[PACKET_TOO_BIG, 0, 0, 0]);
    message.extend_from_slice(&u32::try_from(mtu.max(MIN_V6_MTU)).ok()?.to_be_bytes());
    message.extend_from_slice(quoted);
    // The pseudo-header (RFC 8200, section 8.1).
    let [high, low] = length.to_be_bytes();
    let pseudo = [0, 0, high, low, 0, 0, 0, ICMP_V6];
    let checksum = checksum([&message[8..V6_HEADER], &pseudo, &message[V6_HEADER..]]);
    message[V6_HEADER + 2..V6_HEADER + 4].copy_from_slice(&checksum.to_be_bytes());
    Some(message)
}

/// Tells whether an IPv6 packet may be answered by an error: it is none itself, and no fragment but a first one (RFC
/// 4443, section 2.4). What cannot be read is not answered.
fn may_answer_v6(packet: &[u8]) -> bool {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION: u8 = 60;
    const REDIRECT: u8 = 137;
    /// Types below are errors.
    const FIRST_QUERY: u8 = 128;
    let (mut kind, mut rest) = (packet[6], &packet[V6_HEADER..]);
    loop {
        let length = match kind {
            ICMP_V6 => return rest.first().is_some_and(|kind| *kind >= FIRST_QUERY && *kind != REDIRECT),
            HOP_BY_HOP | ROUTING | DESTINATION => {
                let Some(units) = rest.get(1) else { return false };
                (usize::from(*units) + 1) * UNIT
            }
            FRAGMENT => {
                let Some(field) = rest.get(2..4) else { return false };
                if u16::from_be_bytes([field[0], field[1]]) >> 3 != 0 {
                    return false;
                }
                UNIT
            }
            _ => return true,
        };
        let Some(behind) = rest.get(length..) else { return false };
        (kind, rest) = (rest[0], behind);
    }
}

fn header_length(packet: &[u8]) -> usize {
    usize::from(packet[0] & 0x0f) * 4
}

fn fragment_field(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[6], packet[7]])
}

/// Tells whether an ICMP message of this type is an error: none is answered by another (RFC 1122, section 3.2.2).
fn is_icmp_error(kind: u8) -> bool {
    // Unreachable, source quench, redirect, time exceeded, parameter problem.
    matches!(kind, 3 | 4 | 5 | 11 | 12)
}

/// Tells whether an address can be that of one host on a network: not any, loopback, multicast, reserved or broadcast.
/// The broadcast address of a subnet cannot be told.
fn is_v4_host(address: &[u8]) -> bool {
    !matches!(address[0], 0 | 127 | 224..)
}

/// Tells whether an address can be that of one host on a network.
fn is_v6_host(address: &[u8]) -> bool {
    // Neither multicast, nor any, loopback or what stands for IPv4.
    address[0] != 0xff && address[..8] != [0; 8]
}

fn write_header_checksum(packet: &mut [u8]) {
    let length = header_length(packet);
    packet[10..12].fill(0);
    let checksum = checksum([&packet[..length]]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// Returns the Internet checksum (RFC 1071) of parts that have even lengths, but for the last.
fn checksum<const PARTS: usize>(parts: [&[u8]; PARTS]) -> u16 {
    let words = parts.into_iter().flat_map(|part| part.chunks(2));
    let sum: u32 = words.map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low))).sum();
    let folded = (sum >> 16) + (sum & 0xffff);
    !(((folded >> 16) + folded) as u16)
}

#[cfg(test)]
mod tests;
