//! How a thread of a device starts, and what its end by a panic does to the device.

use std::thread::JoinHandle;

use super::StopReason;
use super::shared::Shared;

/// Starts a thread.
///
/// # Panics
/// Panics if the system starts no more.
pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).expect("the system starts a thread")
}

/// Stops the device when its thread panics: a device that lost one would look alive and be deaf, dumb or blind.
pub(super) struct StopOnPanic<'a>(pub(super) &'a Shared);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop(StopReason::TunFailed("a thread of the device panicked".to_owned()));
        }
    }
}
