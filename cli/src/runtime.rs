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
///
/// Interrupts and closed terminals that the starter has this process ignore stay ignored: `nohup` does so with the latter, a
/// shell with the former for what it runs in its background.
#[derive(Debug)]
pub(crate) struct StopSignals {
    interrupt: Option<Signal>,
    terminate: Signal,
    hangup: Option<Signal>,
}

impl StopSignals {
    /// Takes the signals over from their default action.
    ///
    /// # Errors
    /// When a handler cannot be installed.
    pub(crate) fn new() -> io::Result<Self> {
        let ignored = Ignored::of_this_process();
        let unless_ignored = |kind| if ignored.has(kind) { Ok(None) } else { signal(kind).map(Some) };
        Ok(Self {
            interrupt: unless_ignored(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: unless_ignored(SignalKind::hangup())?,
        })
    }

    /// Waits for one of the signals and returns its name. May be dropped and called again.
    pub(crate) async fn recv(&mut self) -> &'static str {
        tokio::select! {
            () = received(&mut self.interrupt) => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            () = received(&mut self.hangup) => "SIGHUP",
        }
    }
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// The signals that a process ignores: bit N - 1 is signal N, as in `SigIgn` of proc_pid_status(5). To ask sigaction(2)
/// would need `unsafe`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ignored(u64);

impl Ignored {
    /// Returns those of this process; none where `/proc` is not mounted.
    fn of_this_process() -> Self {
        std::fs::read_to_string("/proc/self/status").map_or(Self(0), |status| Self::of_status(&status))
    }

    fn of_status(status: &str) -> Self {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        Self(mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0))
    }

    fn has(self, kind: SignalKind) -> bool {
        let number = kind.as_raw_value();
        (1..=64).contains(&number) && self.0 >> (number - 1) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_those_of_the_mask() {
        let ignored = Ignored::of_status("Name:\tx\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001003\n");
        assert!(ignored.has(SignalKind::hangup()) && ignored.has(SignalKind::interrupt()));
        assert!(ignored.has(SignalKind::pipe()) && !ignored.has(SignalKind::terminate()));
        assert_eq!(Ignored::of_status("Name:\tx\n"), Ignored(0));
    }

    #[test]
    fn this_process_ignores_what_every_rust_program_does() {
        assert!(Ignored::of_this_process().has(SignalKind::pipe()));
    }
}
