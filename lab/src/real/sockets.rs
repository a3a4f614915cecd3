//! The kernel's sockets, as an application has them.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::hosts::{Connection, Datagrams, SocketError, Sockets};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// Bytes that are read or told to have room at once.
const CHUNK: usize = 64 << 10;

/// Bytes of datagrams that wait to be read.
const DATAGRAM_BYTES: usize = 1 << 20;

/// How a sender finds its rate: what the lab's own TCP does. A kernel without it keeps its own.
pub(super) const CONGESTION: &[u8] = b"cubic";

/// The sockets of one host in one network namespace: each is made in that of the thread which asks for it.
#[derive(Debug)]
pub(super) struct KernelSockets {
    address: Ipv4Addr,
    mtu: usize,
    epoll: Epoll,
    listener: Option<TcpListener>,
    connections: HashMap<usize, Line>,
    ports: HashMap<usize, UdpSocket>,
    next: usize,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Line {
    stream: TcpStream,
    state: State,
    /// Whether the kernel had no room for more when it was last asked.
    is_full: bool,
    /// Whether the kernel holds a part of a segment back, for what may follow.
    is_held: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    Open,
    /// Nothing more comes.
    Over,
}

impl KernelSockets {
    /// Returns those of a host with an address, on interfaces of an MTU.
    ///
    /// # Errors
    /// When the kernel has none.
    pub(super) fn new(address: Ipv4Addr, mtu: usize) -> io::Result<Self> {
        Ok(Self {
            address,
            mtu,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            listener: None,
            connections: HashMap::new(),
            ports: HashMap::new(),
            next: 0,
            buffer: vec![0; CHUNK],
        })
    }

    /// Waits until something has happened to a socket or to `other`, or until an instant, and takes note of it.
    ///
    /// # Errors
    /// When the kernel cannot wait.
    pub(super) fn wait(&mut self, until: Option<Instant>, other: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let own = self.epoll.0.as_fd();
        let mut watched = vec![PollFd::new(own, PollFlags::POLLIN)];
        watched.extend(other.map(|other| PollFd::new(other, PollFlags::POLLIN)));
        wait(&mut watched, until)?;
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let count = self.epoll.wait(&mut events, EpollTimeout::ZERO)?;
            for event in &events[..count] {
                if let Some(line) = self.connections.get_mut(&(event.data() as usize)) {
                    line.note(event.events());
                }
            }
            if count < events.len() {
                return Ok(());
            }
        }
    }

    /// Has all leave that was sent since the last time.
    pub(super) fn flush(&mut self) {
        for line in self.connections.values_mut().filter(|line| line.is_held) {
            line.is_held = false;
            // This is how the kernel is told. Of a connection that is broken it need not know.
            let _ = line.stream.set_nodelay(true);
        }
    }

    /// Gives up all connections and ports that somebody has still.
    pub(super) fn give_up(&mut self) {
        self.connections.clear();
        self.ports.clear();
    }

    fn keep(&mut self, stream: TcpStream, state: State) -> io::Result<Connection> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let _ = SockRef::from(&stream).set_tcp_congestion(CONGESTION);
        let number = self.watch(&stream)?;
        self.connections.insert(number, Line { stream, state, is_full: false, is_held: false });
        Ok(Connection(number))
    }

    /// Has the kernel tell, each time, that something has become possible.
    fn watch(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        self.next += 1;
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        self.epoll.add(socket, EpollEvent::new(flags, self.next as u64))?;
        Ok(self.next)
    }

    fn try_connect(&mut self, to: SocketAddr) -> io::Result<Connection> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        match socket.connect(&to.into()) {
            Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        self.keep(socket.into(), State::Connecting)
    }

    fn try_listen(&mut self, port: u16) -> io::Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(self.address.into(), port).into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        self.watch(&listener)?;
        self.listener = Some(listener);
        Ok(())
    }

    fn try_bind(&mut self, port: u16) -> io::Result<Datagrams> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        socket.set_recv_buffer_size(DATAGRAM_BYTES)?;
        socket.bind(&SocketAddr::new(self.address.into(), port).into())?;
        let socket = UdpSocket::from(socket);
        let number = self.watch(&socket)?;
        self.ports.insert(number, socket);
        Ok(Datagrams(number))
    }

    fn refusal(&self, to: SocketAddr, error: &io::Error) -> SocketError {
        const UNUSABLE: [ErrorKind; 3] = [ErrorKind::AddrInUse, ErrorKind::AddrNotAvailable, ErrorKind::InvalidInput];
        if UNUSABLE.contains(&error.kind()) { SocketError::Unusable(to) } else { SocketError::System(error.kind()) }
    }
}

/// Waits until something can be read, or until an instant, to the microsecond.
///
/// # Errors
/// When the kernel cannot wait.
pub(super) fn wait(watched: &mut [PollFd<'_>], until: Option<Instant>) -> io::Result<()> {
    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
    match ppoll(watched, left.map(TimeSpec::from_duration), None) {
        Err(nix::errno::Errno::EINTR) => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

impl Line {
    fn note(&mut self, events: EpollFlags) {
        if events.contains(EpollFlags::EPOLLOUT) {
            self.is_full = false;
        }
        if self.state == State::Connecting && events.intersects(EpollFlags::EPOLLOUT | EpollFlags::EPOLLERR) {
            // What has gone wrong later is found by reading, after all that has come.
            self.state = if events.contains(EpollFlags::EPOLLERR) { State::Over } else { State::Open };
        }
    }
}

impl Sockets for KernelSockets {
    fn address(&self) -> Ipv4Addr {
        self.address
    }

    fn connect(&mut self, to: SocketAddr) -> Result<Connection, SocketError> {
        let IpAddr::V4(address) = to.ip() else { return Err(SocketError::Unusable(to)) };
        if address.is_unspecified() || to.port() == 0 {
            return Err(SocketError::Unusable(to));
        }
        self.try_connect(to).map_err(|error| self.refusal(to, &error))
    }

    fn listen(&mut self, port: u16) -> Result<(), SocketError> {
        let at = SocketAddr::new(self.address.into(), port);
        self.listener = None;
        if port == 0 {
            return Err(SocketError::Unusable(at));
        }
        self.try_listen(port).map_err(|error| self.refusal(at, &error))
    }

    fn accept(&mut self) -> Option<Connection> {
        loop {
            match self.listener.as_ref()?.accept() {
                Ok((stream, _)) => return self.keep(stream, State::Open).ok(),
                // Somebody gave up before, or a signal came: the next may be there all the same.
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(_) => return None,
            }
        }
    }

    fn may_receive(&self, connection: Connection) -> bool {
        self.connections.get(&connection.0).is_some_and(|line| line.state != State::Over)
    }

    fn room(&self, connection: Connection) -> usize {
        let line = self.connections.get(&connection.0);
        if line.is_some_and(|line| line.state != State::Connecting && !line.is_full) { CHUNK } else { 0 }
    }

    fn send(&mut self, connection: Connection, bytes: &[u8]) -> usize {
        let room = self.room(connection);
        let Some(line) = self.connections.get_mut(&connection.0) else { return 0 };
        let mut sent = 0;
        while room > 0 && sent < bytes.len() && !line.is_full {
            // What is sent at one time leaves together, as it does in virtual time.
            match SockRef::from(&line.stream).send_with_flags(&bytes[sent..], nix::libc::MSG_MORE) {
                Ok(count) => {
                    line.is_held = true;
                    sent += count;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // What broke is told by reading.
                Err(_) => line.is_full = true,
            }
        }
        sent
    }

    fn receive(&mut self, connection: Connection, read: &mut dyn FnMut(&[u8])) {
        let Self { connections, buffer, .. } = self;
        let Some(line) = connections.get_mut(&connection.0) else { return };
        while line.state == State::Open {
            match line.stream.read(buffer) {
                Ok(0) => line.state = State::Over,
                Ok(count) => read(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => line.state = State::Over,
            }
        }
    }

    fn close(&mut self, connection: Connection) {
        self.flush();
        self.connections.remove(&connection.0);
    }

    fn bind(&mut self, port: u16) -> Result<Datagrams, SocketError> {
        let at = SocketAddr::new(self.address.into(), port);
        if port == 0 {
            return Err(SocketError::Unusable(at));
        }
        self.try_bind(port).map_err(|error| self.refusal(at, &error))
    }

    fn unbind(&mut self, port: Datagrams) {
        self.ports.remove(&port.0);
    }

    fn largest_datagram(&self) -> usize {
        self.mtu - 28
    }

    fn send_to(&mut self, port: Datagrams, to: SocketAddr, bytes: &[u8]) -> bool {
        let Some(socket) = self.ports.get(&port.0) else { return false };
        bytes.len() <= self.largest_datagram() && socket.send_to(bytes, to).is_ok()
    }

    fn receive_from(&mut self, port: Datagrams, read: &mut dyn FnMut(&[u8])) -> Option<SocketAddr> {
        let Self { ports, buffer, .. } = self;
        let socket = ports.get(&port.0)?;
        loop {
            match socket.recv_from(buffer) {
                Ok((count, from)) => {
                    read(&buffer[..count]);
                    return Some(from);
                }
                // One that was sent before found nobody: the next may be there all the same.
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionRefused) => {}
                Err(_) => return None,
            }
        }
    }
}
