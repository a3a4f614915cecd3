//! The TUN device of Linux: `/dev/net/tun`.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with},
};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use crate::offload::coalesce::Coalescer;
use crate::offload::{HEADER, UdpBursts};
use crate::{PacketBatch, Tun, TunEvent, descriptor::Descriptor, link::LinkWatch};

/// MTU, in bytes, of a device that is made without one: 1500 less the most that WireGuard over IPv6 adds, 80.
pub const DEFAULT_MTU: u16 = 1420;

/// Longest interface name, in bytes (`IFNAMSIZ` of `linux/if.h`, less its closing zero).
const MAX_NAME: usize = 15;

/// Bytes after which a read brings no more: what one burst has at most. More would only leave the processor's cache
/// before it is sealed.
const ENOUGH: usize = 2 << 16;

/// Most parts of one write: the offload header, and the packets of a batch.
const MAX_PARTS: usize = 129;

/// Most queues of one interface (`MAX_TAP_QUEUES` of the kernel's `tun.c`).
const MAX_QUEUES: usize = 256;

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
    fd: Descriptor,
    offload: Option<Offload>,
    /// The last read was refused: the interface is down, or being deleted.
    is_refusing: AtomicBool,
    name: String,
    index: u32,
    link: Arc<LinkWatch>,
    /// The queues beside the one that `fd` is, until they are split off.
    queues: Vec<OwnedFd>,
}

/// What a device with segmentation offload has.
#[derive(Debug)]
struct Offload {
    udp: UdpBursts,
    /// Kept between writes for its buffers; a second writer at the same time makes its own.
    coalescer: Mutex<Coalescer>,
}

/// How a device is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinuxTunOptions {
    /// MTU, in bytes: 68 to 65,535. By default [`DEFAULT_MTU`].
    pub mtu: u16,
    /// Whether to move bursts of up to 64 KiB at once where the kernel can: of TCP since Linux 2.6.27, of UDP since 6.2.
    /// By default yes.
    pub offload: bool,
    /// How many queues the interface has, 1 to 256: with several, as many threads can read at once, each the packets of
    /// other flows ([`Tun::split`]). By default 1. A persistent interface that is taken over has what it was made with.
    pub queues: usize,
}

impl Default for LinuxTunOptions {
    fn default() -> Self {
        Self { mtu: DEFAULT_MTU, offload: true, queues: 1 }
    }
}

impl std::fmt::Debug for LinuxTun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinuxTun").field("name", &self.name).field("index", &self.index).finish_non_exhaustive()
    }
}

impl LinuxTun {
    /// Creates the interface `name` with the default options, in the calling thread's network namespace.
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
        Self::create_with(name, LinuxTunOptions::default())
    }

    /// Does what [`create`](Self::create) does, with these options.
    ///
    /// # Errors
    /// See [`CreateError`].
    ///
    /// # Panics
    /// Panics outside a tokio runtime with I/O enabled.
    pub fn create_with(name: &str, options: LinuxTunOptions) -> Result<Self, CreateError> {
        check_name(name)?;
        // tun-rs would make a missing node itself; a container that was not given the device should be told.
        if let Err(source) = std::fs::metadata(DEVICE_NODE) {
            return Err(CreateError::of(name, source));
        }
        let queues = options.queues.clamp(1, MAX_QUEUES);
        let device = build_what_is_known(name, LinuxTunOptions { queues, ..options });
        let device = device.map_err(|error| CreateError::of(name, error))?;
        let other = |source| CreateError::Other { name: name.to_owned(), source };
        let index = device.if_index().map_err(other)?;
        let link = Arc::new(LinkWatch::new(index, options.mtu).map_err(other)?);
        let queues = (1..queues).map_while(|_| open_queue(&device)).collect::<Vec<_>>();
        let udp = if device.udp_gso() { UdpBursts::Yes } else { UdpBursts::No };
        let offload = device.tcp_gso().then(|| Offload { udp, coalescer: Mutex::default() });
        tracing::debug!(interface = name, tcp = offload.is_some(), ?udp, queues = queues.len() + 1, "offload");
        let fd = Descriptor::new(device.as_fd().try_clone_to_owned().map_err(other)?);
        Ok(Self { fd, offload, is_refusing: AtomicBool::new(false), name: name.to_owned(), index, link, queues })
    }

    /// Returns the interface index, as in `ip link`.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Returns the MTU, in bytes, that the device was created with, or the latest one that [`event`](Tun::event) saw.
    pub fn mtu(&self) -> u16 {
        self.link.mtu()
    }

    /// Tells whether bursts of TCP are moved at once, and whether those of UDP are.
    pub fn offloads(&self) -> (bool, bool) {
        self.offload.as_ref().map_or((false, false), |offload| (true, offload.udp == UdpBursts::Yes))
    }

    async fn write_bursts(&self, batch: &mut PacketBatch, offload: &Offload) -> io::Result<()> {
        let mut coalescer = std::mem::take(&mut *offload.coalescer.lock().unwrap_or_else(PoisonError::into_inner));
        coalescer.group(batch, offload.udp);
        for burst in coalescer.bursts() {
            let (header, contents) = coalescer.parts(burst, batch);
            let header: [u8; HEADER] = header.to_bytes();
            let mut parts = [IoSlice::new(&[]); MAX_PARTS];
            parts[0] = IoSlice::new(&header);
            let mut count = 1;
            for (place, content) in parts[1..].iter_mut().zip(contents) {
                *place = IoSlice::new(content);
                count += 1;
            }
            self.fd.write(|fd| Ok(rustix::io::writev(fd, &parts[..count]).map(drop)?)).await?;
        }
        *offload.coalescer.lock().unwrap_or_else(PoisonError::into_inner) = coalescer;
        Ok(())
    }
}

/// Makes the device; without offload or with one queue where the kernel, or an interface that is taken over, has no more.
fn build_what_is_known(name: &str, options: LinuxTunOptions) -> io::Result<SyncDevice> {
    match build(name, options) {
        Err(error) if options.queues > 1 && is_unknown_to_kernel(&error) => {
            tracing::info!(interface = name, %error, "no queues beside the first: one thread reads the interface");
            build_what_is_known(name, LinuxTunOptions { queues: 1, ..options })
        }
        Err(error) if options.offload && is_unknown_to_kernel(&error) => {
            tracing::info!(interface = name, %error, "no segmentation offload: packets are moved one by one");
            build(name, LinuxTunOptions { offload: false, ..options })
        }
        result => result,
    }
}

/// Opens one more queue, not blocking, if the interface takes more.
fn open_queue(device: &SyncDevice) -> Option<OwnedFd> {
    let open = || {
        let queue = device.try_clone()?;
        queue.set_nonblocking(true)?;
        queue.as_fd().try_clone_to_owned()
    };
    open().inspect_err(|error| tracing::debug!(%error, "no more queues")).ok()
}

/// Makes the device, not blocking.
fn build(name: &str, options: LinuxTunOptions) -> io::Result<SyncDevice> {
    let device = DeviceBuilder::new()
        .name(name)
        .layer(Layer::L3)
        .packet_information(false)
        .offload(options.offload)
        .multi_queue(options.queues > 1)
        .inherit_enable_state()
        .mtu(options.mtu)
        .build_sync()?;
    device.set_nonblocking(true)?;
    Ok(device)
}

/// Tells whether the kernel does not know what was asked of it, or an interface that is taken over has no offload.
fn is_unknown_to_kernel(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::INVAL | Errno::NOTTY | Errno::OPNOTSUPP))
}

impl Tun for LinuxTun {
    async fn readable(&self) -> io::Result<()> {
        if self.is_refusing.load(Ordering::Relaxed) {
            self.link.up().await?;
        }
        self.fd.readable().await
    }

    fn try_recv(&self, batch: &mut PacketBatch) -> io::Result<bool> {
        let before = batch.len();
        while !batch.is_full() && batch.bytes() < ENOUGH {
            match self.fd.try_read(|fd| Ok(rustix::io::read(fd, batch.space())?)) {
                Ok(length) if self.offload.is_none() => batch.commit(length),
                Ok(length) => {
                    if batch.commit_offloaded(length).is_err() {
                        tracing::trace!(interface = self.name, "packet without the headers that its offload needs");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The next call meets the same error again.
                Err(_) if batch.len() > before => break,
                // Some kernels answer so while the interface is down, and all do while it is being deleted.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::IO) => {
                    let was_refusing = self.is_refusing.swap(true, Ordering::Relaxed);
                    return if was_refusing { Err(error) } else { Ok(false) };
                }
                Err(error) => return Err(error),
            }
        }
        self.is_refusing.store(false, Ordering::Relaxed);
        Ok(batch.len() > before)
    }

    async fn send(&self, batch: &mut PacketBatch) -> io::Result<()> {
        match &self.offload {
            Some(offload) => self.write_bursts(batch, offload).await?,
            None => {
                for packet in batch.iter() {
                    self.fd.write(|fd| Ok(rustix::io::write(fd, packet).map(drop)?)).await?;
                }
            }
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

    fn interface(&self) -> Option<u32> {
        Some(self.index)
    }

    fn split(mut self) -> Vec<Self> {
        let more = std::mem::take(&mut self.queues);
        let others = more.into_iter().map(|fd| Self {
            fd: Descriptor::new(fd),
            offload: self.offload.as_ref().map(|offload| Offload { udp: offload.udp, coalescer: Mutex::default() }),
            is_refusing: AtomicBool::new(false),
            name: self.name.clone(),
            index: self.index,
            link: Arc::clone(&self.link),
            queues: Vec::new(),
        });
        let others = others.collect::<Vec<_>>();
        std::iter::once(self).chain(others).collect()
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
mod tests;
