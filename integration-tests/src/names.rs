//! Names that no other test, in this process or another, uses at the same time.

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many names this process has given out.
static GIVEN: AtomicU32 = AtomicU32::new(0);

fn next() -> u32 {
    GIVEN.fetch_add(1, Ordering::Relaxed)
}

/// Returns a new name for a namespace: `mbt-PID-NUMBER`, by which the runner finds those of dead tests.
pub(crate) fn namespace_name() -> String {
    format!("mbt-{}-{}", process::id(), next())
}

/// Returns a new name for an interface, within the kernel's 15 characters.
///
/// Namespaces share the file system, so the names of UAPI sockets, and with them of interfaces, must differ between
/// hosts too.
pub fn interface_name() -> String {
    let name = format!("mb{}n{}", process::id(), next());
    assert!(name.len() <= 15, "{name} is too long for an interface");
    name
}
