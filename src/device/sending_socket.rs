//! A socket as datagrams leave through it, and how full it is.

use std::io;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use socket2::SockRef;

use super::kernel_queue::{Advice, KernelQueue, charge};
use super::sending::{self, Offload, Segmentation, Sent, SystemSocket, Transmit as _};
use super::{opening, path};
use crate::tunnel::{Ecn, Endpoint, Run};

/// Longest wait for room in a socket before it is looked at again.
const WRITABLE_PATIENCE: Duration = Duration::from_millis(10);

/// Whether the system tells how full a socket is, as [`KernelQueue`] needs it.
const LIMITS: bool = cfg!(any(target_os = "linux", target_os = "android"));

#[derive(Debug)]
pub(super) struct SendingSocket {
    /// Not blocking. Whoever has to wait for it registers it with the runtime that waits.
    socket: SystemSocket,
    /// How many datagrams one call may send.
    max_segments: usize,
    /// Bytes of send buffer while nothing limits it.
    buffer: usize,
    is_limited: AtomicBool,
    queue: Mutex<Queue>,
    /// What is set on the socket: held to read by whoever sends under it.
    cutting: RwLock<Cutting>,
}

/// Whether the system cuts datagrams that it takes for larger than the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cutting {
    AsNeeded,
    /// Whatever it takes the path for: they leave whole.
    Never,
}

/// What the kernel may hold unsent.
#[derive(Debug)]
struct Queue {
    books: KernelQueue,
    /// What the send buffer was set to last; 0 if it is anything else.
    applied: usize,
}

impl SendingSocket {
    /// Returns the socket, whose send buffer has `buffer` bytes; with `offload` it sends many datagrams at once, where the
    /// system can.
    pub(super) fn new(socket: SystemSocket, buffer: usize, offload: bool) -> Self {
        let max_segments = if offload { socket.max_segments() } else { 1 };
        let queue = Mutex::new(Queue { books: KernelQueue::new(buffer), applied: 0 });
        Self {
            socket,
            max_segments,
            buffer,
            is_limited: AtomicBool::new(false),
            queue,
            cutting: RwLock::new(Cutting::AsNeeded),
        }
    }

    /// Returns the socket as the system has it.
    pub(super) fn as_udp(&self) -> &UdpSocket {
        &self.socket.0
    }

    /// Returns how many datagrams one call may send.
    pub(super) fn max_segments(&self) -> usize {
        self.max_segments
    }

    /// Returns how many datagrams of `length` bytes with normal packets may be sent at `now`.
    pub(super) fn room(&self, length: usize, now: Instant) -> usize {
        if !self.is_limited() {
            return usize::MAX;
        }
        let mut queue = self.queue.lock();
        self.apply(&mut queue);
        if self.is_writable() {
            queue.books.found_writable(now);
            return queue.books.room(length);
        }
        if queue.books.found_full(now) == Advice::Measure {
            let charged = self.measure();
            queue.books.measured(charged, now);
            queue.applied = 0;
            self.apply(&mut queue);
            if self.is_writable() {
                return queue.books.room(length);
            }
        }
        0
    }

    /// Tells whether the kernel is to hold little of what it is given.
    pub(super) fn is_limited(&self) -> bool {
        self.is_limited.load(Ordering::Relaxed)
    }

    /// Says whether peers are defended: then the kernel holds as little as [`KernelQueue`] says.
    pub(super) fn set_limited(&self, is_limited: bool) {
        if LIMITS
            && is_limited != self.is_limited()
            && self.is_limited.swap(is_limited, Ordering::Relaxed) != is_limited
        {
            let mut queue = self.queue.lock();
            match is_limited {
                true => self.apply(&mut queue),
                false => {
                    queue.applied = 0;
                    self.set_send_buffer(self.buffer);
                }
            }
        }
    }

    /// Sets the send buffer to what the books say, if it is not that already or nearly.
    fn apply(&self, queue: &mut Queue) {
        let wanted = queue.books.allowance();
        if wanted != queue.applied && (wanted < queue.applied || wanted > queue.applied + queue.applied / 8) {
            queue.applied = wanted;
            self.set_send_buffer(wanted);
        }
    }

    fn set_send_buffer(&self, bytes: usize) {
        if let Err(error) = SockRef::from(&self.socket.0).set_send_buffer_size(bytes) {
            tracing::debug!(%error, "socket buffer stays as it is");
        }
    }

    /// Finds out what is charged to the socket, to within an eighth: it is writable under a larger buffer only.
    fn measure(&self) -> usize {
        let (mut below, mut above) = (0, self.buffer);
        while above > below + below / 8 + charge(0) {
            let middle = (below + above) / 2;
            self.set_send_buffer(middle);
            if self.is_writable() { above = middle } else { below = middle }
        }
        above
    }

    /// Tells whether the socket's buffer is less than half full.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn is_writable(&self) -> bool {
        use std::os::fd::AsFd as _;

        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let mut fds = [PollFd::new(self.socket.0.as_fd(), PollFlags::POLLOUT)];
        // Whatever else there is to say of it, a send will say.
        !matches!(poll(&mut fds, PollTimeout::ZERO), Ok(0))
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn is_writable(&self) -> bool {
        true
    }

    /// Waits until the socket is writable, and says whether it is: it waits no longer than until another look at the socket
    /// may tell more.
    pub(super) async fn writable(&self) -> io::Result<bool> {
        let waiter = self.registered()?;
        match tokio::time::timeout(WRITABLE_PATIENCE, waiter.writable()).await {
            Ok(result) => result.map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// Sends the datagrams of the run from the first on, until the kernel takes no more, and returns how many it took or
    /// refused. `offload` is what is known of the way to the peer that they are for.
    pub(super) fn send(
        &self,
        run: Run<'_>,
        (segmentation, cutting): (Segmentation, Cutting),
        to: Endpoint,
        offload: &mut Offload,
        sent: &mut Sent,
    ) -> usize {
        let _set = self.set_cutting(cutting, to);
        let (before, now) = (*sent, Instant::now());
        let done = sending::send(&self.socket, run, segmentation, to, offload, sent, now);
        if self.is_limited() && sent.charged > before.charged {
            self.queue.lock().books.accept(sent.charged - before.charged, Instant::now());
        }
        if sent.failed > before.failed {
            // What was sealed for the network that had the address does not leave on another.
            sent.local_address_is_stale |=
                to.local.is_some_and(|local| path::is_foreign(path::on_link(local, to.remote)));
        }
        done
    }

    /// Sees to it that the system cuts datagrams, or does not, while what it returns is kept: peers without a lane share a
    /// socket.
    fn set_cutting(&self, cutting: Cutting, to: Endpoint) -> RwLockReadGuard<'_, Cutting> {
        let set = self.cutting.read();
        if *set == cutting {
            return set;
        }
        drop(set);
        let mut set = self.cutting.write();
        if *set != cutting {
            if let Err(error) = opening::set_cutting(&self.socket.0, to.remote.ip(), cutting) {
                tracing::debug!(%error, ?cutting, "datagrams are cut as before");
            }
            // It is not tried again for each datagram.
            *set = cutting;
        }
        RwLockWriteGuard::downgrade(set)
    }

    /// Sends one datagram by itself, if the socket takes it now.
    pub(super) fn send_one(&self, datagram: &[u8], to: Endpoint) -> io::Result<()> {
        let run = Run { contents: datagram, segment_size: datagram.len(), mark: Ecn::NotCapable.into() };
        self.socket.send_each(run, to).map(drop)
    }

    /// Returns the socket as one that the calling task can wait for.
    pub(super) fn registered(&self) -> io::Result<tokio::net::UdpSocket> {
        tokio::net::UdpSocket::from_std(self.socket.0.try_clone()?)
    }
}
