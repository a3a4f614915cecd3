//! Tells the state of a device and its peers, some of them at a time: who moves packets waits for none of it.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use ipnet::IpNet;

use super::peers::CHUNK;
use super::registry::Peer;
use super::shared::{Link, Shared};
use crate::settings::{DefenseStatus, PeerStatus, Status};

pub(super) fn status(shared: &Shared) -> Status {
    let Link { asked_port, port, fwmark, .. } = *shared.link.lock();
    let (now, clock) = (Instant::now(), SystemTime::now());
    let mut peers = shared.peers();
    peers.sort_by_key(|peer| peer.sequence);
    let registry = shared.registry.read();
    let private_key = registry.identity().map(|identity| identity.private_key.clone());
    let handshakes = registry.identity().map(|identity| identity.limiter.load(registry.len(), now));
    drop(registry);
    Status {
        private_key,
        listen_port: port,
        is_port_fixed: asked_port != 0,
        fwmark,
        dropped: shared.drops.read(),
        handshakes: handshakes.unwrap_or_default(),
        peers: peers.chunks(CHUNK).flat_map(|chunk| statuses(shared, chunk, now, clock)).collect(),
    }
}

/// Returns the state of those of the peers that are still there.
fn statuses(shared: &Shared, peers: &[Arc<Peer>], now: Instant, clock: SystemTime) -> Vec<PeerStatus> {
    let registry = shared.registry.read();
    let are_there = peers.iter().filter(|peer| registry.by_id(peer.id).is_some());
    let owned: Vec<_> = are_there.map(|peer| (peer, registry.allowed_ips.prefixes_of(peer.id))).collect();
    drop(registry);
    owned.into_iter().map(|(peer, allowed_ips)| peer_status(peer, allowed_ips, now, clock)).collect()
}

fn peer_status(peer: &Peer, allowed_ips: Vec<IpNet>, now: Instant, clock: SystemTime) -> PeerStatus {
    let state = peer.state.lock();
    let tunnel = &state.tunnel;
    let age = tunnel.last_handshake().map(|at| now.saturating_duration_since(at));
    PeerStatus {
        public_key: peer.public_key,
        preshared_key: tunnel.preshared_key().cloned(),
        endpoint: tunnel.endpoint().map(|endpoint| endpoint.remote),
        persistent_keepalive: tunnel.persistent_keepalive(),
        allowed_ips,
        last_handshake: age.and_then(|age| clock.checked_sub(age)),
        last_handshake_age: age,
        statistics: tunnel.statistics(),
        role: Some(state.role),
        defense: tunnel
            .defense()
            .cloned()
            .zip(tunnel.defense_statistics(now))
            .map(|(settings, statistics)| DefenseStatus { settings, statistics }),
        negotiation: tunnel.negotiation_status(now),
        masking: tunnel.masking_status(now),
        protection: Some(tunnel.protection()),
        path_mtu: tunnel.path_mtu().and_then(|mtu| u32::try_from(mtu).ok()),
    }
}
