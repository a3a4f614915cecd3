//! A port for datagrams, and the connections on it.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::{ClientConfig, Connection, ConnectionHandle, DatagramEvent, VarInt};

use super::settings;
use crate::hosts::{Datagrams, Stack, StackError};

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
    pub(crate) fn new(port: u16, is_server: bool, seed: u64, stack: &mut Stack) -> Result<Self, StackError> {
        let largest = stack.largest_datagram();
        let config = settings::endpoint(seed, largest);
        let server = is_server.then(|| Arc::new(settings::server(largest, CONNECTIONS)));
        Ok(Self {
            port: stack.bind(port)?,
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
    pub(crate) fn receive(&mut self, now: Instant, stack: &mut Stack) {
        while let Some((from, bytes)) = stack.receive_from(self.port, |bytes| BytesMut::from(bytes)) {
            self.take(from, bytes, now, stack);
        }
        for connection in self.connections.values_mut() {
            if connection.poll_timeout().is_some_and(|due| due <= now) {
                connection.handle_timeout(now);
            }
        }
    }

    fn take(&mut self, from: SocketAddr, bytes: BytesMut, now: Instant, stack: &mut Stack) {
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
            self.transmit(response.destination, response.size, stack);
        }
    }

    /// Sends what can be sent, and forgets connections that have ended.
    pub(crate) fn send(&mut self, now: Instant, stack: &mut Stack) {
        self.tell_endpoint();
        self.connections.retain(|_, connection| !connection.is_drained());
        while let Some((to, bytes)) = self.waiting.front() {
            if !stack.send_to(self.port, *to, bytes) {
                break;
            }
            self.waiting.pop_front();
        }
        for handle in self.connections.keys().copied().collect::<Vec<_>>() {
            while self.waiting.is_empty() {
                self.buffer.clear();
                let Some(connection) = self.connections.get_mut(&handle) else { break };
                let Some(made) = connection.poll_transmit(now, 1, &mut self.buffer) else { break };
                self.transmit(made.destination, made.size, stack);
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
    fn transmit(&mut self, to: SocketAddr, size: usize, stack: &mut Stack) {
        let bytes = &self.buffer[..size];
        // What is larger would wait forever. A path that takes no 1,200 bytes carries no QUIC, and the connection breaks.
        if size <= self.largest && !stack.send_to(self.port, to, bytes) {
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
    pub(crate) fn unbind(self, stack: &mut Stack) {
        stack.unbind(self.port);
    }

    /// Returns when it has something to do whatever arrives, as of the last [`send`](Self::send).
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.due
    }
}
