//! The tokio driver: it moves batches between TUN, tunnels and sockets, and sleeps until the next deadline.

use maybetun_tun::Tun;

use crate::settings::{Status, Update};

/// How a device behaves, beyond what [`Update`] sets.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Options {}

/// A running device; clones are handles to the same device.
#[derive(Debug, Clone)]
pub struct Device {}

/// Explains why an update was not applied. Nothing of it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// No socket could be opened on the port.
    #[error("cannot listen on UDP port {port}: {source}")]
    Bind {
        /// The port asked for.
        port: u16,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The mark could not be set on the sockets.
    #[error("cannot set the mark of outgoing packets: {0}")]
    Fwmark(std::io::Error),
    /// The device has stopped.
    #[error("the device has stopped")]
    Stopped,
}

/// Tells why a device stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// [`Device::stop`] was called.
    Requested,
    /// The TUN interface was deleted.
    TunGone,
    /// Reading or writing the TUN device failed.
    TunFailed(String),
}

impl Device {
    /// Starts a device on `tun`, without keys or peers, on the current tokio runtime.
    pub fn start<T: Tun>(_tun: T, _options: Options) -> Self {
        todo!()
    }

    /// Applies `update` whole, or not at all.
    ///
    /// # Errors
    /// When a socket cannot be opened or marked, or the device has stopped.
    pub fn apply(&self, _update: Update) -> Result<(), ApplyError> {
        todo!()
    }

    /// Returns the state of the device and its peers.
    pub fn status(&self) -> Status {
        todo!()
    }

    /// Stops the device and waits until its tasks have ended and its sockets are closed.
    pub async fn stop(&self) {
        todo!()
    }

    /// Waits until the device has stopped, for whatever reason.
    pub async fn stopped(&self) -> StopReason {
        todo!()
    }
}
