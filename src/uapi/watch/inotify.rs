//! A watch on Linux and Android: an inotify descriptor on the file itself.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::net::unix::pipe::Receiver;

/// A watch that nobody waits for yet.
#[derive(Debug)]
pub(in crate::uapi) struct Watch(OwnedFd);

/// A [`Watch`] on a tokio runtime. That a pipe's end is what tokio calls it does not matter: it reads bytes when there are
/// any, and takes any descriptor that can be polled.
#[derive(Debug)]
pub(in crate::uapi) struct RunningWatch(Receiver);

impl Watch {
    pub(in crate::uapi) fn on(file: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        // The inode outlives its name while the socket is open, so a removal shows as a change of its link count.
        let flags = AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_DONT_FOLLOW;
        inotify.add_watch(file, flags)?;
        Ok(Self(inotify.as_fd().try_clone_to_owned()?))
    }

    pub(in crate::uapi) fn run(self) -> io::Result<RunningWatch> {
        Receiver::from_owned_fd_unchecked(self.0).map(RunningWatch)
    }
}

impl RunningWatch {
    /// Waits until something may have happened since the last call.
    pub(in crate::uapi) async fn happened(&self) -> io::Result<()> {
        self.0.readable().await?;
        // What happened is looked up, not read from the events, so a buffer for many of them is enough for all.
        match self.0.try_read(&mut [0; 4096]) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}
