//! Changes a running device, and tells its state.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use rand_core::{OsRng, RngCore as _, TryRngCore as _};

use super::ApplyError;
use super::departing::{Turn, depart};
use super::registry::{Peer, PeerState, Registry};
use super::shared::{Link, Shared};
use super::sockets::Sockets;
use crate::defense::Engine;
use crate::negotiation::RenewError;
use crate::settings::{
    AllowedIpChange, DefenseChange, DefenseStatus, PeerAction, PeerStatus, PeerUpdate, Role, Status, Update,
};
use crate::tunnel::{DatagramBatch, Endpoint};

/// A peer to turn to once the registry is changed.
struct Call {
    peer: Arc<Peer>,
    defense: Option<DefenseChange>,
    /// A keepalive or a handshake is due.
    wake: bool,
}

pub(super) fn apply(shared: &Arc<Shared>, update: Update) -> Result<(), ApplyError> {
    if shared.is_stopping() {
        return Err(ApplyError::Stopped);
    }
    // What can fail comes first.
    let now = Instant::now();
    check_endpoints(&update)?;
    check_defenses(&update, now)?;
    apply_to_sockets(shared, &update)?;

    let mut calls = Vec::new();
    {
        let mut registry = shared.registry.write();
        if let Some(key) = update.private_key {
            registry.set_private_key(key, now);
            for peer in registry.peers() {
                shared.settle(peer, &mut peer.state.lock());
            }
        }
        if update.replace_peers {
            registry.remove_all();
            shared.schedule.clear();
        }
        for peer in update.peers {
            calls.extend(apply_to_peer(shared, &mut registry, peer, now));
        }
        shared.settle_peers(&registry);
    }
    if shared.is_stopping() {
        // The device stopped meanwhile: it must not keep sockets that were opened just now.
        shared.sockets.send_replace(None);
        return Err(ApplyError::Stopped);
    }
    call(shared, calls)
}

/// Opens the sockets that the settings ask for.
pub(super) fn link_up(shared: &Shared) -> Result<(), ApplyError> {
    let mut link = shared.link.lock();
    link.is_up = true;
    if shared.sockets.borrow().is_some() {
        return Ok(());
    }
    let sockets = bind(shared, link.port, link.fwmark)?;
    link.port = sockets.port();
    shared.sockets.send_replace(Some(Arc::new(sockets)));
    tracing::debug!(port = link.port, "listening");
    Ok(())
}

/// Closes the sockets; the port is kept for the next time.
pub(super) fn link_down(shared: &Shared) {
    let mut link = shared.link.lock();
    link.is_up = false;
    shared.sockets.send_replace(None);
}

pub(super) fn status(shared: &Shared) -> Status {
    let Link { asked_port, port, fwmark, .. } = *shared.link.lock();
    let registry = shared.registry.read();
    let (now, clock) = (Instant::now(), SystemTime::now());
    Status {
        private_key: registry.identity().map(|identity| identity.private_key.clone()),
        listen_port: port,
        is_port_fixed: asked_port != 0,
        fwmark,
        dropped: shared.drops.read(),
        peers: registry.peers_in_order().into_iter().map(|peer| peer_status(&registry, peer, now, clock)).collect(),
    }
}

fn peer_status(registry: &Registry, peer: &Peer, now: Instant, clock: SystemTime) -> PeerStatus {
    let state = peer.state.lock();
    let tunnel = &state.tunnel;
    let age = tunnel.last_handshake().map(|at| now.saturating_duration_since(at));
    PeerStatus {
        public_key: peer.public_key,
        preshared_key: tunnel.preshared_key().cloned(),
        endpoint: tunnel.endpoint().map(|endpoint| endpoint.remote),
        persistent_keepalive: tunnel.persistent_keepalive(),
        allowed_ips: registry.allowed_ips.prefixes_of(peer.id),
        last_handshake: age.and_then(|age| clock.checked_sub(age)),
        last_handshake_age: age,
        statistics: tunnel.statistics(),
        role: Some(state.role),
        defense: state
            .defense
            .as_ref()
            .or(tunnel.ephemeral())
            .cloned()
            .zip(tunnel.defense_statistics(now))
            .map(|(settings, statistics)| DefenseStatus { settings, statistics }),
        negotiation: tunnel.negotiation_status(now),
        protection: Some(tunnel.protection()),
    }
}

fn bind(shared: &Shared, port: u16, fwmark: u32) -> Result<Sockets, ApplyError> {
    Sockets::bind(port, fwmark, &shared.options).map_err(|source| ApplyError::Bind { port, source })
}

fn apply_to_sockets(shared: &Shared, update: &Update) -> Result<(), ApplyError> {
    let mut link = shared.link.lock();
    let fwmark = update.fwmark.unwrap_or(link.fwmark);
    let asked_port = update.listen_port.unwrap_or(link.asked_port);
    let port = update.listen_port.unwrap_or(link.port);
    let current = shared.sockets.borrow().clone();
    let is_deaf = link.is_up && current.is_none() && update.listen_port.is_some();
    if is_deaf || (link.is_up && port != link.port) {
        let sockets = bind(shared, port, fwmark)?;
        link.port = sockets.port();
        shared.sockets.send_replace(Some(Arc::new(sockets)));
    } else {
        if let Some(sockets) = current
            && fwmark != link.fwmark
        {
            sockets.set_fwmark(fwmark).map_err(|error| {
                // One of two sockets may have taken it.
                let _ = sockets.set_fwmark(link.fwmark);
                ApplyError::Fwmark(error)
            })?;
        }
        link.port = port;
    }
    link.asked_port = asked_port;
    link.fwmark = fwmark;
    Ok(())
}

/// Makes sure that something can be sent to every endpoint of the update.
fn check_endpoints(update: &Update) -> Result<(), ApplyError> {
    let is_nowhere = |peer: &&PeerUpdate| peer.endpoint.is_some_and(|endpoint| endpoint.port() == 0);
    match update.peers.iter().find(is_nowhere) {
        Some(peer) => Err(ApplyError::Endpoint { peer: peer.public_key }),
        None => Ok(()),
    }
}

/// Makes sure that every defense of the update can run.
fn check_defenses(update: &Update, now: Instant) -> Result<(), ApplyError> {
    for peer in &update.peers {
        if let Some(DefenseChange::On(settings)) = &peer.defense {
            let engine = Engine::new(&settings.plan, [0; 32], now);
            engine.map_err(|source| ApplyError::Defense { peer: peer.public_key, source })?;
        }
    }
    Ok(())
}

/// Changes one peer, and returns what is to be done next.
fn apply_to_peer(shared: &Shared, registry: &mut Registry, update: PeerUpdate, now: Instant) -> Option<Call> {
    let known = registry.by_key(update.public_key.as_bytes()).cloned();
    let peer = match (update.action, known) {
        (PeerAction::Remove, known) => {
            registry.remove(&update.public_key);
            let peer = known?;
            if let Some(deadline) = peer.state.lock().scheduled.take() {
                shared.schedule.cancel(peer.id, deadline);
            }
            return None;
        }
        (_, Some(peer)) => peer,
        (PeerAction::UpdateOnly, None) => return None,
        (PeerAction::AddOrUpdate, None) => registry.add(update.public_key, shared.mtu())?,
    };
    if update.replace_allowed_ips {
        registry.allowed_ips.remove_owner(peer.id);
    }
    for change in update.allowed_ips {
        match change {
            AllowedIpChange::Add(prefix) => drop(registry.allowed_ips.insert(prefix, peer.id)),
            AllowedIpChange::Remove(prefix) => registry.allowed_ips.remove(prefix, peer.id),
        }
    }
    let mut state = peer.state.lock();
    if update.endpoint.is_some() {
        state.role = Role::Client;
    }
    let tunnel = &mut state.tunnel;
    if let Some(key) = &update.preshared_key {
        tunnel.set_preshared_key(key, now);
    }
    if let Some(remote) = update.endpoint
        && tunnel.endpoint().map(|endpoint| endpoint.remote) != Some(remote)
    {
        tunnel.set_endpoint(Some(Endpoint::from(remote)));
        shared.network.ask(peer.id);
    }
    let mut wake = tunnel.is_waiting();
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

/// Starts or ends a defense, and says whether there was anything to do.
fn apply_defense(
    state: &mut PeerState,
    change: DefenseChange,
    now: Instant,
    out: &mut DatagramBatch,
) -> Result<bool, RenewError> {
    Ok(match change {
        DefenseChange::Off => {
            state.defense = None;
            state.tunnel.stop_defense(now, out);
            true
        }
        DefenseChange::On(mut settings) => {
            settings.role.get_or_insert(state.role);
            if state.defense.as_ref() == Some(&settings) {
                return Ok(false);
            }
            match state.tunnel.start_defense(&settings.plan, random_seed(), now) {
                Ok(()) => {
                    state.tunnel.set_limits(&settings.limits, now);
                    state.defense = Some(settings);
                }
                // It was checked; what ran before still does.
                Err(error) => tracing::error!(%error, "a defense did not start"),
            }
            true
        }
        DefenseChange::Ephemeral(mut settings) => {
            let role = *settings.role.get_or_insert(state.role);
            if state.tunnel.negotiation_status(now).is_some_and(|status| status.settings == settings) {
                return Ok(false);
            }
            match state.tunnel.start_ephemeral(&settings, role, random_seed(), now, out) {
                Ok(()) => state.defense = None,
                Err(error) => tracing::error!(%error, "a defense did not start"),
            }
            true
        }
        DefenseChange::Renew => {
            state.tunnel.renew(now, out)?;
            true
        }
    })
}

fn random_seed() -> [u8; 32] {
    let mut seed = [0; 32];
    OsRng.unwrap_err().fill_bytes(&mut seed);
    seed
}

/// Turns to peers after an update. The first error is told; it keeps no other peer from its turn.
fn call(shared: &Shared, calls: Vec<Call>) -> Result<(), ApplyError> {
    if calls.is_empty() {
        return Ok(());
    }
    let mut result = Ok(());
    let may_call = shared.has_identity() && shared.link.lock().is_up;
    let mut out = DatagramBatch::new();
    for Call { peer, defense, mut wake } in calls {
        let applied = depart(shared, &peer, &mut out, Turn::Own, |state, now, out| {
            let applied = defense.map_or(Ok(false), |change| apply_defense(state, change, now, out));
            // The client calls at once, so that both agree before there is anything to protect.
            wake |= matches!(applied, Ok(true)) && state.tunnel.has_to_agree();
            if wake && may_call {
                state.tunnel.send_keepalive(now, out);
            }
            applied
        });
        let applied = applied.map_err(|source| ApplyError::Renew { peer: peer.public_key, source });
        result = result.and(applied.map(drop));
    }
    result
}
