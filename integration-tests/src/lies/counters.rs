//! Lies about the counter of a datagram.

use super::{DATAGRAMS, Liar};

/// Counters that the protocol refuses, and the last that it does not: after those, the session is at its end.
pub fn counters_near_the_end(liar: &mut Liar) {
    let packet = liar.honest_packet();
    for below in [0, 1, 2, 63, 64, 1 << 13, (1 << 13) + 1, (1 << 13) + 2, 1 << 14] {
        liar.initiator.data_at(u64::MAX - below, &packet);
    }
    liar.hang_up();
}

/// Counters that go down.
pub fn counters_backwards(liar: &mut Liar) {
    let (packet, first) = (liar.honest_packet(), liar.next());
    (first..first + DATAGRAMS as u64).rev().for_each(|counter| liar.initiator.data_at(counter, &packet));
    skip_to(liar, first + DATAGRAMS as u64);
}

/// Counters that come again and again, with other plaintexts: the nonce is the same.
pub fn counters_repeated(liar: &mut Liar) {
    let first = liar.next();
    for number in 0..DATAGRAMS as u64 {
        let packet = liar.honest_packet();
        liar.initiator.data_at(first + number / 8, &packet);
    }
    skip_to(liar, first + DATAGRAMS as u64);
}

/// Counters that double, and ones that every leap made too old.
pub fn counters_leaping(liar: &mut Liar) {
    let packet = liar.honest_packet();
    for power in 8..62 {
        liar.initiator.data_at(1 << power, &packet);
        liar.initiator.data_at((1 << power) - 9_000.min((1 << power) - 1), &packet);
    }
    liar.hang_up();
}

fn skip_to(liar: &mut Liar, counter: u64) {
    if let Some(session) = &mut liar.initiator.session {
        session.next = counter;
    }
}
