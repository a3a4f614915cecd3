//! The peers of a device, by name, by key, by session index and by inner address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use boringtun::noise::HandshakeInit;
use boringtun::noise::handshake::parse_handshake_anon;
use parking_lot::Mutex;
use rand_core::{OsRng, RngCore as _, TryRngCore as _};
use tokio::sync::Notify;

use super::departing::Outbox;
use super::handshakes::HandshakeLimiter;
use super::log::PeerLog;
use super::network::Way;
use super::routing_loop::CameBack;
use super::sending::Offload;
use crate::keys::{KEY_LENGTH, PrivateKey, PublicKey};
use crate::secret::on_wiped_stack;
use crate::settings::{DefenseSettings, Role};
use crate::tunnel::{AllowedIps, INDEX_BITS, PaddingRate, SessionIndices, Tunnel, TunnelConfig};

/// Most peers of one device. Each has at most eight session indices, so half of all are free, and one is soon found.
const MAX_PEERS: usize = 1 << (INDEX_BITS - 4);

/// One peer.
#[derive(Debug)]
pub(super) struct Peer {
    /// The peer's name within the device; nobody outside learns it.
    pub(super) id: u32,
    pub(super) public_key: PublicKey,
    pub(super) state: Mutex<PeerState>,
    /// Tells whoever waits for it that the tunnel's queue has room, or that the peer is gone.
    pub(super) drained: Notify,
    /// Held by whoever sends for the peer; taken before the state's lock, or tried under it. See
    /// [`departing`](super::departing).
    pub(super) sending: Mutex<Offload>,
    is_removed: AtomicBool,
    /// Counts up from peer to peer: the order in which they are shown.
    sequence: u64,
}

impl Peer {
    /// Tells whether the device has this peer no more.
    pub(super) fn is_removed(&self) -> bool {
        self.is_removed.load(Ordering::Relaxed)
    }

    /// Lets go of whoever waits for the peer.
    fn be_removed(&self) {
        self.is_removed.store(true, Ordering::Relaxed);
        self.drained.notify_waiters();
    }
}

#[derive(Debug)]
pub(super) struct PeerState {
    pub(super) tunnel: Tunnel,
    pub(super) outbox: Outbox,
    pub(super) way: Way,
    pub(super) log: PeerLog,
    pub(super) came_back: CameBack,
    /// What all defended peers share, while this is one.
    pub(super) defended: Option<Arc<()>>,
    /// The deadline that the schedule holds for this peer.
    pub(super) scheduled: Option<Instant>,
    /// The defense that the tunnel was told to run, if it is not to be agreed on.
    pub(super) defense: Option<DefenseSettings>,
    /// Which end we are: the client once the peer's endpoint was set.
    pub(super) role: Role,
}

/// All peers of a device, and the key that they know it by.
#[derive(Debug)]
pub(super) struct Registry {
    identity: Option<Identity>,
    handshakes_per_second: u64,
    /// What padding to all peers together may take.
    padding_rate: PaddingRate,
    by_id: HashMap<u32, Arc<Peer>>,
    /// Which peer each session index is of.
    indices: SessionIndices,
    by_key: HashMap<PublicKey, Arc<Peer>>,
    pub(super) allowed_ips: AllowedIps<u32>,
    sequence: u64,
}

/// Our own key, and what is derived from it.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) private_key: PrivateKey,
    public_key: PublicKey,
    pub(super) limiter: HandshakeLimiter,
}

impl Identity {
    /// Returns the key that an initiation names for its sender's; `None` if it was not made for us. Anyone can name any.
    pub(super) fn open(&self, initiation: &HandshakeInit<'_>) -> Option<[u8; KEY_LENGTH]> {
        let (private, public) = (self.private_key.as_x25519(), self.public_key.to_x25519());
        let opened = on_wiped_stack(|| parse_handshake_anon(private, &public, initiation));
        opened.ok().map(|half| half.peer_static_public)
    }
}

impl Registry {
    pub(super) fn new(handshakes_per_second: u64, padding_rate: PaddingRate) -> Self {
        Self {
            identity: None,
            handshakes_per_second,
            padding_rate,
            by_id: HashMap::new(),
            indices: SessionIndices::default(),
            by_key: HashMap::new(),
            allowed_ips: AllowedIps::default(),
            sequence: 0,
        }
    }

    /// Our own key; without one the device is silent.
    pub(super) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    pub(super) fn by_id(&self, id: u32) -> Option<&Arc<Peer>> {
        self.by_id.get(&id)
    }

    /// Returns the peer that the receiver index of a datagram names.
    pub(super) fn by_session(&self, receiver: u32) -> Option<&Arc<Peer>> {
        self.by_id(self.indices.owner_of(receiver)?)
    }

    /// Returns the peer of this public key. What is none finds nobody.
    pub(super) fn by_key(&self, key: &[u8; KEY_LENGTH]) -> Option<&Arc<Peer>> {
        self.by_key.get(key)
    }

    /// Returns the peer that cryptokey routing leads to.
    pub(super) fn route(&self, destination: IpAddr) -> Option<&Arc<Peer>> {
        self.by_id(self.allowed_ips.owner_of(destination)?)
    }

    /// Returns the peer, if there is just one.
    pub(super) fn only_peer(&self) -> Option<&Arc<Peer>> {
        let mut peers = self.by_id.values();
        peers.next().filter(|_| peers.next().is_none())
    }

    /// Returns the peers, in no order.
    pub(super) fn peers(&self) -> impl Iterator<Item = &Arc<Peer>> {
        self.by_id.values()
    }

    /// Returns the peers in the order they were added.
    pub(super) fn peers_in_order(&self) -> Vec<&Arc<Peer>> {
        let mut peers: Vec<_> = self.peers().collect();
        peers.sort_by_key(|peer| peer.sequence);
        peers
    }

    /// Sets or takes away our own key. A peer that has this key is removed: nobody talks to himself.
    pub(super) fn set_private_key(&mut self, key: Option<PrivateKey>, now: Instant) {
        if self.identity.as_ref().map(|identity| &identity.private_key) == key.as_ref() {
            return;
        }
        self.identity = key.map(|private_key| {
            let public_key = private_key.public_key();
            Identity { limiter: HandshakeLimiter::new(public_key, self.handshakes_per_second), public_key, private_key }
        });
        if let Some(own) = self.own_public_key() {
            self.remove(&own);
        }
        let key = self.tunnel_key();
        for peer in self.by_id.values() {
            peer.state.lock().tunnel.set_private_key(&key, now);
        }
    }

    /// Adds a peer; `None` if the key is our own or there are too many peers.
    pub(super) fn add(&mut self, public_key: PublicKey, mtu: u16) -> Option<Arc<Peer>> {
        if self.own_public_key() == Some(public_key) || self.by_id.len() >= MAX_PEERS {
            return None;
        }
        let id = self.free_id();
        let (key, mut seed) = (self.tunnel_key(), [0; 32]);
        OsRng.unwrap_err().fill_bytes(&mut seed);
        let config = TunnelConfig {
            mtu,
            indices: self.indices.clone(),
            owner: id,
            padding_rate: self.padding_rate.clone(),
            ..TunnelConfig::new(&key, public_key, seed)
        };
        let peer = Arc::new(Peer {
            id,
            public_key,
            state: Mutex::new(PeerState {
                tunnel: Tunnel::new(config),
                outbox: Outbox::default(),
                way: Way::default(),
                log: PeerLog::default(),
                came_back: CameBack::default(),
                defended: None,
                scheduled: None,
                defense: None,
                role: Role::Relay,
            }),
            drained: Notify::new(),
            sending: Mutex::default(),
            is_removed: AtomicBool::new(false),
            sequence: self.sequence,
        });
        self.sequence += 1;
        self.by_id.insert(id, Arc::clone(&peer));
        self.by_key.insert(public_key, Arc::clone(&peer));
        Some(peer)
    }

    pub(super) fn remove(&mut self, key: &PublicKey) {
        let Some(peer) = self.by_key.remove(key) else { return };
        peer.be_removed();
        self.by_id.remove(&peer.id);
        self.allowed_ips.remove_owner(peer.id);
    }

    pub(super) fn remove_all(&mut self) {
        self.peers().for_each(|peer| peer.be_removed());
        self.by_key.clear();
        self.by_id.clear();
        self.allowed_ips = AllowedIps::default();
    }

    fn own_public_key(&self) -> Option<PublicKey> {
        self.identity.as_ref().map(|identity| identity.public_key)
    }

    /// Returns the key for tunnels: while the device has none, a random one that nobody knows.
    fn tunnel_key(&self) -> PrivateKey {
        match &self.identity {
            Some(identity) => identity.private_key.clone(),
            None => PrivateKey::generate_from_os(),
        }
    }

    fn free_id(&self) -> u32 {
        loop {
            let id = OsRng.unwrap_err().next_u32();
            if !self.by_id.contains_key(&id) {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_with_our_own_key_is_neither_added_nor_kept() {
        let key = PrivateKey::generate_from_os();
        let mut registry = Registry::new(100, PaddingRate::default());
        registry.add(key.public_key(), 1_420).unwrap();
        registry.set_private_key(Some(key.clone()), Instant::now());
        assert_eq!(registry.peers().count(), 0);
        assert!(registry.add(key.public_key(), 1_420).is_none());
    }

    #[test]
    fn a_removed_peer_owns_no_address() {
        let key = PrivateKey::generate_from_os().public_key();
        let mut registry = Registry::new(100, PaddingRate::default());
        let id = registry.add(key, 1_420).unwrap().id;
        registry.allowed_ips.insert("10.0.0.0/8".parse().unwrap(), id);
        assert!(registry.route(IpAddr::from([10, 0, 0, 1])).is_some());
        registry.remove(&key);
        assert!(registry.route(IpAddr::from([10, 0, 0, 1])).is_none());
        assert!(registry.by_id(id).is_none() && registry.by_key(key.as_bytes()).is_none());
    }
}
