//! UDP on both IP versions, either of which may be missing.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use quinn_udp::{EcnCodepoint, RecvMeta, Transmit, UdpSocketState};
use rustix::net::sockopt;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;

use super::Options;
use crate::tunnel::{DatagramBatch, Ecn, Endpoint, Run};

/// How often a random port is drawn again because the other IP version had it in use.
const PORT_ATTEMPTS: usize = 10;

/// Pause after an error on receipt, so that an error that stays does not spin.
const RECEIVE_PAUSE: Duration = Duration::from_millis(50);

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
    /// Made anew when an error that was not of the offload's making has turned the offload off.
    state: RwLock<Arc<UdpSocketState>>,
    address: IpAddr,
    /// Whether many datagrams may be sent at once.
    offload: bool,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// Datagrams that the operating system refused.
    pub(super) failed: u64,
    /// Bytes of those.
    pub(super) failed_bytes: u64,
    /// Our address that the peer knows is not ours any more; the datagrams left from another.
    pub(super) local_address_is_stale: bool,
}

/// Why a datagram did not leave.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("the system did not take it: {0}")]
    Refused(io::Error),
    #[error("it waited for room until it might not leave any more")]
    Held,
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

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Marks outgoing datagrams, for policy routing; 0 takes the mark away.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn set_fwmark(&self, mark: u32) -> io::Result<()> {
        for socket in self.v4.iter().chain(&self.v6) {
            socket2::SockRef::from(&socket.socket).set_mark(mark)?;
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
    fn towards(&self, address: SocketAddr, peer: u32) -> Option<&BoundSocket> {
        let sockets = self.of(if address.is_ipv4() { IpVersion::V4 } else { IpVersion::V6 });
        sockets.get(peer as usize % sockets.len().max(1))
    }

    /// Sends every datagram of the batch, for the peer of this index. Errors are counted, never final: the network may be
    /// back for the next.
    ///
    /// What has to wait for room in the socket is given up when `is_closed` says, after the wait, that nothing may leave
    /// any more: it would leave in the middle of blocking.
    pub(super) async fn send(
        &self,
        batch: &DatagramBatch,
        peer: u32,
        to: Endpoint,
        is_closed: impl Fn() -> bool,
    ) -> Sent {
        let Some(socket) = self.towards(to.remote, peer) else {
            return Sent::none_of(batch);
        };
        let mut sent = Sent::default();
        let (mut to, mut is_held) = (to, false);
        for run in batch.runs(socket.max_segments()) {
            if !is_held {
                match socket.send(run, to, &is_closed).await {
                    Ok(()) => continue,
                    Err(SendError::Held) => is_held = true,
                    Err(SendError::Refused(_)) => {}
                }
            }
            // The offload may have failed, or our source address may be gone: try each datagram without them.
            let to_any = Endpoint { local: None, ..to };
            for datagram in run.datagrams() {
                let single = Run { contents: datagram, segment_size: datagram.len(), ecn: run.ecn };
                let result = if is_held { Err(SendError::Held) } else { socket.send(single, to, &is_closed).await };
                match result {
                    Ok(()) => {}
                    Err(SendError::Refused(_))
                        if to.local.is_some() && socket.send(single, to_any, &is_closed).await.is_ok() =>
                    {
                        sent.local_address_is_stale = true;
                        socket.restore_offload();
                        to = to_any;
                    }
                    Err(error) => {
                        is_held |= matches!(error, SendError::Held);
                        tracing::trace!(%error, "datagram not sent");
                        sent.failed += 1;
                        sent.failed_bytes += datagram.len() as u64;
                    }
                }
            }
        }
        sent
    }

    /// Sends one datagram if the socket takes it now.
    pub(super) fn try_send(&self, datagram: &[u8], to: Endpoint) -> io::Result<()> {
        let socket = self.towards(to.remote, 0).ok_or(io::ErrorKind::Unsupported)?;
        let run = Run { contents: datagram, segment_size: datagram.len(), ecn: Ecn::NotCapable };
        socket.state().try_send((&socket.socket).into(), &transmit(run, to))
    }
}

impl Sent {
    /// Returns what there is to say when nothing of `batch` could leave.
    pub(super) fn none_of(batch: &DatagramBatch) -> Self {
        let failed_bytes = batch.iter().map(|datagram| datagram.len() as u64).sum();
        Self { failed: batch.len() as u64, failed_bytes, local_address_is_stale: false }
    }
}

impl BoundSocket {
    fn state(&self) -> Arc<UdpSocketState> {
        Arc::clone(&self.state.read())
    }

    /// Returns how many datagrams one call may send.
    fn max_segments(&self) -> usize {
        if self.offload { self.state().max_gso_segments() } else { 1 }
    }

    /// Turns segmentation offload on again: `quinn-udp` takes a source address that is gone for an offload that failed.
    fn restore_offload(&self) {
        match UdpSocketState::new((&self.socket).into()) {
            Ok(state) => {
                *self.state.write() = Arc::new(state);
                allow_fragments(&self.socket, self.address);
            }
            Err(error) => tracing::debug!(%error, "segmentation offload stays off"),
        }
    }

    async fn send(&self, run: Run<'_>, to: Endpoint, is_closed: &impl Fn() -> bool) -> Result<(), SendError> {
        let (transmit, state) = (transmit(run, to), self.state());
        loop {
            match state.try_send((&self.socket).into(), &transmit) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let waiter = self.registered().map_err(SendError::Refused)?;
                    waiter.writable().await.map_err(SendError::Refused)?;
                    if is_closed() {
                        return Err(SendError::Held);
                    }
                }
                result => return result.map_err(SendError::Refused),
            }
        }
    }

    /// Returns the socket as one that the calling task can wait for.
    fn registered(&self) -> io::Result<tokio::net::UdpSocket> {
        tokio::net::UdpSocket::from_std(self.socket.try_clone()?)
    }

    /// Returns the socket's receiving side, registered with the calling thread's runtime.
    pub(super) fn receiver(&self) -> io::Result<Receiver> {
        Ok(Receiver { socket: self.registered()?, state: self.state() })
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

fn transmit<'a>(run: Run<'a>, to: Endpoint) -> Transmit<'a> {
    Transmit {
        destination: to.remote,
        ecn: EcnCodepoint::from_bits(run.ecn as u8),
        contents: run.contents,
        segment_size: (run.contents.len() > run.segment_size).then_some(run.segment_size),
        src_ip: to.local,
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
    match socket2::SockRef::from(&socket).bind(&address.into()) {
        Ok(()) => {}
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(error),
    }
    let state = RwLock::new(Arc::new(UdpSocketState::new((&socket).into())?));
    allow_fragments(&socket, address.ip());
    if !options.offload {
        receive_singly(&socket);
    }
    tracing::debug!(%address, segments = state.read().max_gso_segments(), on = options.offload, "UDP offload");
    Ok(Some(BoundSocket { socket, state, address: address.ip(), offload: options.offload }))
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

/// Lets the system fragment datagrams that are larger than the path takes, as WireGuard does: `quinn-udp` forbids it,
/// and a tunnel whose MTU is too large would lose its large packets without a sign.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn allow_fragments(socket: &UdpSocket, address: IpAddr) {
    let result = match address {
        IpAddr::V4(_) => sockopt::set_ip_mtu_discover(socket, sockopt::Ipv4PathMtuDiscovery::WANT),
        IpAddr::V6(_) => sockopt::set_ipv6_mtu_discover(socket, sockopt::Ipv6PathMtuDiscovery::WANT),
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
