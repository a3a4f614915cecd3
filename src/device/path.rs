//! How datagrams would leave for an address: from which of our own, and how large. Nothing is sent to find out.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use super::opening::is_missing;

/// The way that the system's routing tables give now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Path {
    /// Our address that datagrams leave from, unless they name another.
    pub(super) source: IpAddr,
    /// The largest IP packet that passes whole, in bytes, as far as the system knows; `None` where it does not tell.
    pub(super) mtu: Option<usize>,
}

/// Returns the way to `remote` for datagrams that bear the mark `fwmark`, 0 for none; `None` if nothing leads there.
///
/// # Errors
/// When the system does not tell: it opens no socket, or sets no such mark for us.
pub(super) fn to(remote: SocketAddr, fwmark: u32) -> io::Result<Option<Path>> {
    let socket = match socket_for(remote) {
        Err(error) if is_missing(&error) => return Ok(None),
        result => result?,
    };
    if fwmark != 0 {
        set_mark(&socket, fwmark)?;
    }
    // It looks up the route, and gives the socket the address that the route has.
    match socket.connect(&remote.into()) {
        Err(error) if is_shortage(&error) => return Err(error),
        Err(error) => {
            tracing::debug!(%remote, %error, "no way there");
            return Ok(None);
        }
        Ok(()) => {}
    }
    let socket = UdpSocket::from(socket);
    let source = socket.local_addr()?.ip();
    let mtu = mtu_of(&socket, remote).ok().and_then(|mtu| usize::try_from(mtu).ok());
    Ok(Some(Path { source, mtu }))
}

/// Returns `local`, an address of ours, with the link on which it is: a link-local one is ours on that of the peer at `remote`.
/// The port is 0.
pub(super) fn on_link(local: IpAddr, remote: SocketAddr) -> SocketAddr {
    let mut local = SocketAddr::from((local, 0));
    if let (SocketAddr::V6(local), SocketAddr::V6(remote)) = (&mut local, remote) {
        local.set_scope_id(remote.scope_id());
    }
    local
}

/// Tells whether `address` is none of our own on its link, as far as the system says. Its port is 0.
pub(super) fn is_foreign(address: SocketAddr) -> bool {
    socket_for(address).and_then(|socket| socket.bind(&address.into())).is_err_and(|error| is_missing(&error))
}

/// Tells whether the system lacks something that has nothing to do with the way: a port, or memory.
fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::AGAIN, Errno::NOMEM, Errno::NOBUFS, Errno::INTR]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn socket_for(address: SocketAddr) -> io::Result<Socket> {
    Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn set_mark(socket: &Socket, mark: u32) -> io::Result<()> {
    socket.set_mark(mark)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn set_mark(_: &Socket, _: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn mtu_of(socket: &UdpSocket, remote: SocketAddr) -> io::Result<u32> {
    use rustix::net::sockopt;
    let mtu = if remote.is_ipv4() { sockopt::ip_mtu(socket) } else { sockopt::ipv6_mtu(socket) };
    Ok(mtu?)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn mtu_of(_: &UdpSocket, _: SocketAddr) -> io::Result<u32> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV6};

    use super::*;

    #[test]
    fn a_path_has_the_address_it_leaves_from_and_its_mtu() {
        let listener = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let path = to(listener.local_addr().unwrap(), 0).unwrap().unwrap();
        assert_eq!(path.source, IpAddr::V4(Ipv4Addr::LOCALHOST));
        if cfg!(target_os = "linux") {
            assert!(path.mtu.unwrap() >= 1_280, "{path:?}");
        }
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.recv(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::WouldBlock, "nothing is sent");
    }

    #[test]
    fn where_nothing_leads_there_is_no_path() {
        // No interface has this scope.
        let nowhere = SocketAddr::V6(SocketAddrV6::new("fe80::1".parse().unwrap(), 9, 0, u32::MAX >> 1));
        assert_eq!(to(nowhere, 0).unwrap(), None);
    }

    #[test]
    fn an_address_that_is_not_ours_is_foreign() {
        let remote = SocketAddr::from(([192, 0, 2, 1], 9));
        assert!(!is_foreign(on_link(Ipv4Addr::LOCALHOST.into(), remote)));
        assert!(is_foreign(on_link(IpAddr::from([192, 0, 2, 77]), remote)));
        // The first interface is the loopback.
        let remote = "[fe80::1%1]:9".parse().unwrap();
        assert!(!is_foreign(on_link(Ipv6Addr::LOCALHOST.into(), remote)));
        assert!(is_foreign(on_link("fe80::77".parse().unwrap(), remote)));
    }
}
