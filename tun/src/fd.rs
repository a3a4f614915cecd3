//! A TUN device that somebody else opened: Android's `VpnService`, Apple's `NEPacketTunnelProvider`.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsFd, OwnedFd},
    sync::{Mutex, PoisonError},
};

use rustix::net::AddressFamily;
use tokio::sync::watch;

use crate::{MAX_PACKET, PacketBatch, Tun, TunEvent, descriptor::Descriptor};

/// Size, in bytes, of the address family before each packet.
const HEADER: usize = 4;

/// What stands before each packet on the descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Nothing: each read and write is an IP packet. Android and Linux (`IFF_NO_PI`).
    Plain,
    /// The platform's `AF_INET` or `AF_INET6`, four bytes, big endian. Apple's utun.
    AddressFamily,
}

/// A TUN device behind a descriptor on which each read and write is one packet.
///
/// The operating system tells nothing about its state here: it is up from the start, and its MTU changes when the
/// embedder says so with [`set_mtu`](Self::set_mtu). It has no name.
#[derive(Debug)]
pub struct FdTun {
    fd: Descriptor,
    framing: Framing,
    mtu: watch::Sender<u16>,
    reported: Mutex<Reported>,
}

/// What [`Tun::event`] has said so far.
#[derive(Debug, Default)]
struct Reported {
    mtu: Option<u16>,
    up: bool,
}

impl FdTun {
    /// Takes over `fd`, which it makes non-blocking and closes when dropped. `mtu` is in bytes.
    ///
    /// # Errors
    /// The descriptor cannot be made non-blocking, or cannot be waited for (a regular file, for example).
    ///
    /// # Panics
    /// Panics outside a tokio runtime with I/O enabled.
    pub fn from_owned_fd(fd: OwnedFd, mtu: u16, framing: Framing) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        let fd = Descriptor::new(fd);
        fd.check()?;
        Ok(Self { fd, framing, mtu: watch::Sender::new(mtu), reported: Mutex::default() })
    }

    /// Tells the tunnel that the device has a new MTU, in bytes. [`Tun::event`] reports it, unless it is the old one.
    pub fn set_mtu(&self, mtu: u16) {
        self.mtu.send_replace(mtu);
    }

    /// Returns the MTU, in bytes.
    pub fn mtu(&self) -> u16 {
        *self.mtu.borrow()
    }

    /// Returns what [`Tun::event`] should say next, and remembers it as said.
    fn unreported(&self, mtu: u16) -> Option<TunEvent> {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.mtu.replace(mtu) != Some(mtu) {
            return Some(TunEvent::Mtu(mtu));
        }
        (!std::mem::replace(&mut reported.up, true)).then_some(TunEvent::Up)
    }
}

impl Tun for FdTun {
    async fn readable(&self) -> io::Result<()> {
        self.fd.readable().await
    }

    fn try_recv(&self, batch: &mut PacketBatch) -> io::Result<bool> {
        let before = batch.len();
        while !batch.is_full() {
            match self.fd.try_read(|fd| read(&fd, self.framing, batch)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The next call meets the same error again.
                Err(_) if batch.len() > before => break,
                Err(error) => return Err(error),
            }
        }
        Ok(batch.len() > before)
    }

    async fn send(&self, batch: &mut PacketBatch) -> io::Result<()> {
        for packet in batch.iter() {
            self.fd.write(|fd| write(&fd, self.framing, packet)).await?;
        }
        batch.clear();
        Ok(())
    }

    async fn event(&self) -> TunEvent {
        let mut changes = self.mtu.subscribe();
        loop {
            let mtu = *changes.borrow_and_update();
            if let Some(event) = self.unreported(mtu) {
                return event;
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    fn name(&self) -> &str {
        ""
    }
}

/// Reads one packet to the end of `batch`. Nothing at all means that the other end is closed.
fn read(fd: &impl AsFd, framing: Framing, batch: &mut PacketBatch) -> io::Result<()> {
    let mut header = [0; HEADER];
    let space = &mut batch.space()[..MAX_PACKET];
    let (len, header) = match framing {
        Framing::Plain => (rustix::io::read(fd, space)?, 0),
        Framing::AddressFamily => {
            (rustix::io::readv(fd, &mut [IoSliceMut::new(&mut header), IoSliceMut::new(space)])?, HEADER)
        }
    };
    match len.checked_sub(header) {
        _ if len == 0 => Err(io::ErrorKind::UnexpectedEof.into()),
        // A header without a packet carries nothing.
        None | Some(0) => Ok(()),
        Some(packet) => {
            batch.commit(packet);
            Ok(())
        }
    }
}

/// Writes one packet.
fn write(fd: &impl AsFd, framing: Framing, packet: &[u8]) -> io::Result<()> {
    match framing {
        Framing::Plain => rustix::io::write(fd, packet)?,
        Framing::AddressFamily => {
            let family = match packet.first().map(|byte| byte >> 4) {
                Some(4) => AddressFamily::INET,
                Some(6) => AddressFamily::INET6,
                _ => return Err(io::ErrorKind::InvalidInput.into()),
            };
            let header = u32::from(family.as_raw()).to_be_bytes();
            rustix::io::writev(fd, &[IoSlice::new(&header), IoSlice::new(packet)])?
        }
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn device(framing: Framing) -> (FdTun, UnixDatagram) {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        (FdTun::from_owned_fd(ours.into(), 1280, framing).unwrap(), theirs)
    }

    #[tokio::test]
    async fn plain_packets_pass_unchanged_both_ways() {
        let (tun, system) = device(Framing::Plain);
        system.send(b"\x45 first").unwrap();
        system.send(b"\x60 second").unwrap();
        let mut batch = PacketBatch::new();
        tun.recv(&mut batch).await.unwrap();
        assert_eq!(batch.iter().collect::<Vec<_>>(), [&b"\x45 first"[..], b"\x60 second"]);

        tun.send(&mut batch).await.unwrap();
        assert!(batch.is_empty());
        let mut buffer = [0; 64];
        for expected in [&b"\x45 first"[..], b"\x60 second"] {
            let len = system.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..len], expected);
        }
    }

    #[tokio::test]
    async fn the_address_family_is_stripped_on_the_way_in_and_set_on_the_way_out() {
        let (tun, system) = device(Framing::AddressFamily);
        system.send(b"\0\0\0\x02\x45 four").unwrap();
        system.send(b"\0\0\0\x02").unwrap();
        system.send(b"\0\0\0\x1e\x60 six").unwrap();
        let mut batch = PacketBatch::new();
        tun.recv(&mut batch).await.unwrap();
        assert_eq!(batch.iter().collect::<Vec<_>>(), [&b"\x45 four"[..], b"\x60 six"]);

        batch.push(b"\x00 is not IP");
        batch.push(b"\x45 last");
        tun.send(&mut batch).await.unwrap();
        let mut buffer = [0; 64];
        for (family, packet) in [
            (AddressFamily::INET, &b"\x45 four"[..]),
            (AddressFamily::INET6, b"\x60 six"),
            (AddressFamily::INET, b"\x45 last"),
        ] {
            let len = system.recv(&mut buffer).unwrap();
            assert_eq!(buffer[..HEADER], u32::from(family.as_raw()).to_be_bytes());
            assert_eq!(&buffer[HEADER..len], packet);
        }
    }

    #[tokio::test]
    async fn a_read_waits_for_a_packet_and_fills_no_more_than_the_batch() {
        let (tun, system) = device(Framing::Plain);
        let mut batch = PacketBatch::new();
        let (received, ()) = tokio::join!(tun.recv(&mut batch), async {
            tokio::task::yield_now().await;
            system.send(&[0x45; 20]).unwrap();
        });
        received.unwrap();
        assert_eq!(batch.len(), 1);

        while !batch.is_full() {
            batch.push(&[0x45; 20]);
        }
        let full = batch.len();
        system.send(&[0x45; 20]).unwrap();
        tun.recv(&mut batch).await.unwrap();
        assert_eq!(batch.len(), full);
    }

    #[tokio::test]
    async fn the_state_comes_first_and_then_each_new_mtu() {
        let (tun, _system) = device(Framing::Plain);
        assert_eq!(tun.event().await, TunEvent::Mtu(1280));
        assert_eq!(tun.event().await, TunEvent::Up);
        tun.set_mtu(1400);
        assert_eq!(tun.event().await, TunEvent::Mtu(1400));
        assert_eq!(tun.mtu(), 1400);
        tun.set_mtu(1400);
        tokio::select! {
            biased;
            event = tun.event() => panic!("{event:?} is no change"),
            () = tokio::task::yield_now() => {}
        }
    }

    #[tokio::test]
    async fn a_closed_other_end_is_a_device_that_is_gone() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let tun = FdTun::from_owned_fd(ours.into(), 1280, Framing::Plain).unwrap();
        drop(theirs);
        let mut batch = PacketBatch::new();
        let error = tun.recv(&mut batch).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(crate::is_gone(&error));
        batch.push(&[0x45; 20]);
        let error = tun.send(&mut batch).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert!(crate::is_gone(&error));
        assert!(!crate::is_gone(&io::ErrorKind::PermissionDenied.into()), "that is a failure");
    }
}
