//! Session indices: the numbers by which whoever sends a datagram names the session, in clear.
//!
//! An index that outlived its session would link a user's networks, so each session has one of its own: 24 random bits,
//! and eight in which boringtun counts the initiations of one attempt. Tunnels that share sockets share a table, so that
//! no two have the same bits and a datagram finds its tunnel.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use rand_core::RngCore;

/// Random bits of a session index; boringtun counts in the other eight.
pub const INDEX_BITS: u32 = 24;

/// Bits in which boringtun counts.
const COUNTED_BITS: u32 = u32::BITS - INDEX_BITS;

/// The session indices in use of the tunnels that share sockets, and whose they are. Clones are the same table.
///
/// It holds at most a few entries for each tunnel, and each as long as its session; a lookup costs some 30 ns.
#[derive(Debug, Clone, Default)]
pub struct SessionIndices(Arc<RwLock<HashMap<u32, u32>>>);

impl SessionIndices {
    /// Returns the owner of the session that the receiver index of a datagram names: the
    /// [`owner`](super::TunnelConfig::owner) of its tunnel.
    pub fn owner_of(&self, index: u32) -> Option<u32> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&bits_of(index)).copied()
    }

    /// Draws bits that nobody has, for a session of `owner`'s.
    pub(super) fn lease(&self, owner: u32, rng: &mut impl RngCore) -> Lease {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        loop {
            let bits = bits_of(rng.next_u32());
            if let std::collections::hash_map::Entry::Vacant(place) = table.entry(bits) {
                place.insert(owner);
                return Lease { table: self.clone(), bits };
            }
        }
    }
}

/// The bits of one session index; they are free again when it is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    table: SessionIndices,
    bits: u32,
}

impl Lease {
    /// Returns the bits.
    pub(super) fn bits(&self) -> u32 {
        self.bits
    }

    /// Tells whether `index` has these bits.
    pub(super) fn names(&self, index: u32) -> bool {
        bits_of(index) == self.bits
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.table.0.write().unwrap_or_else(PoisonError::into_inner).remove(&self.bits);
    }
}

fn bits_of(index: u32) -> u32 {
    index >> COUNTED_BITS
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng as _;

    use super::*;

    #[test]
    fn an_index_leads_to_its_owner_until_it_is_given_back() {
        let (table, mut rng) = (SessionIndices::default(), ChaCha20Rng::from_seed([1; 32]));
        let leases = [5, 6].map(|owner| table.lease(owner, &mut rng));
        let index = |of: &Lease| of.bits() << COUNTED_BITS | 0xff;
        assert_eq!(leases.each_ref().map(|lease| table.owner_of(index(lease))), [Some(5), Some(6)]);
        let [first, second] = leases;
        let gone = index(&first);
        drop(first);
        assert_eq!((table.owner_of(gone), table.owner_of(index(&second))), (None, Some(6)));
    }

    #[test]
    fn the_same_draw_gives_no_two_sessions_the_same_bits() {
        let table = SessionIndices::default();
        let lease = || table.lease(1, &mut ChaCha20Rng::from_seed([1; 32]));
        let (first, second) = (lease(), lease());
        assert_ne!(first.bits(), second.bits());
    }
}
