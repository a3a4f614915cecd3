//! Echo requests and replies (RFC 792) as whole IPv4 packets.

use std::net::Ipv4Addr;

/// Bytes before the payload: the headers of IPv4 and ICMP.
pub(crate) const ECHO_HEADERS: usize = 28;

/// Returns an echo request whose checksums are right.
pub fn echo_request(from: Ipv4Addr, to: Ipv4Addr, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 1, 0, 0];
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend([8, 0, 0, 0, 0x6d, 0x62]);
    packet.extend(sequence.to_be_bytes());
    packet.extend(payload);
    let length = packet.len() as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    let checksum = internet_checksum(&packet[20..]);
    packet[22..24].copy_from_slice(&checksum.to_be_bytes());
    write_header_checksum(&mut packet);
    packet
}

/// Returns the payload of an echo reply; `None` if the packet is none.
pub fn echo_reply(packet: &[u8]) -> Option<&[u8]> {
    let is_reply = packet.len() >= ECHO_HEADERS && packet[0] == 0x45 && packet[9] == 1 && packet[20] == 0;
    is_reply.then(|| &packet[ECHO_HEADERS..])
}

/// Makes the checksum of an IPv4 header of 20 bytes right.
pub(crate) fn write_header_checksum(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let checksum = internet_checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// Returns the checksum of RFC 1071.
pub(crate) fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&b| b.into())).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !sum as u16
}
