//! What a tunnel was set to when it came up: all that is saved later is what differs from it.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;

use ipnet::IpNet;
use maybetun::keys::{PresharedKey, PrivateKey, PublicKey};
use maybetun::settings::{PeerStatus, PeerUpdate, Status, Update};
use zeroize::Zeroizing;

/// The state of a device, with numbers in the place of its keys that tell only whether they are the same.
#[derive(Debug)]
pub(super) struct Baseline {
    status: Status,
    /// The addresses that the interface was given.
    pub(super) addresses: Vec<IpNet>,
    private_key: Option<u64>,
    preshared_keys: HashMap<PublicKey, u64>,
    /// Drawn for each process: the numbers say nothing elsewhere.
    hasher: RandomState,
}

/// The peers of which a file that was taken anew says what another would leave to the device.
#[derive(Debug)]
pub(super) struct Said {
    endpoints: HashSet<PublicKey>,
    defenses: HashSet<PublicKey>,
}

impl Said {
    /// Reads it from what the device is told.
    pub(super) fn of(update: &Update) -> Self {
        let keys = |is_said: fn(&PeerUpdate) -> bool| {
            update.peers.iter().filter(|peer| is_said(peer)).map(|peer| peer.public_key).collect()
        };
        Self { endpoints: keys(|peer| peer.endpoint.is_some()), defenses: keys(|peer| peer.defense.is_some()) }
    }
}

impl Baseline {
    /// Remembers the state of a device, and forgets its keys.
    pub(super) fn new(mut status: Status, addresses: Vec<IpNet>) -> Self {
        let hasher = RandomState::new();
        let private_key = status.private_key.take().map(|key| number(&hasher, &private_text(&key)));
        let preshared_keys = status.peers.iter_mut().filter_map(|peer| {
            let key = peer.preshared_key.take()?;
            Some((peer.public_key, number(&hasher, &preshared_text(&key))))
        });
        let preshared_keys = preshared_keys.collect();
        Self { status, addresses, private_key, preshared_keys, hasher }
    }

    /// Remembers the state of a device that has taken its file anew. What a peer was set to that the file left to the device
    /// counts as changed since, as it did before.
    pub(super) fn renew(&mut self, status: Status, addresses: Vec<IpNet>, said: &Said) {
        let mut renewed = Self::new(status, addresses);
        for peer in &mut renewed.status.peers {
            let Some(before) = self.peer(peer.public_key) else { continue };
            if !said.endpoints.contains(&peer.public_key) {
                peer.endpoint = before.endpoint;
            }
            if !said.defenses.contains(&peer.public_key) {
                peer.defense.clone_from(&before.defense);
                peer.negotiation.clone_from(&before.negotiation);
            }
        }
        *self = renewed;
    }

    /// Takes it that a peer's name, of which the file speaks, leads elsewhere now: that is no change.
    pub(super) fn follow(&mut self, peer: PublicKey, address: SocketAddr) {
        if let Some(peer) = self.status.peers.iter_mut().find(|status| status.public_key == peer) {
            peer.endpoint = Some(address);
        }
    }

    /// The state of the device, without its keys.
    pub(super) fn status(&self) -> &Status {
        &self.status
    }

    pub(super) fn peer(&self, public_key: PublicKey) -> Option<&PeerStatus> {
        self.status.peers.iter().find(|peer| peer.public_key == public_key)
    }

    pub(super) fn has_private_key(&self, key: &PrivateKey) -> bool {
        self.private_key == Some(number(&self.hasher, &private_text(key)))
    }

    pub(super) fn has_preshared_key(&self, peer: PublicKey, key: Option<&PresharedKey>) -> bool {
        let now = key.map(|key| number(&self.hasher, &preshared_text(key)));
        self.preshared_keys.get(&peer).copied() == now
    }
}

fn private_text(key: &PrivateKey) -> Zeroizing<String> {
    Zeroizing::new(key.to_base64())
}

fn preshared_text(key: &PresharedKey) -> Zeroizing<String> {
    Zeroizing::new(key.to_base64())
}

fn number(hasher: &RandomState, text: &Zeroizing<String>) -> u64 {
    hasher.hash_one(text.as_str())
}
