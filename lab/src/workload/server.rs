//! Who answers: requests on connections, and streams of datagrams.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Lateness;
use super::framing::{Ask, Incoming, MAX_PART, Outgoing, Part, REQUEST};
use super::http3;
use super::plan::MAX_STREAMS;
use crate::hosts::{Application, Connection, Datagrams, Sockets};

/// The port of connections.
pub(super) const PORT: u16 = 443;

/// The port of datagrams.
pub(super) const STREAMS: u16 = 3_478;

/// The most answers on one connection at once: others wait, and so does who asked.
const MAX_ANSWERS: usize = 1_000;

/// Answers what it is asked for: with as many bytes as the request says, after the time it says.
#[derive(Debug, Default)]
pub struct Server {
    port: Option<Datagrams>,
    lines: Vec<Line>,
    http3: http3::Server,
    streams: Vec<Replies>,
}

#[derive(Debug)]
struct Line {
    connection: Connection,
    incoming: Incoming<REQUEST>,
    /// When each answer begins.
    thinking: Vec<(Instant, Ask)>,
    /// The answers that take turns, and what is left of each.
    answers: VecDeque<(u32, u32)>,
    out: Outgoing,
}

#[derive(Debug)]
struct Replies {
    to: SocketAddr,
    next: Instant,
    every: Duration,
    count: u32,
    bytes: usize,
    /// How many have been sent: the next one's number.
    sent: u32,
    received: Lateness,
}

/// What a datagram of the client's says: the time between two, how many there are still, and how large the server's are.
pub(super) fn datagram(every: Duration, left: u32, down: u16, up: u16) -> Vec<u8> {
    let mut bytes = vec![0; up.into()];
    let every = u32::try_from(every.as_micros()).unwrap_or(u32::MAX);
    bytes[..4].copy_from_slice(&every.to_be_bytes());
    bytes[4..8].copy_from_slice(&left.to_be_bytes());
    bytes[8..10].copy_from_slice(&down.to_be_bytes());
    bytes
}

impl Server {
    /// Returns a server that draws what QUIC draws from a seed; [`Server::default`] has 0.
    pub fn new(seed: u64) -> Self {
        Self { http3: http3::Server::new(seed), ..Self::default() }
    }

    fn begin(&mut self, sockets: &mut dyn Sockets) {
        if self.port.is_none() {
            // A stack that has just been made has room for both.
            let _ = sockets.listen(PORT);
            self.port = sockets.bind(STREAMS).ok();
        }
    }

    fn reply(&mut self, now: Instant, sockets: &mut dyn Sockets) {
        let Some(port) = self.port else { return };
        let mut head = None;
        while let Some(from) = sockets.receive_from(port, &mut |bytes| head = bytes.first_chunk::<12>().copied()) {
            let Some(head) = head else { continue };
            let number = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            let (every, left) = (Duration::from_micros(number(0).max(1_000).into()), number(4));
            let known = self.streams.iter_mut().find(|stream| stream.to == from);
            if let Some(stream) = known {
                stream.received.note(stream.count.saturating_sub(left), stream.every, now);
                continue;
            }
            if self.streams.len() >= MAX_STREAMS {
                // The oldest that is over gives way.
                let Some(over) = self.streams.iter().position(|stream| stream.sent >= stream.count) else { continue };
                self.streams.remove(over);
            }
            let bytes = u16::from_be_bytes([head[8], head[9]]).max(4).into();
            let mut received = Lateness::default();
            received.note(0, every, now);
            self.streams.push(Replies { to: from, next: now, every, count: left, bytes, sent: 0, received });
        }
        for stream in &mut self.streams {
            while stream.sent < stream.count && stream.next <= now {
                let mut bytes = vec![0; stream.bytes];
                bytes[..4].copy_from_slice(&stream.sent.to_be_bytes());
                sockets.send_to(port, stream.to, &bytes);
                stream.next += stream.every;
                stream.sent += 1;
            }
        }
    }

    /// Forgets the streams that it has had: what comes from the same ports is another's.
    pub fn forget_streams(&mut self) {
        self.streams.clear();
    }

    /// Returns how much later the datagrams of each of the last 16 streams came than the quickest of theirs.
    pub fn late(&self) -> Vec<Duration> {
        self.streams.iter().flat_map(|stream| stream.received.times()).collect()
    }
}

impl Line {
    fn new(connection: Connection) -> Self {
        let (incoming, out) = (Incoming::default(), Outgoing::default());
        Self { connection, incoming, thinking: Vec::new(), answers: VecDeque::new(), out }
    }

    fn act(&mut self, now: Instant, sockets: &mut dyn Sockets) {
        // Who has as many as it may have reads on when some are gone: nobody says a second time that something has come.
        while !self.take_and_answer(now, sockets) && self.has_room() {}
    }

    fn has_room(&self) -> bool {
        self.thinking.len() + self.answers.len() < MAX_ANSWERS
    }

    /// Reads requests, if there is room for some, and answers what is due; tells whether it read.
    fn take_and_answer(&mut self, now: Instant, sockets: &mut dyn Sockets) -> bool {
        let reads = self.has_room();
        let Self { connection, incoming, thinking, answers, out } = self;
        if reads {
            sockets.receive(*connection, &mut |bytes| {
                let body = |head: &[u8; REQUEST]| Ask::parse(head).body();
                incoming.take(bytes, body, |head| {
                    let ask = Ask::parse(head);
                    thinking.push((now + ask.think, ask));
                });
            });
        }
        thinking.retain(|(begins, ask)| {
            if *begins <= now {
                answers.push_back((ask.id, ask.down));
            }
            *begins > now
        });
        loop {
            out.flush(|bytes| sockets.send(*connection, bytes));
            if !out.is_empty() || sockets.room(*connection) == 0 {
                return reads;
            }
            let Some((id, left)) = answers.pop_front() else { return reads };
            let length = left.min(MAX_PART);
            let is_last = length == left;
            out.push(Part { id, length, is_last }.head(), length);
            if !is_last {
                answers.push_back((id, left - length));
            }
        }
    }
}

impl Application for Server {
    fn act(&mut self, now: Instant, sockets: &mut dyn Sockets) {
        self.begin(sockets);
        while let Some(connection) = sockets.accept() {
            self.lines.push(Line::new(connection));
        }
        self.lines.retain_mut(|line| {
            line.act(now, sockets);
            let is_open = sockets.may_receive(line.connection);
            if !is_open {
                sockets.close(line.connection);
            }
            is_open
        });
        self.http3.act(now, sockets);
        self.reply(now, sockets);
    }

    fn next_timeout(&self) -> Option<Instant> {
        let thinking = self.lines.iter().flat_map(|line| line.thinking.iter().map(|(begins, _)| *begins));
        let streams = self.streams.iter().filter(|stream| stream.sent < stream.count).map(|stream| stream.next);
        thinking.chain(streams).chain(self.http3.next_timeout()).min()
    }
}
