//! `down`: asks a running tunnel to stop, and removes what a dead one left.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use maybetun::uapi::DIRECTORY;

use super::exit::{Exit, Failure, OrExit as _};
use super::network::kill_switch;
use super::running::{Claim, Process};
use super::{interface, leftovers, place, runtime};

/// How long a tunnel of another program may take to remove its interface.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often to look whether its interface is gone.
const POLL: Duration = Duration::from_millis(20);

/// How long a tunnel of ours may take before it is said what is waited for.
const SILENCE: Duration = Duration::from_secs(10);

/// How long to wait for the end of a process before its socket is looked for again.
const ROUND: Duration = Duration::from_millis(200);

/// Asks a running tunnel to stop, and waits until nothing of it is left: interface, port, rules, hooks and process.
///
/// The tunnel undoes what it set up: rules, DNS and, if it ran them, hooks, for which there is no limit of time. One that is
/// stopping already is waited for. What one that was killed has left is removed, and its kill switch opened; its hooks are not
/// run.
#[derive(Debug, clap::Args)]
pub(crate) struct DownArgs {
    /// The interface of the tunnel.
    #[arg(value_name = "IFACE", value_parser = interface::parse_name)]
    interface: String,
}

/// Removes the tunnel's configuration socket, which it takes as a request to stop.
pub(crate) fn run(args: &DownArgs) -> anyhow::Result<()> {
    let name = &args.interface;
    let process = Process::of(name).with_context(|| format!("cannot see who runs {name}"))?;
    let directory = place::of_socket(name);
    let found = match &directory {
        Ok(directory) => stop(Path::new(DIRECTORY), directory, name)?,
        // That of another namespace is not ours to stop.
        Err(_) => Found::Dead,
    };
    if process.as_ref().is_some_and(Process::is_ancestor) {
        // It would wait for us as we for it; and its kill switch, if any, is its own to open.
        tracing::warn!("this is a hook of {name}: its end is not waited for");
        return Ok(());
    }
    let was_running = match (&process, found) {
        (Some(process), found) => wait_for_end(process, found, name).map(|()| true)?,
        (None, Found::Running) => wait_until_gone(name).map(|()| true)?,
        (None, Found::Dead) => false,
    };
    let nothing = || directory.err().unwrap_or_else(|| not_running(name));
    // While the name is ours no tunnel starts whose leftovers they would be.
    let Some(claim) = Claim::of_nobody(name) else {
        return if was_running { Ok(()) } else { Err(nothing()) };
    };
    match (runtime::run(clean(&claim))?, was_running) {
        (Cleaned { died: false, opened: false }, true) => Ok(()),
        (Cleaned { died: false, opened: false }, false) => Err(nothing()),
        (cleaned, _) => writeln!(io::stdout(), "{}", cleaned.told(name)).context("cannot write to standard output"),
    }
}

/// What was removed of a tunnel that nobody runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cleaned {
    /// What a dead process had left.
    died: bool,
    /// A kill switch that had stayed closed.
    opened: bool,
}

impl Cleaned {
    fn told(self, name: &str) -> String {
        let died = if self.died { ": the process that ran it had died, and what it left is removed" } else { "" };
        let opened = if self.opened { "; its kill switch had stayed closed and is open now" } else { "" };
        format!("{name} is not running{died}{opened}")
    }
}

/// Removes what a dead process left, and opens its kill switch last.
async fn clean(claim: &Claim) -> anyhow::Result<Cleaned> {
    let name = claim.name();
    let left = leftovers::remove(claim).await?;
    if left.hooks_due {
        leftovers::warn_of_hooks(name);
    }
    let opened = is_closed(name).await && kill_switch::open(name).await?;
    if !left.failed.is_empty() {
        left.failed.iter().for_each(|(_, error)| tracing::error!("{error:#}"));
        let switch = if opened { "; its kill switch is open now" } else { "" };
        anyhow::bail!("cannot remove all that {name} left: `maybetun down {name}` tries again{switch}");
    }
    Ok(Cleaned { died: left.is_there, opened })
}

/// Waits until the process that runs the tunnel has ended. It may have been about to make its socket: that is removed when
/// it comes. One that was removed may come again, for hooks.
fn wait_for_end(process: &Process, mut found: Found, name: &str) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut is_said = false;
    while !process.has_ended_within(ROUND).with_context(|| format!("cannot wait for the end of {name}"))? {
        if found == Found::Dead {
            found = stop(Path::new(DIRECTORY), &place::directory(), name)?;
        }
        if !is_said && start.elapsed() >= SILENCE {
            tracing::warn!("{name} is still stopping: process {} may be running a hook", process.id());
            is_said = true;
        }
    }
    Ok(())
}

/// Tells whether the kill switch is closed for `name`, as far as we may look.
async fn is_closed(name: &str) -> bool {
    match kill_switch::closed().await {
        Ok(closed) => closed.iter().any(|other| other == name),
        Err(error) => {
            tracing::debug!("cannot look at the kill switch: {error:#}");
            false
        }
    }
}

/// What there was to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// A tunnel, which was asked to stop.
    Running,
    /// None, or what one that was killed has left.
    Dead,
}

/// Removes the socket in `directory`, or its other name in `shared`, which does the same.
fn stop(shared: &Path, directory: &Path, name: &str) -> anyhow::Result<Found> {
    let (own, known) = (place::socket_in(directory, name), place::socket_in(shared, name));
    let socket = if place::is_same(&own, &known) { known } else { own };
    // A tunnel that was killed leaves its socket behind, and nobody listens.
    let is_stale = UnixStream::connect(&socket).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if is_stale && directory != shared {
        // It goes with the rest that was left.
        return Ok(Found::Dead);
    }
    match fs::remove_file(&socket) {
        Ok(()) if is_stale => Ok(Found::Dead),
        Ok(()) => Ok(Found::Running),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Dead),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let message =
                format!("cannot remove {}: run as root, or as the user who runs the tunnel", socket.display());
            Err(error).or_exit(Exit::Permission, message)
        }
        Err(error) => Err(error).or_exit(Exit::Failure, format!("cannot remove {}", socket.display())),
    }
}

fn not_running(name: &str) -> anyhow::Error {
    if interface::exists(name) {
        let message =
            format!("interface {name} has no configuration socket in {DIRECTORY}: it is not a userspace tunnel");
        return Failure::error(Exit::Failure, message);
    }
    Failure::error(Exit::NoInterface, format!("no tunnel called {name} is running"))
}

fn wait_until_gone(name: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while interface::exists(name) {
        if Instant::now() >= deadline {
            let message = format!("{name} was asked to stop, but is still there after {} s", PATIENCE.as_secs());
            return Err(Failure::error(Exit::Failure, message));
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_tunnel_that_is_not_there_has_its_own_exit_code() {
        let error = run(&DownArgs { interface: "no-such-tunnel".to_owned() }).unwrap_err();
        assert_eq!(exit::of(&error), Exit::NoInterface);
        assert!(error.to_string().contains("no-such-tunnel"), "{error}");
    }

    #[test]
    fn an_interface_that_is_no_tunnel_is_told_so() {
        let error = run(&DownArgs { interface: "lo".to_owned() }).unwrap_err();
        assert_eq!(exit::of(&error), Exit::Failure);
        assert!(error.to_string().contains("not a userspace tunnel"), "{error}");
    }

    #[test]
    fn a_socket_that_listens_is_removed_and_a_stale_one_is_no_tunnel() {
        let shared = tempfile::tempdir().unwrap();
        let socket = shared.path().join("wg0.sock");
        let stop = |directory: &Path| stop(shared.path(), directory, "wg0").unwrap();
        let listener = UnixListener::bind(&socket).unwrap();
        assert_eq!(stop(shared.path()), Found::Running);
        assert!(!socket.exists());
        drop(listener);

        drop(UnixListener::bind(&socket).unwrap());
        assert_eq!(stop(shared.path()), Found::Dead);
        assert!(!socket.exists());
    }

    #[test]
    fn a_socket_with_two_names_loses_one_to_stop_and_a_stale_one_none() {
        let shared = tempfile::tempdir().unwrap();
        let own = shared.path().join("netns-7");
        fs::create_dir(&own).unwrap();
        let names = [own.join("wg0.sock"), shared.path().join("wg0.sock")];
        let there = || names.each_ref().map(|name| name.exists());
        let listener = UnixListener::bind(&names[0]).unwrap();
        fs::hard_link(&names[0], &names[1]).unwrap();
        assert_eq!((stop(shared.path(), &own, "wg0").unwrap(), there()), (Found::Running, [true, false]));
        fs::hard_link(&names[0], &names[1]).unwrap();
        drop(listener);
        assert_eq!((stop(shared.path(), &own, "wg0").unwrap(), there()), (Found::Dead, [true, true]));
    }

    #[test]
    fn what_is_gone_needs_no_wait() {
        wait_until_gone("no-such-tunnel").unwrap();
    }
}
