//! The peers of a device, by name, by key, by session index and by inner address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use boringtun::noise::HandshakeInit;
use boringtun::noise::handshake::parse_handshake_anon;
use parking_lot::Mutex;
use rand_core::{OsRng, RngCore as _, TryRngCore as _};
use tokio::sync::Notify;

use super::bucket::Bucket;
use super::departing::Outbox;
use super::handshakes::HandshakeLimiter;
use super::log::PeerLog;
use super::routing_loop::CameBack;
use super::sending::Offload;
use super::way::Way;
use crate::keys::{KEY_LENGTH, PresharedKey, PrivateKey, PublicKey};
use crate::secret::on_wiped_stack;
use crate::settings::Role;
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
    /// Tells whoever waits for it that the tunnel's queue has room.
    pub(super) drained: Notify,
    /// Held by whoever sends for the peer; taken before the state's lock, or tried under it. See
    /// [`departing`](super::departing).
    pub(super) sending: Mutex<Offload>,
    is_removed: AtomicBool,
    /// Counts up from peer to peer: the order in which they are shown.
    pub(super) sequence: u64,
}

impl Peer {
    /// Tells whether the device has this peer no more.
    pub(super) fn is_removed(&self) -> bool {
        self.is_removed.load(Ordering::Relaxed)
    }

    fn be_removed(&self) {
        self.is_removed.store(true, Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub(super) struct PeerState {
    pub(super) tunnel: Tunnel,
    pub(super) outbox: Outbox,
    pub(super) way: Way,
    pub(super) log: PeerLog,
    pub(super) came_back: CameBack,
    /// The address of the endpoint, as [`Endpoints`](super::endpoints::Endpoints) has it.
    pub(super) address: Option<IpAddr>,
    /// How many senders of packets that are too large for this peer may still be told.
    pub(super) too_big: Bucket,
    /// What all defended peers share, while this is one.
    pub(super) defended: Option<Arc<()>>,
    /// The deadline that the schedule holds for this peer.
    pub(super) scheduled: Option<Instant>,
    /// Which end we are: the client once the peer's endpoint was set.
    pub(super) role: Role,
}

/// All peers of a device, and the key that they know it by.
#[derive(Debug)]
pub(super) struct Registry {
    identity: Option<Identity>,
    handshakes_per_second: Option<u64>,
    /// What padding to all peers together may take.
    padding_rate: PaddingRate,
    by_id: HashMap<u32, Arc<Peer>>,
    next_id: Arc<AtomicU32>,
    /// Which peer each session index is of.
    indices: SessionIndices,
    by_key: HashMap<PublicKey, Arc<Peer>>,
    pub(super) allowed_ips: AllowedIps<u32>,
    /// Removed peers that still have prefixes, which lead nowhere: they go in [`forget_prefixes`](Self::forget_prefixes).
    removed: Vec<u32>,
    sequence: u64,
    /// Wakes whoever waits for something that depends on which peers there are.
    changed: Arc<Notify>,
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
    pub(super) fn new(handshakes_per_second: Option<u64>, padding_rate: PaddingRate) -> Self {
        Self {
            identity: None,
            handshakes_per_second,
            padding_rate,
            by_id: HashMap::new(),
            next_id: Arc::default(),
            indices: SessionIndices::default(),
            by_key: HashMap::new(),
            allowed_ips: AllowedIps::default(),
            removed: Vec::new(),
            sequence: 0,
            changed: Arc::default(),
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

    /// Returns how many peers there are.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Returns what wakes whoever waits for something that depends on which peers there are.
    pub(super) fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    /// Sets or takes away our own key, and returns the key for the tunnels if it is another. A peer that has ours is
    /// removed: nobody talks to himself.
    pub(super) fn set_private_key(&mut self, key: Option<PrivateKey>, now: Instant) -> Option<PrivateKey> {
        if self.identity.as_ref().map(|identity| &identity.private_key) == key.as_ref() {
            return None;
        }
        self.identity = key.map(|private_key| {
            let public_key = private_key.public_key();
            let limiter = HandshakeLimiter::new(public_key, self.handshakes_per_second, now);
            Identity { limiter, public_key, private_key }
        });
        if let Some(own) = self.own_public_key() {
            self.remove(&own);
        }
        Some(self.tunnel_key())
    }

    /// Returns what makes peers for this registry, without it.
    pub(super) fn maker(&self, mtu: u16) -> Maker {
        Maker {
            key: self.tunnel_key(),
            mtu,
            indices: self.indices.clone(),
            padding_rate: self.padding_rate.clone(),
            next_id: Arc::clone(&self.next_id),
        }
    }

    /// Takes a peer in; `None` if its key is our own or somebody else's, or there are too many peers.
    pub(super) fn insert(&mut self, peer: Peer) -> Option<Arc<Peer>> {
        let is_known = self.by_key.contains_key(&peer.public_key) || self.by_id.contains_key(&peer.id);
        if is_known || self.own_public_key() == Some(peer.public_key) || self.by_id.len() >= MAX_PEERS {
            return None;
        }
        let peer = Arc::new(Peer { sequence: self.sequence, ..peer });
        self.sequence += 1;
        self.by_id.insert(peer.id, Arc::clone(&peer));
        self.by_key.insert(peer.public_key, Arc::clone(&peer));
        self.changed.notify_waiters();
        Some(peer)
    }

    /// Removes a peer, and returns it. Its prefixes are to be [forgotten](Self::forget_prefixes) next.
    pub(super) fn remove(&mut self, key: &PublicKey) -> Option<Arc<Peer>> {
        let peer = self.by_key.remove(key)?;
        peer.be_removed();
        self.by_id.remove(&peer.id);
        self.removed.push(peer.id);
        self.changed.notify_waiters();
        Some(peer)
    }

    /// Takes prefixes of removed peers away, at most so many, and tells whether there may be more.
    pub(super) fn forget_prefixes(&mut self, most: usize) -> bool {
        let mut left = most;
        while left > 0
            && let Some(id) = self.removed.last()
        {
            let count = self.allowed_ips.remove_some(*id, left);
            if count < left {
                self.removed.pop();
            }
            left -= count;
        }
        !self.removed.is_empty()
    }

    /// Removes every peer, and returns what is left of them: to be dropped where nobody waits for it.
    pub(super) fn remove_all(&mut self) -> impl Sized + use<> {
        self.peers().for_each(|peer| peer.be_removed());
        self.changed.notify_waiters();
        self.removed.clear();
        (std::mem::take(&mut self.by_key), std::mem::take(&mut self.by_id), std::mem::take(&mut self.allowed_ips))
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
}

/// Makes peers for a registry. It takes the time of a key's arithmetic, which is why it needs no lock.
pub(super) struct Maker {
    key: PrivateKey,
    mtu: u16,
    indices: SessionIndices,
    padding_rate: PaddingRate,
    /// Names are given once, until all have been: then one may be in use, and [`Registry::insert`] does not take it.
    next_id: Arc<AtomicU32>,
}

impl Maker {
    pub(super) fn make(&self, public_key: PublicKey, preshared_key: Option<&PresharedKey>) -> Peer {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut seed = [0; 32];
        OsRng.unwrap_err().fill_bytes(&mut seed);
        let config = TunnelConfig {
            preshared_key,
            mtu: self.mtu,
            indices: self.indices.clone(),
            owner: id,
            padding_rate: self.padding_rate.clone(),
            ..TunnelConfig::new(&self.key, public_key, seed)
        };
        Peer {
            id,
            public_key,
            state: Mutex::new(PeerState {
                tunnel: Tunnel::new(config),
                outbox: Outbox::default(),
                way: Way::default(),
                log: PeerLog::default(),
                came_back: CameBack::default(),
                address: None,
                too_big: Bucket::full(Instant::now()),
                defended: None,
                scheduled: None,
                role: Role::Relay,
            }),
            drained: Notify::new(),
            sending: Mutex::default(),
            is_removed: AtomicBool::new(false),
            sequence: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(registry: &mut Registry, key: PublicKey) -> Option<Arc<Peer>> {
        let peer = registry.maker(1_420).make(key, None);
        registry.insert(peer)
    }

    #[test]
    fn a_peer_is_taken_in_once_and_keeps_its_name() {
        let key = PrivateKey::generate_from_os().public_key();
        let mut registry = Registry::new(None, PaddingRate::default());
        let id = add(&mut registry, key).unwrap().id;
        assert!(add(&mut registry, key).is_none(), "the key is known");
        registry.next_id.store(id, Ordering::Relaxed);
        assert!(add(&mut registry, PrivateKey::generate_from_os().public_key()).is_none(), "the name is taken");
        assert_eq!((registry.len(), registry.by_key(key.as_bytes()).unwrap().id), (1, id));
    }

    #[test]
    fn a_peer_with_our_own_key_is_neither_added_nor_kept() {
        let key = PrivateKey::generate_from_os();
        let mut registry = Registry::new(None, PaddingRate::default());
        add(&mut registry, key.public_key()).unwrap();
        registry.set_private_key(Some(key.clone()), Instant::now());
        assert_eq!(registry.len(), 0);
        assert!(add(&mut registry, key.public_key()).is_none());
    }

    #[test]
    fn a_removed_peer_owns_no_address() {
        let key = PrivateKey::generate_from_os().public_key();
        let mut registry = Registry::new(None, PaddingRate::default());
        let id = add(&mut registry, key).unwrap().id;
        registry.allowed_ips.insert("10.0.0.0/8".parse().unwrap(), id);
        assert!(registry.route(IpAddr::from([10, 0, 0, 1])).is_some());
        registry.remove(&key);
        assert!(registry.route(IpAddr::from([10, 0, 0, 1])).is_none());
        assert!(registry.by_id(id).is_none() && registry.by_key(key.as_bytes()).is_none());
        assert!(!registry.forget_prefixes(2));
        assert_eq!(registry.allowed_ips.owner_of(IpAddr::from([10, 0, 0, 1])), None);
    }

    #[test]
    fn the_prefixes_of_removed_peers_go_some_at_a_time() {
        let mut registry = Registry::new(None, PaddingRate::default());
        let keys = [(); 2].map(|()| PrivateKey::generate_from_os().public_key());
        let mut prefixes = (0..1_000_u32).map(|host| IpAddr::from(host.to_be_bytes()).into());
        let ids = keys.map(|key| {
            let id = add(&mut registry, key).unwrap().id;
            for prefix in prefixes.by_ref().take(500) {
                registry.allowed_ips.insert(prefix, id);
            }
            id
        });
        for key in &keys {
            registry.remove(key);
        }
        let left = |registry: &Registry| ids.map(|id| registry.allowed_ips.prefixes_of(id).len()).iter().sum::<usize>();
        assert_eq!(left(&registry), 1_000, "removing a peer takes no longer for its prefixes");
        for expected in [700, 400, 100] {
            assert!(registry.forget_prefixes(300));
            assert_eq!(left(&registry), expected);
        }
        assert!(!registry.forget_prefixes(300));
        assert_eq!(left(&registry), 0);
    }
}
