//! UDP on both IP versions, either of which may be missing.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quinn_udp::{RecvMeta, UdpSocketState};
use rustix::net::sockopt;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;

use super::kernel_queue::{Advice, KernelQueue, charge};
use super::sending::{self, Segmentation};
use super::{Options, path};
use crate::tunnel::{Ecn, Endpoint, Run};

/// How often a random port is drawn again because the other IP version had it in use.
const PORT_ATTEMPTS: usize = 10;

/// Pause after an error on receipt, so that an error that stays does not spin.
const RECEIVE_PAUSE: Duration = Duration::from_millis(50);

/// Longest wait for room in a socket before it is looked at again.
const WRITABLE_PATIENCE: Duration = Duration::from_millis(10);

/// Whether the system tells how full a socket is, as [`KernelQueue`] needs it.
const LIMITS: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// The sockets of one port.
#[derive(Debug)]
pub(super) struct Sockets {
    /// The sockets of each IP version; none if the system does not know it. With several, the system hands each sender's
    /// datagrams to the same one.
    v4: Vec<BoundSocket>,
    v6: Vec<BoundSocket>,
    port: u16,
}

/// Which of the sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) version: IpVersion,
    /// From 0 to less than [`Options::queues`].
    pub(super) index: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IpVersion {
    V4,
    V6,
}

#[derive(Debug)]
pub(super) struct BoundSocket {
    /// Not blocking. Whoever has to wait for it registers it with the runtime that waits.
    socket: UdpSocket,
    /// What receives; on systems other than Linux it sends too.
    state: Arc<UdpSocketState>,
    /// Whether many datagrams may be sent at once.
    offload: bool,
    /// Bytes of send buffer while nothing limits it.
    buffer: usize,
    is_limited: AtomicBool,
    queue: Mutex<Queue>,
}

/// What the kernel may hold unsent.
#[derive(Debug)]
struct Queue {
    books: KernelQueue,
    /// What the send buffer was set to last; 0 if it is anything else.
    applied: usize,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// Datagrams that the operating system refused.
    pub(super) failed: u64,
    /// Bytes of those.
    pub(super) failed_bytes: u64,
    /// The kernel took no more.
    pub(super) is_full: bool,
    /// Our address that the peer knows is not ours any more.
    pub(super) local_address_is_stale: bool,
}

impl Sockets {
    /// Opens sockets on `port`, the same for both IP versions; 0 asks for any free one.
    pub(super) fn bind(port: u16, fwmark: u32, options: &Options) -> io::Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::bind_once(port, fwmark, options) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && port == 0 && attempt < PORT_ATTEMPTS => {
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    fn bind_once(port: u16, fwmark: u32, options: &Options) -> io::Result<Self> {
        let (v4, port) = open_all(Ipv4Addr::UNSPECIFIED.into(), port, options)?;
        let (v6, port) = open_all(Ipv6Addr::UNSPECIFIED.into(), port, options)?;
        if v4.is_empty() && v6.is_empty() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "neither IPv4 nor IPv6 is available"));
        }
        let sockets = Self { v4, v6, port };
        if fwmark != 0 {
            sockets.set_fwmark(fwmark)?;
        }
        Ok(sockets)
    }

    /// Has the system throw away what comes in: nobody reads it. The port stays ours.
    pub(super) fn be_deaf(&self) {
        for socket in self.v4.iter().chain(&self.v6) {
            if let Err(error) = socket2::SockRef::from(&socket.socket).set_recv_buffer_size(0) {
                tracing::debug!(%error, "what comes to a port that was left takes memory");
            }
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Marks outgoing datagrams, for policy routing; 0 takes the mark away.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn set_fwmark(&self, mark: u32) -> io::Result<()> {
        for socket in self.v4.iter().chain(&self.v6) {
            SockRef::from(&socket.socket).set_mark(mark)?;
        }
        Ok(())
    }

    /// Only Linux marks datagrams.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(super) fn set_fwmark(&self, mark: u32) -> io::Result<()> {
        if mark == 0 { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
    }

    /// Returns a socket, if it is open.
    pub(super) fn at(&self, place: Place) -> Option<&BoundSocket> {
        self.of(place.version).get(place.index)
    }

    fn of(&self, version: IpVersion) -> &[BoundSocket] {
        match version {
            IpVersion::V4 => &self.v4,
            IpVersion::V6 => &self.v6,
        }
    }

    /// Returns the socket from which datagrams leave for an address: for each peer the same one, so that they stay in
    /// order.
    pub(super) fn towards(&self, address: SocketAddr, peer: u32) -> Option<&BoundSocket> {
        let sockets = self.of(if address.is_ipv4() { IpVersion::V4 } else { IpVersion::V6 });
        sockets.get(peer as usize % sockets.len().max(1))
    }

    /// Sends one datagram if the socket takes it now.
    pub(super) fn send_one(&self, datagram: &[u8], to: Endpoint) -> io::Result<()> {
        let socket = self.towards(to.remote, 0).ok_or(io::ErrorKind::Unsupported)?;
        let run = Run { contents: datagram, segment_size: datagram.len(), ecn: Ecn::NotCapable };
        sending::send_each(&socket.socket, &socket.state, run, to).map(drop)
    }
}

impl BoundSocket {
    /// Returns how many datagrams one call may send.
    pub(super) fn max_segments(&self) -> usize {
        if self.offload { self.state.max_gso_segments() } else { 1 }
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
        if let Err(error) = SockRef::from(&self.socket).set_send_buffer_size(bytes) {
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
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)];
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
    /// refused.
    pub(super) fn send(&self, run: Run<'_>, segmentation: Segmentation, to: Endpoint, sent: &mut Sent) -> usize {
        let count = run.datagrams().count();
        if segmentation == Segmentation::Kernel && count > 1 {
            match sending::send_whole(&self.socket, &self.state, run, to) {
                Ok(()) => {
                    self.accepted(run, count);
                    return count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return 0,
                // What the way to this destination does not take at once, it may take one by one.
                Err(error) => tracing::trace!(%error, "datagrams not sent at once"),
            }
        }
        let mut done = 0;
        while done < count {
            let rest = run.behind(done);
            match self.send_each(rest, to, sent) {
                Ok(taken) => done += taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    tracing::trace!(%error, "datagram not sent");
                    sent.failed += 1;
                    sent.failed_bytes += rest.datagrams().next().map_or(0, <[u8]>::len) as u64;
                    done += 1;
                }
            }
        }
        done
    }

    fn send_each(&self, run: Run<'_>, to: Endpoint, sent: &mut Sent) -> io::Result<usize> {
        let result = match sending::send_each(&self.socket, &self.state, run, to) {
            // What was sealed for the network that had the address does not leave on another.
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                sent.local_address_is_stale |= to.local.is_some_and(path::is_foreign);
                Err(error)
            }
            result => result,
        };
        if let Ok(taken) = result {
            self.accepted(run, taken);
        }
        result
    }

    /// Notes that the kernel took the first `count` datagrams of the run.
    fn accepted(&self, run: Run<'_>, count: usize) {
        if self.is_limited() {
            let bytes = run.datagrams().take(count).map(|datagram| charge(datagram.len())).sum();
            self.queue.lock().books.accept(bytes, Instant::now());
        }
    }

    /// Returns the socket as one that the calling task can wait for.
    fn registered(&self) -> io::Result<tokio::net::UdpSocket> {
        tokio::net::UdpSocket::from_std(self.socket.try_clone()?)
    }

    /// Returns the socket's receiving side, registered with the calling thread's runtime.
    pub(super) fn receiver(&self) -> io::Result<Receiver> {
        Ok(Receiver { socket: self.registered()?, state: Arc::clone(&self.state) })
    }
}

/// The receiving side of a socket.
#[derive(Debug)]
pub(super) struct Receiver {
    socket: tokio::net::UdpSocket,
    state: Arc<UdpSocketState>,
}

impl Receiver {
    /// Waits for datagrams, and returns how many of the buffers were filled: never none.
    pub(super) async fn receive(&self, buffers: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> usize {
        loop {
            let receive = || self.state.recv((&self.socket).into(), buffers, meta);
            let attempt = match self.socket.readable().await {
                Ok(()) => self.socket.try_io(Interest::READABLE, receive),
                Err(error) => Err(error),
            };
            match attempt {
                Ok(0) => {}
                Ok(count) => return count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    tracing::debug!(%error, "cannot receive");
                    tokio::time::sleep(RECEIVE_PAUSE).await;
                }
            }
        }
    }
}

/// Opens the sockets of one IP version on one port, and says which; none if the system does not know the version.
///
/// The first one takes the port as if it were to be alone, so that a port that anyone else has stays an error.
fn open_all(address: IpAddr, port: u16, options: &Options) -> io::Result<(Vec<BoundSocket>, u16)> {
    let Some(first) = open(SocketAddr::from((address, port)), Sharing::No, options)? else {
        return Ok((Vec::new(), port));
    };
    let port = first.socket.local_addr()?.port();
    let mut sockets = vec![first];
    if options.queues > 1 && share_port(&sockets[0].socket) {
        for _ in 1..options.queues {
            sockets.extend(open(SocketAddr::from((address, port)), Sharing::Yes, options)?);
        }
    }
    Ok((sockets, port))
}

/// Whether a socket takes a port that another one of ours has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Yes,
    No,
}

/// Lets other sockets of ours have the same port, and says whether that is possible: only Linux spreads datagrams over
/// them.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn share_port(socket: &UdpSocket) -> bool {
    sockopt::set_socket_reuseport(socket, true).is_ok()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn share_port(_: &UdpSocket) -> bool {
    false
}

/// Opens one socket; `None` if the system does not know this IP version.
fn open(address: SocketAddr, sharing: Sharing, options: &Options) -> io::Result<Option<BoundSocket>> {
    let socket = match Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP)) {
        Ok(socket) => socket,
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    // A smaller buffer than asked for is no reason to fail.
    for result in
        [socket.set_recv_buffer_size(options.socket_buffer), socket.set_send_buffer_size(options.socket_buffer)]
    {
        if let Err(error) = result {
            tracing::debug!(%error, "socket buffer stays at its default size");
        }
    }
    let socket = UdpSocket::from(socket);
    if sharing == Sharing::Yes && !share_port(&socket) {
        return Ok(None);
    }
    match SockRef::from(&socket).bind(&address.into()) {
        Ok(()) => {}
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(error),
    }
    let state = Arc::new(UdpSocketState::new((&socket).into())?);
    allow_fragments(&socket, address.ip());
    if !options.offload {
        receive_singly(&socket);
    }
    tracing::debug!(%address, segments = state.max_gso_segments(), on = options.offload, "UDP offload");
    let (offload, buffer) = (options.offload, options.socket_buffer);
    let queue = Mutex::new(Queue { books: KernelQueue::new(buffer), applied: 0 });
    Ok(Some(BoundSocket { socket, state, offload, buffer, is_limited: AtomicBool::new(false), queue }))
}

/// Tells whether the address, or its whole IP version, is not there.
pub(super) fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

/// Lets the system fragment datagrams that are larger than the path takes, as WireGuard does: `quinn-udp` forbids it,
/// and a tunnel whose MTU is too large would lose its large packets without a sign.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn allow_fragments(socket: &UdpSocket, address: IpAddr) {
    use nix::sys::socket::{setsockopt, sockopt::Ipv6DontFrag};
    let result: io::Result<()> = match address {
        IpAddr::V4(_) => {
            sockopt::set_ip_mtu_discover(socket, sockopt::Ipv4PathMtuDiscovery::WANT).map_err(io::Error::from)
        }
        // IPv6 forbids it by an option of its own too.
        IpAddr::V6(_) => sockopt::set_ipv6_mtu_discover(socket, sockopt::Ipv6PathMtuDiscovery::WANT)
            .map_err(io::Error::from)
            .and_then(|()| setsockopt(socket, Ipv6DontFrag, &false).map_err(io::Error::from)),
    };
    if let Err(error) = result {
        tracing::debug!(%error, "datagrams larger than the path's MTU will be dropped");
    }
}

/// Has the system hand over each datagram by itself.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn receive_singly(socket: &UdpSocket) {
    use nix::sys::socket::{setsockopt, sockopt::UdpGroSegment};
    if let Err(error) = setsockopt(socket, UdpGroSegment, &false) {
        tracing::debug!(%error, "receive offload stays as it is");
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn receive_singly(_: &UdpSocket) {}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn allow_fragments(_: &UdpSocket, _: IpAddr) {}
