//! Lies in handshakes, and floods of them.

use super::{DATAGRAMS, Liar};
use crate::initiator::noise::{Identity, Initiation, KeyPair, random, write_macs};

/// Points of Curve25519 of small order: those that RFC 7748 and <https://cr.yp.to/ecdh.html> name, smallest first.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    {
        let mut one = [0; 32];
        one[0] = 1;
        one
    },
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
        0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44,
        0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
    {
        let mut largest = [0xff; 32];
        (largest[0], largest[31]) = (0xec, 0x7f);
        largest
    },
];

/// Initiations with a valid first MAC, and nothing behind it.
pub fn initiations_of_junk(liar: &mut Liar) {
    for _ in 0..2 * DATAGRAMS {
        let mut message = [0; 148];
        message[0] = 1;
        let junk = liar.noise(112);
        message[4..116].copy_from_slice(&junk);
        write_macs(&mut message, &liar.initiator.identity.peer, None);
        liar.initiator.transmit(&message);
    }
}

/// Initiations that are right in all but that nobody knows who calls.
pub fn initiations_of_strangers(liar: &mut Liar) {
    for _ in 0..DATAGRAMS {
        let stranger = Identity { own: KeyPair::Secret(random()), ..liar.initiator.identity };
        liar.initiator.transmit(&stranger.initiate(Initiation::honest(), None).0);
    }
}

/// One initiation of the liar's own, many times, also from elsewhere.
pub fn initiations_replayed(liar: &mut Liar) {
    let (message, _) = liar.initiator.identity.initiate(Initiation::honest(), None);
    for number in 0..DATAGRAMS as u16 {
        liar.initiator.transmit(&message);
        liar.transmit_from(liar.outer, 2_000 + number, &message);
    }
    liar.hang_up();
}

/// Initiations that are all right, and whose sessions nobody uses.
pub fn initiations_unused(liar: &mut Liar) {
    for _ in 0..DATAGRAMS {
        liar.initiator.transmit(&liar.initiator.identity.initiate(Initiation::honest(), None).0);
    }
    liar.hang_up();
}

/// Initiations whose ephemeral key makes every secret that it takes part in zeros.
pub fn ephemeral_keys_of_small_order(liar: &mut Liar) {
    for point in SMALL_ORDER {
        let fields = Initiation { ephemeral: KeyPair::Claimed(point), ..Initiation::honest() };
        liar.initiator.transmit(&liar.initiator.identity.initiate(fields, None).0);
    }
    liar.hang_up();
}

/// Initiations that are older than those before them.
pub fn timestamps_of_the_past(liar: &mut Liar) {
    for number in 0..DATAGRAMS {
        let mut fields = Initiation::honest();
        let (seconds, _) = fields.timestamp.split_first_chunk_mut::<8>().expect("12 bytes");
        let past = u64::from_be_bytes(*seconds) - [1, 60, 1 << 32, 1 << 62][number % 4];
        *seconds = past.to_be_bytes();
        liar.initiator.transmit(&liar.initiator.identity.initiate(fields, None).0);
    }
}

/// Cookie replies that nobody asked for, and initiations with cookies that nobody gave.
pub fn cookies_forged(liar: &mut Liar) {
    let receiver = liar.initiator.session.map_or(0, |session| session.keys.receiver);
    for _ in 0..DATAGRAMS {
        let mut reply = [&[3, 0, 0, 0][..], &receiver.to_le_bytes()].concat();
        reply.extend(liar.noise(56));
        liar.initiator.transmit(&reply);
        let (message, _) = liar.initiator.identity.initiate(Initiation::honest(), Some(random()));
        liar.initiator.transmit(&message);
    }
    liar.hang_up();
}

/// Responses to initiations that the relay never sent, to the liar's session and to none.
pub fn responses_unasked(liar: &mut Liar) {
    let own = liar.initiator.session.map_or(0, |session| session.keys.receiver);
    for number in 0..DATAGRAMS {
        let receiver = if number % 2 == 0 { own } else { liar.random() as u32 };
        let mut message = [&[2, 0, 0, 0][..], &liar.noise(4), &receiver.to_le_bytes(), &liar.noise(80)].concat();
        write_macs(&mut message, &liar.initiator.identity.peer, None);
        liar.initiator.transmit(&message);
    }
}
