//! The routing tables of systems that are not asked.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::Hop;

/// Cannot be opened.
#[derive(Debug)]
pub(in crate::device) enum Tables {}

impl Tables {
    pub(in crate::device) fn open() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(in crate::device) fn hop(&self, _: SocketAddr, _: Option<IpAddr>, _: u32) -> io::Result<Option<Hop>> {
        match *self {}
    }

    pub(in crate::device) fn interface_of(&self, _: IpAddr) -> io::Result<Option<u32>> {
        match *self {}
    }
}
