//! A TCP/IP stack without sockets or a clock.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::{Socket, tcp, udp};
use smoltcp::time::{Duration as StackDuration, Instant as StackInstant};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint};

use super::device::Packets;
use super::linux::{Linux, Tuple};
use super::{Connection, Datagrams, SocketError, Sockets};
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
    /// How long it takes until the host is at what has arrived: drawn each time, this long on average, up to five times as long now and then.
    /// What arrives meanwhile is taken with it, and acknowledged once. 0 is at once.
    pub wakeup: Duration,
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
            wakeup: Duration::ZERO,
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

/// A TCP/IP stack with one address.
pub struct Stack {
    address: Ipv4Addr,
    settings: Settings,
    interface: Interface,
    packets: Packets,
    linux: Linux,
    sockets: SocketSet<'static>,
    /// The sockets of connections, by number.
    connections: Vec<SocketHandle>,
    /// The sockets of ports for datagrams, by number: those that have been given back are none.
    ports: Vec<Option<SocketHandle>>,
    /// Given back, but possibly not at their end.
    ending: Vec<Connection>,
    /// At their end: used again, with their buffers.
    spare: Vec<Connection>,
    /// The port that is listened on, and who waits there.
    listener: Option<(u16, Connection)>,
    accepted: Vec<Connection>,
    next_port: u16,
    /// The instant that the stack's time began at.
    start: Option<Instant>,
    is_changed: bool,
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack").field("address", &self.address).field("connections", &self.connections.len()).finish()
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
            connections: Vec::new(),
            ports: Vec::new(),
            ending: Vec::new(),
            spare: Vec::new(),
            listener: None,
            accepted: Vec::new(),
            next_port,
            start: None,
            is_changed: false,
        }
    }

    fn socket(&self, connection: Connection) -> &tcp::Socket<'static> {
        self.sockets.get(self.connections[connection.0])
    }

    fn socket_mut(&mut self, connection: Connection) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.connections[connection.0])
    }

    fn port_mut(&mut self, port: Datagrams) -> &mut udp::Socket<'static> {
        self.sockets.get_mut(self.ports[port.0].expect("a port that was given back is not used"))
    }

    fn give_back(&mut self, connection: Connection) {
        self.socket_mut(connection).close();
        self.ending.push(connection);
        self.is_changed = true;
    }

    /// Returns a socket that is closed, as new.
    fn take_socket(&mut self) -> Result<Connection, SocketError> {
        self.reap();
        let connection = match self.spare.pop() {
            Some(connection) => connection,
            None if self.connections.len() >= self.settings.max_connections => {
                return Err(SocketError::TooManyConnections(self.connections.len()));
            }
            None => {
                let buffer = |bytes| tcp::SocketBuffer::new(vec![0; bytes]);
                let Settings { receive_buffer, send_buffer, .. } = self.settings;
                let socket = tcp::Socket::new(buffer(receive_buffer), buffer(send_buffer));
                self.connections.push(self.sockets.add(socket));
                Connection(self.connections.len() - 1)
            }
        };
        let nagle = self.settings.nagle;
        let socket = self.socket_mut(connection);
        // What leaves and when is not the stack's to say; nor is the time.
        socket.set_congestion_control(tcp::CongestionControl::None);
        socket.set_ack_delay(None);
        socket.set_tsval_generator(Some(|| 0));
        socket.set_nagle_enabled(nagle);
        Ok(connection)
    }

    /// Finds the sockets that have come to their end.
    fn reap(&mut self) {
        let Self { sockets, connections, ending, spare, .. } = self;
        ending.retain(|connection| {
            let is_open = sockets.get::<tcp::Socket<'_>>(connections[connection.0]).is_open();
            if !is_open {
                spare.push(*connection);
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
        self.take_in(now, out);
        self.linux.flush(now);
    }

    /// Takes in what has arrived: what comes of it waits for [`poll`](Self::poll).
    pub(super) fn take_in(&mut self, now: Instant, out: &mut Outbox) {
        let time = self.time(now);
        self.packets.refill(|| out.buffer());
        self.interface.poll(time, &mut self.packets, &mut self.sockets);
        self.packets.leave().for_each(|packet| self.linux.leave(packet, now));
        if self.linux.take_is_less() {
            self.forget();
        }
        if let Some((port, connection)) = self.listener
            && !matches!(self.socket(connection).state(), tcp::State::Listen)
        {
            self.accepted.push(connection);
            self.listener = None;
            self.wait_for_another(port);
        }
    }

    /// Listens on with another socket. Without one, whoever calls is refused until a connection ends.
    fn wait_for_another(&mut self, port: u16) {
        if let Ok(connection) = self.take_socket() {
            let is_listening = self.socket_mut(connection).listen(port).is_ok();
            debug_assert!(is_listening, "it was listened on before");
            self.listener = Some((port, connection));
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

impl Sockets for Stack {
    fn address(&self) -> Ipv4Addr {
        self.address
    }

    fn connect(&mut self, to: SocketAddr) -> Result<Connection, SocketError> {
        let unusable = SocketError::Unusable(to);
        let IpAddr::V4(address) = to.ip() else { return Err(unusable) };
        let connection = self.take_socket()?;
        let port = self.next_port;
        self.next_port = if port == u16::MAX { FIRST_PORT } else { port + 1 };
        let remote = IpEndpoint::new(IpAddress::Ipv4(address), to.port());
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.connections[connection.0]);
        let connected = socket.connect(self.interface.context(), remote, port);
        self.is_changed = true;
        if connected.is_err() {
            self.ending.push(connection);
            return Err(unusable);
        }
        Ok(connection)
    }

    fn listen(&mut self, port: u16) -> Result<(), SocketError> {
        if let Some((_, before)) = self.listener.take() {
            self.give_back(before);
        }
        let connection = self.take_socket()?;
        if self.socket_mut(connection).listen(port).is_err() {
            self.ending.push(connection);
            return Err(SocketError::Unusable(SocketAddr::new(self.address.into(), port)));
        }
        self.listener = Some((port, connection));
        Ok(())
    }

    fn accept(&mut self) -> Option<Connection> {
        (!self.accepted.is_empty()).then(|| self.accepted.remove(0))
    }

    fn may_receive(&self, connection: Connection) -> bool {
        let socket = self.socket(connection);
        socket.may_recv() || matches!(socket.state(), tcp::State::SynSent | tcp::State::SynReceived)
    }

    fn room(&self, connection: Connection) -> usize {
        let socket = self.socket(connection);
        let buffer = tuple(socket).map_or(usize::MAX, |tuple| self.linux.buffer(&tuple)).min(socket.send_capacity());
        if socket.may_send() { buffer.saturating_sub(socket.send_queue()) } else { 0 }
    }

    fn send(&mut self, connection: Connection, bytes: &[u8]) -> usize {
        let bytes = &bytes[..bytes.len().min(self.room(connection))];
        let sent = self.socket_mut(connection).send_slice(bytes).unwrap_or(0);
        self.is_changed |= sent > 0;
        sent
    }

    fn receive(&mut self, connection: Connection, read: &mut dyn FnMut(&[u8])) {
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.connections[connection.0]);
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

    fn close(&mut self, connection: Connection) {
        self.give_back(connection);
    }

    fn bind(&mut self, port: u16) -> Result<Datagrams, SocketError> {
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; DATAGRAMS], vec![0; DATAGRAM_BYTES]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        let unusable = SocketError::Unusable(SocketAddr::new(self.address.into(), port));
        socket.bind(port).map_err(|_| unusable)?;
        let number = self.ports.iter().position(Option::is_none).unwrap_or(self.ports.len());
        self.ports.resize(self.ports.len().max(number + 1), None);
        self.ports[number] = Some(self.sockets.add(socket));
        Ok(Datagrams(number))
    }

    fn unbind(&mut self, port: Datagrams) {
        if let Some(handle) = self.ports[port.0].take() {
            self.sockets.remove(handle);
        }
    }

    fn largest_datagram(&self) -> usize {
        self.settings.mtu - 28
    }

    fn send_to(&mut self, port: Datagrams, to: SocketAddr, bytes: &[u8]) -> bool {
        let IpAddr::V4(address) = to.ip() else { return false };
        let remote = IpEndpoint::new(IpAddress::Ipv4(address), to.port());
        let is_sent = bytes.len() <= self.largest_datagram() && self.port_mut(port).send_slice(bytes, remote).is_ok();
        self.is_changed |= is_sent;
        is_sent
    }

    fn receive_from(&mut self, port: Datagrams, read: &mut dyn FnMut(&[u8])) -> Option<SocketAddr> {
        let (bytes, metadata) = self.port_mut(port).recv().ok()?;
        let IpAddress::Ipv4(from) = metadata.endpoint.addr;
        read(bytes);
        Some(SocketAddr::new(from.into(), metadata.endpoint.port))
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
