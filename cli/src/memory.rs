//! Keeps what this process has in memory to itself: there are keys.

use anyhow::Context as _;
use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Makes this process one that leaves no core dump, and that other processes of its user can neither read nor trace.
///
/// Its `/proc/self` is root's from here on (`PR_SET_DUMPABLE`, prctl(2)), so it cannot enter a user namespace any more.
/// The programs that it starts may be dumped and traced as any, within a limit of 0 that they can raise.
///
/// # Errors
/// When the operating system refuses.
pub(crate) fn keep_private() -> anyhow::Result<()> {
    // By itself, the limit would not hold for dumps that are piped to a program (core(5)).
    set_dumpable(false).context("cannot keep the memory of this process from others")?;
    let (_, most) = getrlimit(Resource::RLIMIT_CORE).context("cannot read the limit on core dumps")?;
    setrlimit(Resource::RLIMIT_CORE, 0, most).context("cannot forbid core dumps")
}
