//! `[Peer]` sections, and what becomes of two with the same key.

use std::collections::{HashMap, HashSet};

use ipnet::IpNet;

use super::super::key::PeerKey;
use super::super::value::{self, AllowedIps, Invalid};
use super::super::{Defense, Peer};
use crate::keys::{PresharedKey, PublicKey};
use crate::settings::AllowedIpChange;

/// Everything of a [`Peer`] except that its key may be missing.
pub(super) struct PeerSection {
    public_key: Option<PublicKey>,
    /// What is said of the preshared key; inside, `None` is that there is to be none.
    preshared_key: Option<Option<PresharedKey>>,
    allowed_ips: AllowedIps,
    changes: Vec<AllowedIpChange>,
    rest: Peer,
}

impl PeerSection {
    pub(super) fn new() -> Self {
        Self {
            public_key: None,
            preshared_key: None,
            allowed_ips: AllowedIps::Whole,
            changes: Vec::new(),
            rest: Peer::new(PublicKey::BASE_POINT),
        }
    }

    pub(super) fn defense(&self) -> &Option<Defense> {
        &self.rest.defense
    }

    pub(super) fn set<'a>(&mut self, key: PeerKey, value: &'a str) -> Result<(), Invalid<'a>> {
        let rest = &mut self.rest;
        match key {
            PeerKey::PublicKey => self.public_key = Some(value::public_key(value)?),
            PeerKey::PresharedKey => self.preshared_key = Some(value::preshared_key(value)?),
            PeerKey::AllowedIps => {
                let (kind, changes) = value::allowed_ips(value)?;
                self.allowed_ips = kind;
                self.changes.extend(changes);
            }
            PeerKey::Endpoint => rest.endpoint = Some(value::endpoint(value)?),
            PeerKey::PersistentKeepalive => rest.persistent_keepalive = Some(value::persistent_keepalive(value)?),
            PeerKey::Defense => rest.defense = Some(value::defense(value)?),
            PeerKey::DefenseMaxPaddingFrac => rest.defense_max_padding_frac = Some(value::fraction(value)?),
            PeerKey::DefenseMaxBlockingFrac => rest.defense_max_blocking_frac = Some(value::fraction(value)?),
            PeerKey::DefenseMaxPaddingRate => rest.defense_max_padding_rate = Some(value::padding_rate(value)?),
            PeerKey::DefenseRole => rest.defense_role = Some(value::role(value)?),
            PeerKey::DefenseTier => rest.defense_tier = Some(value::tier(value)?),
            PeerKey::DefenseStrength => rest.defense_strength = Some(value::strength(value)?),
            PeerKey::Negotiation => rest.negotiation = Some(value::negotiation(value)?),
            PeerKey::Bundling => rest.bundling = Some(value::on_or_off(value)?),
            PeerKey::DefenseRenewal => rest.defense_renewal = Some(value::renewal(value)?),
        }
        Ok(())
    }
}

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
