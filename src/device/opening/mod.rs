//! Opens UDP sockets, and says how the system is to treat what they carry.

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn_udp::UdpSocketState;
#[cfg(any(target_os = "linux", target_os = "android"))]
use rustix::net::sockopt;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::Options;
use super::sending::SystemSocket;
use super::sending_socket::{Cutting, SendingSocket};
use super::sockets::BoundSocket;

/// Opens the sockets of one IP version on one port, and says which; none if the system does not know the version.
///
/// The first one takes the port as if it were to be alone, so that a port that anyone else has stays an error.
pub(super) fn open_all(address: IpAddr, port: u16, options: &Options) -> io::Result<(Vec<BoundSocket>, u16)> {
    let Some(first) = open(SocketAddr::from((address, port)), Sharing::No, options)? else {
        return Ok((Vec::new(), port));
    };
    let port = first.sending.as_udp().local_addr()?.port();
    let mut sockets = vec![first];
    if options.queues > 1 && share_port(sockets[0].sending.as_udp()) {
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

/// A socket whose port another of ours may take, for as long as this lives.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) struct SharedPort<'a> {
    socket: &'a UdpSocket,
    was_shared: bool,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl<'a> SharedPort<'a> {
    /// Lets the port be taken.
    pub(super) fn of(socket: &'a UdpSocket) -> io::Result<Self> {
        let was_shared = sockopt::socket_reuseport(socket)?;
        sockopt::set_socket_reuseport(socket, true)?;
        Ok(Self { socket, was_shared })
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl Drop for SharedPort<'_> {
    fn drop(&mut self) {
        if !self.was_shared
            && let Err(error) = sockopt::set_socket_reuseport(self.socket, false)
        {
            tracing::debug!(%error, "other programs of this user may take the port");
        }
    }
}

/// Opens one socket that receives and sends; `None` if the system does not know this IP version.
fn open(address: SocketAddr, sharing: Sharing, options: &Options) -> io::Result<Option<BoundSocket>> {
    let Some(socket) = unbound(address.ip(), options.socket_buffer)? else { return Ok(None) };
    // A smaller buffer than asked for is no reason to fail.
    if let Err(error) = SockRef::from(&socket).set_recv_buffer_size(options.socket_buffer) {
        tracing::debug!(%error, "the receive buffer stays at its default size");
    }
    if sharing == Sharing::Yes && !share_port(&socket) {
        return Ok(None);
    }
    match SockRef::from(&socket).bind(&address.into()) {
        Ok(()) => {}
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(error),
    }
    let state = Arc::new(UdpSocketState::new((&socket).into())?);
    // It forbids fragments.
    allow_fragments(&socket, address.ip());
    if !options.offload {
        receive_singly(&socket);
    }
    let sending = SendingSocket::new(SystemSocket::new(socket, &state), options.socket_buffer, options.offload);
    tracing::debug!(%address, segments = sending.max_segments(), on = options.offload, "UDP offload");
    Ok(Some(BoundSocket { sending: Arc::new(sending), state }))
}

/// Opens a socket for the IP version of `address`, with a send buffer of `buffer` bytes if the system lets us have it;
/// `None` if the system does not know the version.
pub(super) fn unbound(address: IpAddr, buffer: usize) -> io::Result<Option<UdpSocket>> {
    let domain = Domain::for_address(SocketAddr::from((address, 0)));
    let socket = match Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)) {
        Ok(socket) => socket,
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    if let Err(error) = socket.set_send_buffer_size(buffer) {
        tracing::debug!(%error, "the send buffer stays at its default size");
    }
    Ok(Some(socket.into()))
}

/// Tells whether the address, or its whole IP version, is not there.
pub(super) fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

/// Lets the system fragment datagrams that are larger than the path takes, as WireGuard does: `quinn-udp` forbids it,
/// and a tunnel whose MTU is too large would lose its large packets without a sign.
pub(super) fn allow_fragments(socket: &UdpSocket, address: IpAddr) {
    if let Err(error) = try_to_allow_fragments(socket, address) {
        tracing::debug!(%error, "datagrams larger than the path's MTU will be dropped");
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn try_to_allow_fragments(socket: &UdpSocket, address: IpAddr) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt::Ipv6DontFrag};
    match address {
        IpAddr::V4(_) => set_cutting(socket, address, Cutting::AsNeeded),
        // IPv6 forbids it by an option of its own too.
        IpAddr::V6(_) => set_cutting(socket, address, Cutting::AsNeeded)
            .and_then(|()| setsockopt(socket, Ipv6DontFrag, &false).map_err(io::Error::from)),
    }
}

#[cfg(target_vendor = "apple")]
fn try_to_allow_fragments(socket: &UdpSocket, address: IpAddr) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    match address {
        IpAddr::V4(_) => setsockopt(socket, sockopt::IpDontFrag, &false)?,
        IpAddr::V6(_) => setsockopt(socket, sockopt::Ipv6DontFrag, &false)?,
    }
    Ok(())
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn try_to_allow_fragments(_: &UdpSocket, _: IpAddr) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Says whether the system cuts what it takes for larger than the path. Where it does not, it does not look at what ICMP
/// messages said of the path either, and refuses only what is larger than the interface takes. What fits has the same header
/// either way, but for the identifier of IPv4.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn set_cutting(socket: &UdpSocket, address: IpAddr, cutting: Cutting) -> io::Result<()> {
    use sockopt::{Ipv4PathMtuDiscovery as V4, Ipv6PathMtuDiscovery as V6};
    let set = match (address, cutting) {
        (IpAddr::V4(_), Cutting::AsNeeded) => sockopt::set_ip_mtu_discover(socket, V4::WANT),
        (IpAddr::V4(_), Cutting::Never) => sockopt::set_ip_mtu_discover(socket, V4::PROBE),
        (IpAddr::V6(_), Cutting::AsNeeded) => sockopt::set_ipv6_mtu_discover(socket, V6::WANT),
        (IpAddr::V6(_), Cutting::Never) => sockopt::set_ipv6_mtu_discover(socket, V6::PROBE),
    };
    Ok(set?)
}

/// Elsewhere datagrams always leave whole.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn set_cutting(_: &UdpSocket, _: IpAddr, _: Cutting) -> io::Result<()> {
    Ok(())
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
