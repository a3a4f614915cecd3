//! An application on the kernel's sockets, in real time.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use super::sockets::KernelSockets;
use crate::hosts::Application;

/// Has an application act now and whenever something has happened to its sockets or time has come: until an instant, or until it need
/// not go on, which is asked after each time.
///
/// # Errors
/// When the kernel cannot wait.
pub(super) fn run<A: Application>(
    application: &mut A,
    sockets: &mut KernelSockets,
    until: Instant,
    mut goes_on: impl FnMut(&A) -> bool,
) -> io::Result<()> {
    loop {
        act(application, sockets);
        if !goes_on(application) || Instant::now() >= until {
            return Ok(());
        }
        wait(application, sockets, Some(until), None)?;
    }
}

/// Has an application act once.
pub(super) fn act(application: &mut impl Application, sockets: &mut KernelSockets) {
    application.act(Instant::now(), sockets);
    sockets.flush();
}

/// Waits until an application can act, or an instant, or `other` can be read.
///
/// # Errors
/// When the kernel cannot wait.
pub(super) fn wait(
    application: &impl Application,
    sockets: &mut KernelSockets,
    until: Option<Instant>,
    other: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    sockets.wait([application.next_timeout(), until].into_iter().flatten().min(), other)
}
