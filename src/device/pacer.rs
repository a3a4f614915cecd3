//! The thread that calls each tunnel when its deadline has come.
//!
//! It is a thread, and not a task, because tokio's timers count whole milliseconds, and a defense asks for microseconds.
//! Between deadlines it sleeps on a condition variable, and costs nothing.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::registry::Peer;
use super::shared::Shared;
use super::sockets::Sent;
use super::workers::{self, StopOnPanic};
use crate::tunnel::DatagramBatch;

/// How long one peer's datagrams may wait for room in the socket: others wait behind it.
const PATIENCE: Duration = Duration::from_millis(5);

/// Starts the thread; it ends when the schedule is closed.
///
/// # Panics
/// Panics outside a tokio runtime, or if the system starts no more threads.
pub(super) fn spawn(shared: Arc<Shared>) -> JoinHandle<()> {
    let runtime = Handle::current();
    workers::spawn("maybetun-pacer", move || {
        let _guard = StopOnPanic(&shared);
        be_punctual();
        run(&shared, &runtime);
    })
}

fn run(shared: &Shared, runtime: &Handle) {
    let mut out = DatagramBatch::new();
    while let Some(index) = shared.schedule.wait(shared.options.timer_slack) {
        let Some(peer) = shared.registry.read().by_index(index).cloned() else { continue };
        call(shared, runtime, &peer, &mut out);
    }
}

fn call(shared: &Shared, runtime: &Handle, peer: &Peer, out: &mut DatagramBatch) {
    let is_mute = shared.sockets.borrow().is_none();
    {
        let registry = shared.registry.read();
        let mut state = peer.state.lock();
        state.scheduled = None;
        if registry.identity().is_none() {
            return;
        }
        if is_mute {
            state.tunnel.handle_timeout_mute(Instant::now());
            shared.settle_mute(peer, &mut state);
        } else {
            state.tunnel.handle_timeout(Instant::now(), out);
            shared.settle(peer, &mut state);
        }
    }
    if is_mute {
        out.clear();
    } else if !out.is_empty() {
        let transmitted = runtime.block_on(async { tokio::time::timeout(PATIENCE, shared.transmit(peer, out)).await });
        if transmitted.is_err() {
            tracing::trace!("the socket had no room for what was due");
            shared.note_sent(peer, Sent::none_of(out));
            out.clear();
        }
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
