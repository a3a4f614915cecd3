//! A port for datagrams, and the connections on it.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::{ClientConfig, Connection, ConnectionHandle, DatagramEvent, VarInt};

use super::settings;
use crate::hosts::{Datagrams, SocketError, Sockets};

/// The most connections at once.
const CONNECTIONS: usize = 64;

/// The most datagrams that wait for room in the host's socket. Connections make no more while one waits; what they may exceed it by are
/// answers to datagrams of no connection, which nobody misses.
const WAITING: usize = 64;

/// How soon room is looked for again.
const RETRY: Duration = Duration::from_micros(100);

/// One end of connections: whoever has it calls [`receive`](Self::receive), does what has become possible on
/// [`connections`](Self::connections), and then calls [`send`](Self::send).
pub(crate) struct Endpoint {
    port: Datagrams,
    /// Bytes of the largest datagram that the host sends.
    largest: usize,
    inner: quinn_proto::Endpoint,
    client: ClientConfig,
    connections: BTreeMap<ConnectionHandle, Connection>,
    /// Datagrams that the host had no room for.
    waiting: VecDeque<(SocketAddr, Vec<u8>)>,
    /// Where datagrams are made.
    buffer: Vec<u8>,
    due: Option<Instant>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("port", &self.port).field("connections", &self.connections.len()).finish()
    }
}

impl Endpoint {
    /// Returns an endpoint that takes connections at a port, or takes none.
    ///
    /// # Errors
    /// When the port is 0.
    pub(crate) fn new(port: u16, is_server: bool, seed: u64, sockets: &mut dyn Sockets) -> Result<Self, SocketError> {
        let largest = sockets.largest_datagram();
        let config = settings::endpoint(seed, largest);
        let server = is_server.then(|| Arc::new(settings::server(largest, CONNECTIONS)));
        Ok(Self {
            port: sockets.bind(port)?,
            largest,
            inner: quinn_proto::Endpoint::new(Arc::new(config), server, true, None),
            client: settings::client(seed, largest),
            connections: BTreeMap::new(),
            waiting: VecDeque::new(),
            buffer: Vec::new(),
            due: None,
        })
    }

    /// Begins a connection; `None` when there are too many, or the address cannot be.
    pub(crate) fn connect(&mut self, to: SocketAddr, now: Instant) -> Option<ConnectionHandle> {
        if self.connections.len() >= CONNECTIONS {
            return None;
        }
        let (handle, connection) = self.inner.connect(now, self.client.clone(), to, "origin").ok()?;
        self.connections.insert(handle, connection);
        Some(handle)
    }

    /// Returns a connection, until [`send`](Self::send) after its end.
    pub(crate) fn connection(&mut self, handle: ConnectionHandle) -> Option<&mut Connection> {
        self.connections.get_mut(&handle)
    }

    /// Returns all connections; those that have ended say so, and are gone after [`send`](Self::send).
    pub(crate) fn connections(&mut self) -> impl Iterator<Item = (ConnectionHandle, &mut Connection)> {
        self.connections.iter_mut().map(|(handle, connection)| (*handle, connection))
    }

    /// Takes in what has arrived, and the time.
    pub(crate) fn receive(&mut self, now: Instant, sockets: &mut dyn Sockets) {
        let mut received = BytesMut::new();
        while let Some(from) = sockets.receive_from(self.port, &mut |bytes| received.extend_from_slice(bytes)) {
            self.take(from, received.split(), now, sockets);
        }
        for connection in self.connections.values_mut() {
            if connection.poll_timeout().is_some_and(|due| due <= now) {
                connection.handle_timeout(now);
            }
        }
    }

    fn take(&mut self, from: SocketAddr, bytes: BytesMut, now: Instant, sockets: &mut dyn Sockets) {
        self.buffer.clear();
        let response = match self.inner.handle(now, from, None, None, bytes, &mut self.buffer) {
            None => None,
            Some(DatagramEvent::Response(response)) => Some(response),
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(connection) = self.connections.get_mut(&handle) {
                    connection.handle_event(event);
                }
                None
            }
            Some(DatagramEvent::NewConnection(incoming)) if self.connections.len() >= CONNECTIONS => {
                Some(self.inner.refuse(incoming, &mut self.buffer))
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                match self.inner.accept(incoming, now, &mut self.buffer, None) {
                    Ok((handle, connection)) => {
                        self.connections.insert(handle, connection);
                        None
                    }
                    Err(refusal) => refusal.response,
                }
            }
        };
        if let Some(response) = response
            && self.waiting.len() < WAITING
        {
            self.transmit(response.destination, response.size, sockets);
        }
    }

    /// Sends what can be sent, and forgets connections that have ended.
    pub(crate) fn send(&mut self, now: Instant, sockets: &mut dyn Sockets) {
        self.tell_endpoint();
        self.connections.retain(|_, connection| !connection.is_drained());
        while let Some((to, bytes)) = self.waiting.front() {
            if !sockets.send_to(self.port, *to, bytes) {
                break;
            }
            self.waiting.pop_front();
        }
        for handle in self.connections.keys().copied().collect::<Vec<_>>() {
            while self.waiting.is_empty() {
                self.buffer.clear();
                let Some(connection) = self.connections.get_mut(&handle) else { break };
                let Some(made) = connection.poll_transmit(now, 1, &mut self.buffer) else { break };
                self.transmit(made.destination, made.size, sockets);
            }
        }
        let timeouts = self.connections.values_mut().filter_map(Connection::poll_timeout);
        let retry = (!self.waiting.is_empty()).then(|| now + RETRY);
        // Whatever is due now has been done, as far as it could be.
        self.due = timeouts.chain(retry).min().map(|due| due.max(now + Duration::from_micros(1)));
    }

    /// Passes on what connections have to say to the endpoint: new ids, and that they have ended, after which their handle is another's.
    fn tell_endpoint(&mut self) {
        for (handle, connection) in &mut self.connections {
            while let Some(event) = connection.poll_endpoint_events() {
                if let Some(event) = self.inner.handle_event(*handle, event) {
                    connection.handle_event(event);
                }
            }
        }
    }

    /// Sends the datagram in the buffer, or has it wait.
    fn transmit(&mut self, to: SocketAddr, size: usize, sockets: &mut dyn Sockets) {
        let bytes = &self.buffer[..size];
        // What is larger would wait forever. A path that takes no 1,200 bytes carries no QUIC, and the connection breaks.
        if size <= self.largest && !sockets.send_to(self.port, to, bytes) {
            self.waiting.push_back((to, bytes.to_vec()));
        }
    }

    /// Ends all connections. The other ends hear of it by the next [`send`](Self::send).
    pub(crate) fn close(&mut self, now: Instant) {
        for connection in self.connections.values_mut() {
            connection.close(now, VarInt::from_u32(0), bytes::Bytes::new());
        }
    }

    /// Gives the port back.
    pub(crate) fn unbind(self, sockets: &mut dyn Sockets) {
        sockets.unbind(self.port);
    }

    /// Returns when it has something to do whatever arrives, as of the last [`send`](Self::send).
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use quinn_proto::Event;

    use super::*;
    use crate::hosts::{Application, Settings, TcpHost};
    use crate::virtual_network::{Link, Network, Node};

    const MS: Duration = Duration::from_millis(1);
    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    /// Begins connections or takes them, and counts those that are there, and those that are no more.
    #[derive(Default)]
    struct Connections {
        endpoint: Option<Endpoint>,
        begin: usize,
        /// Whether other datagrams take all the room first.
        fill: bool,
        connected: usize,
        lost: usize,
        most_waiting: usize,
    }

    impl Connections {
        fn client(begin: usize, fill: bool) -> Self {
            Self { begin, fill, ..Self::default() }
        }
    }

    impl Application for Connections {
        fn act(&mut self, now: Instant, sockets: &mut dyn Sockets) {
            let to = SocketAddr::new(SERVER.into(), 443);
            let is_server = sockets.address() == SERVER;
            let seed = u32::from(sockets.address()).into();
            let endpoint = self.endpoint.get_or_insert_with(|| Endpoint::new(443, is_server, seed, sockets).unwrap());
            endpoint.receive(now, sockets);
            for (_, connection) in endpoint.connections() {
                while let Some(event) = connection.poll() {
                    self.connected += usize::from(matches!(event, Event::Connected));
                    self.lost += usize::from(matches!(event, Event::ConnectionLost { .. }));
                }
            }
            for _ in 0..std::mem::take(&mut self.begin) {
                endpoint.connect(to, now).unwrap();
            }
            while self.fill && sockets.send_to(endpoint.port, to, &[0; 1_000]) {}
            self.fill = false;
            endpoint.send(now, sockets);
            self.most_waiting = self.most_waiting.max(endpoint.waiting.len());
            assert!(endpoint.due.is_none_or(|due| due > now));
        }

        fn next_timeout(&self) -> Option<Instant> {
            self.endpoint.as_ref()?.next_timeout()
        }
    }

    /// Returns a server and clients, after so long.
    fn after(time: Duration, clients: impl IntoIterator<Item = Connections>) -> (Connections, Vec<Connections>) {
        let mut network = Network::new(1, ());
        let mut add = |address: Ipv4Addr, of| -> Node {
            network.add(address.into(), TcpHost::new(address, 1, &Settings::default(), of))
        };
        let server = add(SERVER, Connections::default());
        let clients: Vec<_> = (1..)
            .zip(clients)
            .map(|(number, client): (u8, Connections)| add(Ipv4Addr::new(10, 1, 0, number), client))
            .collect();
        network.act(server, |host, now, out| host.wake(now, out));
        for client in &clients {
            network.link_both(*client, server, &Link { headers: 0, ..Link::with_delay(10 * MS) });
            network.act(*client, |host, now, out| host.wake(now, out));
        }
        network.run_for(time);
        let mut take = |node| network.act(node, |host, _, _| std::mem::take(&mut host.application));
        (take(server), clients.into_iter().map(take).collect())
    }

    #[test]
    fn a_datagram_that_finds_no_room_waits_and_is_not_lost() {
        // Less than a probe timeout, after which a lost one would be sent again (RFC 9002, section 6.2).
        let (server, clients) = after(100 * MS, [Connections::client(1, true)]);
        assert_eq!((clients[0].most_waiting, clients[0].connected, server.connected), (1, 1, 1));
    }

    #[test]
    fn a_server_refuses_more_connections_than_it_may_have() {
        let (server, clients) = after(100 * MS, [40, 40].map(|begin| Connections::client(begin, false)));
        assert_eq!(server.connected, CONNECTIONS);
        let [connected, lost] = [|client: &Connections| client.connected, |client: &Connections| client.lost]
            .map(|count| clients.iter().map(count).sum::<usize>());
        assert_eq!((connected, lost), (CONNECTIONS, 80 - CONNECTIONS));
    }

    #[test]
    fn connections_that_nobody_uses_end_after_half_a_minute() {
        let (server, clients) = after(29_000 * MS, [Connections::client(3, false)]);
        assert_eq!((server.lost, clients[0].lost), (0, 0));
        let (mut server, mut clients) = after(40_000 * MS, [Connections::client(3, false)]);
        for of in [&mut server, &mut clients[0]] {
            let endpoint = of.endpoint.as_mut().unwrap();
            assert_eq!((of.connected, of.lost), (3, 3));
            assert!(endpoint.connections.is_empty() && endpoint.inner.open_connections() == 0);
            assert_eq!(endpoint.next_timeout(), None, "nothing is waited for");
        }
    }
}
