//! The leash: a locked descriptor that the programs inherit which change the network for this process.
//!
//! A program goes on when this process is killed, and might do its work after somebody has removed what this process left. The
//! lock (flock(2)) is free when the last of them has ended. Hooks are not on it: they may start what is to stay.

use std::fs::File;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::io::{FdFlags, fcntl_setfd};

/// The descriptor. While it is looked at, no program is started: what one inherits is the same for the whole process.
static LEASH: Mutex<Option<Arc<File>>> = Mutex::new(None);

/// From now on programs are on the leash.
pub(crate) fn hold(file: Arc<File>) {
    *LEASH.lock() = Some(file);
}

/// From now on they are not.
pub(crate) fn release() {
    *LEASH.lock() = None;
}

/// Starts a program on the leash, if there is one.
///
/// # Errors
/// When `start` fails, or the descriptor cannot be passed on.
pub(crate) fn on<T>(start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let leash = LEASH.lock();
    let Some(file) = &*leash else { return start() };
    fcntl_setfd(file, FdFlags::empty())?;
    let started = start();
    fcntl_setfd(file, FdFlags::CLOEXEC)?;
    started
}

/// Starts a program off the leash.
///
/// # Errors
/// When `start` fails.
pub(crate) fn off<T>(start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let _leash = LEASH.lock();
    start()
}
