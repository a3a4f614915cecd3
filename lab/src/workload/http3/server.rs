//! Who answers over QUIC.

use std::collections::BTreeMap;
use std::time::Instant;

use quinn_proto::{Connection, ConnectionHandle, Dir, Event, StreamEvent, StreamId};

use super::super::framing::{Ask, Incoming, Outgoing, Part, REQUEST};
use super::super::server::PORT;
use super::{Stream, read, write};
use crate::hosts::Sockets;
use crate::quic::Endpoint;

/// A server's connections, from the first time that it acts.
#[derive(Debug, Default)]
pub(in super::super) struct Server {
    seed: u64,
    endpoint: Option<Endpoint>,
    lines: BTreeMap<ConnectionHandle, Line>,
}

/// A connection. Its streams are as many as the settings allow at once.
#[derive(Debug, Default)]
struct Line {
    asking: BTreeMap<StreamId, Incoming<REQUEST>>,
    /// When each answer begins.
    thinking: Vec<(Instant, StreamId, Ask)>,
    answers: BTreeMap<StreamId, Outgoing>,
}

impl Server {
    pub(in super::super) fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    pub(in super::super) fn act(&mut self, now: Instant, sockets: &mut dyn Sockets) {
        if self.endpoint.is_none() {
            // A stack that has just been made has room for it.
            self.endpoint = Endpoint::new(PORT, true, self.seed, sockets).ok();
        }
        let Some(endpoint) = &mut self.endpoint else { return };
        endpoint.receive(now, sockets);
        for (handle, connection) in endpoint.connections() {
            let line = self.lines.entry(handle).or_default();
            if !line.act(connection, now) {
                self.lines.remove(&handle);
            }
        }
        endpoint.send(now, sockets);
    }

    pub(in super::super) fn next_timeout(&self) -> Option<Instant> {
        let thinking = self.lines.values().flat_map(|line| line.thinking.iter().map(|(begins, ..)| *begins));
        thinking.chain(self.endpoint.as_ref().and_then(Endpoint::next_timeout)).min()
    }
}

impl Line {
    /// Does what has become possible; tells whether the connection is there still.
    fn act(&mut self, connection: &mut Connection, now: Instant) -> bool {
        while let Some(event) = connection.poll() {
            match event {
                Event::ConnectionLost { .. } => return false,
                Event::Stream(StreamEvent::Opened { dir }) => {
                    while let Some(id) = connection.streams().accept(dir) {
                        self.asking.insert(id, Incoming::default());
                        self.read(connection, id, now);
                    }
                }
                Event::Stream(StreamEvent::Readable { id }) => self.read(connection, id, now),
                Event::Stream(StreamEvent::Writable { id }) => self.answer(connection, id),
                Event::Stream(StreamEvent::Stopped { id, error_code }) => {
                    // It may be over already.
                    let _ = connection.send_stream(id).reset(error_code);
                    self.thinking.retain(|(_, of, _)| *of != id);
                    self.answers.remove(&id);
                }
                Event::Stream(StreamEvent::Finished { .. } | StreamEvent::Available { .. })
                | Event::HandshakeDataReady
                | Event::Connected
                | Event::DatagramReceived
                | Event::DatagramsUnblocked => {}
            }
        }
        let due: Vec<_> = self.thinking.extract_if(.., |(begins, ..)| *begins <= now).collect();
        for (_, stream, Ask { id, down, .. }) in due {
            let mut out = Outgoing::default();
            out.push(Part { id, length: down, is_last: true }.short_head(), down);
            self.answers.insert(stream, out);
            self.answer(connection, stream);
        }
        !connection.is_closed()
    }

    /// Reads a request. What comes after it on its stream is nobody's.
    fn read(&mut self, connection: &mut Connection, id: StreamId, now: Instant) {
        let Self { asking, thinking, .. } = self;
        let Some(incoming) = asking.get_mut(&id) else { return };
        let mut asked = None;
        let became = read(connection, id, |bytes| {
            let body = |head: &[u8; REQUEST]| Ask::parse(head).body();
            incoming.take(bytes, body, |head| asked = asked.or(Some(Ask::parse(head))));
        });
        if let Some(ask) = asked
            && !thinking.iter().any(|(_, of, _)| *of == id)
            && !self.answers.contains_key(&id)
            && id.dir() == Dir::Bi
        {
            thinking.push((now + ask.think, id, ask));
        }
        if became != Stream::Open {
            asking.remove(&id);
        }
    }

    fn answer(&mut self, connection: &mut Connection, id: StreamId) {
        if let Some(out) = self.answers.get_mut(&id)
            && write(connection, id, out) != Stream::Open
        {
            self.answers.remove(&id);
        }
    }
}
