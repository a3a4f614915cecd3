//! No lanes on systems other than Linux and Android.

use std::io;
use std::net::UdpSocket;

use crate::device::sending::SystemSocket;
use crate::device::sockets::IpVersion;

pub(super) fn most() -> usize {
    0
}

pub(super) fn open(_: u16, _: IpVersion, _: &UdpSocket, _: usize, _: u32) -> io::Result<SystemSocket> {
    Err(io::ErrorKind::Unsupported.into())
}
