//! Starts the tasks of a device, opens and closes its sockets, and ends it.

use std::sync::Arc;
use std::time::Duration;

use maybetun_tun::{Tun, TunEvent};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use super::shared::Shared;
use super::workers::Workers;
use super::{StopReason, configure, network, peers};

/// Pauses between attempts to open the sockets, the first and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Starts the tasks of a device on `tun`; what is returned tells when and why they have ended.
pub(super) fn spawn<T: Tun>(tun: T, shared: Arc<Shared>) -> watch::Receiver<Option<StopReason>> {
    let (ended, receiver) = watch::channel(None);
    tokio::spawn(async move {
        let reason = supervise(tun.split().into_iter().map(Arc::new).collect(), &shared).await;
        tracing::debug!(?reason, "device stopped");
        ended.send_replace(Some(reason));
    });
    receiver
}

async fn supervise<T: Tun>(queues: Vec<Arc<T>>, shared: &Arc<Shared>) -> StopReason {
    let mut tasks = JoinSet::new();
    if let Some(first) = queues.first() {
        let (device, state) = (Arc::clone(first), Arc::clone(shared));
        tasks.spawn(async move { follow_link(&*device, &state).await });
    }
    let state = Arc::clone(shared);
    tasks.spawn(async move { network::follow(&state).await });
    let workers = Workers::start(&queues, shared);
    drop(queues);
    let ending = EndOnDrop(shared);

    let mut stopping = shared.stopping();
    // Someone may have asked before we listened.
    stopping.mark_changed();
    let mut sockets = shared.sockets.subscribe();
    let reason = loop {
        tokio::select! {
            _ = stopping.changed() => {
                if let Some(reason) = stopping.borrow_and_update().clone() {
                    break reason;
                }
            }
            _ = sockets.changed() => {
                let opened = sockets.borrow_and_update().clone();
                if opened.is_some_and(|opened| !shared.network.has_called_on(&opened)) {
                    let state = Arc::clone(shared);
                    tasks.spawn(async move {
                        network::look_around(&state);
                        peers::call_waiting(&state);
                    });
                }
            }
            Some(result) = tasks.join_next() => stop_on_panic(shared, result),
        }
    };
    tasks.shutdown().await;
    drop(ending);
    workers.join().await;
    shared.sockets.send_replace(None);
    shared.network.close_all();
    reason
}

/// Ends the threads also when the runtime goes away under a device that nobody stopped.
struct EndOnDrop<'a>(&'a Shared);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop(StopReason::Requested);
        self.0.schedule.close();
    }
}

/// A device that lost one of its tasks would look alive and be deaf, dumb or blind.
fn stop_on_panic(shared: &Shared, result: Result<(), JoinError>) {
    if let Err(error) = result
        && error.is_panic()
    {
        shared.stop(StopReason::TunFailed("a task of the device panicked".to_owned()));
    }
}

/// Follows the interface: its MTU, up and down, its end.
async fn follow_link<T: Tun>(tun: &T, shared: &Shared) {
    // Pause before the sockets are tried again, while the interface is up and they could not be opened.
    let mut pause: Option<Duration> = None;
    loop {
        let event = tokio::select! {
            event = tun.event() => event,
            () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => TunEvent::Up,
        };
        match event {
            TunEvent::Mtu(mtu) => {
                tracing::debug!(mtu, "interface MTU");
                shared.set_mtu(mtu);
            }
            TunEvent::Up => {
                // The network may have changed while nothing could be sent.
                network::look_around(shared);
                pause = open_sockets(shared, pause);
            }
            TunEvent::Down => {
                pause = None;
                configure::link_down(shared);
            }
            TunEvent::Gone => {
                shared.stop(StopReason::TunGone);
                return;
            }
        }
    }
}

/// Opens the sockets; if that fails, says when to try again. The port may be in use for just a moment, by our own sockets
/// of before the interface went down.
fn open_sockets(shared: &Shared, pause: Option<Duration>) -> Option<Duration> {
    let error = match configure::link_up(shared) {
        Ok(()) => return None,
        Err(error) => error,
    };
    match pause {
        None => Some(FIRST_PAUSE),
        Some(FIRST_PAUSE) => {
            tracing::error!(%error, "the interface is up, but the device is deaf");
            Some(2 * FIRST_PAUSE)
        }
        Some(pause) => Some((2 * pause).min(LONGEST_PAUSE)),
    }
}
