//! A descriptor that does not block.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::refusal::Refusal;

/// What to wait for before a read. Linux signals a deleted device as an error only, never as readable.
#[cfg(any(target_os = "linux", target_os = "android"))]
const READ: Interest = Interest::READABLE.add(Interest::ERROR);
/// What to wait for before a read.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const READ: Interest = Interest::READABLE;

/// A descriptor that does not block. For waiting it is registered with the runtime that waits first, one for reads and
/// one for writes: a thread with a runtime of its own is woken by the system, not by another thread.
#[derive(Debug)]
pub(crate) struct Descriptor {
    fd: OwnedFd,
    readable: OnceLock<AsyncFd<OwnedFd>>,
    writable: OnceLock<AsyncFd<OwnedFd>>,
}

impl Descriptor {
    /// Takes over `fd`, which must not block.
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self { fd, readable: OnceLock::new(), writable: OnceLock::new() }
    }

    /// Tells whether the descriptor can be waited for; a regular file cannot.
    pub(crate) fn check(&self) -> io::Result<()> {
        register(&self.fd, READ).map(drop)
    }

    /// Waits until a read may succeed.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        let fd = registered(&self.readable, &self.fd, READ)?;
        fd.ready(READ).await?.retain_ready();
        Ok(())
    }

    /// Reads, if there is something now.
    pub(crate) fn try_read<R>(&self, mut read: impl FnMut(BorrowedFd<'_>) -> io::Result<R>) -> io::Result<R> {
        let mut is_done = false;
        if let Some(fd) = self.readable.get() {
            // Through tokio, which then waits again when there is nothing.
            let result = fd.try_io(Interest::READABLE, |fd| {
                is_done = true;
                read(fd.as_fd())
            });
            if is_done {
                return result;
            }
        }
        // Whoever waits may not have been woken yet.
        read(self.fd.as_fd())
    }

    /// Writes, waiting for room; `false` if the system refuses what is written.
    pub(crate) async fn write(&self, mut write: impl FnMut(BorrowedFd<'_>) -> io::Result<()>) -> io::Result<bool> {
        loop {
            // Straight to the descriptor: tokio's readiness says "not writable" for an interface that is down, but its
            // packets must be dropped, not kept until it is up again.
            let Err(error) = write(self.fd.as_fd()) else { return Ok(true) };
            match Refusal::of(&error) {
                Refusal::Again => {}
                Refusal::Later => {
                    let fd = registered(&self.writable, &self.fd, Interest::WRITABLE)?;
                    // Once more through tokio: it clears the readiness that turned out to be wrong.
                    match fd.try_io(Interest::WRITABLE, |fd| write(fd.as_fd())) {
                        Ok(()) => return Ok(true),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            fd.writable().await?.retain_ready();
                        }
                        Err(_) => {}
                    }
                }
                Refusal::Drop => {
                    tracing::trace!(%error, "packet dropped");
                    return Ok(false);
                }
                Refusal::Gone => return Err(error),
            }
        }
    }
}

fn registered<'a>(
    place: &'a OnceLock<AsyncFd<OwnedFd>>,
    fd: &OwnedFd,
    interest: Interest,
) -> io::Result<&'a AsyncFd<OwnedFd>> {
    match place.get() {
        Some(fd) => Ok(fd),
        None => {
            let fd = register(fd, interest)?;
            Ok(place.get_or_init(|| fd))
        }
    }
}

fn register(fd: &OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    let fd = fd.try_clone()?;
    // SAFETY: `fd` is an owned, open descriptor, and the `AsyncFd` owns it until both are dropped.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}
