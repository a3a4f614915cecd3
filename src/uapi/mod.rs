//! WireGuard's cross-platform configuration socket.
//!
//! `wg`, `wg-quick` and everything built on them speak this protocol to a userspace tunnel: lines of `key=value` over a
//! Unix socket in [`DIRECTORY`], described at <https://www.wireguard.com/xplatform/>.
//! - [`Server`] answers for a running device; [`Configure`] is what it asks of the device.
//! - [`client`] asks, blocking.
//! - `daita_*` keys run a defense, as gotatun's do; `docs/machine-readable.md` lists them with our own.
//! - [`request`] and [`response`] are the text forms themselves, without I/O.

pub mod client;
mod connection;
mod conversations;
mod counters;
mod defense;
mod ephemeral;
mod framing;
mod keys;
mod masking;
pub mod request;
pub mod response;
mod server;
mod socket;
#[cfg(test)]
mod strategies;
mod watch;

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

pub use request::{Request, RequestError};
pub use response::ResponseError;
pub use server::{ServeEnd, Server};
pub use socket::BindError;

use crate::device::{ApplyError, Device};
use crate::negotiation::RenewError;
use crate::settings::{Status, Update};

/// Where the sockets of userspace tunnels are, by agreement of all implementations.
pub const DIRECTORY: &str = "/var/run/wireguard";

/// What the end of a socket's file name says.
const EXTENSION: &str = "sock";

/// Longest name of an interface in bytes: the kernel's `IFNAMSIZ` without its final zero.
const MAX_INTERFACE_NAME: usize = 15;

/// What a [`Server`] asks of the device it answers for.
pub trait Configure: Send + Sync + 'static {
    /// Applies `update` whole, or not at all.
    ///
    /// # Errors
    /// When a socket cannot be opened or marked, or the device has stopped.
    fn apply(&self, update: Update) -> Result<(), ApplyError>;

    /// Returns the state of the device and its peers.
    fn status(&self) -> Status;
}

impl Configure for Device {
    fn apply(&self, update: Update) -> Result<(), ApplyError> {
        Device::apply(self, update)
    }

    fn status(&self) -> Status {
        Device::status(self)
    }
}

/// Returns the error number that tells a client why an update was not applied: positive, as in `errno.h`.
pub fn apply_errno(error: &ApplyError) -> i32 {
    match error {
        ApplyError::Bind { source, .. } | ApplyError::Fwmark(source) => io_errno(source),
        ApplyError::Endpoint { .. } => Errno::EINVAL as i32,
        ApplyError::Renew { source, .. } => renew_errno(*source),
        ApplyError::Stopped => Errno::ENODEV as i32,
    }
}

/// Returns the error number that tells a client why a defense is not agreed on anew; each reason has one of its own.
pub fn renew_errno(error: RenewError) -> i32 {
    let errno = match error {
        RenewError::NotAsked => Errno::ENODATA,
        RenewError::NothingAgreed => Errno::ENOTCONN,
        RenewError::Unsupported => Errno::EOPNOTSUPP,
    };
    errno as i32
}

fn io_errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(match error.kind() == io::ErrorKind::AddrInUse {
        true => Errno::EADDRINUSE as i32,
        false => Errno::EIO as i32,
    })
}

/// Returns the socket of `interface` in `directory`; `None` if no interface can have this name, so that no name leads out
/// of the directory.
fn socket_path(directory: &Path, interface: &str) -> Option<PathBuf> {
    let fits = (1..=MAX_INTERFACE_NAME).contains(&interface.len());
    // The kernel's rule for interface names, dev_valid_name() in net/core/dev.c.
    let valid = fits
        && interface != "."
        && interface != ".."
        && !interface.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control());
    valid.then(|| directory.join(format!("{interface}.{EXTENSION}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_interface_can_have_gives_no_path() {
        let directory = Path::new(DIRECTORY);
        assert_eq!(socket_path(directory, "wg0").unwrap(), Path::new("/var/run/wireguard/wg0.sock"));
        for name in ["", ".", "..", "../x", "a/b", "a b", "a:b", "a\nb", "sixteen-letters-"] {
            assert_eq!(socket_path(directory, name), None, "{name:?}");
        }
    }

    #[test]
    fn errors_of_a_device_become_error_numbers() {
        let bind = |source| ApplyError::Bind { port: 1, source };
        assert_eq!(apply_errno(&bind(io::Error::from_raw_os_error(13))), 13);
        assert_eq!(apply_errno(&bind(io::ErrorKind::AddrInUse.into())), 98);
        assert_eq!(apply_errno(&ApplyError::Fwmark(io::Error::other("no number"))), 5);
        assert_eq!(apply_errno(&ApplyError::Stopped), 19);
        let peer = crate::keys::PublicKey::from_bytes(&[1; 32]).unwrap();
        assert_eq!(apply_errno(&ApplyError::Endpoint { peer }), 22);
        let renew = |source| apply_errno(&ApplyError::Renew { peer, source });
        assert_eq!(RenewError::ALL.map(renew), [61, 107, 95]);
    }
}
