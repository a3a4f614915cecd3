//! One at a time: what is read of a namespace's network and what is then written of it belong together.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::place;

/// The file, in the directory of the namespace. It goes with the lock; one that a dead process left does no harm.
const FILE: &str = "network.lock";

/// How often to try while another process holds the lock, which it does for milliseconds.
const POLL: Duration = Duration::from_millis(10);

/// The lock. Dropping it lets the next one in.
#[derive(Debug)]
pub(crate) struct Lock {
    directory: PathBuf,
    _file: File,
}

/// Waits until no other process is at the network.
///
/// # Errors
/// When the file cannot be made or locked.
pub(crate) async fn lock(directory: &Path) -> anyhow::Result<Lock> {
    let path = directory.join(FILE);
    let place = || format!("cannot lock {}", path.display());
    let options = File::options().write(true).create(true).truncate(false).mode(0o600).clone();
    loop {
        let file = place::open(directory, FILE, &options).with_context(place)?;
        match file.try_lock() {
            // Whoever held it before has removed the file, maybe since we opened it.
            Ok(()) if place::is_at(&file, &path) => return Ok(Lock { directory: directory.to_owned(), _file: file }),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => tokio::time::sleep(POLL).await,
            Err(TryLockError::Error(error)) => return Err(error).with_context(place),
        }
    }
}

/// Removes what a dead process left of the lock, unless one that lives has it.
pub(crate) async fn tidy(directory: &Path) -> anyhow::Result<()> {
    if directory.join(FILE).exists() {
        lock(directory).await?;
    }
    Ok(())
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is held, so that it is nobody else's.
        let _ = fs::remove_file(self.directory.join(FILE));
        place::leave(&self.directory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_waits_for_the_first_and_the_last_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("made");
        let first = lock(&inner).await.unwrap();
        let waiting = tokio::time::timeout(POLL * 5, lock(&inner)).await;
        assert!(waiting.is_err(), "two hold it at once");
        drop(first);
        drop(lock(&inner).await.unwrap());
        assert!(!inner.exists());
    }

    #[tokio::test]
    async fn what_a_dead_process_left_of_it_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        fs::write(&path, "").unwrap();
        tidy(directory.path()).await.unwrap();
        assert!(!path.exists());
    }
}
