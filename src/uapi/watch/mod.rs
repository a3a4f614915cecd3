//! Tells when something happens to the socket's file, and costs nothing otherwise.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod inotify;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod kqueue;

use std::io;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use inotify::{RunningWatch, Watch};
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) use kqueue::{RunningWatch, Watch};

use super::socket::SocketFile;

/// Waits until `file` is no longer where it was made.
pub(super) async fn removed(watch: &RunningWatch, file: &SocketFile) -> io::Result<()> {
    while file.is_in_place() {
        watch.happened().await?;
    }
    Ok(())
}
