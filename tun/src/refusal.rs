//! What becomes of a packet that the operating system did not take.

use std::io;

use rustix::io::Errno;

/// The answer to a failed write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Try the same packet again at once: a signal came between.
    Again,
    /// Wait until the descriptor is writable, then try the same packet again.
    Later,
    /// Drop this packet and go on: it is malformed, the interface is down, or memory is short.
    Drop,
    /// The device no longer exists.
    Gone,
}

impl Refusal {
    /// Classifies the error of a write. An error that does not say that the device is gone costs only the packet.
    pub(crate) fn of(error: &io::Error) -> Self {
        // tokio's own "would block" has a kind and no number.
        if error.kind() == io::ErrorKind::WouldBlock {
            return Self::Later;
        }
        let Some(errno) = Errno::from_io_error(error) else {
            return Self::Drop;
        };
        match errno {
            Errno::INTR => Self::Again,
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Errno::BADFD => Self::Gone,
            Errno::BADF
            | Errno::NODEV
            | Errno::NXIO
            | Errno::PIPE
            | Errno::NOTCONN
            | Errno::CONNRESET
            | Errno::CONNREFUSED => Self::Gone,
            _ => Self::Drop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_down_or_short_of_memory_costs_only_the_packet() {
        for errno in [Errno::IO, Errno::INVAL, Errno::NOBUFS, Errno::NOMEM, Errno::MSGSIZE, Errno::PERM] {
            assert_eq!(Refusal::of(&errno.into()), Refusal::Drop, "{errno:?}");
        }
    }

    #[test]
    fn a_descriptor_without_a_device_is_gone() {
        for errno in [Errno::BADF, Errno::NODEV, Errno::NXIO, Errno::PIPE] {
            assert_eq!(Refusal::of(&errno.into()), Refusal::Gone, "{errno:?}");
        }
        #[cfg(target_os = "linux")]
        assert_eq!(Refusal::of(&Errno::BADFD.into()), Refusal::Gone);
    }

    #[test]
    fn a_full_or_interrupted_descriptor_keeps_the_packet() {
        assert_eq!(Refusal::of(&Errno::AGAIN.into()), Refusal::Later);
        assert_eq!(Refusal::of(&io::ErrorKind::WouldBlock.into()), Refusal::Later);
        assert_eq!(Refusal::of(&Errno::INTR.into()), Refusal::Again);
    }
}
