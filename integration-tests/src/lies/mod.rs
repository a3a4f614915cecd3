//! What a client that holds a valid key may lie about, each a small function with a name.
//!
//! [`every_lie!`](crate::every_lie) lists them: a new lie is a function here and a row there.

mod contents;
mod counters;
mod handshakes;
mod negotiation;
mod sizes;
mod sources;

pub use contents::*;
pub use counters::*;
pub use handshakes::*;
pub use negotiation::*;
pub use sizes::*;
pub use sources::*;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use ciborium::Value;
use rand_core::{RngCore as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::echo::echo_request;
use crate::host::Host;
use crate::initiator::Initiator;
use crate::raw::{RawSender, udp_between};

/// Passes the names of all lies on to the macro `with`.
#[macro_export]
macro_rules! every_lie {
    ($with:path) => {
        $with! {
            counters_near_the_end, counters_backwards, counters_repeated, counters_leaping,
            sizes_of_datagrams, sizes_of_payloads, paths_of_any_size, truncated_handshakes, oversized_handshakes,
            port_zero, absent_addresses, unroutable_addresses, addresses_inside, indices_of_others,
            initiations_of_junk, initiations_of_strangers, initiations_replayed, initiations_unused,
            ephemeral_keys_of_small_order, timestamps_of_the_past, cookies_forged, responses_unasked,
            hello_and_stop, hellos_of_every_kind, proofs_of_nothing, parts_unasked, fetches_without_end,
            path_tokens, messages_of_noise, agreements_broken,
            bundles_nested, bundles_that_overlap, bundles_of_a_thousand, frames_of_every_kind,
            packets_malformed, packets_in_pieces, sources_of_others, packets_marked,
        }
    };
}

/// One thing to lie about.
#[derive(Debug, Clone, Copy)]
pub struct Lie {
    /// The name of its function.
    pub name: &'static str,
    /// Tells it once, in at most some hundred datagrams.
    pub tell: fn(&mut Liar),
}

macro_rules! list {
    ($($lie:ident),+ $(,)?) => {
        /// All of them.
        pub const LIES: &[Lie] = &[$(Lie { name: stringify!($lie), tell: $lie }),+];
    };
}

every_lie!(list);

/// How long a liar waits for what it needs: a session, an answer. Under a flood it may not come.
const PATIENCE: Duration = Duration::from_millis(300);

/// How many datagrams a lie is told in, unless it says otherwise.
const DATAGRAMS: usize = 32;

/// Bytes of an honest packet's payload: those of the answer, too.
const ANSWERED: usize = 1_000;

/// A hostile client: a peer of the relay's, with a key of its own.
#[derive(Debug)]
pub struct Liar {
    /// Speaks for it.
    pub initiator: Initiator,
    raw: RawSender,
    rng: Xoshiro256PlusPlus,
    outer: Ipv4Addr,
    inner: Ipv4Addr,
    /// An address inside that belongs to another client.
    other: Ipv4Addr,
    relay: Ipv4Addr,
    epoch: u32,
    proof: Option<Value>,
    captured: Vec<Vec<u8>>,
}

/// Where things are, seen from a liar.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings {
    /// The liar's own address on the network, of a /24 that the relay is on too.
    pub outer: Ipv4Addr,
    /// The liar's address inside the tunnel.
    pub inner: Ipv4Addr,
    /// The address inside of another client of the relay's.
    pub other: Ipv4Addr,
    /// The relay's address inside.
    pub relay: Ipv4Addr,
}

impl Liar {
    /// Returns a liar on `host` that draws from `seed`.
    #[track_caller]
    pub fn new(host: &Host, initiator: Initiator, surroundings: Surroundings, seed: u64) -> Self {
        let Surroundings { outer, inner, other, relay } = surroundings;
        let (raw, rng) = (RawSender::new(host), Xoshiro256PlusPlus::seed_from_u64(seed));
        Self { initiator, raw, rng, outer, inner, other, relay, epoch: 0, proof: None, captured: Vec::new() }
    }

    /// Tells a lie once, in a session; nothing while the relay lets it have none.
    pub fn tell(&mut self, lie: Lie) {
        self.initiator.drain();
        if self.initiator.session.is_some() || self.open_session() {
            (lie.tell)(self);
        }
    }

    /// Draws a lie.
    pub fn draw(&mut self) -> Lie {
        LIES[self.below(LIES.len())]
    }

    /// Opens a session in the place of the last one; tells whether it came to that.
    fn open_session(&mut self) -> bool {
        self.proof = None;
        self.initiator.open_session(PATIENCE)
    }

    /// Leaves the session: the next lie gets another.
    fn hang_up(&mut self) {
        self.initiator.session = None;
    }

    fn next(&self) -> u64 {
        self.initiator.session.map_or(0, |session| session.next)
    }

    fn random(&mut self) -> u64 {
        self.rng.next_u64()
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.random() % bound as u64) as usize
    }

    fn noise(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// An honest packet, which the relay's host answers.
    fn honest_packet(&mut self) -> Vec<u8> {
        let sequence = self.random() as u16;
        echo_request(self.inner, self.relay, sequence, &[0; ANSWERED])
    }

    /// Sends a datagram from any address and port.
    fn transmit_from(&self, address: Ipv4Addr, port: u16, datagram: &[u8]) {
        let SocketAddr::V4(to) = self.initiator.relay() else { return };
        // A source that the system does not send from is not told.
        self.raw.offer(&udp_between(SocketAddrV4::new(address, port), to, datagram)).ok();
    }

    /// Seals an honest packet, for whoever is to send it.
    fn sealed(&mut self) -> Vec<u8> {
        let packet = self.honest_packet();
        self.initiator.session.as_mut().map_or_else(Vec::new, |session| session.seal(&packet))
    }
}
