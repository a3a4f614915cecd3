//! A watch on other systems: a kqueue on the directory, because a socket's file cannot be opened.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

use nix::libc::timespec;
use nix::sys::event::{EvFlags, EventFilter, FilterFlag, KEvent, Kqueue};
use tokio::net::unix::pipe::Receiver;

/// A watch that nobody waits for yet.
#[derive(Debug)]
pub(in crate::uapi) struct Watch {
    queue: Kqueue,
    /// The queue forgets what is closed.
    _directory: File,
}

/// A [`Watch`] on a tokio runtime.
#[derive(Debug)]
pub(in crate::uapi) struct RunningWatch(Watch);

impl Watch {
    pub(in crate::uapi) fn on(file: &Path) -> io::Result<Self> {
        let directory = File::open(file.parent().unwrap_or(Path::new(".")))?;
        let queue = Kqueue::new()?;
        let what = FilterFlag::NOTE_WRITE | FilterFlag::NOTE_RENAME | FilterFlag::NOTE_DELETE;
        let flags = EvFlags::EV_ADD | EvFlags::EV_CLEAR;
        let watched = KEvent::new(directory.as_raw_fd() as usize, EventFilter::EVFILT_VNODE, flags, what, 0, 0);
        queue.kevent(&[watched], &mut [], None)?;
        Ok(Self { queue, _directory: directory })
    }

    pub(in crate::uapi) fn run(self) -> io::Result<RunningWatch> {
        Ok(RunningWatch(self))
    }
}

impl RunningWatch {
    /// Waits until something may have happened since the last call.
    pub(in crate::uapi) async fn happened(&self) -> io::Result<()> {
        let Watch { queue, .. } = &self.0;
        // A queue can be polled as a pipe can, but not read: tokio never learns that it is empty. So it is registered anew
        // each time, and says at once what has happened since it was emptied.
        let readable = Receiver::from_owned_fd_unchecked(queue.as_fd().try_clone_to_owned()?)?;
        readable.readable().await?;
        let mut event = [KEvent::new(0, EventFilter::EVFILT_VNODE, EvFlags::empty(), FilterFlag::empty(), 0, 0)];
        queue.kevent(&[], &mut event, Some(timespec { tv_sec: 0, tv_nsec: 0 }))?;
        Ok(())
    }
}
