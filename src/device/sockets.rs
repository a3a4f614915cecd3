//! UDP on both IP versions, either of which may be missing.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn_udp::{RecvMeta, UdpSocketState};
use socket2::SockRef;
use tokio::io::Interest;

use super::lanes::{Lane, Lanes};
use super::opening::open_all;
use super::sending_socket::SendingSocket;
use super::{ApplyError, Options};
use crate::tunnel::Endpoint;

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
    /// Where there are several peers, and for strangers.
    lanes: Lanes,
    port: u16,
}

/// Which of the sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) version: IpVersion,
    /// From 0 to less than [`Options::queues`].
    pub(super) index: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum IpVersion {
    V4,
    V6,
}

impl IpVersion {
    fn of(address: SocketAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// A socket that receives, and sends for whoever has no lane.
#[derive(Debug)]
pub(super) struct BoundSocket {
    pub(super) sending: Arc<SendingSocket>,
    /// What receives; on systems other than Linux it sends too.
    pub(super) state: Arc<UdpSocketState>,
}

impl Sockets {
    /// Opens sockets on `port`, the same for both IP versions; 0 asks for any free one.
    ///
    /// # Errors
    /// [`ApplyError::Bind`], or [`ApplyError::Fwmark`] when they do not take the mark.
    pub(super) fn bind(port: u16, fwmark: u32, options: &Options) -> Result<Self, ApplyError> {
        let sockets = Self::bind_unmarked(port, options).map_err(|source| ApplyError::Bind { port, source })?;
        if fwmark != 0 {
            sockets.set_fwmark(fwmark).map_err(ApplyError::Fwmark)?;
        }
        Ok(sockets)
    }

    fn bind_unmarked(port: u16, options: &Options) -> io::Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::bind_once(port, options) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && port == 0 && attempt < PORT_ATTEMPTS => {
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    fn bind_once(port: u16, options: &Options) -> io::Result<Self> {
        let (v4, port) = open_all(Ipv4Addr::UNSPECIFIED.into(), port, options)?;
        let (v6, port) = open_all(Ipv6Addr::UNSPECIFIED.into(), port, options)?;
        if v4.is_empty() && v6.is_empty() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "neither IPv4 nor IPv6 is available"));
        }
        Ok(Self { v4, v6, lanes: Lanes::new(port, options), port })
    }

    /// Has the system throw away what comes in: nobody reads it, and nobody sends. The port stays ours.
    pub(super) fn be_deaf(&self) {
        self.lanes.close_all();
        for socket in self.v4.iter().chain(&self.v6) {
            if let Err(error) = SockRef::from(socket.sending.as_udp()).set_recv_buffer_size(0) {
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
            SockRef::from(socket.sending.as_udp()).set_mark(mark)?;
        }
        self.lanes.set_fwmark(mark)
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
    pub(super) fn towards(&self, address: SocketAddr, peer: u32) -> Option<Arc<SendingSocket>> {
        let sockets = self.of(IpVersion::of(address));
        Some(Arc::clone(&sockets.get(peer as usize % sockets.len().max(1))?.sending))
    }

    /// Returns the peer's lane to an endpoint, or what [`towards`](Self::towards) does where there can be none.
    pub(super) fn lane_towards(&self, to: Endpoint, peer: u32) -> Option<Arc<SendingSocket>> {
        self.lane(Lane::Peer(peer), to).or_else(|| self.towards(to.remote, peer))
    }

    /// Returns a lane to an endpoint; `None` where there can be none.
    pub(super) fn lane(&self, lane: Lane, to: Endpoint) -> Option<Arc<SendingSocket>> {
        // The address of a lane itself is not ours.
        to.local?;
        let version = IpVersion::of(to.remote);
        self.lanes.get(lane, version, &self.of(version).first()?.sending)
    }

    /// Closes the lanes of a peer that has nothing more to send.
    pub(super) fn close_lanes(&self, peer: u32) {
        self.lanes.close(peer);
    }

    /// Closes the lanes of all peers that `is_kept` does not name.
    pub(super) fn retain_lanes(&self, is_kept: impl Fn(u32) -> bool) {
        self.lanes.retain(|lane| match lane {
            Lane::Peer(peer) => is_kept(peer),
            Lane::Strangers => true,
        });
    }

    /// Returns how many lanes are open.
    #[cfg(test)]
    pub(super) fn count_lanes(&self) -> usize {
        self.lanes.count()
    }

    /// Answers a stranger, if the socket takes it now. What strangers have in flight is in nobody's way.
    pub(super) fn answer_stranger(&self, datagram: &[u8], to: Endpoint) -> io::Result<()> {
        let socket = self.lane(Lane::Strangers, to).or_else(|| self.towards(to.remote, 0));
        socket.ok_or(io::ErrorKind::Unsupported)?.send_one(datagram, to)
    }
}

impl BoundSocket {
    /// Returns the socket's receiving side, registered with the calling thread's runtime.
    pub(super) fn receiver(&self) -> io::Result<Receiver> {
        Ok(Receiver { socket: self.sending.registered()?, state: Arc::clone(&self.state) })
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
