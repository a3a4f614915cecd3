//! Namespaces: the right to make networks, and a network for each host.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, anyhow, bail};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{getegid, geteuid};

use crate::exit::{Exit, Failure};

/// The device that gives TUN interfaces.
const TUN: &str = "/dev/net/tun";

/// Capabilities that the demo needs, as bits of the masks in `/proc/self/status` (`linux/capability.h`): `CAP_NET_ADMIN`
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

/// Checks that TUN devices can be had.
///
/// # Errors
/// When `/dev/net/tun` is missing or may not be opened.
pub(super) fn check_tun() -> anyhow::Result<()> {
    let Err(error) = OpenOptions::new().read(true).write(true).open(TUN) else { return Ok(()) };
    if error.kind() == ErrorKind::NotFound {
        bail!("there is no {TUN}: load the kernel module (modprobe tun), or pass the device to the container");
    }
    if error.kind() == ErrorKind::PermissionDenied {
        let mode = fs::metadata(TUN).map_or(0, |device| device.permissions().mode() & 0o7777);
        return Err(Failure::error(Exit::Permission, explain_tun(mode)));
    }
    Err(error).with_context(|| format!("{TUN} does not work: is the kernel module tun there?"))
}

fn explain_tun(mode: u32) -> String {
    format!(
        "this user may not open {TUN}, whose mode is {mode:04o}. Run the demo as root (sudo maybetun demo), or let every \
         user open the device: sudo chmod 0666 {TUN}"
    )
}

/// Makes sure that this process may make network namespaces: if it may not already, it enters a user namespace of its
/// own, in which it may.
///
/// # Errors
/// When user namespaces are needed and not allowed. The message names what forbids them.
pub(super) fn gain_capabilities() -> anyhow::Result<()> {
    let status = fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status: is /proc mounted?")?;
    if has_capabilities(&status) {
        return Ok(());
    }
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| anyhow!(explain_user_namespace(errno)))?;
    let map = |file: &str, text: String| {
        fs::write(format!("/proc/self/{file}"), text)
            .with_context(|| format!("cannot write /proc/self/{file}: {}", explain_user_namespace(Errno::EPERM)))
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
    format!("{reason} ({errno}). Run the demo as root instead")
}

/// Gives this process a network namespace of its own, and its life to its parent's.
///
/// # Errors
/// When the kernel refuses a network namespace. The message names what forbids it.
pub(super) fn isolate() -> anyhow::Result<()> {
    set_pdeathsig(Signal::SIGKILL).context("cannot tie the host's life to the demo's")?;
    unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| {
        let reason = match_reason(errno, &NETWORK_REASONS).unwrap_or("the kernel refused a network namespace");
        anyhow!("{reason} ({errno})")
    })
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
    fn a_refusal_of_the_device_says_what_to_do() {
        let said = explain_tun(0o600);
        assert!(said.contains("whose mode is 0600") && said.contains("chmod 0666 /dev/net/tun"), "{said}");
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
