//! Starts the tasks of a device, opens and closes its sockets, and ends it.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use maybetun_tun::{Tun, TunEvent};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::shared::Shared;
use super::sockets::{BoundSocket, Sockets};
use super::{StopReason, configure, inbound, outbound};
use crate::tunnel::DatagramBatch;

/// Starts the tasks of a device on `tun`; what is returned tells when and why they have ended.
pub(super) fn spawn<T: Tun>(tun: T, shared: Arc<Shared>) -> watch::Receiver<Option<StopReason>> {
    let (ended, receiver) = watch::channel(None);
    tokio::spawn(async move {
        let reason = supervise(Arc::new(tun), &shared).await;
        tracing::debug!(?reason, "device stopped");
        ended.send_replace(Some(reason));
    });
    receiver
}

async fn supervise<T: Tun>(tun: Arc<T>, shared: &Arc<Shared>) -> StopReason {
    let mut tasks = JoinSet::new();
    let (device, state) = (Arc::clone(&tun), Arc::clone(shared));
    tasks.spawn(async move {
        let error = outbound::run(&*device, &state).await;
        state.stop(reason_of(&error));
    });
    let (device, state) = (Arc::clone(&tun), Arc::clone(shared));
    tasks.spawn(async move { follow_link(&*device, &state).await });
    let state = Arc::clone(shared);
    tasks.spawn(async move { keep_deadlines(&state).await });

    let mut stopping = shared.stopping();
    // Someone may have asked before we listened.
    stopping.mark_changed();
    let mut sockets = shared.sockets.subscribe();
    let mut receivers = JoinSet::new();
    let reason = loop {
        tokio::select! {
            _ = stopping.changed() => {
                if let Some(reason) = stopping.borrow_and_update().clone() {
                    break reason;
                }
            }
            _ = sockets.changed() => {
                receivers.shutdown().await;
                let current = sockets.borrow_and_update().clone();
                if let Some(current) = current {
                    receive_on(&mut receivers, &tun, shared, &current);
                }
            }
        }
    };
    receivers.shutdown().await;
    tasks.shutdown().await;
    shared.sockets.send_replace(None);
    reason
}

fn reason_of(error: &io::Error) -> StopReason {
    use rustix::io::Errno;
    let gone = [Errno::BADFD, Errno::BADF, Errno::NODEV].map(|errno| Some(errno.raw_os_error()));
    if error.kind() == io::ErrorKind::BrokenPipe || gone.contains(&error.raw_os_error()) {
        StopReason::TunGone
    } else {
        StopReason::TunFailed(error.to_string())
    }
}

/// Follows the interface: its MTU, up and down, its end.
async fn follow_link<T: Tun>(tun: &T, shared: &Shared) {
    loop {
        match tun.event().await {
            TunEvent::Mtu(mtu) => {
                tracing::debug!(mtu, "interface MTU");
                shared.set_mtu(mtu);
            }
            TunEvent::Up => match configure::link_up(shared) {
                Ok(()) => call_peers(shared).await,
                Err(error) => tracing::error!(%error, "the interface is up, but the device is deaf"),
            },
            TunEvent::Down => configure::link_down(shared),
            TunEvent::Gone => {
                shared.stop(StopReason::TunGone);
                return;
            }
        }
    }
}

/// Now that datagrams can leave: opens the way to the peers that are to be kept alive, and to those that wait for one.
async fn call_peers(shared: &Shared) {
    if !shared.has_identity() {
        return;
    }
    let peers: Vec<_> = shared.registry.read().peers().cloned().collect();
    let mut out = DatagramBatch::new();
    for peer in peers {
        {
            let (mut state, now) = (peer.state.lock(), Instant::now());
            state.tunnel.resend_handshake(now, &mut out);
            if state.tunnel.persistent_keepalive() > 0 && out.is_empty() {
                state.tunnel.send_keepalive(now, &mut out);
            }
            shared.settle(&peer, &mut state);
        }
        shared.transmit(&peer, &mut out).await;
    }
}

/// Calls each tunnel when its deadline has come.
async fn keep_deadlines(shared: &Shared) {
    let mut out = DatagramBatch::new();
    loop {
        let index = shared.schedule.next_due().await;
        let Some(peer) = shared.registry.read().by_index(index).cloned() else { continue };
        let has_identity = shared.has_identity();
        {
            let mut state = peer.state.lock();
            state.scheduled = None;
            if !has_identity {
                continue;
            }
            state.tunnel.handle_timeout(Instant::now(), &mut out);
            shared.settle(&peer, &mut state);
        }
        shared.transmit(&peer, &mut out).await;
    }
}

/// Starts a receiving task on each open socket.
fn receive_on<T: Tun>(receivers: &mut JoinSet<()>, tun: &Arc<T>, shared: &Arc<Shared>, sockets: &Arc<Sockets>) {
    let versions: [fn(&Sockets) -> Option<&BoundSocket>; 2] =
        [|sockets| sockets.v4.as_ref(), |sockets| sockets.v6.as_ref()];
    for socket_of in versions {
        let (tun, shared, sockets) = (Arc::clone(tun), Arc::clone(shared), Arc::clone(sockets));
        receivers.spawn(async move {
            let Some(socket) = socket_of(&sockets) else { return };
            let error = inbound::run(&*tun, &shared, &sockets, socket).await;
            shared.stop(reason_of(&error));
        });
    }
}
