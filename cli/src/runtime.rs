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

/// What a hangup (SIGHUP) means to this process.
///
/// A terminal that is closed sends it, and so does whoever wants a service to read its file again. Only a process that was
/// started from a terminal, and still belongs to it, can be sent one by the former.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hangup {
    /// The starter has it ignored, as `nohup` does.
    Ignored,
    /// The terminal is gone: it asks for a stop.
    Stops,
    /// There is no terminal: it asks to read the file again.
    Reloads,
}

impl Hangup {
    /// Returns what one means to a process that can reload. To be asked at the start: a terminal that is closed is no
    /// terminal of anybody's by the time its hangup is looked at.
    pub(crate) fn of_this_process() -> Self {
        if Ignored::of_this_process().has(SignalKind::hangup()) {
            return Self::Ignored;
        }
        // Where nothing can be seen there may be one.
        let has_terminal = std::fs::read_to_string("/proc/self/stat").map_or(true, |stat| has_terminal(&stat));
        if has_terminal { Self::Stops } else { Self::Reloads }
    }

    /// Returns what one means to a process that cannot reload.
    pub(crate) fn without_reload() -> Self {
        if Ignored::of_this_process().has(SignalKind::hangup()) { Self::Ignored } else { Self::Stops }
    }
}

/// Tells whether a process has a controlling terminal, by its line of proc_pid_stat(5): behind the name, which may hold
/// anything, `tty_nr` is the fifth.
fn has_terminal(stat: &str) -> bool {
    let numbers = stat.rsplit_once(')').map(|(_, numbers)| numbers);
    numbers.and_then(|numbers| numbers.split_whitespace().nth(4)).is_none_or(|terminal| terminal != "0")
}

/// The signals that ask for a stop: an interrupt, a quit, a termination, a closed terminal.
///
/// Interrupts, quits and closed terminals that the starter has this process ignore stay ignored: `nohup` does so with the
/// last, a shell with the others for what it runs in its background.
#[derive(Debug)]
pub(crate) struct StopSignals {
    interrupt: Option<Signal>,
    quit: Option<Signal>,
    terminate: Signal,
    hangup: Option<Signal>,
}

impl StopSignals {
    /// Takes the signals over from their default action.
    ///
    /// # Errors
    /// When a handler cannot be installed.
    pub(crate) fn new(hangup: Hangup) -> io::Result<Self> {
        let ignored = Ignored::of_this_process();
        let unless_ignored = |kind| if ignored.has(kind) { Ok(None) } else { signal(kind).map(Some) };
        Ok(Self {
            interrupt: unless_ignored(SignalKind::interrupt())?,
            quit: unless_ignored(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: if hangup == Hangup::Stops { Some(signal(SignalKind::hangup())?) } else { None },
        })
    }

    /// Waits for one of the signals and returns its name. May be dropped and called again.
    pub(crate) async fn recv(&mut self) -> &'static str {
        tokio::select! {
            () = received(&mut self.interrupt) => "SIGINT",
            () = received(&mut self.quit) => "SIGQUIT",
            _ = self.terminate.recv() => "SIGTERM",
            () = received(&mut self.hangup) => "SIGHUP",
        }
    }
}

/// The signal that asks to read the file again.
#[derive(Debug)]
pub(crate) struct ReloadSignal(Option<Signal>);

impl ReloadSignal {
    /// Takes the signal over from its default action, if that is what it means.
    ///
    /// # Errors
    /// When a handler cannot be installed.
    pub(crate) fn new(hangup: Hangup) -> io::Result<Self> {
        Ok(Self(if hangup == Hangup::Reloads { Some(signal(SignalKind::hangup())?) } else { None }))
    }

    /// Waits for the signal. May be dropped and called again; several that come meanwhile are one.
    pub(crate) async fn recv(&mut self) {
        received(&mut self.0).await;
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

    #[test]
    fn a_terminal_is_known_whatever_the_process_is_called() {
        assert!(has_terminal("7 (maybetun) S 1 7 7 34816 7 4194304"));
        assert!(!has_terminal("7 (a) S 1 2 3 4) S 1 7 7 0 -1 4194304"));
        assert!(has_terminal("") && has_terminal("7 (maybetun) S"), "where it cannot be seen there may be one");
    }
}
