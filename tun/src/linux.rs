//! The TUN device of Linux: `/dev/net/tun`.

use std::{io, os::fd::AsFd};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with},
};
use tun_rs::{AsyncDevice, DeviceBuilder, Layer};

use crate::{PacketBatch, Tun, TunEvent, link::LinkWatch, refusal::Refusal};

/// MTU, in bytes, of a device that is made without one: 1500 less the most that WireGuard over IPv6 adds, 80.
pub const DEFAULT_MTU: u16 = 1420;

/// Longest interface name, in bytes (`IFNAMSIZ` of `linux/if.h`, less its closing zero).
const MAX_NAME: usize = 15;

/// The driver's own device node.
const DEVICE_NODE: &str = "/dev/net/tun";

/// Why a device could not be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The name cannot be an interface name.
    #[error("`{name}` is no interface name: {reason}")]
    Name {
        /// The name as given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The process may not create network interfaces.
    #[error("no permission to create the interface `{name}`: run as root or with the capability CAP_NET_ADMIN")]
    NoPermission {
        /// The name as given.
        name: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The kernel has no TUN driver, or its device node is missing here (in a container, for example).
    #[error("{DEVICE_NODE} is missing: load the kernel module `tun`, or give the container this device")]
    NoDriver {
        /// What the operating system said.
        source: io::Error,
    },
    /// Another interface, or another process's device, has this name.
    #[error("the interface `{name}` exists already and is in use")]
    InUse {
        /// The name as given.
        name: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The operating system failed in another way.
    #[error("cannot create the interface `{name}`")]
    Other {
        /// The name as given.
        name: String,
        /// What the operating system said.
        source: io::Error,
    },
}

/// A TUN interface of Linux. It is deleted when this is dropped.
///
/// It is created down, without an address or route; whoever configures the interface (`ip`, `wg-quick`) brings it up.
///
/// An interface that is moved to another network namespace keeps working. Its changes there cannot be seen: it is then
/// reported up, once, and its end shows only as an error of [`recv`](Tun::recv).
pub struct LinuxTun {
    device: AsyncDevice,
    name: String,
    index: u32,
    link: LinkWatch,
}

impl std::fmt::Debug for LinuxTun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinuxTun").field("name", &self.name).field("index", &self.index).finish_non_exhaustive()
    }
}

impl LinuxTun {
    /// Creates the interface `name` with an MTU of [`DEFAULT_MTU`], in the calling thread's network namespace.
    /// A persistent TUN interface of this name that no process holds is taken over.
    ///
    /// The name has 1 to 15 bytes, without `/`, `:`, `%`, white space and control characters, and is not `.` or `..`.
    ///
    /// # Errors
    /// See [`CreateError`].
    ///
    /// # Panics
    /// Panics outside a tokio runtime with I/O enabled.
    pub fn create(name: &str) -> Result<Self, CreateError> {
        Self::create_with_mtu(name, DEFAULT_MTU)
    }

    /// Does what [`create`](Self::create) does, with an MTU of `mtu` bytes (68 to 65535).
    ///
    /// # Errors
    /// See [`CreateError`].
    ///
    /// # Panics
    /// Panics outside a tokio runtime with I/O enabled.
    pub fn create_with_mtu(name: &str, mtu: u16) -> Result<Self, CreateError> {
        check_name(name)?;
        // tun-rs would make a missing node itself; a container that was not given the device should be told.
        if let Err(source) = std::fs::metadata(DEVICE_NODE) {
            return Err(CreateError::of(name, source));
        }
        let device = DeviceBuilder::new()
            .name(name)
            .layer(Layer::L3)
            .packet_information(false)
            .inherit_enable_state()
            .mtu(mtu)
            .build_async()
            .map_err(|error| CreateError::of(name, error))?;
        let other = |source| CreateError::Other { name: name.to_owned(), source };
        let index = device.if_index().map_err(other)?;
        let link = LinkWatch::new(index, mtu).map_err(other)?;
        Ok(Self { device, name: name.to_owned(), index, link })
    }

    /// Returns the interface index, as in `ip link`.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Returns the MTU, in bytes, that the device was created with, or the latest one that [`event`](Tun::event) saw.
    pub fn mtu(&self) -> u16 {
        self.link.mtu()
    }

    /// Writes one packet, or drops it if the interface refuses it.
    async fn send_one(&self, packet: &[u8]) -> io::Result<()> {
        loop {
            // Straight to the descriptor: tokio's readiness says "not writable" for an interface that is down, but its
            // packets must be dropped, not kept until it is up again.
            let Err(errno) = rustix::io::write(self.device.as_fd(), packet) else {
                return Ok(());
            };
            let error = match Refusal::of(&errno.into()) {
                // Through tokio this time: it clears the readiness that turned out to be wrong.
                Refusal::Later => match self.device.try_send(packet) {
                    Ok(_) => return Ok(()),
                    Err(error) => error,
                },
                Refusal::Again | Refusal::Drop | Refusal::Gone => errno.into(),
            };
            match Refusal::of(&error) {
                Refusal::Again => {}
                Refusal::Later => self.device.writable().await?,
                Refusal::Drop => {
                    tracing::trace!(interface = self.name, %error, "packet dropped");
                    return Ok(());
                }
                Refusal::Gone => return Err(error),
            }
        }
    }

    /// Reads what is ready into `batch`; says whether that was anything.
    fn read_ready(&self, batch: &mut PacketBatch) -> io::Result<bool> {
        let before = batch.len();
        while !batch.is_full() {
            match self.device.try_recv(batch.space()) {
                Ok(len) => batch.commit(len),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The next call meets the same error again.
                Err(_) if batch.len() > before => break,
                Err(error) => return Err(error),
            }
        }
        Ok(batch.len() > before)
    }
}

impl Tun for LinuxTun {
    async fn recv(&self, batch: &mut PacketBatch) -> io::Result<()> {
        if batch.is_full() {
            return Ok(());
        }
        let mut refused_while_up = false;
        loop {
            self.device.readable().await?;
            match self.read_ready(batch) {
                Ok(true) => return Ok(()),
                Ok(false) => refused_while_up = false,
                // Some kernels answer so while the interface is down, and all do while it is being deleted.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::IO) && !refused_while_up => {
                    self.link.up().await?;
                    refused_while_up = true;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn send(&self, batch: &mut PacketBatch) -> io::Result<()> {
        for packet in batch.iter() {
            self.send_one(packet).await?;
        }
        batch.clear();
        Ok(())
    }

    async fn event(&self) -> TunEvent {
        self.link.event().await
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl CreateError {
    /// Names the cause of a failure to open or configure the device `name`.
    fn of(name: &str, source: io::Error) -> Self {
        let name = name.to_owned();
        match Errno::from_io_error(&source) {
            Some(Errno::PERM | Errno::ACCESS) => Self::NoPermission { name, source },
            Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => Self::NoDriver { source },
            Some(Errno::BUSY) => Self::InUse { name, source },
            // What the kernel says if an interface of another kind has the name.
            Some(Errno::INVAL) if exists(&name) => Self::InUse { name, source },
            _ => Self::Other { name, source },
        }
    }
}

/// Tells whether an interface `name` exists in this network namespace.
fn exists(name: &str) -> bool {
    socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .and_then(|socket| netdevice::name_to_index(socket, name))
        .is_ok()
}

fn check_name(name: &str) -> Result<(), CreateError> {
    let reason = match name {
        "" => "it is empty",
        "." | ".." => "it means a directory",
        _ if name.len() > MAX_NAME => "it is longer than 15 bytes",
        _ if name.contains(|c: char| c.is_whitespace() || c.is_control()) => {
            "it contains white space or a control character"
        }
        // A colon marks an alias and a percent sign a template.
        _ if name.contains(['/', ':', '%']) => "it contains `/`, `:` or `%`",
        _ => return Ok(()),
    };
    Err(CreateError::Name { name: name.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_kernel_takes_are_taken() {
        for name in ["a", "wg0", "maybetun-relay0", "ü0", "wg0.5", "..."] {
            assert!(check_name(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_bad_name_is_refused_with_the_reason() {
        for (name, reason) in [
            ("", "empty"),
            (".", "directory"),
            ("..", "directory"),
            ("maybetun-relay01", "longer than 15"),
            ("wg 0", "white space"),
            ("wg\u{a0}0", "white space"),
            ("wg\0", "control"),
            ("../wg0", "`/`"),
            ("wg0:1", "`:`"),
            ("wg%d", "`%`"),
        ] {
            let message = check_name(name).unwrap_err().to_string();
            assert!(message.contains(reason), "{message}");
        }
    }

    #[test]
    fn each_cause_of_failure_has_its_error() {
        let of = |errno: Errno| CreateError::of("wg0", errno.into());
        assert!(of(Errno::PERM).to_string().contains("CAP_NET_ADMIN"));
        assert!(matches!(of(Errno::ACCESS), CreateError::NoPermission { .. }));
        assert!(of(Errno::NOENT).to_string().contains("/dev/net/tun"));
        assert!(matches!(of(Errno::BUSY), CreateError::InUse { .. }));
        assert!(matches!(CreateError::of("lo", Errno::INVAL.into()), CreateError::InUse { .. }));
        assert!(matches!(CreateError::of("no-such-link", Errno::INVAL.into()), CreateError::Other { .. }));
    }
}
