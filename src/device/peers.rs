//! What an update says of peers, for as many as there may be.
//!
//! The registry of peers is locked for some of them at a time, and for what takes some microseconds: packets pass in
//! between. Tunnels are made, and dropped, without it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::RwLockWriteGuard;
use rand_core::{OsRng, RngCore as _, TryRngCore as _};

use super::ApplyError;
use super::departing::{Turn, depart};
use super::log::Summary;
use super::registry::{Peer, PeerState, Registry};
use super::shared::Shared;
use crate::keys::{PrivateKey, PublicKey};
use crate::settings::{AllowedIpChange, DefenseChange, PeerAction, PeerUpdate, Role};
use crate::tunnel::{DatagramBatch, Endpoint};

/// Peers that are added, removed or looked up while others wait.
pub(super) const CHUNK: usize = 64;

/// Prefixes that are given or taken away while others wait.
const PREFIXES: usize = 256;

/// A peer to turn to once all are changed.
pub(super) struct Call {
    peer: Arc<Peer>,
    defense: Option<DefenseChange>,
    /// A keepalive or a handshake is due.
    wake: bool,
}

/// Gives every tunnel another key of our own, or none; with one, peers that wait for it are called.
pub(super) fn set_private_key(shared: &Shared, key: Option<PrivateKey>, now: Instant) {
    let Some(key) = shared.registry.write().set_private_key(key, now) else { return };
    forget_prefixes(shared);
    let mut summary = Summary::default();
    for peer in shared.peers() {
        let state = &mut *peer.state.lock();
        state.log.hush();
        state.tunnel.set_private_key(&key, now);
        shared.settle(&peer, state);
        summary.add(state.log.unhush());
    }
    summary.say();
    call_waiting(shared);
}

/// Removes every peer.
pub(super) fn remove_all(shared: &Shared) {
    let mut registry = shared.registry.write();
    let removed = registry.remove_all();
    shared.schedule.clear();
    shared.endpoints.clear();
    drop(registry);
    drop(removed);
}

/// Changes peers, and returns to which of them to turn.
pub(super) fn change(shared: &Shared, updates: Vec<PeerUpdate>, now: Instant) -> Vec<Call> {
    let (mut updates, mut calls) = (updates.into_iter(), Vec::new());
    loop {
        let chunk: Vec<_> = updates.by_ref().take(CHUNK).collect();
        if chunk.is_empty() {
            return calls;
        }
        let mut made = make_peers(shared, &chunk);
        let mut removed = Vec::new();
        let mut registry = shared.registry.write();
        let of_chunk = chunk.into_iter().filter_map(|update| {
            let peer = find_or_add(shared, &mut registry, &mut made, &update, &mut removed)?;
            Some((peer, update))
        });
        let mut changed: Vec<_> = of_chunk.collect();
        RwLockWriteGuard::unlock_fair(registry);
        forget_prefixes(shared);
        for peer in removed {
            let mut state = peer.state.lock();
            if let Some(deadline) = state.scheduled.take() {
                shared.schedule.cancel(peer.id, deadline);
            }
            shared.endpoints.moved(peer.id, state.address.take(), None);
        }
        change_allowed_ips(shared, &mut changed);
        calls.extend(changed.into_iter().filter_map(|(peer, update)| change_peer(shared, peer, update, now)));
    }
}

/// Makes the peers of the updates that are not there.
fn make_peers(shared: &Shared, updates: &[PeerUpdate]) -> HashMap<PublicKey, Peer> {
    let registry = shared.registry.read();
    let is_new = |update: &&PeerUpdate| {
        update.action == PeerAction::AddOrUpdate && registry.by_key(update.public_key.as_bytes()).is_none()
    };
    let new: Vec<_> = updates.iter().filter(is_new).collect();
    let maker = registry.maker(shared.mtu());
    drop(registry);
    let make = |update: &PeerUpdate| (update.public_key, maker.make(update.public_key, update.preshared_key.as_ref()));
    new.into_iter().map(make).collect()
}

/// Returns the peer that is to be changed, if there is one after the update's action; and what it removed.
fn find_or_add(
    shared: &Shared,
    registry: &mut Registry,
    made: &mut HashMap<PublicKey, Peer>,
    update: &PeerUpdate,
    removed: &mut Vec<Arc<Peer>>,
) -> Option<Arc<Peer>> {
    let key = update.public_key;
    match (update.action, registry.by_key(key.as_bytes()).cloned()) {
        (PeerAction::Remove, _) => {
            removed.extend(registry.remove(&key));
            None
        }
        (PeerAction::AddOrUpdate | PeerAction::UpdateOnly, Some(peer)) => Some(peer),
        (PeerAction::UpdateOnly, None) => None,
        (PeerAction::AddOrUpdate, None) => {
            let peer = made.remove(&key).and_then(|peer| registry.insert(peer));
            // It was there until just now.
            peer.or_else(|| {
                let peer = registry.maker(shared.mtu()).make(key, update.preshared_key.as_ref());
                registry.insert(peer)
            })
        }
    }
}

/// Takes away what leads to peers that were removed.
fn forget_prefixes(shared: &Shared) {
    let mut registry = shared.registry.write();
    while registry.forget_prefixes(PREFIXES) {
        RwLockWriteGuard::bump(&mut registry);
    }
    RwLockWriteGuard::unlock_fair(registry);
}

fn change_allowed_ips(shared: &Shared, changed: &mut [(Arc<Peer>, PeerUpdate)]) {
    let mut registry = shared.registry.write();
    let mut left = PREFIXES;
    for (peer, update) in changed {
        if update.replace_allowed_ips {
            loop {
                left -= registry.allowed_ips.remove_some(peer.id, left);
                if left > 0 {
                    break;
                }
                RwLockWriteGuard::bump(&mut registry);
                left = PREFIXES;
            }
        }
        for change in update.allowed_ips.drain(..) {
            // The same update may have removed it since.
            if registry.by_id(peer.id).is_none() {
                break;
            }
            match change {
                AllowedIpChange::Add(prefix) => drop(registry.allowed_ips.insert(prefix, peer.id)),
                AllowedIpChange::Remove(prefix) => registry.allowed_ips.remove(prefix, peer.id),
            }
            left -= 1;
            if left == 0 {
                RwLockWriteGuard::bump(&mut registry);
                left = PREFIXES;
            }
        }
    }
    RwLockWriteGuard::unlock_fair(registry);
}

/// Changes what only the peer itself knows, and returns what is to be done next.
fn change_peer(shared: &Shared, peer: Arc<Peer>, update: PeerUpdate, now: Instant) -> Option<Call> {
    let mut state = peer.state.lock();
    if update.endpoint.is_some() {
        state.role = Role::Client;
    }
    let tunnel = &mut state.tunnel;
    // The interface may have got another while the peer was made.
    tunnel.set_mtu(shared.mtu());
    if let Some(key) = &update.preshared_key {
        tunnel.set_preshared_key(key, now);
    }
    let mut wake = false;
    if let Some(remote) = update.endpoint
        && tunnel.endpoint().map(|endpoint| endpoint.remote) != Some(remote)
    {
        // Who has to agree could not call before.
        wake |= tunnel.endpoint().is_none() && tunnel.has_to_agree();
        tunnel.set_endpoint(Some(Endpoint::from(remote)));
        shared.network.ask(peer.id);
    }
    wake |= tunnel.is_waiting();
    if let Some(interval) = update.persistent_keepalive
        && interval != tunnel.persistent_keepalive()
    {
        wake |= interval > 0 && tunnel.persistent_keepalive() == 0;
        tunnel.set_persistent_keepalive(interval, now);
    }
    shared.settle(&peer, &mut state);
    drop(state);
    let defense = update.defense;
    (wake || defense.is_some()).then_some(Call { peer, defense, wake })
}

fn random_seed() -> [u8; 32] {
    let mut seed = [0; 32];
    OsRng.unwrap_err().fill_bytes(&mut seed);
    seed
}

/// Turns to peers after an update. The first error is told; it keeps no other peer from its turn. Of several peers the
/// log has one line.
pub(super) fn call(shared: &Shared, calls: Vec<Call>) -> Result<(), ApplyError> {
    if calls.is_empty() {
        return Ok(());
    }
    let (mut result, mut summary) = (Ok(()), Summary::default());
    let has_many = calls.len() > 1;
    let may_call = shared.has_identity() && shared.link.lock().is_up;
    let mut out = DatagramBatch::new();
    for Call { peer, defense, mut wake } in calls {
        if shared.registry.read().by_id(peer.id).is_none() {
            continue;
        }
        let applied = depart(shared, &peer, &mut out, Turn::Own, |state, now, out| {
            if has_many {
                state.log.hush();
            }
            let role = state.role;
            let set = |change| state.tunnel.set_defense(change, role, random_seed(), now, out);
            let applied = defense.map_or(Ok(false), set);
            // The client calls at once, so that both agree before there is anything to protect.
            wake |= matches!(applied, Ok(true)) && state.tunnel.has_to_agree();
            if wake && may_call {
                state.tunnel.send_keepalive(now, out);
            }
            applied
        });
        summary.add(peer.state.lock().log.unhush());
        let applied = applied.map_err(|source| ApplyError::Renew { peer: peer.public_key, source });
        result = result.and(applied.map(drop));
    }
    summary.say();
    result
}

/// Now that datagrams can leave: opens the way to the peers that are to be kept alive, and to those that wait for one.
pub(super) fn call_waiting(shared: &Shared) {
    if !shared.has_identity() {
        return;
    }
    let mut out = DatagramBatch::new();
    for peer in shared.peers() {
        depart(shared, &peer, &mut out, Turn::Own, |PeerState { tunnel, .. }, now, out| {
            tunnel.resend_handshake(now, out);
            let is_waiting = tunnel.persistent_keepalive() > 0 || tunnel.is_waiting() || tunnel.has_to_agree();
            if is_waiting && out.is_empty() {
                tunnel.send_keepalive(now, out);
            }
        });
    }
}
