//! Names that no other test, in this process or another, uses at the same time.

use std::fs;
use std::path::{Path, PathBuf};
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

/// Returns the directories of network namespaces in that of the sockets.
fn namespaces(shared: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(shared).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"netns-")).map(|entry| entry.path())
}

/// Removes what a process that was killed has left of a tunnel called `interface`, a name that was given out here; not what
/// its kill switch remembers, unless `is_over`.
pub(crate) fn remove_files(interface: &str, is_over: bool) {
    let shared = Path::new("/var/run/wireguard");
    fs::remove_file(shared.join(format!("{interface}.sock"))).ok();
    for directory in namespaces(shared) {
        for file in fs::read_dir(&directory).into_iter().flatten().flatten().map(|entry| entry.path()) {
            let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let is_its = name.trim_start_matches('.').starts_with(&format!("{interface}."));
            if is_its && (is_over || !name.contains(".endpoints")) {
                fs::remove_file(file).ok();
            }
        }
        // Unless there are others in it.
        fs::remove_dir(&directory).ok();
    }
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
