//! Watches one network interface over rtnetlink: up, down, MTU, gone.
//!
//! One socket serves both the kernel's notices (RTNLGRP_LINK) and the requests for the present state: the answer to
//! RTM_GETLINK is an RTM_NEWLINK like any notice, so first state, change and recovery from a lost notice are one path.
//! Nothing is queued: what is reported is the difference between the last state known and the last state reported.

use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rtnetlink::{
    MulticastGroup,
    packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        link::{LinkAttribute, LinkFlags, LinkMessage},
    },
    sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE},
};
use rustix::io::Errno;
use tokio::{io::unix::AsyncFd, sync::watch};

use crate::TunEvent;

/// Largest netlink datagram, in bytes, that the kernel makes for a notice or one interface.
const MAX_DATAGRAM: usize = 32 * 1024;

/// Bound of the kernel's queue of unread notices, in bytes. When it overflows, the state is asked for anew.
const RECEIVE_BUFFER: i32 = 128 * 1024;

/// Where the interface is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// Not asked yet.
    Unknown,
    /// In the namespace that this socket watches.
    Here,
    /// Out of sight: it was moved to another namespace, or the socket failed. It may well carry traffic.
    OutOfSight,
    /// Deleted.
    Gone,
}

/// What is known of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Link {
    presence: Presence,
    up: bool,
    mtu: u16,
    /// Number of the last of our requests that the kernel answered.
    answered: u32,
}

/// What [`LinkWatch::event`] has said so far.
#[derive(Debug, Default)]
struct Reported {
    up: Option<bool>,
    mtu: Option<u16>,
    gone: bool,
}

/// The receiving and asking side of the socket.
#[derive(Debug)]
struct Reader {
    buffer: Vec<u8>,
    /// Number of the last request; the first is 1.
    asked: u32,
    /// A notice was lost: ask again once the socket is drained.
    lost: bool,
}

/// A watch on one interface of the namespace in which it was made. Without notices it never wakes.
#[derive(Debug)]
pub(crate) struct LinkWatch {
    index: u32,
    socket: AsyncFd<Socket>,
    /// Our own netlink address: tells answers from notices.
    port: u32,
    reader: Mutex<Reader>,
    link: watch::Sender<Link>,
    reported: Mutex<Reported>,
}

impl LinkWatch {
    /// Watches interface `index`, whose MTU is `mtu` bytes so far, in the calling thread's network namespace.
    ///
    /// # Errors
    /// The netlink socket could not be made, or there is no tokio runtime with I/O.
    pub(crate) fn new(index: u32, mtu: u16) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.set_non_blocking(true)?;
        socket.set_rx_buf_sz(RECEIVE_BUFFER)?;
        socket.bind(&SocketAddr::new(0, 1 << (MulticastGroup::Link as u32 - 1)))?;
        let mut address = SocketAddr::new(0, 0);
        socket.get_address(&mut address)?;
        // SAFETY: `socket` owns its descriptor, and the `AsyncFd` owns the socket until both are dropped.
        let socket = unsafe { AsyncFd::register(socket) }?;
        let watch = Self {
            index,
            socket,
            port: address.port_number(),
            reader: Mutex::new(Reader { buffer: Vec::new(), asked: 0, lost: false }),
            link: watch::Sender::new(Link { presence: Presence::Unknown, up: false, mtu, answered: 0 }),
            reported: Mutex::default(),
        };
        watch.ask(&mut lock(&watch.reader))?;
        Ok(watch)
    }

    /// Returns the last MTU known, in bytes.
    pub(crate) fn mtu(&self) -> u16 {
        self.link.borrow().mtu
    }

    /// Waits for the next change. The first calls report the MTU, then up or down. After [`TunEvent::Gone`], or once an
    /// interface moved to another namespace was reported up, it waits for ever. Cancel safe.
    pub(crate) async fn event(&self) -> TunEvent {
        let mut changes = self.link.subscribe();
        loop {
            let link = *changes.borrow_and_update();
            if let Some(event) = lock(&self.reported).next(&link) {
                return event;
            }
            self.step(&mut changes).await;
        }
    }

    /// Asks the kernel for the present state and waits until the interface is up. Cancel safe.
    ///
    /// # Errors
    /// The interface is gone or out of sight.
    pub(crate) async fn up(&self) -> io::Result<()> {
        let asked = self.ask(&mut lock(&self.reader))?;
        let mut changes = self.link.subscribe();
        loop {
            let link = *changes.borrow_and_update();
            match link.presence {
                Presence::OutOfSight | Presence::Gone => return Err(Errno::NODEV.into()),
                Presence::Here if link.up && link.answered >= asked => return Ok(()),
                Presence::Unknown | Presence::Here => self.step(&mut changes).await,
            }
        }
    }

    /// Waits until the state may have changed. Two tasks may wait at once: the one that reads a message wakes the other
    /// through `changes`.
    async fn step(&self, changes: &mut watch::Receiver<Link>) {
        if matches!(changes.borrow().presence, Presence::OutOfSight | Presence::Gone) {
            return std::future::pending().await;
        }
        let ready = tokio::select! {
            ready = self.socket.readable() => ready,
            _ = changes.changed() => return,
        };
        let result = match ready {
            Ok(mut guard) => match guard.try_io(|socket| self.read(socket.get_ref())) {
                Ok(result) => result,
                Err(_would_block) => return,
            },
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            tracing::warn!(index = self.index, %error, "no more notices about the interface");
            self.link.send_modify(Link::lose_sight);
        }
    }

    /// Reads one datagram and takes its messages in. A single one, so that a short flap is reported as one.
    fn read(&self, socket: &Socket) -> io::Result<()> {
        let mut reader = lock(&self.reader);
        reader.buffer.clear();
        reader.buffer.reserve(MAX_DATAGRAM);
        let sender = match socket.recv_from(&mut reader.buffer, 0) {
            Ok((_, sender)) => sender,
            Err(error) => {
                return match Errno::from_io_error(&error) {
                    Some(Errno::INTR) => Ok(()),
                    Some(Errno::NOBUFS) => {
                        reader.lost = true;
                        Ok(())
                    }
                    // Asked only now: while the buffer is full, the answer would be lost too.
                    Some(Errno::AGAIN) if reader.lost => {
                        self.ask(&mut reader)?;
                        Err(error)
                    }
                    _ => Err(error),
                };
            }
        };
        if sender.port_number() == 0 {
            self.take_in(&reader.buffer);
        }
        Ok(())
    }

    /// Requests the state of the interface and returns the number of the request.
    fn ask(&self, reader: &mut Reader) -> io::Result<u32> {
        let mut link = LinkMessage::default();
        link.header.index = self.index;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST;
        header.sequence_number = reader.asked + 1;
        let mut message = NetlinkMessage::new(header, RouteNetlinkMessage::GetLink(link).into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.get_ref().send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
        reader.asked += 1;
        reader.lost = false;
        Ok(reader.asked)
    }

    /// Applies every message of a datagram. What cannot be decoded is skipped: it is about some other kind of interface.
    fn take_in(&self, mut datagram: &[u8]) {
        while let Some(length) = datagram.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes) as usize) {
            if length < 16 || length > datagram.len() {
                return;
            }
            match NetlinkMessage::deserialize(&datagram[..length]) {
                Ok(message) => {
                    self.link.send_if_modified(|link| {
                        let before = *link;
                        link.apply(&message, self.index, self.port);
                        *link != before
                    });
                }
                Err(error) => tracing::trace!(%error, "netlink message skipped"),
            }
            datagram = &datagram[length.next_multiple_of(4).min(datagram.len())..];
        }
    }
}

impl Link {
    /// Takes in one message, if it is about interface `index` or answers a request of `port`.
    fn apply(&mut self, message: &NetlinkMessage<RouteNetlinkMessage>, index: u32, port: u32) {
        let is_answer = message.header.port_number == port && message.header.sequence_number > self.answered;
        #[expect(clippy::wildcard_enum_match_arm, reason = "a netlink socket may bring any message; three matter")]
        match &message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) if is_about(link, index) => {
                self.presence = Presence::Here;
                self.up = link.header.flags.contains(LinkFlags::Up);
                if let Some(mtu) = mtu_of(link) {
                    self.mtu = mtu;
                }
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) if is_about(link, index) => {
                if link.attributes.iter().any(|attribute| matches!(attribute, LinkAttribute::NewNetnsId(_))) {
                    self.lose_sight();
                } else {
                    self.disappear();
                }
            }
            NetlinkPayload::Error(error) if is_answer => {
                if error.code.is_some_and(|code| code.get() == -Errno::NODEV.raw_os_error()) {
                    self.disappear();
                }
            }
            _ => return,
        }
        if is_answer {
            self.answered = message.header.sequence_number;
        }
    }

    /// Notes that no notice will come any more. The interface counts as up, so that traffic flows when it can.
    fn lose_sight(&mut self) {
        self.presence = Presence::OutOfSight;
        self.up = true;
    }

    fn disappear(&mut self) {
        self.presence = Presence::Gone;
        self.up = false;
    }
}

impl Reported {
    /// Returns the next difference to `link`, and remembers it as reported.
    fn next(&mut self, link: &Link) -> Option<TunEvent> {
        match link.presence {
            Presence::Unknown => return None,
            Presence::Gone => return (!std::mem::replace(&mut self.gone, true)).then_some(TunEvent::Gone),
            Presence::Here | Presence::OutOfSight => {}
        }
        if self.mtu.replace(link.mtu) != Some(link.mtu) {
            return Some(TunEvent::Mtu(link.mtu));
        }
        if self.up.replace(link.up) != Some(link.up) {
            return Some(if link.up { TunEvent::Up } else { TunEvent::Down });
        }
        None
    }
}

/// Tells whether `link` describes interface `index` itself; a bridge speaks of its ports with the same messages.
fn is_about(link: &LinkMessage, index: u32) -> bool {
    link.header.index == index && link.header.interface_family == AddressFamily::Unspec
}

fn mtu_of(link: &LinkMessage) -> Option<u16> {
    link.attributes.iter().find_map(|attribute| {
        let LinkAttribute::Mtu(mtu) = attribute else {
            return None;
        };
        Some(u16::try_from(*mtu).unwrap_or(u16::MAX))
    })
}

/// Locks `mutex`; each change behind it is complete in itself, so a panic elsewhere leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
