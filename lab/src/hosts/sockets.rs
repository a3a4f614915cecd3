//! What an application acts on: connections and datagrams of one host, whose stack is in virtual time or the kernel's.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};

/// A connection of a host: whoever has it gives it back by [`Sockets::close`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connection(pub(crate) usize);

/// A port for datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagrams(pub(crate) usize);

/// Why a host does not do what it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SocketError {
    /// There are too many connections.
    #[error("the host has {0} connections, the most that its settings allow")]
    TooManyConnections(usize),
    /// The stack refused an address or a port.
    #[error("expected an IPv4 address and ports other than 0 that are free, not {0}")]
    Unusable(SocketAddr),
    /// The system refused.
    #[error("the system refuses a socket: {0}")]
    System(ErrorKind),
}

/// The sockets of one host. None of it waits.
pub trait Sockets {
    /// Returns the host's address.
    fn address(&self) -> Ipv4Addr;

    /// Begins a connection.
    ///
    /// # Errors
    /// When there are too many, or the address is not IPv4's or its port is 0.
    fn connect(&mut self, to: SocketAddr) -> Result<Connection, SocketError>;

    /// Takes connections to a port from now on, and to no other.
    ///
    /// # Errors
    /// When there are too many connections, or the port is 0.
    fn listen(&mut self, port: u16) -> Result<(), SocketError>;

    /// Returns a connection that somebody began, once.
    fn accept(&mut self) -> Option<Connection>;

    /// Tells whether bytes may still come, or wait to be read.
    fn may_receive(&self, connection: Connection) -> bool;

    /// Returns the bytes that can be sent at once, as far as that is known; 0 before the other end has answered.
    fn room(&self, connection: Connection) -> usize;

    /// Sends bytes, as many as there is room for, and returns how many.
    fn send(&mut self, connection: Connection, bytes: &[u8]) -> usize;

    /// Reads what has come, until there is nothing.
    fn receive(&mut self, connection: Connection, read: &mut dyn FnMut(&[u8]));

    /// Gives a connection back: what was sent arrives, then it ends. It must not be used any more.
    fn close(&mut self, connection: Connection);

    /// Takes a port for datagrams.
    ///
    /// # Errors
    /// When the port is 0.
    fn bind(&mut self, port: u16) -> Result<Datagrams, SocketError>;

    /// Gives a port for datagrams back. It must not be used any more.
    fn unbind(&mut self, port: Datagrams);

    /// Returns the bytes of the largest datagram that is sent, without the headers of UDP and IP.
    fn largest_datagram(&self) -> usize;

    /// Sends a datagram; tells whether there was room for it, and its address is usable.
    fn send_to(&mut self, port: Datagrams, to: SocketAddr, bytes: &[u8]) -> bool;

    /// Takes the next datagram that has come: `read` has its bytes, and who sent it is returned.
    fn receive_from(&mut self, port: Datagrams, read: &mut dyn FnMut(&[u8])) -> Option<SocketAddr>;
}
