//! `[Peer]` sections, and what becomes of two with the same key.

use std::collections::{HashMap, HashSet};

use ipnet::IpNet;

use super::super::Peer;
use super::super::key::PeerSection;
use super::super::value::AllowedIps;
use crate::keys::PublicKey;
use crate::settings::AllowedIpChange;

/// The peers of a file, each once.
pub(super) struct Peers {
    /// Our own public key: a peer with it has nothing, and takes nothing from others.
    own: Option<PublicKey>,
    peers: Vec<Peer>,
    places: HashMap<PublicKey, usize>,
    /// Who has a prefix: the last that it was given to.
    owners: HashMap<IpNet, usize>,
}

impl Peers {
    pub(super) fn new(own: Option<PublicKey>) -> Self {
        Self { own, peers: Vec::new(), places: HashMap::new(), owners: HashMap::new() }
    }

    /// Adds what a section says. Of a peer that is there already, it changes what it says, as one update after another does;
    /// what it says of a defense counts as a whole. `None` if the section says nothing of the public key.
    pub(super) fn add(&mut self, section: PeerSection) -> Option<()> {
        let PeerSection { public_key, preshared_key, allowed_ips, changes, rest } = section;
        let public_key = public_key?;
        let place = *self.places.entry(public_key).or_insert_with(|| {
            self.peers.push(Peer::new(public_key));
            self.peers.len() - 1
        });
        let before = std::mem::replace(&mut self.peers[place], Peer::new(public_key));
        let mut peer = if rest.defense.is_some() { rest.clone() } else { before.clone() };
        peer.public_key = public_key;
        peer.preshared_key = preshared_key.unwrap_or(before.preshared_key);
        peer.endpoint = rest.endpoint.or(before.endpoint);
        peer.persistent_keepalive = rest.persistent_keepalive.or(before.persistent_keepalive);
        peer.allowed_ips = before.allowed_ips;
        if allowed_ips == AllowedIps::Whole {
            for prefix in peer.allowed_ips.drain(..) {
                self.take(prefix, place);
            }
        }
        for change in changes {
            match change {
                AllowedIpChange::Add(prefix) if self.own == Some(public_key) => peer.allowed_ips.push(prefix),
                AllowedIpChange::Add(prefix) => {
                    if self.owners.insert(prefix, place) != Some(place) {
                        peer.allowed_ips.push(prefix);
                    }
                }
                AllowedIpChange::Remove(prefix) => self.take(prefix, place),
            }
        }
        self.peers[place] = peer;
        Some(())
    }

    fn take(&mut self, prefix: IpNet, place: usize) {
        if self.owners.get(&prefix) == Some(&place) {
            self.owners.remove(&prefix);
        }
    }

    pub(super) fn finish(mut self) -> Vec<Peer> {
        let own = self.own;
        let others = self.peers.iter_mut().enumerate().filter(|(_, peer)| Some(peer.public_key) != own);
        for (place, peer) in others {
            // What was taken away and given back is there twice.
            peer.allowed_ips.retain(|prefix| self.owners.get(prefix) == Some(&place));
            let mut seen = HashSet::new();
            peer.allowed_ips.retain(|prefix| seen.insert(*prefix));
        }
        self.peers
    }
}
