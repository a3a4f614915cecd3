//! The thread that calls each tunnel when its deadline has come.
//!
//! It is a thread, and not a task, because tokio's timers count whole milliseconds, and a defense asks for microseconds.
//! Between deadlines it sleeps on a condition variable, and costs nothing.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use super::departing::{Turn, depart};
use super::registry::Peer;
use super::shared::Shared;
use super::threads::{self, StopOnPanic};
use crate::tunnel::DatagramBatch;

/// Starts the thread; it ends when the schedule is closed.
///
/// # Panics
/// Panics if the system starts no more threads.
pub(super) fn spawn(shared: Arc<Shared>) -> JoinHandle<()> {
    threads::spawn("maybetun-pacer", move || {
        let _guard = StopOnPanic(&shared);
        be_punctual();
        run(&shared);
    })
}

fn run(shared: &Shared) {
    let mut out = DatagramBatch::new();
    while let Some(index) = shared.schedule.wait(shared.options.timer_slack) {
        let Some(peer) = shared.registry.read().by_id(index).cloned() else { continue };
        call(shared, &peer, &mut out);
    }
}

fn call(shared: &Shared, peer: &Peer, out: &mut DatagramBatch) {
    if !shared.has_identity() {
        peer.state.lock().scheduled = None;
    } else if shared.sockets.borrow().is_none() {
        let mut state = peer.state.lock();
        state.scheduled = None;
        state.tunnel.handle_timeout_mute(Instant::now());
        shared.settle_mute(peer, &mut state);
        out.clear();
    } else {
        depart(shared, peer, out, Turn::Any, |state, now, out| {
            state.scheduled = None;
            state.tunnel.handle_timeout(now, out);
        });
    }
}

/// Asks for timers that are as exact as the system's clock: by default Linux may delay a thread's by 50 µs.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn be_punctual() {
    if let Err(error) = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)) {
        tracing::debug!(%error, "timers may fire 50 µs late");
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn be_punctual() {}
