//! What an application acts on: connections and datagrams of one host.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::{Socket, tcp, udp};
use smoltcp::time::{Duration as StackDuration, Instant as StackInstant};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint};

use super::device::Packets;
use super::linux::{Linux, Tuple};
use crate::virtual_network::Outbox;

/// The first of the ports that a connection comes from (RFC 6335, section 6).
const FIRST_PORT: u16 = 49_152;

/// The most bytes and datagrams that wait in each direction of a port for datagrams; more are dropped.
const DATAGRAM_BYTES: usize = 1 << 18;
const DATAGRAMS: usize = 1_024;

/// How a stack is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The largest IP packet in bytes, from 576 to 65,535; others are taken for the nearest. The MSS is 40 less, and
    /// a time stamp takes 12 bytes of each segment.
    pub mtu: usize,
    /// The largest window in bytes, from 1 to 2³⁰; others are taken for the nearest.
    pub receive_buffer: usize,
    /// The most bytes of a connection that are under way or wait to be; bounded alike.
    pub send_buffer: usize,
    /// How long an acknowledgement of one segment waits for another, or for data to go with; `None` is not at all.
    pub acknowledge_after: Option<Duration>,
    /// How a sender finds its rate.
    pub congestion: Congestion,
    /// Whether what is less than a segment waits for acknowledgements (Nagle). Browsers and servers switch that off.
    pub nagle: bool,
    /// The most connections at once, those that end counted. Each has both buffers.
    pub max_connections: usize,
}

impl Default for Settings {
    /// Returns what fits 5 to 200 Mbit/s through a tunnel whose MTU is 1,420.
    fn default() -> Self {
        Self {
            mtu: 1_420,
            receive_buffer: 4 << 20,
            send_buffer: 4 << 20,
            acknowledge_after: Some(Duration::from_millis(40)),
            congestion: Congestion::Cubic,
            nagle: false,
            max_connections: 64,
        }
    }
}

/// How a sender finds its rate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Congestion {
    /// Cubic (RFC 9438).
    #[default]
    Cubic,
    /// Not at all: as much as the receiver takes.
    Unlimited,
}

/// Why a stack does not do what it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StackError {
    /// There are too many connections.
    #[error("the host has {0} connections, the most that its settings allow")]
    TooManyConnections(usize),
    /// The stack refused an address or a port.
    #[error("expected an IPv4 address and ports other than 0 that are free, not {0}")]
    Unusable(SocketAddr),
}

/// A connection of a stack's: whoever has it gives it back by [`Stack::close`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connection(SocketHandle);

/// A port for datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagrams(SocketHandle);

/// A TCP/IP stack with one address.
pub struct Stack {
    address: Ipv4Addr,
    settings: Settings,
    interface: Interface,
    packets: Packets,
    linux: Linux,
    sockets: SocketSet<'static>,
    connections: usize,
    /// Given back, but possibly not at their end.
    ending: Vec<SocketHandle>,
    /// At their end: used again, with their buffers.
    spare: Vec<SocketHandle>,
    /// The port that is listened on, and who waits there.
    listener: Option<(u16, SocketHandle)>,
    accepted: Vec<Connection>,
    next_port: u16,
    /// The instant that the stack's time began at.
    start: Option<Instant>,
    is_changed: bool,
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack").field("address", &self.address).field("connections", &self.connections).finish()
    }
}

impl Stack {
    pub(super) fn new(address: Ipv4Addr, seed: u64, settings: &Settings) -> Self {
        let bounded = |bytes: usize| bytes.clamp(1, 1 << 30);
        let settings = Settings {
            mtu: settings.mtu.clamp(576, usize::from(u16::MAX)),
            receive_buffer: bounded(settings.receive_buffer),
            send_buffer: bounded(settings.send_buffer),
            ..settings.clone()
        };
        let mut packets = Packets::new(settings.mtu);
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut packets, StackInstant::ZERO);
        interface.update_ip_addrs(|addresses| {
            // Everyone is a neighbour. The list has room for at least one.
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(address), 0));
        });
        let sockets = SocketSet::new(Vec::new());
        let linux = Linux::new(&settings);
        let next_port = FIRST_PORT + (seed % 8_192) as u16;
        Self {
            address,
            settings,
            interface,
            packets,
            linux,
            sockets,
            connections: 0,
            ending: Vec::new(),
            spare: Vec::new(),
            listener: None,
            accepted: Vec::new(),
            next_port,
            start: None,
            is_changed: false,
        }
    }

    /// Returns the host's address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Begins a connection.
    ///
    /// # Errors
    /// When there are too many, or the address is not IPv4's or its port is 0.
    pub fn connect(&mut self, to: SocketAddr) -> Result<Connection, StackError> {
        let unusable = StackError::Unusable(to);
        let IpAddr::V4(address) = to.ip() else { return Err(unusable) };
        let handle = self.take_socket()?;
        let port = self.next_port;
        self.next_port = if port == u16::MAX { FIRST_PORT } else { port + 1 };
        let remote = IpEndpoint::new(IpAddress::Ipv4(address), to.port());
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle);
        let connected = socket.connect(self.interface.context(), remote, port);
        self.is_changed = true;
        if connected.is_err() {
            self.ending.push(handle);
            return Err(unusable);
        }
        Ok(Connection(handle))
    }

    /// Takes connections to a port from now on, and to no other.
    ///
    /// # Errors
    /// When there are too many connections, or the port is 0.
    pub fn listen(&mut self, port: u16) -> Result<(), StackError> {
        if let Some((_, before)) = self.listener.take() {
            self.give_back(before);
        }
        let handle = self.take_socket()?;
        if self.sockets.get_mut::<tcp::Socket<'_>>(handle).listen(port).is_err() {
            self.ending.push(handle);
            return Err(StackError::Unusable(SocketAddr::new(self.address.into(), port)));
        }
        self.listener = Some((port, handle));
        Ok(())
    }

    /// Returns a connection that somebody began, once.
    pub fn accept(&mut self) -> Option<Connection> {
        (!self.accepted.is_empty()).then(|| self.accepted.remove(0))
    }

    /// Tells whether bytes can be sent now or later.
    pub fn may_send(&self, connection: Connection) -> bool {
        let socket = self.sockets.get::<tcp::Socket<'_>>(connection.0);
        socket.may_send() || matches!(socket.state(), tcp::State::SynSent | tcp::State::SynReceived)
    }

    /// Tells whether bytes may still come, or wait to be read.
    pub fn may_receive(&self, connection: Connection) -> bool {
        let socket = self.sockets.get::<tcp::Socket<'_>>(connection.0);
        socket.may_recv() || matches!(socket.state(), tcp::State::SynSent | tcp::State::SynReceived)
    }

    /// Tells whether the other end has answered.
    pub fn is_established(&self, connection: Connection) -> bool {
        self.sockets.get::<tcp::Socket<'_>>(connection.0).may_send()
    }

    /// Returns the bytes that can be sent at once.
    pub fn room(&self, connection: Connection) -> usize {
        let socket = self.sockets.get::<tcp::Socket<'_>>(connection.0);
        let buffer = tuple(socket).map_or(usize::MAX, |tuple| self.linux.buffer(&tuple)).min(socket.send_capacity());
        if socket.may_send() { buffer.saturating_sub(socket.send_queue()) } else { 0 }
    }

    /// Sends bytes, as many as there is room for, and returns how many.
    pub fn send(&mut self, connection: Connection, bytes: &[u8]) -> usize {
        let bytes = &bytes[..bytes.len().min(self.room(connection))];
        let sent = self.sockets.get_mut::<tcp::Socket<'_>>(connection.0).send_slice(bytes).unwrap_or(0);
        self.is_changed |= sent > 0;
        sent
    }

    /// Reads what has come, until there is nothing.
    pub fn receive(&mut self, connection: Connection, mut read: impl FnMut(&[u8])) {
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(connection.0);
        while socket.can_recv() {
            let taken = socket.recv(|bytes| {
                read(bytes);
                (bytes.len(), bytes.len())
            });
            if taken.unwrap_or(0) == 0 {
                break;
            }
            self.is_changed = true;
        }
    }

    /// Gives a connection back: what was sent arrives, then it ends. It must not be used any more.
    pub fn close(&mut self, connection: Connection) {
        self.give_back(connection.0);
    }

    fn give_back(&mut self, handle: SocketHandle) {
        self.sockets.get_mut::<tcp::Socket<'_>>(handle).close();
        self.ending.push(handle);
        self.is_changed = true;
    }

    /// Takes a port for datagrams.
    ///
    /// # Errors
    /// When the port is 0.
    pub fn bind(&mut self, port: u16) -> Result<Datagrams, StackError> {
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; DATAGRAMS], vec![0; DATAGRAM_BYTES]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        let unusable = StackError::Unusable(SocketAddr::new(self.address.into(), port));
        socket.bind(port).map_err(|_| unusable)?;
        Ok(Datagrams(self.sockets.add(socket)))
    }

    /// Gives a port for datagrams back. It must not be used any more.
    pub fn unbind(&mut self, port: Datagrams) {
        self.sockets.remove(port.0);
    }

    /// Returns the bytes of the largest datagram that is sent, without the headers of UDP and IP.
    pub fn largest_datagram(&self) -> usize {
        self.settings.mtu - 28
    }

    /// Sends a datagram; tells whether there was room for it, and its address is usable.
    pub fn send_to(&mut self, port: Datagrams, to: SocketAddr, bytes: &[u8]) -> bool {
        let IpAddr::V4(address) = to.ip() else { return false };
        let remote = IpEndpoint::new(IpAddress::Ipv4(address), to.port());
        let is_sent = bytes.len() <= self.largest_datagram()
            && self.sockets.get_mut::<udp::Socket<'_>>(port.0).send_slice(bytes, remote).is_ok();
        self.is_changed |= is_sent;
        is_sent
    }

    /// Takes the next datagram that has come: who sent it, and what `read` makes of it.
    pub fn receive_from<R>(&mut self, port: Datagrams, read: impl FnOnce(&[u8]) -> R) -> Option<(SocketAddr, R)> {
        let (bytes, metadata) = self.sockets.get_mut::<udp::Socket<'_>>(port.0).recv().ok()?;
        let IpAddress::Ipv4(from) = metadata.endpoint.addr;
        Some((SocketAddr::new(from.into(), metadata.endpoint.port), read(bytes)))
    }

    /// Returns a socket that is closed, as new.
    fn take_socket(&mut self) -> Result<SocketHandle, StackError> {
        self.reap();
        let handle = match self.spare.pop() {
            Some(handle) => handle,
            None if self.connections >= self.settings.max_connections => {
                return Err(StackError::TooManyConnections(self.connections));
            }
            None => {
                let buffer = |bytes| tcp::SocketBuffer::new(vec![0; bytes]);
                let Settings { receive_buffer, send_buffer, .. } = self.settings;
                self.connections += 1;
                self.sockets.add(tcp::Socket::new(buffer(receive_buffer), buffer(send_buffer)))
            }
        };
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle);
        // What leaves and when is not the stack's to say; nor is the time.
        socket.set_congestion_control(tcp::CongestionControl::None);
        socket.set_ack_delay(None);
        socket.set_tsval_generator(Some(|| 0));
        socket.set_nagle_enabled(self.settings.nagle);
        Ok(handle)
    }

    /// Finds the sockets that have come to their end.
    fn reap(&mut self) {
        let Self { sockets, ending, spare, .. } = self;
        ending.retain(|handle| {
            let is_open = sockets.get::<tcp::Socket<'_>>(*handle).is_open();
            if !is_open {
                spare.push(*handle);
            }
            is_open
        });
    }

    pub(super) fn arrive(&mut self, packet: Vec<u8>, now: Instant) {
        self.linux.arrive(packet, now);
        self.linux.for_stack().for_each(|packet| self.packets.arrive(packet));
    }

    /// Takes in what has arrived, and makes the packets that leave.
    pub(super) fn poll(&mut self, now: Instant, out: &mut Outbox) {
        let time = self.time(now);
        self.packets.refill(|| out.buffer());
        self.interface.poll(time, &mut self.packets, &mut self.sockets);
        self.packets.leave().for_each(|packet| self.linux.leave(packet, now));
        if self.linux.take_is_less() {
            self.forget();
        }
        self.linux.flush(now);
        if let Some((port, handle)) = self.listener
            && !matches!(self.sockets.get::<tcp::Socket<'_>>(handle).state(), tcp::State::Listen)
        {
            self.accepted.push(Connection(handle));
            self.listener = None;
            self.wait_for_another(port);
        }
    }

    /// Listens on with another socket. Without one, whoever calls is refused until a connection ends.
    fn wait_for_another(&mut self, port: u16) {
        if let Ok(handle) = self.take_socket() {
            let is_listening = self.sockets.get_mut::<tcp::Socket<'_>>(handle).listen(port).is_ok();
            debug_assert!(is_listening, "it was listened on before");
            self.listener = Some((port, handle));
        }
    }

    /// Has nothing more be known of connections that are none any more.
    fn forget(&mut self) {
        let known = self.sockets.iter().filter_map(|(_, socket)| match socket {
            Socket::Tcp(socket) => tuple(socket),
            Socket::Udp(_) => None,
        });
        let known: BTreeSet<Tuple> = known.collect();
        self.linux.retain(|tuple| known.contains(tuple));
    }

    pub(super) fn leave(&mut self) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.linux.leaving()
    }

    /// Tells, once, whether the application has done something.
    pub(super) fn take_is_changed(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }

    /// Returns when there is something to do, later than `now`.
    pub(super) fn next_timeout(&mut self, now: Instant) -> Option<Instant> {
        let time = self.time(now);
        let of_stack = self.interface.poll_at(time, &self.sockets).and_then(|due| {
            // It counts microseconds: what is due within this one is due at the next.
            let due = due.max(time + StackDuration::from_micros(1));
            self.start.map(|start| start + Duration::from_micros(due.total_micros() as u64))
        });
        // What is not done now is due later.
        let of_linux = self.linux.next_timeout().map(|due| due.max(now + Duration::from_nanos(1)));
        [of_stack, of_linux].into_iter().flatten().min()
    }

    fn time(&mut self, now: Instant) -> StackInstant {
        let start = *self.start.get_or_insert(now);
        let passed = now.saturating_duration_since(start).as_micros();
        StackInstant::from_micros(i64::try_from(passed).unwrap_or(i64::MAX))
    }
}

/// Returns the two ends of a socket that has some.
fn tuple(socket: &tcp::Socket<'_>) -> Option<Tuple> {
    let [local, remote] = [socket.local_endpoint()?, socket.remote_endpoint()?].map(|endpoint| {
        let IpAddress::Ipv4(address) = endpoint.addr;
        (address, endpoint.port)
    });
    Some(Tuple { local, remote })
}
