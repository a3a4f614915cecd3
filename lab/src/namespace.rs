//! Namespaces: the right to make networks, and a network for each host.

use std::fs::{self, File};
use std::io;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getegid, geteuid, gettid};
use thiserror::Error;

/// Capabilities that a laboratory needs, as bits of the masks in `/proc/self/status` (`linux/capability.h`): `CAP_NET_ADMIN`
/// for interfaces, `CAP_NET_RAW` for the capture, `CAP_SYS_ADMIN` for the namespaces.
const NEEDED_CAPABILITIES: u64 = 1 << 12 | 1 << 13 | 1 << 21;

/// Why the kernel refuses a user namespace, by error number (unshare(2)).
const USER_NAMESPACE_REASONS: [(&[Errno], &str); 3] = [
    (
        &[Errno::EPERM, Errno::EACCES],
        "unprivileged user namespaces are disabled here; see the sysctls kernel.unprivileged_userns_clone and \
         kernel.apparmor_restrict_unprivileged_userns, or the container's seccomp profile",
    ),
    (
        &[Errno::ENOSPC, Errno::EUSERS],
        "no more user namespaces are allowed; see the sysctl user.max_user_namespaces (0 disables them)",
    ),
    (&[Errno::EINVAL, Errno::ENOSYS], "the kernel has no user namespaces (CONFIG_USER_NS)"),
];

/// Why the kernel refuses a network namespace, by error number (unshare(2)).
const NETWORK_REASONS: [(&[Errno], &str); 3] = [
    (
        &[Errno::EPERM, Errno::EACCES],
        "making a network namespace is not allowed: a security policy (AppArmor, SELinux, seccomp) takes \
         CAP_SYS_ADMIN away, even inside a user namespace; run as root outside the container",
    ),
    (&[Errno::ENOSPC], "no more network namespaces are allowed; see the sysctl user.max_net_namespaces"),
    (&[Errno::EINVAL, Errno::ENOSYS], "the kernel has no network namespaces (CONFIG_NET_NS)"),
];

/// Why there is no namespace. The message names what forbids it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NamespaceError {
    /// It cannot be told what this process may do.
    #[error("cannot read /proc/self/status: is /proc mounted?")]
    Status(#[source] io::Error),
    /// The kernel refuses a user namespace.
    #[error("{}", explain_user_namespace(*.0))]
    User(Errno),
    /// The kernel refuses the users of a user namespace.
    #[error("cannot write /proc/self/{file}: {}", explain_user_namespace(Errno::EPERM))]
    Map {
        /// The file that names them.
        file: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// This process cannot be made to end with its parent.
    #[error("cannot tie the host's life to its parent's")]
    Tie(#[source] Errno),
    /// The kernel refuses a network namespace.
    #[error("{}", explain_network(*.0))]
    Network(Errno),
    /// The namespace cannot be entered.
    #[error("cannot enter {}", path.display())]
    Enter {
        /// The file that stands for it.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Makes sure that this process may make network namespaces: if it may not already, it enters a user namespace of its
/// own, in which it may.
///
/// # Errors
/// When user namespaces are needed and not allowed. The message names what forbids them.
pub fn gain_capabilities() -> Result<(), NamespaceError> {
    let status = fs::read_to_string("/proc/self/status").map_err(NamespaceError::Status)?;
    if has_capabilities(&status) {
        return Ok(());
    }
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(NamespaceError::User)?;
    let map = |file: &'static str, text: String| {
        fs::write(format!("/proc/self/{file}"), text).map_err(|source| NamespaceError::Map { file, source })
    };
    // Without this the kernel refuses a group map from a process without privileges (user_namespaces(7)).
    map("setgroups", "deny".to_owned())?;
    map("uid_map", format!("0 {user} 1"))?;
    map("gid_map", format!("0 {group} 1"))
}

/// Tells whether the effective capabilities in a `/proc/PID/status` file suffice.
fn has_capabilities(status: &str) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & NEEDED_CAPABILITIES == NEEDED_CAPABILITIES)
}

fn explain_user_namespace(errno: Errno) -> String {
    let reason = match_reason(errno, &USER_NAMESPACE_REASONS).unwrap_or("the kernel refused a user namespace");
    format!("{reason} ({errno}). Run as root instead")
}

/// Gives this process a network namespace of its own, and its life to its parent's.
///
/// Call it before any other thread exists.
///
/// # Errors
/// When the kernel refuses a network namespace.
pub fn isolate() -> Result<(), NamespaceError> {
    set_pdeathsig(Signal::SIGKILL).map_err(NamespaceError::Tie)?;
    leave()
}

/// Runs `work` on a thread of its own, in a network namespace of its own that ends with it. A panic of it goes on here.
///
/// # Errors
/// When the kernel refuses a network namespace.
pub fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, NamespaceError> {
    let result = thread::scope(|scope| scope.spawn(|| leave().map(|()| work())).join());
    result.unwrap_or_else(|payload| resume_unwind(payload))
}

/// Moves the current thread into the network namespace that the file at `path` stands for: `/run/netns/NAME`, or
/// `/proc/ID/ns/net`.
///
/// # Errors
/// When there is none, or this process may not enter it.
pub fn enter(path: &Path) -> Result<(), NamespaceError> {
    let entered = File::open(path).and_then(|file| Ok(setns(file, CloneFlags::CLONE_NEWNET)?));
    entered.map_err(|source| NamespaceError::Enter { path: path.to_owned(), source })
}

/// A network namespace with nothing in it, which a thread keeps until this is dropped.
#[derive(Debug)]
pub struct Kept {
    thread: Option<JoinHandle<()>>,
    id: Pid,
    end: Option<Sender<()>>,
}

impl Kept {
    /// Makes one.
    ///
    /// # Errors
    /// When the kernel refuses a network namespace.
    pub fn new() -> Result<Self, NamespaceError> {
        let (left, has_left) = channel();
        let (end, ended) = channel::<()>();
        let thread = thread::spawn(move || {
            // Who asked waits for it.
            let _ = left.send(leave().map(|()| gettid()));
            // Fails once the other end is dropped: that is the sign.
            let _ = ended.recv();
        });
        let id = has_left.recv().expect("the thread says how it went before all else")?;
        Ok(Self { thread: Some(thread), id, end: Some(end) })
    }

    /// Returns the id of the thread, by which the kernel finds the namespace.
    pub fn id(&self) -> Pid {
        self.id
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.end = None;
        // It does nothing that could panic.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Moves the current thread into a network namespace of its own.
fn leave() -> Result<(), NamespaceError> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(NamespaceError::Network)
}

fn explain_network(errno: Errno) -> String {
    let reason = match_reason(errno, &NETWORK_REASONS).unwrap_or("the kernel refused a network namespace");
    format!("{reason} ({errno})")
}

/// Finds what an error number means among `reasons`.
fn match_reason(errno: Errno, reasons: &[(&[Errno], &'static str)]) -> Option<&'static str> {
    reasons.iter().find(|(numbers, _)| numbers.contains(&errno)).map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_the_capabilities_and_a_plain_user_has_not() {
        assert!(has_capabilities("Name:\tx\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n"));
        assert!(!has_capabilities("Name:\tx\nCapEff:\t0000000000000000\nCapBnd:\t000001ffffffffff\n"));
    }

    #[test]
    fn each_needed_capability_counts() {
        for bit in [12, 13, 21] {
            let mask = !(1u64 << bit);
            assert!(!has_capabilities(&format!("CapEff:\t{mask:016x}")), "without capability {bit}");
        }
    }

    #[test]
    fn a_refusal_names_what_forbids_it() {
        assert!(explain_user_namespace(Errno::EPERM).contains("kernel.unprivileged_userns_clone"));
        assert!(explain_user_namespace(Errno::ENOSPC).contains("user.max_user_namespaces"));
        assert!(explain_user_namespace(Errno::EINVAL).contains("CONFIG_USER_NS"));
        assert!(explain_user_namespace(Errno::EIO).contains("EIO"));
    }

    #[test]
    fn a_status_without_capabilities_grants_none() {
        for status in ["", "CapEff:", "CapEff:\tnonsense", "CapPrm:\t000001ffffffffff"] {
            assert!(!has_capabilities(status), "{status:?}");
        }
    }
}
