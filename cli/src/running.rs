//! Which process runs a tunnel: a locked file beside its socket, from before its interface is made until the last hook has run.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::process::{Flock, FlockType, Pid, PidfdFlags, fcntl_getlk, pidfd_open};

use super::exit::{self, Exit, Failure};
use super::interface;
use super::network::leash;
use super::place;

/// What the file is called, behind the tunnel's name.
const SUFFIX: &str = ".running";

/// How long a tunnel that starts waits for one of the same name to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the programs that a dead process had started are waited for. One of them may have started a service, which holds
/// the leash for ever.
const LEASH_PATIENCE: Duration = Duration::from_secs(3);

/// How often to look whether another process still runs the tunnel.
const POLL: Duration = Duration::from_millis(20);

/// The claim of this process to run the tunnel of one name. Dropping it removes the file; it must be the last thing that
/// goes.
///
/// The lock is POSIX's, which tells who holds it and goes with the process, however that ends. It would also go with any
/// other descriptor of the file that this process closed, so nothing here opens it twice.
///
/// The file has a second lock, the leash of the programs that change the network for this process: they may outlive
/// it, and what a dead process left is not looked at before they have ended.
#[derive(Debug)]
pub(crate) struct Claim {
    name: String,
    directory: PathBuf,
    /// Whether the file was there, and its owner dead.
    is_inherited: bool,
    /// Holds the locks.
    _file: Arc<File>,
}

impl Claim {
    /// Claims the tunnel called `name`. Waits for up to 10 s while another process that ran it is ending.
    ///
    /// # Errors
    /// When another process runs it, or the file cannot be made.
    pub(crate) fn new(name: &str) -> anyhow::Result<Self> {
        let directory = place::directory();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Self::attempt(&directory, name) {
                Ok(claim) => return Ok(claim),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(refused(name, error)),
                Err(_) => {}
            }
            // One that is ending may still answer for a moment, but its interface goes first.
            let answers = UnixStream::connect(place::socket_in(&directory, name)).is_ok();
            if (answers && interface::exists(name)) || Instant::now() >= deadline {
                let what = if answers { "it is running already" } else { "the process that ran it has not ended yet" };
                return Err(Failure::error(Exit::InUse, format!("cannot start {name}: {what}")));
            }
            std::thread::sleep(POLL);
        }
    }

    /// Claims the tunnel called `name` if no process runs it and this user may; what one that was killed has left goes with
    /// the claim.
    pub(crate) fn of_nobody(name: &str) -> Option<Self> {
        Self::attempt(&place::directory(), name).ok()
    }

    /// Claims it now, or fails with [`io::ErrorKind::WouldBlock`].
    fn attempt(directory: &Path, name: &str) -> io::Result<Self> {
        let path = path_in(directory, name);
        loop {
            let options = File::options().write(true).create_new(true).mode(0o600).clone();
            let (file, is_inherited) = match place::open(directory, &file_of(name), &options) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    match File::options().write(true).open(&path) {
                        // Its owner has ended at this moment.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                        opened => (opened?, true),
                    }
                }
                made => (made?, false),
            };
            match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from) {
                // POSIX allows either for a lock that another process holds.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                locked => locked?,
            }
            // Whoever held it before may have removed the file since we opened it.
            if place::is_at(&file, &path) {
                wait_for_leash(&file, name);
                let file = Arc::new(file);
                leash::hold(Arc::clone(&file));
                return Ok(Self { name: name.to_owned(), directory: directory.to_owned(), is_inherited, _file: file });
            }
        }
    }

    /// Returns the name of the tunnel.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the directory in which the tunnel's files are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Tells whether a process had the claim and died without giving it up.
    pub(crate) fn is_inherited(&self) -> bool {
        self.is_inherited
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // While the lock is held, so that it is nobody else's. One that stays does no harm.
        let _ = fs::remove_file(path_in(&self.directory, &self.name));
        place::leave(&self.directory);
        leash::release();
    }
}

/// Waits until the programs have ended that change the network for a process that is dead.
fn wait_for_leash(file: &File, name: &str) {
    let deadline = Instant::now() + LEASH_PATIENCE;
    while file.try_lock().is_err() {
        if Instant::now() >= deadline {
            tracing::warn!("a program that changes the network for {name} has outlived it, and runs still");
            return;
        }
        std::thread::sleep(POLL);
    }
}

/// Tells whether the process that ran the tunnel called `name` has died without giving it up, as far as we may look.
pub(crate) fn has_died(name: &str) -> bool {
    has_died_in(&place::directory(), name)
}

fn has_died_in(directory: &Path, name: &str) -> bool {
    let Ok(file) = File::open(path_in(directory, name)) else { return false };
    fcntl_getlk(&file, &Flock::from(FlockType::ReadLock)).is_ok_and(|lock| lock.is_none())
}

/// Returns the names of the tunnels of this network namespace whose process has died, in order, as far as we may look.
pub(crate) fn dead() -> Vec<String> {
    let directory = place::directory();
    let Ok(entries) = fs::read_dir(&directory) else { return Vec::new() };
    let files = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let names = files.filter_map(|file| Some(file.strip_suffix(SUFFIX)?.to_owned()));
    let mut names: Vec<_> = names.filter(|name| has_died_in(&directory, name)).collect();
    names.sort();
    names
}

/// Another process, which runs a tunnel.
#[derive(Debug)]
pub(crate) struct Process {
    id: Pid,
    /// Can be read from once the process has ended.
    ended: OwnedFd,
}

impl Process {
    /// Returns the process that runs the tunnel called `name`, or is about to, or is undoing it; `None` if none does, or
    /// it cannot be seen.
    ///
    /// # Errors
    /// When the kernel has no more descriptors.
    pub(crate) fn of(name: &str) -> io::Result<Option<Self>> {
        let Ok(file) = File::open(path_in(&place::directory(), name)) else { return Ok(None) };
        let Some(id) = holder(&file)? else { return Ok(None) };
        let ended = match pidfd_open(id, PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            ended => ended?,
        };
        // Another process may have had the number meanwhile.
        Ok((holder(&file)? == Some(id)).then_some(Self { id, ended }))
    }

    /// Returns the process id.
    pub(crate) fn id(&self) -> i32 {
        self.id.as_raw_pid()
    }

    /// Tells whether it has started this process, as it starts hooks, or whoever has.
    pub(crate) fn is_ancestor(&self) -> bool {
        let mut ancestor = Some(nix::unistd::getppid().as_raw());
        while let Some(id) = ancestor.filter(|&id| id > 0) {
            if id == self.id() {
                return true;
            }
            ancestor = parent(id);
        }
        false
    }

    /// Waits for up to `patience`, and tells whether the process has ended. Then nothing of it is left: descriptors, ports
    /// and interface go before the kernel says so.
    ///
    /// # Errors
    /// When the kernel does not let us wait.
    pub(crate) fn has_ended_within(&self, patience: Duration) -> io::Result<bool> {
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.ended.as_fd(), PollFlags::POLLIN)], patience) {
            Err(nix::errno::Errno::EINTR) => Ok(false),
            ready => Ok(ready? > 0),
        }
    }
}

/// Returns the parent of a process, as far as it can be seen.
fn parent(id: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// Returns the process that holds the lock of a file. In another PID namespace it has no number that we could use.
fn holder(file: &File) -> io::Result<Option<Pid>> {
    let lock = fcntl_getlk(file, &Flock::from(FlockType::ReadLock))?;
    Ok(lock.and_then(|lock| lock.pid))
}

fn file_of(name: &str) -> String {
    format!("{name}{SUFFIX}")
}

fn path_in(directory: &Path, name: &str) -> PathBuf {
    directory.join(file_of(name))
}

fn refused(name: &str, error: io::Error) -> anyhow::Error {
    let place = path_in(&place::directory(), name);
    let exit = exit::of_io(&error);
    let hint = if exit == Exit::Permission { "; making interfaces needs CAP_NET_ADMIN too" } else { "" };
    let message = format!("cannot start {name}: cannot make {}{hint}", place.display());
    anyhow::Error::new(error).context(Failure::because(exit, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_leaves_no_file_and_one_that_a_dead_process_left_is_no_hindrance() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("netns-7");
        let path = path_in(&own, "wg0");
        assert!(!Claim::attempt(&own, "wg0").unwrap().is_inherited());
        assert!(!own.exists());
        drop(place::open(&own, "wg0.running", File::options().write(true).create(true)).unwrap());
        assert!(has_died_in(&own, "wg0"));
        let claim = Claim::attempt(&own, "wg0").unwrap();
        assert!(path.exists() && claim.is_inherited());
        drop(claim);
        assert!(!path.exists() && !has_died_in(&own, "wg0"));
    }

    #[test]
    fn what_a_program_may_still_do_for_a_dead_process_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("netns-7");
        let file = place::open(&own, "wg0.running", File::options().write(true).create(true)).unwrap();
        file.lock().unwrap();
        std::thread::scope(|scope| {
            let start = Instant::now();
            scope.spawn(|| {
                std::thread::sleep(POLL * 5);
                file.unlock().unwrap();
            });
            Claim::attempt(&own, "wg0").unwrap();
            assert!(start.elapsed() >= POLL * 5);
        });
    }

    #[test]
    fn a_user_without_rights_is_told_of_the_capability_that_he_lacks_too() {
        let error = refused("wg0", io::ErrorKind::PermissionDenied.into());
        assert_eq!(exit::of(&error), Exit::Permission);
        assert!(error.to_string().contains("wg0.running") && error.to_string().contains("CAP_NET_ADMIN"), "{error}");
        assert_eq!(exit::of(&refused("wg0", io::ErrorKind::StorageFull.into())), Exit::Failure);
    }

    #[test]
    fn nobody_runs_what_was_never_claimed() {
        assert!(Process::of("no-such-tunnel").unwrap().is_none());
    }
}
