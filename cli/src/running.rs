//! Which process runs a tunnel: a locked file beside its socket, from before its interface is made until the last hook has run.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use maybetun::uapi::DIRECTORY;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::process::{Flock, FlockType, Pid, PidfdFlags, fcntl_getlk, pidfd_open};

use super::exit::{self, Exit, Failure};
use super::interface;

/// How long a tunnel that starts waits for one of the same name to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often to look whether another process still runs the tunnel.
const POLL: Duration = Duration::from_millis(20);

/// The claim of this process to run the tunnel of one name. Dropping it removes the file; it must be the last thing that
/// goes.
///
/// The lock is POSIX's, which tells who holds it and goes with the process, however that ends. It would also go with any
/// other descriptor of the file that this process closed, so nothing here opens it twice.
#[derive(Debug)]
pub(crate) struct Claim {
    path: PathBuf,
    /// Holds the lock.
    _file: File,
}

impl Claim {
    /// Claims the tunnel called `name`. Waits for up to 10 s while another process that ran it is ending.
    ///
    /// # Errors
    /// When another process runs it, or the file cannot be made.
    pub(crate) fn new(name: &str) -> anyhow::Result<Self> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Self::attempt(Path::new(DIRECTORY), name) {
                Ok(claim) => return Ok(claim),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(refused(name, error)),
                Err(_) => {}
            }
            // One that is ending may still answer for a moment, but its interface goes first.
            let answers = UnixStream::connect(Path::new(DIRECTORY).join(format!("{name}.sock"))).is_ok();
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
        Self::attempt(Path::new(DIRECTORY), name).ok()
    }

    /// Claims it now, or fails with [`io::ErrorKind::WouldBlock`].
    fn attempt(directory: &Path, name: &str) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let path = path_in(directory, name);
        loop {
            let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
            match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from) {
                // POSIX allows either for a lock that another process holds.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                locked => locked?,
            }
            // Whoever held it before may have removed the file since we opened it.
            let ours = file.metadata()?;
            if fs::metadata(&path).is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
                return Ok(Self { path, _file: file });
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // While the lock is held, so that it is nobody else's. One that stays does no harm.
        let _ = fs::remove_file(&self.path);
    }
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
        let Ok(file) = File::open(path_in(Path::new(DIRECTORY), name)) else { return Ok(None) };
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

fn path_in(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.running"))
}

fn refused(name: &str, error: io::Error) -> anyhow::Error {
    let place = path_in(Path::new(DIRECTORY), name);
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
        let path = path_in(directory.path(), "wg0");
        fs::write(&path, "").unwrap();
        let claim = Claim::attempt(directory.path(), "wg0").unwrap();
        assert!(path.exists());
        drop(claim);
        assert!(!path.exists());
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
