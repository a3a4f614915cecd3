//! Files that are replaced whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Mode of a file while it is written: it may hold keys.
const MODE: u32 = 0o600;

/// Gives the file at `path` other content, with its mode and its owner. Through a link, as from a version-controlled
/// directory, the file itself is replaced.
///
/// # Errors
/// When there is no such file, or its directory or disk takes no other; it is as it was then.
pub(super) fn replace(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let path = fs::canonicalize(path)?;
    let metadata = fs::metadata(&path)?;
    anyhow::ensure!(metadata.is_file(), "expected a regular file");
    let temporary = temporary(&path);
    let replaced = write(&temporary, content, |file| {
        if (metadata.uid(), metadata.gid()) != owner(file)? {
            fchown(file, Some(metadata.uid()), Some(metadata.gid()))?;
        }
        file.set_permissions(fs::Permissions::from_mode(metadata.permissions().mode() & 0o7777))
    });
    replaced.and_then(|()| Ok(fs::rename(&temporary, &path)?)).inspect_err(|_| discard(&temporary))?;
    settle(&path);
    Ok(())
}

/// Makes a new file of this content, for its owner only.
///
/// # Errors
/// When there is a file already, or it cannot be written.
pub(super) fn create(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let temporary = temporary(path);
    // Unlike renaming, linking replaces nothing.
    let made = write(&temporary, content, |_| Ok(())).and_then(|()| Ok(fs::hard_link(&temporary, path)?));
    discard(&temporary);
    made?;
    settle(path);
    Ok(())
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

/// Writes a file to the disk.
fn write(path: &Path, content: &[u8], prepare: impl FnOnce(&File) -> io::Result<()>) -> anyhow::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(MODE).open(path).with_context(|| {
        format!("cannot write to the directory {}", path.parent().unwrap_or(Path::new("/")).display())
    })?;
    prepare(&file).context("cannot keep its owner and mode")?;
    file.write_all(content).and_then(|()| file.sync_all()).context("cannot write it anew")
}

fn owner(file: &File) -> io::Result<(u32, u32)> {
    let metadata = file.metadata()?;
    Ok((metadata.uid(), metadata.gid()))
}

/// Takes away what was not finished. The first error is the one to tell.
fn discard(path: &Path) {
    let _ = fs::remove_file(path);
}

/// Has the name outlive a crash. Some file systems cannot; the old file or the new one is there in any case.
fn settle(path: &Path) {
    let directory = path.parent().unwrap_or(Path::new("/"));
    if let Err(error) = File::open(directory).and_then(|directory| directory.sync_all()) {
        tracing::debug!("cannot sync {}: {error}", directory.display());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_with_its_mode_and_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("wg0.conf"), directory.path().join("link.conf"));
        fs::write(&file, "a longer text that was there before").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let is_root = fs::metadata(&file).unwrap().uid() == 0;
        if is_root {
            std::os::unix::fs::chown(&file, Some(1234), Some(4321)).unwrap();
        }
        let before = fs::metadata(&file).unwrap();
        symlink(&file, &link).unwrap();
        replace(&link, b"new").unwrap();
        let after = fs::metadata(&file).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_the_old_one_and_nothing_else() {
        // A device that is always full.
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("wg0.conf");
        fs::write(&file, "old").unwrap();
        symlink("/dev/full", temporary(&file)).unwrap();
        // The name is taken: nothing is written through it.
        let error = format!("{:#}", replace(&file, b"new").unwrap_err());
        assert!(error.contains("cannot write to the directory"), "{error}");
        assert_eq!(fs::read(&file).unwrap(), b"old");
        // A file without a directory, and what is no file.
        assert!(replace(&directory.path().join("none.conf"), b"new").is_err());
        assert!(replace(Path::new("/dev/null"), b"new").is_err());
        assert!(!directory.path().join("none.conf").exists());
    }

    #[test]
    fn a_new_file_replaces_none() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("mine.toml");
        create(&file, b"one").unwrap();
        assert!(create(&file, b"two").is_err());
        assert_eq!(fs::read(&file).unwrap(), b"one");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, MODE);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
