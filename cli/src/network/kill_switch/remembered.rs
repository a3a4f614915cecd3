//! The addresses that endpoint names had when the switch was closed.
//!
//! Behind a closed switch no name can be looked up, and a look-up that were let through would tell the network whom the user
//! is about to call. So they are kept, as long as the switch is closed, for an `up` that follows on a crash.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// What a file of addresses is called, behind the interface's name.
const SUFFIX: &str = ".endpoints";

/// Largest file that is read, in bytes: more names than a configuration file can have.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// `NAME:PORT` and the address.
pub(crate) type Addresses = BTreeMap<String, SocketAddr>;

fn path(directory: &Path, interface: &str) -> PathBuf {
    directory.join(format!("{interface}{SUFFIX}"))
}

/// Returns the path of the file while it is being written.
fn temporary(directory: &Path, interface: &str) -> PathBuf {
    directory.join(format!("{interface}{SUFFIX}.tmp"))
}

/// Tells whether there are any addresses, also if they are not all written.
pub(super) fn is_there(directory: &Path, interface: &str) -> bool {
    path(directory, interface).exists() || temporary(directory, interface).exists()
}

/// Returns the addresses; none if there are none, or the file is not what [`write`] wrote.
pub(super) fn read(directory: &Path, interface: &str) -> Addresses {
    let path = path(directory, interface);
    let text = File::open(&path).and_then(|file| {
        let mut text = String::new();
        file.take(MAX_FILE).read_to_string(&mut text).map(|_| text)
    });
    match text {
        Ok(text) => serde_json::from_str(&text).unwrap_or_else(|error| {
            tracing::warn!("cannot read {}: {error}", path.display());
            Addresses::new()
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Addresses::new(),
        Err(error) => {
            tracing::warn!("cannot read {}: {error}", path.display());
            Addresses::new()
        }
    }
}

/// Replaces the addresses, whole or not at all. No file is kept for none.
///
/// # Errors
/// When the directory cannot be written to.
pub(super) fn write(directory: &Path, interface: &str, addresses: &Addresses) -> anyhow::Result<()> {
    if addresses.is_empty() {
        forget(directory, interface);
        return Ok(());
    }
    let path = path(directory, interface);
    let temporary = temporary(directory, interface);
    let text = serde_json::to_string(addresses).context("cannot write JSON")?;
    let options = File::options().write(true).create(true).truncate(true).mode(0o600).clone();
    let written = options.open(&temporary).and_then(|mut file| file.write_all(text.as_bytes()));
    written.and_then(|()| fs::rename(&temporary, &path)).with_context(|| format!("cannot write {}", path.display()))
}

/// Removes the addresses, if there are any.
pub(super) fn forget(directory: &Path, interface: &str) {
    for path in [path(directory, interface), temporary(directory, interface)] {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("cannot remove {}: {error}", path.display());
            }
            Ok(()) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_is_written_is_read_by_the_same_interface_until_it_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let addresses = Addresses::from([
            ("relay.example:51820".to_owned(), "192.0.2.1:51820".parse().unwrap()),
            ("six.example:1".to_owned(), "[2001:db8::1]:1".parse().unwrap()),
            ("link.local:1".to_owned(), "[fe80::1%2]:1".parse().unwrap()),
        ]);
        write(directory.path(), "wg.0", &addresses).unwrap();
        assert_eq!(read(directory.path(), "wg.0"), addresses);
        assert_eq!(read(directory.path(), "wg.1"), Addresses::new());
        let mode = fs::metadata(path(directory.path(), "wg.0")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "it says whom the user calls");
        write(directory.path(), "wg.0", &Addresses::new()).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        write(directory.path(), "wg.0", &addresses).unwrap();
        fs::write(temporary(directory.path(), "wg.0"), "cut short").unwrap();
        forget(directory.path(), "wg.0");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        forget(directory.path(), "wg.0");
    }

    #[test]
    fn a_file_that_is_not_ours_gives_nothing() {
        let directory = tempfile::tempdir().unwrap();
        for text in ["", "{", "[]", "{\"a:1\": \"nowhere\"}", "{\"a:1\": 5}"] {
            fs::write(path(directory.path(), "wg0"), text).unwrap();
            assert_eq!(read(directory.path(), "wg0"), Addresses::new(), "{text}");
        }
    }
}
