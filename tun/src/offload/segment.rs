//! Cuts a burst into packets, in place.
//!
//! A burst is one set of headers before the payloads of all segments. The first packet lies there ready; the headers of
//! each later one are written over the end of the payload before it, which its reader is done with by then.

use std::ops::Range;

use super::checksum::{fold, sum};
use super::packet::{
    CWR, FIN, PSH, TCP, TCP_CHECKSUM, TCP_DATA_OFFSET, TCP_FLAGS, TCP_HEADER, TCP_SEQUENCE, UDP, UDP_CHECKSUM,
    UDP_HEADER, UDP_LENGTH, Version, pseudo_header, set_ip_length, set_u16, set_u32, transport_checksum, u16_at,
    u32_at,
};
use super::{KIND_ECN, KIND_NONE, KIND_TCP_V4, KIND_TCP_V6, KIND_UDP, NEEDS_CHECKSUM, VirtioHeader};

/// How a burst is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    version: Version,
    protocol: u8,
    /// Where the transport header starts, and where the payload does.
    transport: usize,
    headers: usize,
    /// Bytes of payload in each packet but the last.
    size: usize,
    /// TCP's FIN and PSH, which only the last packet carries.
    last_flags: u8,
    /// The folded sum of the pseudo-header, but for the length of the segment.
    pseudo_header: u16,
}

/// The header and the packet do not fit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Does what `header` asks for: completes the checksum of a packet, or says how a burst is to be cut.
pub(crate) fn prepare(header: &VirtioHeader, packet: &mut [u8]) -> Result<Option<Cut>, Malformed> {
    let kind = header.kind & !KIND_ECN;
    if kind == KIND_NONE {
        if header.flags & NEEDS_CHECKSUM != 0 {
            complete_checksum(header, packet)?;
        }
        return Ok(None);
    }
    let transport = usize::from(header.checksum_start);
    let version = Version::of(packet).ok_or(Malformed)?;
    let (protocol, least) = match (kind, version) {
        (KIND_TCP_V4, Version::V4) | (KIND_TCP_V6, Version::V6) => (TCP, TCP_HEADER),
        (KIND_UDP, _) => (UDP, UDP_HEADER),
        _ => return Err(Malformed),
    };
    if transport < version.header() || packet.len() < transport + least || header.segment_size == 0 {
        return Err(Malformed);
    }
    let (headers, last_flags) = match protocol {
        TCP => {
            let length = usize::from(packet[transport + TCP_DATA_OFFSET] >> 4) * 4;
            (transport + length.max(TCP_HEADER), packet[transport + TCP_FLAGS] & (FIN | PSH))
        }
        _ => (transport + UDP_HEADER, 0),
    };
    if packet.len() <= headers {
        return Err(Malformed);
    }
    let pseudo_header = match transport == version.header() {
        true => fold(pseudo_header(packet, version, protocol, 0)),
        false => given_pseudo_header(header, protocol, packet).ok_or(Malformed)?,
    };
    Ok(Some(Cut { version, protocol, transport, headers, size: header.segment_size.into(), last_flags, pseudo_header }))
}

/// Takes the sum of the pseudo-header from the checksum of a burst, where the system left it, and takes off the length.
///
/// Between the IP header and the transport's there may be a routing header or a source route: then the address in the
/// header is that of the next stop, and the pseudo-header has the last one's (RFC 8200, section 8.1; RFC 1122, section
/// 3.2.1.8). Which that is, the system knows of every kind. `None` if it left no sum.
fn given_pseudo_header(header: &VirtioHeader, protocol: u8, packet: &[u8]) -> Option<u16> {
    let transport = usize::from(header.checksum_start);
    let given = u16_at(packet, transport + if protocol == TCP { TCP_CHECKSUM } else { UDP_CHECKSUM });
    // Of what is not all zeros the sum is never zero.
    let is_given = header.flags & NEEDS_CHECKSUM != 0 && given != 0;
    // The length is taken off by adding its complement (RFC 1071, section 1).
    is_given.then(|| fold(u64::from(given) + u64::from(!((packet.len() - transport) as u16))))
}

fn complete_checksum(header: &VirtioHeader, packet: &mut [u8]) -> Result<(), Malformed> {
    let start = usize::from(header.checksum_start);
    let place = start + usize::from(header.checksum_offset);
    if place + 2 > packet.len() {
        return Err(Malformed);
    }
    // The field holds the sum over the pseudo-header, and is summed with the rest.
    let checksum = match !fold(sum(&packet[start..])) {
        0 => 0xffff,
        checksum => checksum,
    };
    set_u16(packet, place, checksum);
    Ok(())
}

impl Cut {
    /// Makes packet `index` of `burst`, and returns where it lies; `None` behind the last. Ask for each once, in order.
    pub(crate) fn packet(&self, burst: &mut [u8], index: usize) -> Option<Range<usize>> {
        let start = index * self.size;
        let end = self.end_of(index, burst.len());
        if start + self.headers >= burst.len() {
            return None;
        }
        if index > 0 {
            burst.copy_within(start - self.size..start - self.size + self.headers, start);
        }
        let is_last = end == burst.len();
        self.finish(&mut burst[start..end], index == 0, is_last);
        Some(start..end)
    }

    /// Returns where packet `index` ends, from the start of a burst of `length` bytes.
    pub(crate) fn end_of(&self, index: usize, length: usize) -> usize {
        length.min(index * self.size + self.headers + self.size)
    }

    /// Writes the headers of one packet; they are those of the packet before, or of the burst for the first.
    fn finish(&self, packet: &mut [u8], is_first: bool, is_last: bool) {
        let transport = self.transport;
        let length = packet.len();
        if self.version == Version::V4 && !is_first {
            let id = u16_at(packet, 4).wrapping_add(1);
            set_u16(packet, 4, id);
        }
        set_ip_length(packet, self.version, transport, length);
        let checksum_at = match self.protocol {
            TCP => {
                let flags = &mut packet[transport + TCP_FLAGS];
                *flags &= !(FIN | PSH);
                if is_last {
                    *flags |= self.last_flags;
                }
                if !is_first {
                    *flags &= !CWR;
                    let sequence = u32_at(packet, transport + TCP_SEQUENCE).wrapping_add(self.size as u32);
                    set_u32(packet, transport + TCP_SEQUENCE, sequence);
                }
                transport + TCP_CHECKSUM
            }
            _ => {
                set_u16(packet, transport + UDP_LENGTH, (length - transport) as u16);
                transport + UDP_CHECKSUM
            }
        };
        set_u16(packet, checksum_at, 0);
        let checksum = transport_checksum(&packet[transport..], self.pseudo_header, self.protocol);
        set_u16(packet, checksum_at, checksum);
    }
}
