//! TCP's segments fit what a tunnel takes from the first on: the size that an end asks for as it connects is lowered to it.
//!
//! Who connects names the largest segment that it takes (RFC 9293, section 3.7.1), as its own interface has it, and that knows
//! nothing of the path. A packet that is too large is answered by ICMP besides ([`too_big`](super::too_big)), which reaches
//! connections that were there before, and may be filtered.

use crate::tunnel::{FRAGMENT_OFFSET, IpHeader};

const TCP: u8 = 6;
const SYN: u8 = 0x02;

const V6_HEADER: usize = 40;
const TCP_HEADER: usize = 20;

/// Options of TCP (RFC 9293, section 3.1).
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MAX_SEGMENT: u8 = 2;

/// Lowers what `packet` says of the largest segment, if it opens a connection, to what fits packets of `size` bytes.
pub(super) fn clamp(packet: &mut [u8], size: usize) {
    let Some(start) = opening(packet) else { return };
    let Ok(most) = u16::try_from(size.saturating_sub(headers(packet))) else { return };
    let Some(at) = option(&packet[start..]).map(|at| start + at) else { return };
    let said = u16::from_be_bytes([packet[at], packet[at + 1]]);
    if said <= most {
        return;
    }
    packet[at..at + 2].copy_from_slice(&most.to_be_bytes());
    let checksum = start + 16..start + 18;
    let before = u16::from_be_bytes([packet[checksum.start], packet[checksum.start + 1]]);
    // At an odd place of the segment its bytes are those of two words, each in the other half.
    let is_odd = (at - start) % 2 == 1;
    let [old, new] = [said, most].map(|value| if is_odd { value.swap_bytes() } else { value });
    packet[checksum].copy_from_slice(&replaced(before, old, new).to_be_bytes());
}

/// Returns where the TCP header of a packet begins that opens a connection, or answers to that, and is whole.
fn opening(packet: &[u8]) -> Option<usize> {
    let header = IpHeader::parse(packet)?;
    let (protocol, start) = match packet[0] >> 4 {
        4 if u16::from_be_bytes([packet[6], packet[7]]) & FRAGMENT_OFFSET == 0 => {
            (packet[9], usize::from(packet[0] & 0x0f) * 4)
        }
        4 => return None,
        // Behind extension headers nobody opens connections.
        _ => (packet[6], V6_HEADER),
    };
    let tcp = packet.get(start..header.length)?;
    (protocol == TCP && *tcp.get(13)? & SYN != 0 && tcp.len() >= TCP_HEADER).then_some(start)
}

/// Returns the bytes of a packet that are not payload, without options.
fn headers(packet: &[u8]) -> usize {
    TCP_HEADER + if packet[0] >> 4 == 4 { 20 } else { V6_HEADER }
}

/// Returns where the value of the option is that names the largest segment; `None` if there is none, or no sense in them.
fn option(tcp: &[u8]) -> Option<usize> {
    let end = (usize::from(tcp[12] >> 4) * 4).min(tcp.len());
    let mut at = TCP_HEADER;
    while at < end {
        match tcp[at] {
            END => return None,
            NO_OPERATION => at += 1,
            kind => {
                let length = usize::from(*tcp.get(at + 1)?);
                if length < 2 || at + length > end {
                    return None;
                }
                if kind == MAX_SEGMENT {
                    return (length == 4).then_some(at + 2);
                }
                at += length;
            }
        }
    }
    None
}

/// Returns a checksum after one word of what it covers was replaced (RFC 1624, equation 3).
fn replaced(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns a SYN of either version, with these options, and its checksum.
    fn syn(is_v4: bool, options: &[u8]) -> Vec<u8> {
        let mut tcp = vec![0x13, 0x88, 0x13, 0x89, 0, 0, 0, 1, 0, 0, 0, 0, 0, SYN, 0xff, 0xff, 0, 0, 0, 0];
        tcp.extend_from_slice(options);
        tcp.resize(tcp.len().next_multiple_of(4), 0);
        tcp[12] = ((tcp.len() / 4) as u8) << 4;
        let mut packet = match is_v4 {
            true => vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, TCP, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2],
            false => [&[0x60, 0, 0, 0, 0, 0, TCP, 64][..], &[0xfd; 16], &[0xfc; 16]].concat(),
        };
        let start = packet.len();
        packet.extend_from_slice(&tcp);
        let length = if is_v4 { packet.len() } else { tcp.len() } as u16;
        let at = if is_v4 { 2 } else { 4 };
        packet[at..at + 2].copy_from_slice(&length.to_be_bytes());
        let checksum = checksum(&packet, start);
        packet[start + 16..start + 18].copy_from_slice(&checksum.to_be_bytes());
        packet
    }

    /// The checksum over the pseudo-header, whose words may be in any order, and the segment: zero when it is right.
    fn checksum(packet: &[u8], start: usize) -> u16 {
        let addresses = if packet[0] >> 4 == 4 { 12..20 } else { 8..40 };
        let words = packet[addresses].chunks(2).chain(packet[start..].chunks(2));
        let sum: u32 = words.map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low))).sum();
        let sum = sum + u32::from(TCP) + (packet.len() - start) as u32;
        let folded = (sum & 0xffff) + (sum >> 16);
        !((folded & 0xffff) + (folded >> 16)) as u16
    }

    fn said(packet: &[u8]) -> Option<u16> {
        let start = opening(packet)?;
        let at = start + option(&packet[start..])?;
        Some(u16::from_be_bytes([packet[at], packet[at + 1]]))
    }

    #[test]
    fn what_is_more_than_fits_is_lowered_and_the_checksum_stays_right() {
        for (is_v4, fitting, start) in [(true, 1_280, 20), (false, 1_260, 40)] {
            for before in [&[][..], &[NO_OPERATION], &[4, 2], &[3, 3, 7, NO_OPERATION]] {
                let mut packet = syn(is_v4, &[before, &[MAX_SEGMENT, 4, 0x05, 0x64]].concat());
                assert_eq!((said(&packet), checksum(&packet, start)), (Some(1_380), 0));
                clamp(&mut packet, 1_320);
                assert_eq!((said(&packet), checksum(&packet, start)), (Some(fitting), 0), "{before:?}");
                let lowered = packet.clone();
                clamp(&mut packet, 1_420);
                assert_eq!(packet, lowered, "it is never raised");
            }
        }
    }

    #[test]
    fn nothing_else_is_touched() {
        let option = [MAX_SEGMENT, 4, 0x05, 0x64];
        let changed = |at: usize, byte: u8| {
            let mut packet = syn(true, &option);
            packet[at] = byte;
            packet
        };
        // No SYN; a later fragment; another protocol; options without end.
        for packet in [changed(33, 0x10), changed(7, 1), changed(9, 17), changed(41, 0), syn(true, &[])] {
            let mut after = packet.clone();
            clamp(&mut after, 1_200);
            assert_eq!(after, packet);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut packet in prop::collection::vec(any::<u8>(), 0..100), size in 0..2_000usize) {
            clamp(&mut packet, size);
            let mut packet = syn(true, &packet[..packet.len().min(36)]);
            clamp(&mut packet, size);
            prop_assert_eq!(checksum(&packet, 20), 0);
        }
    }
}
