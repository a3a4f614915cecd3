//! Lies about where a datagram comes from, and whom it is for.

use std::net::Ipv4Addr;

use super::{DATAGRAMS, Liar};
use crate::initiator::noise::Initiation;

/// Authentic datagrams and initiations from port 0, to which nothing can be sent.
pub fn port_zero(liar: &mut Liar) {
    for _ in 0..DATAGRAMS {
        let datagram = liar.sealed();
        liar.transmit_from(liar.outer, 0, &datagram);
    }
    let (initiation, _) = liar.initiator.identity.initiate(Initiation::honest(), None);
    liar.transmit_from(liar.outer, 0, &initiation);
}

/// Authentic datagrams from many addresses of the relay's own network where nobody is: what is sent there waits in the
/// relay's kernel for an answer to ARP.
pub fn absent_addresses(liar: &mut Liar) {
    let [a, b, c, _] = liar.outer.octets();
    for _ in 0..10 * DATAGRAMS {
        let datagram = liar.sealed();
        let (last, port) = (100 + liar.below(150) as u8, 1_024 + liar.below(60_000) as u16);
        liar.transmit_from(Ipv4Addr::new(a, b, c, last), port, &datagram);
    }
}

/// Authentic datagrams from addresses to which no route leads, or that nobody may have.
pub fn unroutable_addresses(liar: &mut Liar) {
    let [a, b, c, _] = liar.outer.octets();
    let strange = [
        Ipv4Addr::new(203, 0, 113, 1),
        Ipv4Addr::new(240, 0, 0, 1),
        Ipv4Addr::new(a, b, c, 255),
        Ipv4Addr::new(a, b, c, 0),
        Ipv4Addr::LOCALHOST,
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::BROADCAST,
        Ipv4Addr::new(224, 0, 0, 1),
    ];
    for address in strange.into_iter().cycle().take(DATAGRAMS) {
        let datagram = liar.sealed();
        liar.transmit_from(address, 51_820, &datagram);
    }
}

/// Authentic datagrams from addresses inside the tunnel: what the relay sends there would come back to it, to be sent again.
pub fn addresses_inside(liar: &mut Liar) {
    for address in [liar.inner, liar.relay, liar.other].into_iter().cycle().take(DATAGRAMS) {
        let datagram = liar.sealed();
        liar.transmit_from(address, 51_820, &datagram);
    }
}

/// What the liar sealed, for sessions that are not its own.
pub fn indices_of_others(liar: &mut Liar) {
    for number in 0..DATAGRAMS {
        let packet = liar.honest_packet();
        let stranger = liar.random() as u32;
        let Some(session) = &mut liar.initiator.session else { return };
        // The low bits are counted in: those of its own bits are all its own.
        let receiver = if number % 2 == 0 { stranger } else { session.keys.receiver ^ (1 << (number % 32)) };
        let datagram = session.seal_for(receiver, session.next, &packet);
        session.next += 1;
        liar.initiator.transmit(&datagram);
    }
}
