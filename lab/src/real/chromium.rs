//! A browser that people use.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use tempfile::TempDir;

use super::{RealError, process};

/// How long its processes have to end, and how often to look.
const PATIENCE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(10);

/// What it is told: to show nothing, to ask nobody about anything, and to take the lab's names and certificates.
const FLAGS: [&str; 13] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-features=OptimizationHints,MediaRouter,Translate",
    "--remote-debugging-port=0",
    "--ignore-certificate-errors",
];

/// A browser that loads a page. Dropping it ends it, with all of its processes.
pub(super) struct Chromium {
    program: PathBuf,
    child: Child,
    profile: Option<TempDir>,
}

impl Chromium {
    /// Starts one, without anything that it remembers, in the network namespace of this thread. All names are `address`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(program: &Path, url: &str, address: &str) -> Result<Self, RealError> {
        let profile = TempDir::with_prefix("maybetun-lab-")?;
        let mut command = process::tied(program);
        command.args(FLAGS).process_group(0);
        command.arg(format!("--host-resolver-rules=MAP * {address}"));
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg(url);
        let child = process::start(program, &mut command)?;
        Ok(Self { program: program.to_owned(), child, profile: Some(profile) })
    }

    /// Makes sure that it has not ended.
    ///
    /// # Errors
    /// When it has.
    pub(super) fn check(&mut self) -> Result<(), RealError> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        Err(RealError::Ended { program: self.program.clone(), said: status.to_string() })
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let group = process::id(&self.child);
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.child.wait();
        // Its other processes end by themselves, and write until then.
        let deadline = Instant::now() + PATIENCE;
        while killpg(group, None).is_ok() && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        let _ = self.profile.take().map(TempDir::close);
    }
}
