//! Lies about how long a message is, and how large one may be on the way.

use super::{DATAGRAMS, Liar};
use crate::initiator::frame::{PATH, frame};
use crate::initiator::noise::{Initiation, write_macs};

/// The largest payload of a UDP datagram over IPv4, in bytes.
const LARGEST: usize = 65_507;

/// The largest plaintext that such a datagram holds.
const LARGEST_PLAINTEXT: usize = LARGEST - 32;

/// Datagrams of every kind and size, from none to the largest, for the liar's own session.
pub fn sizes_of_datagrams(liar: &mut Liar) {
    let lengths = [0, 1, 3, 4, 15, 16, 31, 32, 64, 92, 147, 148, 149, 1_452, 1_453, 9_000, LARGEST];
    let receiver = liar.initiator.session.map_or(0, |session| session.keys.receiver);
    for length in lengths {
        let kind = liar.below(6) as u8;
        let mut datagram = liar.noise(length);
        datagram.iter_mut().zip([kind, 0, 0, 0]).for_each(|(byte, said)| *byte = said);
        datagram.iter_mut().skip(4).zip(receiver.to_le_bytes()).for_each(|(byte, said)| *byte = said);
        liar.initiator.transmit(&datagram);
    }
}

/// Authentic plaintexts of every size, from none to more than any MTU: packets, frames and neither.
pub fn sizes_of_payloads(liar: &mut Liar) {
    for length in [0, 1, 3, 4, 15, 16, 19, 20, 39, 40, 1_419, 1_420, 1_421, 1_500, 9_000, LARGEST_PLAINTEXT] {
        let first = [0x45, 0x60, 0xff, 0x00][liar.below(4)];
        let mut plaintext = vec![first; length];
        let stated = (length as u16).to_be_bytes();
        plaintext.iter_mut().skip(2).zip(stated).for_each(|(byte, said)| *byte = said);
        liar.initiator.data(&plaintext);
    }
}

/// Handshake messages that end early, their MACs right for what is left.
pub fn truncated_handshakes(liar: &mut Liar) {
    for _ in 0..DATAGRAMS {
        let (message, _) = liar.initiator.identity.initiate(Initiation::honest(), None);
        let length = 32 + liar.below(116);
        let mut message = message[..length].to_vec();
        message[0] = 1 + liar.below(3) as u8;
        write_macs(&mut message, &liar.initiator.identity.peer, None);
        liar.initiator.transmit(&message);
    }
}

/// Handshake messages with more behind them, their MACs right for all of it.
pub fn oversized_handshakes(liar: &mut Liar) {
    for length in [149, 152, 180, 296, 1_452, 9_000, LARGEST] {
        let (message, _) = liar.initiator.identity.initiate(Initiation::honest(), None);
        let mut message = [&message[..], &liar.noise(length - message.len())].concat();
        message[0] = 1 + liar.below(3) as u8;
        write_macs(&mut message, &liar.initiator.identity.peer, None);
        liar.initiator.transmit(&message);
    }
}

/// Probes of the path of any size, echoes of probes that nobody sent, limits from nothing to more than there is, and frames
/// that end early; numbered as it comes.
pub fn paths_of_any_size(liar: &mut Liar) {
    liar.agree();
    for number in 0..2 * DATAGRAMS {
        let kind = liar.below(4) as u8;
        let counted = [0, 1, number as u32, u32::MAX][liar.below(4)];
        let limit = [0, 1, 576, 1_279, 1_420, 9_000, u16::MAX][liar.below(7)];
        let body =
            [&[kind][..], &liar.random().to_be_bytes()[4..], &counted.to_be_bytes(), &limit.to_be_bytes()].concat();
        let size = [body.len() + 4, 576, 1_280, 1_419, 1_420, 9_000, LARGEST_PLAINTEXT][liar.below(7)];
        let mut plaintext = frame(PATH, &body, size);
        if number % 7 == 0 {
            plaintext.truncate(liar.below(body.len() + 4));
        }
        liar.initiator.data(&plaintext);
    }
}
