//! Which peers are at which address: those whose datagrams may go there.

use std::collections::BTreeSet;
use std::net::IpAddr;

use parking_lot::Mutex;

/// The names of peers, by the address of their endpoint.
#[derive(Debug, Default)]
pub(super) struct Endpoints(Mutex<BTreeSet<(IpAddr, u32)>>);

impl Endpoints {
    /// Notes that a peer was at one address, and is at another.
    pub(super) fn moved(&self, peer: u32, from: Option<IpAddr>, to: Option<IpAddr>) {
        let mut places = self.0.lock();
        if let Some(from) = from {
            places.remove(&(from, peer));
        }
        if let Some(to) = to {
            places.insert((to, peer));
        }
    }

    /// Notes that there are no peers.
    pub(super) fn clear(&self) {
        // Dropped without the lock.
        drop(std::mem::take(&mut *self.0.lock()));
    }

    /// Returns the peers that are at an address.
    pub(super) fn at(&self, address: IpAddr) -> Vec<u32> {
        self.0.lock().range((address, 0)..=(address, u32::MAX)).map(|(_, peer)| *peer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_where_it_moved_last() {
        let [here, there] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
        let endpoints = Endpoints::default();
        endpoints.moved(7, None, Some(here));
        endpoints.moved(0, None, Some(here));
        endpoints.moved(u32::MAX, None, Some(there));
        assert_eq!((endpoints.at(here), endpoints.at(there)), (vec![0, 7], vec![u32::MAX]));
        endpoints.moved(7, Some(here), Some(there));
        endpoints.moved(0, Some(here), None);
        assert_eq!((endpoints.at(here), endpoints.at(there)), (vec![], vec![7, u32::MAX]));
        endpoints.clear();
        assert!(endpoints.at(there).is_empty());
    }
}
