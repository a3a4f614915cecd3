//! One at a time: what is read of the table and what is then written of it belong together.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

/// The file, in the directory of the configuration sockets. It stays; its lock goes with the process that holds it.
const FILE: &str = "kill-switch.lock";

/// How often to try while another process holds the lock, which it does for milliseconds.
const POLL: Duration = Duration::from_millis(10);

/// Waits until no other process is at the table. Dropping what is returned lets the next one in.
///
/// # Errors
/// When the file cannot be made or locked.
pub(super) async fn lock(directory: &Path) -> anyhow::Result<File> {
    let path = directory.join(FILE);
    let place = || format!("cannot lock {}", path.display());
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).with_context(place)?;
    let options = File::options().write(true).create(true).truncate(false).mode(0o600).clone();
    let file = options.open(&path).with_context(place)?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(POLL).await,
            Err(TryLockError::Error(error)) => return Err(error).with_context(place),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_waits_for_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("made");
        let first = lock(&inner).await.unwrap();
        let waiting = tokio::time::timeout(POLL * 5, lock(&inner)).await;
        assert!(waiting.is_err(), "two hold it at once");
        drop(first);
        lock(&inner).await.unwrap();
    }
}
