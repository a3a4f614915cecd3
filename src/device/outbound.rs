//! From the TUN device to the network.

use std::sync::Arc;
use std::time::Instant;

use maybetun_tun::{PacketBatch, Tun};

use super::registry::Peer;
use super::shared::{Shared, count};
use crate::tunnel::{DatagramBatch, IpHeader};

/// Most packets that are given to a tunnel at once: as many as find room when it says that it has room.
const MAX_RUN: usize = 128;

/// Reads IP packets until the TUN device fails.
pub(super) async fn run<T: Tun>(tun: &T, shared: &Shared) -> std::io::Error {
    let mut packets = PacketBatch::new();
    let mut routes = Vec::new();
    let mut out = DatagramBatch::new();
    let mut sockets = shared.sockets.subscribe();
    loop {
        packets.clear();
        if let Err(error) = tun.recv(&mut packets).await {
            return error;
        }
        // Without a socket they would only be sealed and lost.
        if sockets.wait_for(Option::is_some).await.is_err() {
            return std::io::ErrorKind::BrokenPipe.into();
        }
        route(shared, &packets, &mut routes);
        let mut next = 0;
        while next < routes.len() {
            let Some(peer) = routes[next].clone() else {
                next += 1;
                continue;
            };
            wait_for_room(shared).await;
            next = seal_run(shared, &peer, &mut packets, &routes, next, &mut out);
            shared.transmit(&peer, &mut out).await;
        }
    }
}

/// With one peer, waits until its queue has room: the system's own queue before the TUN device fills instead, as on any
/// slow link. With several, none must wait for another: a full queue drops its newest packet.
async fn wait_for_room(shared: &Shared) {
    loop {
        let Some(peer) = shared.registry.read().only_peer().cloned() else { return };
        let mut drained = std::pin::pin!(peer.drained.notified());
        drained.as_mut().enable();
        if peer.state.lock().tunnel.has_room() {
            return;
        }
        drained.await;
    }
}

/// Finds the peer of each packet or burst.
fn route(shared: &Shared, packets: &PacketBatch, routes: &mut Vec<Option<Arc<Peer>>>) {
    routes.clear();
    let registry = shared.registry.read();
    let has_identity = registry.identity().is_some();
    routes.extend(packets.iter().map(|packet| {
        let header = IpHeader::parse(packet).filter(|_| has_identity);
        let peer = header.and_then(|header| registry.route(header.destination));
        if peer.is_none() {
            count(&shared.drops.no_route);
        }
        peer.cloned()
    }));
}

/// Gives the packets from entry `first` on to `peer` as long as they are for it and the batch has room, and returns the
/// index of the first entry of which some are left.
fn seal_run(
    shared: &Shared,
    peer: &Arc<Peer>,
    packets: &mut PacketBatch,
    routes: &[Option<Arc<Peer>>],
    first: usize,
    out: &mut DatagramBatch,
) -> usize {
    let now = Instant::now();
    let mut state = peer.state.lock();
    let (mut next, mut taken) = (first, 0);
    while taken < MAX_RUN
        && !out.is_full()
        && routes.get(next).is_some_and(|route| route.as_ref().is_some_and(|of| Arc::ptr_eq(of, peer)))
    {
        match packets.next_packet(next) {
            Some((buffer, length)) => {
                state.tunnel.send(buffer, length, now, out);
                taken += 1;
            }
            None => next += 1,
        }
    }
    shared.settle(peer, &mut state);
    next
}
