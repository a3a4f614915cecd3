//! Lanes on Linux and Android.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use rustix::net::sockopt::{set_ip_freebind, set_ipv6_freebind, set_socket_reuseport};
use rustix::process::{Resource, getrlimit};
use socket2::SockRef;

use crate::device::opening::{SharedPort, allow_fragments, unbound};
use crate::device::sending::SystemSocket;
use crate::device::sockets::IpVersion;

/// The IPv4 dummy address (RFC 7600): a source, never a destination.
pub(super) const DUMMY_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);

/// An address of the IPv6 dummy prefix (RFC 9780): the same.
pub(super) const DUMMY_V6: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 1, 0, 0, 0, 1);

/// Which share of the process's file descriptors lanes may take: one in this many.
const DESCRIPTOR_SHARE: u64 = 2;

/// Returns how many lanes leave the process enough file descriptors.
pub(super) fn most() -> usize {
    // No limit is the largest.
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(descriptors / DESCRIPTOR_SHARE).unwrap_or(usize::MAX)
}

/// Opens a socket that sends from `port`, which `receiving` has, and receives nothing. `buffer` is in bytes.
pub(super) fn open(
    port: u16,
    version: IpVersion,
    receiving: &UdpSocket,
    buffer: usize,
    fwmark: u32,
) -> io::Result<SystemSocket> {
    let address = match version {
        IpVersion::V4 => IpAddr::V4(DUMMY_V4),
        IpVersion::V6 => IpAddr::V6(DUMMY_V6),
    };
    let socket = unbound(address, buffer)?.ok_or(io::ErrorKind::Unsupported)?;
    let bind_freely = |is_free| match version {
        IpVersion::V4 => set_ip_freebind(&socket, is_free),
        IpVersion::V6 => set_ipv6_freebind(&socket, is_free),
    };
    bind_freely(true)?;
    set_socket_reuseport(&socket, true)?;
    {
        let _shared = SharedPort::of(receiving)?;
        SockRef::from(&socket).bind(&SocketAddr::from((address, port)).into())?;
    }
    // From now on an address that is not ours is refused.
    bind_freely(false)?;
    // Should anything come all the same, nobody reads it.
    SockRef::from(&socket).set_recv_buffer_size(0)?;
    allow_fragments(&socket, address);
    if fwmark != 0 {
        SockRef::from(&socket).set_mark(fwmark)?;
    }
    Ok(SystemSocket(socket))
}
