//! The tokio runtime, and the signals that ask a tunnel to stop.

use std::io;

use anyhow::Context as _;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Most worker threads: one for each direction of traffic. More would only pass packets between them.
const MAX_WORKERS: usize = 2;

/// Runs `tunnel` to its end on a runtime of its own. Idle workers sleep without a timeout.
///
/// # Errors
/// What `tunnel` returns; or when the operating system refuses threads or descriptors.
pub(crate) fn run<T>(tunnel: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = Builder::new_multi_thread()
        .worker_threads(cores.min(MAX_WORKERS))
        .thread_name("maybetun")
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(tunnel);
    // A name that is still being looked up must not hold up the end.
    runtime.shutdown_background();
    result
}

/// The signals that ask for a stop: an interrupt, a termination, a closed terminal.
#[derive(Debug)]
pub(crate) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl StopSignals {
    /// Takes the signals over from their default action.
    ///
    /// # Errors
    /// When a handler cannot be installed.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for one of the signals and returns its name. May be dropped and called again.
    pub(crate) async fn recv(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }
}
