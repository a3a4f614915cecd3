//! Lies in what an authentic datagram carries: frames, bundles and packets.

use super::{DATAGRAMS, Liar};
use crate::echo::{echo_request, write_header_checksum};
use crate::initiator::frame::{BUNDLE, KEEPALIVE, PADDING, SIZE, frame};

/// What packets bear that claim to come from another client: none of them may be delivered.
pub const FORGED: [u8; 40] = [0x66; 40];

/// Keeps what was captured to so many datagrams.
const CAPTURED: usize = 8;

/// Bundles in bundles.
pub fn bundles_nested(liar: &mut Liar) {
    let packet = liar.honest_packet();
    let mut inner = frame(BUNDLE, &packet.repeat(2), 2 * packet.len() + 4);
    for _ in 0..10 {
        let size = 2 * packet.len() + inner.len() + 4;
        let body = [&packet[..], &inner, &packet].concat();
        liar.initiator.data(&frame(BUNDLE, &body, size.min(SIZE)));
        inner = frame(BUNDLE, &inner, inner.len() + 4);
    }
}

/// Packets of a bundle whose lengths reach into the next, behind the end, or nowhere.
pub fn bundles_that_overlap(liar: &mut Liar) {
    for stated in [0, 1, 19, 20, 27, 129, 200, 1_416, 1_417, u16::MAX] {
        let mut first = liar.honest_packet();
        first[2..4].copy_from_slice(&stated.to_be_bytes());
        write_header_checksum(&mut first);
        let second = liar.honest_packet();
        let mut third = echo_request(liar.other, liar.relay, 0, &FORGED);
        third.extend([0x45; 3]);
        liar.initiator.data(&frame(BUNDLE, &[&first[..], &second, &third].concat(), SIZE));
        liar.initiator.data(&frame(BUNDLE, &[&second[..], &first, &third].concat(), SIZE));
    }
}

/// A thousand packets of the least size, in one bundle that is larger than any MTU, and as many as one MTU has room for.
pub fn bundles_of_a_thousand(liar: &mut Liar) {
    let mut least = vec![0x45, 0, 0, 20, 0, 0, 0, 0, 64, 59, 0, 0];
    least.extend(liar.inner.octets());
    least.extend(liar.relay.octets());
    write_header_checksum(&mut least);
    for count in [1_000, 70, 33, 32, 1, 0] {
        let body = least.repeat(count);
        liar.initiator.data(&frame(BUNDLE, &body, SIZE.max(body.len() + 4)));
    }
}

/// Frames of every kind, known or not, some with a length that is not theirs, some sent again.
pub fn frames_of_every_kind(liar: &mut Liar) {
    for number in 0..2 * DATAGRAMS {
        let kind = [PADDING, BUNDLE, KEEPALIVE, liar.random() as u8][number % 4];
        let length = liar.below(SIZE - 4);
        let body = liar.noise(length);
        let mut plaintext = frame(kind, &body, SIZE);
        if number % 5 == 0 {
            plaintext.truncate(length + 4);
        }
        let Some(session) = &mut liar.initiator.session else { return };
        let datagram = session.seal(&plaintext);
        liar.initiator.transmit(&datagram);
        liar.captured.push(datagram);
        if liar.captured.len() > CAPTURED {
            let oldest = liar.captured.remove(0);
            liar.initiator.transmit(&oldest);
        }
    }
}

/// Packets whose headers are wrong: version, header length, total length, checksum, options; and next headers of IPv6.
pub fn packets_malformed(liar: &mut Liar) {
    for number in 0..DATAGRAMS {
        let mut packet = liar.honest_packet();
        let (at, byte) = (liar.below(20), liar.random() as u8);
        match number % 4 {
            0 => packet[0] = byte,
            1 => packet[2..4].copy_from_slice(&(u16::from(byte) << (number % 9)).to_be_bytes()),
            2 => packet[at.min(11)] ^= byte,
            _ => {
                let length = packet.len();
                packet[0] = 0x60;
                packet[4..6].copy_from_slice(&[byte, length as u8]);
                packet[6] = [0, 43, 44, 60, byte][number % 5];
            }
        }
        liar.initiator.data(&packet);
    }
}

/// Fragments: first ones only, last ones only, overlapping ones, ones that end behind 65,535 bytes.
pub fn packets_in_pieces(liar: &mut Liar) {
    for place in [0x2000, 0x2001, 0x0001, 0x1fff, 0x3fff, 0xffff, 0x8000] {
        let mut packet = liar.honest_packet();
        packet[6..8].copy_from_slice(&u16::to_be_bytes(place));
        write_header_checksum(&mut packet);
        liar.initiator.data(&packet);
    }
}

/// Packets that claim to come from another client, alone and in a bundle with honest ones.
pub fn sources_of_others(liar: &mut Liar) {
    for source in [liar.other, liar.relay, std::net::Ipv4Addr::LOCALHOST, std::net::Ipv4Addr::BROADCAST] {
        let (forged, honest) = (echo_request(source, liar.relay, 0, &FORGED), liar.honest_packet());
        liar.initiator.data(&forged);
        liar.initiator.data(&frame(BUNDLE, &[&honest[..], &forged, &honest].concat(), SIZE));
        let mut padded = forged;
        padded.resize(SIZE, 0);
        liar.initiator.data(&padded);
    }
}

/// Packets with every mark of congestion and class, with and without a transport that knows them.
pub fn packets_marked(liar: &mut Liar) {
    for mark in 0..DATAGRAMS as u8 {
        let mut packet = liar.honest_packet();
        packet[1] = mark.wrapping_mul(37);
        packet[9] = if mark % 2 == 0 { 1 } else { 6 };
        write_header_checksum(&mut packet);
        liar.initiator.data(&packet);
    }
}
