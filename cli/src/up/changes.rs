//! What a configuration file is to say of a tunnel whose settings changed while it was up.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use maybetun::config::{Config, Endpoint, Peer};
use maybetun::keys::PublicKey;
use maybetun::settings::{PeerStatus, Role, Status};
use nix::net::if_::if_indextoname;

use super::baseline::Baseline;
use super::saved_defense::{SavedDefense, saved_defense};

/// The file as it is to be.
#[derive(Debug)]
pub(super) struct Changes<'a> {
    path: &'a Path,
    /// What it says.
    pub(super) config: Config,
    /// The defenses that it names and no file has: where they are to be, and their text.
    pub(super) defenses: Vec<(PathBuf, String)>,
}

impl<'a> Changes<'a> {
    /// Begins with what the file at `path` says.
    pub(super) fn new(path: &'a Path, config: Config) -> Self {
        Self { path, config, defenses: Vec::new() }
    }

    /// Finds what changed since the tunnel came up.
    pub(super) fn find(&mut self, before: &Baseline, now: &Status, addresses: &[IpNet]) {
        let interface = &mut self.config.interface;
        if let Some(key) = now.private_key.as_ref().filter(|key| !before.has_private_key(key)) {
            interface.private_key = Some(key.clone());
        }
        // A port that was drawn would be the same on every network if it were kept.
        let port = |status: &Status| Some(status.listen_port).filter(|&port| port != 0 && status.is_port_fixed);
        if port(before.status()) != port(now) {
            interface.listen_port = port(now);
        }
        if before.status().fwmark != now.fwmark {
            interface.fwmark = Some(now.fwmark).filter(|&mark| mark != 0);
        }
        change_addresses(&mut interface.addresses, &before.addresses, addresses);
        self.find_peers(before, now);
    }

    fn find_peers(&mut self, before: &Baseline, now: &Status) {
        let is_there = |key: PublicKey| now.peers.iter().any(|peer| peer.public_key == key);
        self.config.peers.retain(|peer| is_there(peer.public_key) || before.peer(peer.public_key).is_none());
        for status in &now.peers {
            let key = status.public_key;
            let position = self.config.peers.iter().position(|peer| peer.public_key == key);
            let file = match position {
                Some(position) => self.config.peers[position].clone(),
                // Whoever took it out of the file wants it out.
                None if before.peer(key).is_some() => continue,
                None => Peer::new(key),
            };
            let peer = self.peer(file, before, status);
            match position {
                Some(position) => self.config.peers[position] = peer,
                None => self.config.peers.push(peer),
            }
        }
        self.settle_allowed_ips(before, now);
    }

    /// Returns what the section `file` is to say.
    fn peer(&mut self, file: Peer, baseline: &Baseline, now: &PeerStatus) -> Peer {
        let before = baseline.peer(now.public_key);
        let mut peer = file.clone();
        if !baseline.has_preshared_key(now.public_key, now.preshared_key.as_ref()) {
            peer.preshared_key.clone_from(&now.preshared_key);
        }
        if before.map_or(0, |before| before.persistent_keepalive) != now.persistent_keepalive {
            peer.persistent_keepalive = Some(now.persistent_keepalive).filter(|&seconds| seconds != 0);
        }
        let ips_before = before.map_or(&[][..], |before| &before.allowed_ips);
        change_set(&mut peer.allowed_ips, ips_before, &now.allowed_ips);
        // What was only learnt is no setting: with it, the file would be that of another end.
        if now.role != Some(Role::Relay)
            && before.and_then(|before| before.endpoint) != now.endpoint
            && let Some(endpoint) = now.endpoint.and_then(lasting)
        {
            peer.endpoint = Some(endpoint);
        }
        if !is_same_defense(before, now) {
            let SavedDefense { peer: saved, file } = saved_defense(self.path, &peer, now);
            peer = saved;
            self.defenses.extend(file.filter(|file| !self.defenses.contains(file)));
        } else if peer.defense.is_some()
            && peer.defense_options.role.is_none()
            && file.endpoint.is_none()
            && peer.endpoint.is_some()
        {
            // It was a relay's for want of an endpoint.
            peer.defense_options.role = Some(running_role(now).unwrap_or(Role::Relay));
        }
        peer
    }

    /// Takes prefixes that a later peer had taken over from those that would have them now.
    fn settle_allowed_ips(&mut self, before: &Baseline, now: &Status) {
        let owner = |prefix: &IpNet| now.peers.iter().find(|peer| peer.allowed_ips.contains(prefix));
        let owned_before = |prefix: &IpNet| {
            before.status().peers.iter().find(|peer| peer.allowed_ips.contains(prefix)).map(|peer| peer.public_key)
        };
        let last = |peers: &[Peer], prefix: &IpNet| {
            peers.iter().rfind(|peer| peer.allowed_ips.contains(prefix)).map(|peer| peer.public_key)
        };
        let listed: Vec<IpNet> = self.config.peers.iter().flat_map(|peer| peer.allowed_ips.clone()).collect();
        for prefix in listed {
            let owner = owner(&prefix).map(|peer| peer.public_key);
            if owner == owned_before(&prefix) {
                continue;
            }
            while let Some(other) = last(&self.config.peers, &prefix).filter(|last| Some(*last) != owner) {
                for peer in self.config.peers.iter_mut().filter(|peer| peer.public_key == other) {
                    peer.allowed_ips.retain(|item| *item != prefix);
                }
            }
        }
    }
}

/// Changes the addresses that a file lists. The kernel gives every interface link-local ones of its own, and takes all IPv6
/// addresses off one that is down or too narrow for them: neither is the user's doing.
fn change_addresses(listed: &mut Vec<IpNet>, before: &[IpNet], now: &[IpNet]) {
    let is_ipv6 = |address: &IpNet| address.addr().is_ipv6();
    let has_lost_ipv6 = !before.iter().any(|address| is_ipv6(address) && now.contains(address));
    let is_own = |address: &IpNet| matches!(address.addr(), IpAddr::V6(address) if address.is_unicast_link_local());
    let kept = before.iter().filter(|address| now.contains(address) || has_lost_ipv6 && is_ipv6(address));
    let come = now.iter().filter(|address| !before.contains(address) && !is_own(address));
    let now: Vec<IpNet> = kept.chain(come).copied().collect();
    change_set(listed, before, &now);
}

fn change_set(listed: &mut Vec<IpNet>, before: &[IpNet], now: &[IpNet]) {
    listed.retain(|item| now.contains(item) || !before.contains(item));
    for item in now.iter().filter(|item| !before.contains(item)) {
        if !listed.contains(item) {
            listed.push(*item);
        }
    }
}

fn is_same_defense(before: Option<&PeerStatus>, now: &PeerStatus) -> bool {
    let settings = |peer: &PeerStatus| {
        let negotiated = peer.negotiation.as_ref().map(|negotiation| negotiation.settings.clone());
        // What runs by agreement changes without anybody's doing.
        let running = peer.defense.as_ref().filter(|_| negotiated.is_none()).map(|defense| defense.settings.clone());
        (negotiated, running)
    };
    before.map_or((None, None), settings) == settings(now)
}

fn running_role(peer: &PeerStatus) -> Option<Role> {
    let negotiated = peer.negotiation.as_ref().and_then(|negotiation| negotiation.settings.role);
    negotiated.or(peer.defense.as_ref().and_then(|defense| defense.settings.role))
}

/// Returns an endpoint as it can be read again after the next boot, which numbers the interfaces anew: a zone by its name;
/// `None` of a zone that has none.
fn lasting(address: SocketAddr) -> Option<Endpoint> {
    let SocketAddr::V6(v6) = address else { return Some(Endpoint::Address(address)) };
    if v6.scope_id() == 0 {
        return Some(Endpoint::Address(address));
    }
    let zone = if_indextoname(v6.scope_id()).ok()?.into_string().ok()?;
    // A file would take some names for a number, a comment or the end of the address.
    let is_plain = zone.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte))
        && !zone.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| Endpoint::Host { name: format!("{}%{zone}", v6.ip()), port: v6.port() })
}
