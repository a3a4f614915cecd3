//! What a tunnel whose process is dead has left: found by its journal, and removed.
//!
//! With the process go its interface, the addresses and the routes. Rules, packet filter, DNS, socket and files stay. The kill
//! switch does too, and is meant to: whoever removes the rest decides about it.

mod journal;

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use maybetun::uapi::DIRECTORY;

use super::control;
use super::interface;
use super::network::dns::Manager;
use super::network::plan::Family;
use super::network::{Network, kill_switch, lock};
use super::place;
use super::running::Claim;
pub(crate) use journal::{Journal, Step, Taken};

/// How long the interface of a process that is dying may take to vanish.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often to look whether it has.
const POLL: Duration = Duration::from_millis(10);

/// What was found of a tunnel that nobody runs.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    /// Whether a process ran it and died.
    pub(crate) is_there: bool,
    /// Whether its PreDown and PostDown hooks have not run.
    pub(crate) hooks_due: bool,
    /// What could not be removed, and why.
    pub(crate) failed: Vec<(Step, anyhow::Error)>,
}

/// Removes what a dead process left of the tunnel that is claimed, but for its kill switch. What cannot be removed stays in the
/// journal.
///
/// # Errors
/// When the kernel does not answer, or a file cannot be removed.
pub(crate) async fn remove(claim: &Claim) -> anyhow::Result<Leftovers> {
    let (name, directory) = (claim.name(), claim.directory());
    let network = Network::without_interface()?;
    let steps = match journal::read(directory, name) {
        Ok(steps) => steps,
        Err(error) => {
            tracing::warn!("{error:#}; what bears the name of {name}, or is nobody's, is removed instead");
            by_name(claim, &network).await?
        }
    };
    let hooks_due = steps.iter().any(|step| matches!(step, Step::PostDown | Step::PreDown));
    let mut left = Leftovers { is_there: claim.is_inherited() || !steps.is_empty(), hooks_due, failed: Vec::new() };
    if left.is_there {
        wait_until_gone(name).await;
    }
    for step in steps.into_iter().rev() {
        if let Err(error) = step.undo(name, &network).await {
            // One that fails each time is there from each time.
            left.failed.retain(|(other, _)| *other != step);
            left.failed.insert(0, (step, error));
        }
    }
    kill_switch::forget_unless_closed(name).await?;
    remove_sockets(Path::new(DIRECTORY), directory, name)?;
    lock::tidy(directory).await?;
    Journal::with(directory, name, Vec::new()).finish(left.failed.iter().map(|(step, _)| step.clone()).collect())?;
    Ok(left)
}

/// Removes what a dead process left of the tunnel that is claimed, whose kill switch stays as it is, and returns the journal
/// for the one that takes its place.
///
/// # Errors
/// As for [`remove`].
pub(crate) async fn adopt(claim: &Claim) -> anyhow::Result<Journal> {
    let left = remove(claim).await?;
    let name = claim.name();
    if left.is_there {
        tracing::info!("the process that ran {name} had died: what it left is removed");
    }
    if left.hooks_due {
        warn_of_hooks(name);
    }
    // They are undone with the rest, or by the next `down`.
    let failed =
        left.failed.iter().inspect(|(_, error)| tracing::warn!("{error:#}")).map(|(step, _)| step.clone()).collect();
    Ok(Journal::with(claim.directory(), name, failed))
}

/// Says that hooks are due that nobody has run.
pub(crate) fn warn_of_hooks(name: &str) {
    tracing::warn!("PreDown and PostDown of {name} have not run: undo by hand what its PreUp and PostUp did");
}

/// Returns what a tunnel may have set up that has no journal which can be read: what bears its name, and the rules that are
/// nobody's.
async fn by_name(claim: &Claim, network: &Network) -> anyhow::Result<Vec<Step>> {
    let mut steps = vec![Step::Firewall];
    steps.extend(Manager::find().ok().map(Step::Dns));
    let _lock = lock::lock(claim.directory()).await?;
    let taken = Taken::by_others(claim.directory(), claim.name());
    if taken.is_unsure {
        tracing::warn!(
            "another journal cannot be read either: routing rules are left, since they may be that tunnel's"
        );
        return Ok(steps);
    }
    for family in [Family::V4, Family::V6] {
        let rules = network.own_rules(family).await?.into_iter();
        steps.extend(rules.filter(|rule| !taken.rules.contains(rule)).map(Step::Rule));
    }
    Ok(steps)
}

/// The kernel gives up a dead process' locks before its interface.
async fn wait_until_gone(name: &str) {
    let deadline = Instant::now() + PATIENCE;
    while interface::exists(name) && Instant::now() < deadline {
        tokio::time::sleep(POLL).await;
    }
}

/// Removes the socket in `own`, under its name in `shared` too, and what a process that is dead had not given a name yet.
fn remove_sockets(shared: &Path, own: &Path, name: &str) -> io::Result<()> {
    let unless_gone = |removed: io::Result<()>| match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    };
    let socket = place::socket_in(own, name);
    let known = place::socket_in(shared, name);
    if place::is_same(&socket, &known) {
        unless_gone(fs::remove_file(known))?;
    }
    unless_gone(fs::remove_file(socket))?;
    unless_gone(fs::remove_file(control::path_in(own, name)))?;
    let prefix = format!(".{name}.");
    for entry in fs::read_dir(own)? {
        let path = entry?.path();
        let file = path.file_name().and_then(|file| file.to_str()).and_then(|file| file.strip_prefix(&prefix));
        // `.NAME.PROCESS.ATTEMPT`: the rest is that of no longer name.
        let is_ours = file.and_then(|rest| rest.split_once('.')).is_some_and(|(process, attempt)| {
            [process, attempt].iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
        });
        // A socket is made in a directory of that name, and has a second name made from such a file.
        let is_directory = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir());
        if is_ours {
            unless_gone(if is_directory { fs::remove_dir_all(path) } else { fs::remove_file(path) })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_a_dead_process_go_and_those_of_others_stay() {
        let shared = tempfile::tempdir().unwrap();
        let own = shared.path().join("netns-7");
        fs::create_dir(&own).unwrap();
        let names = [
            "wg0.sock",
            ".wg0.12.0",
            "wg0.control",
            "wg1.sock",
            ".wg0.5.12.0",
            ".wg01.12.0",
            ".wg0.x.0",
            "wg0.running",
        ];
        for file in names {
            fs::write(own.join(file), "").unwrap();
        }
        fs::create_dir(own.join(".wg0.12.1")).unwrap();
        fs::write(own.join(".wg0.12.1/sock"), "").unwrap();
        fs::hard_link(own.join("wg0.sock"), shared.path().join("wg0.sock")).unwrap();
        // That of another namespace.
        fs::write(shared.path().join("wg1.sock"), "").unwrap();
        for name in ["wg0", "wg1"] {
            remove_sockets(shared.path(), &own, name).unwrap();
        }
        let left = |directory: &Path| {
            let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut files: Vec<_> = files.collect();
            files.sort();
            files
        };
        assert_eq!(left(&own), [".wg0.5.12.0", ".wg0.x.0", ".wg01.12.0", "wg0.running"]);
        assert_eq!(left(shared.path()), ["netns-7", "wg1.sock"]);
    }
}
