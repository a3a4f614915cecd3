//! Who asks over QUIC.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use quinn_proto::{Connection, ConnectionHandle, Dir, Event, StreamEvent, StreamId};

use super::super::framing::{Ask, Incoming, Outgoing, PART, Part};
use super::{Stream, read, write};
use crate::hosts::Sockets;
use crate::quic::Endpoint;

/// The port that all connections of a browser come from.
const PORT: u16 = 50_443;

/// A browser's connections.
#[derive(Debug)]
pub(in super::super) struct Client {
    server: SocketAddr,
    seed: u64,
    /// Made when it is first asked for something.
    endpoint: Option<Endpoint>,
    lines: Vec<Line>,
    broken: usize,
    bytes: u64,
    is_leaving: bool,
}

#[derive(Debug)]
struct Line {
    origin: usize,
    handle: ConnectionHandle,
    /// Requests that wait for the handshake, or for a stream.
    held: VecDeque<Ask>,
    exchanges: BTreeMap<StreamId, Exchange>,
}

#[derive(Debug)]
struct Exchange {
    out: Outgoing,
    incoming: Incoming<PART>,
}

impl Client {
    pub(in super::super) fn new(server: SocketAddr, seed: u64) -> Self {
        Self { server, seed, endpoint: None, lines: Vec::new(), broken: 0, bytes: 0, is_leaving: false }
    }

    /// Returns the connections that broke.
    pub(in super::super) fn broken(&self) -> usize {
        self.broken
    }

    /// Returns the bytes that have come on streams.
    pub(in super::super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes in what has arrived, and returns the requests whose answer is complete.
    pub(in super::super) fn read(&mut self, now: Instant, sockets: &mut dyn Sockets) -> Vec<usize> {
        let Self { endpoint, lines, broken, bytes, .. } = self;
        let mut complete = Vec::new();
        let Some(endpoint) = endpoint else { return complete };
        endpoint.receive(now, sockets);
        lines.retain_mut(|line| {
            let is_open =
                endpoint.connection(line.handle).is_some_and(|connection| line.read(connection, bytes, &mut complete));
            *broken += usize::from(!is_open);
            is_open
        });
        complete
    }

    /// Makes a request; tells whether there is or can be a connection for it.
    pub(in super::super) fn ask(&mut self, origin: usize, ask: Ask, now: Instant, sockets: &mut dyn Sockets) -> bool {
        if let Some(line) = self.lines.iter_mut().find(|line| line.origin == origin) {
            line.held.push_back(ask);
            return true;
        }
        if self.endpoint.is_none() {
            self.endpoint = Endpoint::new(PORT, false, self.seed, sockets).ok();
        }
        let connected = self.endpoint.as_mut().and_then(|endpoint| endpoint.connect(self.server, now));
        let Some(handle) = connected else { return false };
        self.lines.push(Line { origin, handle, held: VecDeque::from([ask]), exchanges: BTreeMap::new() });
        true
    }

    /// Sends what can be sent.
    pub(in super::super) fn send(&mut self, now: Instant, sockets: &mut dyn Sockets) {
        let Some(endpoint) = &mut self.endpoint else { return };
        for line in &mut self.lines {
            if let Some(connection) = endpoint.connection(line.handle) {
                line.ask(connection);
            }
        }
        endpoint.send(now, sockets);
    }

    /// Ends all connections, tells so whoever says something still, and gives the port back when that is over: three probe timeouts later
    /// (RFC 9000, section 10.2).
    pub(in super::super) fn leave(&mut self, now: Instant, sockets: &mut dyn Sockets) {
        self.lines.clear();
        let Some(endpoint) = &mut self.endpoint else { return };
        endpoint.receive(now, sockets);
        if !std::mem::replace(&mut self.is_leaving, true) {
            endpoint.close(now);
        }
        endpoint.send(now, sockets);
        if endpoint.connections().next().is_none() {
            self.endpoint.take().into_iter().for_each(|endpoint| endpoint.unbind(sockets));
        }
    }

    /// Tells whether no connection is left.
    pub(in super::super) fn has_left(&self) -> bool {
        self.endpoint.is_none()
    }

    pub(in super::super) fn next_timeout(&self) -> Option<Instant> {
        self.endpoint.as_ref()?.next_timeout()
    }
}

impl Line {
    /// Does what has become possible; tells whether the connection is there still.
    fn read(&mut self, connection: &mut Connection, bytes: &mut u64, complete: &mut Vec<usize>) -> bool {
        while let Some(event) = connection.poll() {
            match event {
                Event::ConnectionLost { .. } => return false,
                Event::Stream(StreamEvent::Readable { id }) => self.take(connection, id, bytes, complete),
                Event::Stream(StreamEvent::Writable { id }) => {
                    if let Some(exchange) = self.exchanges.get_mut(&id) {
                        write(connection, id, &mut exchange.out);
                    }
                }
                // That more streams may be opened is tried each time.
                Event::Stream(
                    StreamEvent::Opened { .. }
                    | StreamEvent::Finished { .. }
                    | StreamEvent::Stopped { .. }
                    | StreamEvent::Available { .. },
                )
                | Event::HandshakeDataReady
                | Event::Connected
                | Event::DatagramReceived
                | Event::DatagramsUnblocked => {}
            }
        }
        true
    }

    /// Reads an answer.
    fn take(&mut self, connection: &mut Connection, id: StreamId, received: &mut u64, complete: &mut Vec<usize>) {
        let Some(Exchange { incoming, .. }) = self.exchanges.get_mut(&id) else { return };
        let became = read(connection, id, |bytes| {
            *received += bytes.len() as u64;
            let whole = |head: &[u8; PART]| complete.push(Part::parse(head).id as usize);
            incoming.take(bytes, |head| Part::parse(head).length, whole);
        });
        if became != Stream::Open {
            self.exchanges.remove(&id);
        }
    }

    /// Opens streams for the requests that wait, as many as may be open at once.
    fn ask(&mut self, connection: &mut Connection) {
        while !self.held.is_empty() {
            let Some(id) = connection.streams().open(Dir::Bi) else { return };
            let Some(ask) = self.held.pop_front() else { return };
            let mut out = Outgoing::default();
            out.push(ask.head(), ask.body());
            write(connection, id, &mut out);
            self.exchanges.insert(id, Exchange { out, incoming: Incoming::default() });
        }
    }
}
