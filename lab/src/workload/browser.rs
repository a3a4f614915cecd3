//! Who asks: a plan's requests as they become due, on its connections, and its streams.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::framing::{Ask, FRAME, Incoming, Outgoing, Part};
use super::http3;
use super::server::{PORT, STREAMS, datagram};
use super::{Lateness, Plan, Protocol};
use crate::hosts::{Application, Connection, Datagrams, Sockets};

/// The connections to an origin with HTTP/1.1: what browsers have.
const CONNECTIONS: usize = 6;

/// The first message of a connection and its answer, as in TLS 1.3 (RFC 8446, section 2): a hello that is padded to 517 bytes, as
/// browsers do, and certificates of some 4,000.
const HELLO: Ask = Ask { id: u32::MAX, up: 517, down: 4_000, think: Duration::ZERO };

/// Bytes of the client's last message of the handshake, which goes with its first request. It is answered too, as by a ticket.
const FINISHED: u32 = 74;

/// The first port that streams come from.
const FIRST_PORT: u16 = 40_000;

/// Does what a plan says, from the first time that it acts.
#[derive(Debug)]
pub struct Browser {
    plan: Plan,
    server: IpAddr,
    start: Option<Instant>,
    /// How many answers each request still waits for, and who waits for its own.
    waiting: Vec<(usize, Vec<usize>)>,
    /// Requests that will be made, by time.
    due: BTreeSet<(Instant, usize)>,
    /// Requests that can be made, by origin.
    ready: Vec<VecDeque<usize>>,
    lines: Vec<Line>,
    /// In place of these, over HTTP/3.
    http3: Option<http3::Client>,
    /// Answers that have not come.
    missing: usize,
    streams: Vec<Sending>,
    answered: Option<Instant>,
    broken: usize,
    /// Bytes that have come on connections.
    bytes: u64,
    is_leaving: bool,
}

#[derive(Debug)]
struct Line {
    origin: usize,
    connection: Connection,
    incoming: Incoming<FRAME>,
    out: Outgoing,
    is_greeted: bool,
    /// Requests that wait for the greeting.
    held: VecDeque<Ask>,
    /// Requests whose answer has not come.
    unanswered: usize,
}

#[derive(Debug)]
struct Sending {
    port: Option<Datagrams>,
    sent: u32,
    received: Lateness,
}

impl Browser {
    /// Returns a client that follows a plan with a server. What QUIC draws, ids of connections among it, is from `seed`: two clients of a
    /// server have different ones.
    pub fn new(plan: Plan, server: IpAddr, seed: u64) -> Self {
        let mut waiting: Vec<_> = plan.requests().iter().map(|request| (request.after.len(), Vec::new())).collect();
        for (number, request) in plan.requests().iter().enumerate() {
            request.after.iter().for_each(|after| waiting[*after].1.push(number));
        }
        let origins = plan.requests().iter().map(|request| request.origin + 1).max().unwrap_or(0);
        Self {
            missing: plan.requests().len(),
            streams: plan
                .streams()
                .iter()
                .map(|_| Sending { port: None, sent: 0, received: Lateness::default() })
                .collect(),
            http3: (plan.protocol() == Protocol::Http3)
                .then(|| http3::Client::new(SocketAddr::new(server, PORT), seed)),
            plan,
            server,
            start: None,
            waiting,
            due: BTreeSet::new(),
            ready: vec![VecDeque::new(); origins],
            lines: Vec::new(),
            answered: None,
            broken: 0,
            bytes: 0,
            is_leaving: false,
        }
    }

    /// Returns how long after its start the last answer was there and the last datagram sent; `None` before that.
    pub fn time(&self) -> Option<Duration> {
        Some(self.answered? - self.start?)
    }

    /// Returns how much later the datagrams of each stream came than the quickest of theirs.
    pub fn late(&self) -> Vec<Duration> {
        self.streams.iter().flat_map(|stream| stream.received.times()).collect()
    }

    /// Returns the bytes that have come on connections.
    pub fn bytes(&self) -> u64 {
        self.bytes + self.http3.as_ref().map_or(0, http3::Client::bytes)
    }

    /// Has it end its connections and streams when it acts next, and begin nothing any more.
    pub fn leave(&mut self) {
        self.is_leaving = true;
    }

    /// Tells whether it has left, and given back what it had of its host. Over HTTP/3, that takes some round trips.
    pub fn has_left(&self) -> bool {
        self.is_leaving
            && self.lines.is_empty()
            && self.streams.is_empty()
            && self.http3.as_ref().is_none_or(http3::Client::has_left)
    }

    /// Returns the connections that broke. What was asked for on them does not come.
    pub fn broken(&self) -> usize {
        self.broken + self.http3.as_ref().map_or(0, http3::Client::broken)
    }

    fn begin(&mut self, now: Instant) {
        self.start = Some(now);
        for number in 0..self.plan.requests().len() {
            if self.waiting[number].0 == 0 {
                self.plan_request(number, now, now);
            }
        }
    }

    /// Notes when a request is made that waits for nothing more.
    fn plan_request(&mut self, number: usize, now: Instant, start: Instant) {
        let request = &self.plan.requests()[number];
        let at = (now + request.delay).max(start + request.not_before);
        self.due.insert((at, number));
    }

    /// Reads answers, and returns the requests whose answer is complete.
    fn read(&mut self, now: Instant, sockets: &mut dyn Sockets) -> Vec<usize> {
        let mut complete = Vec::new();
        let Self { lines, broken, bytes: received, .. } = self;
        lines.retain_mut(|line| {
            let Line { incoming, is_greeted, unanswered, .. } = line;
            sockets.receive(line.connection, &mut |bytes| {
                *received += bytes.len() as u64;
                incoming.take(
                    bytes,
                    |head| Part::parse(head).length,
                    |head| {
                        let part = Part::parse(head);
                        if part.is_last && part.id == HELLO.id {
                            *is_greeted = true;
                        } else if part.is_last {
                            *unanswered = unanswered.saturating_sub(1);
                            complete.push(part.id as usize);
                        }
                    },
                );
            });
            let is_open = sockets.may_receive(line.connection);
            if !is_open {
                *broken += 1;
                sockets.close(line.connection);
            }
            is_open
        });
        if let Some(http3) = &mut self.http3 {
            complete.extend(http3.read(now, sockets));
        }
        complete
    }

    fn note_answers(&mut self, complete: Vec<usize>, now: Instant, start: Instant) {
        for number in complete {
            // A number that nobody asked for is nobody's.
            let Some((_, children)) = self.waiting.get_mut(number) else { continue };
            self.missing = self.missing.saturating_sub(1);
            for child in std::mem::take(children) {
                self.waiting[child].0 -= 1;
                if self.waiting[child].0 == 0 {
                    self.plan_request(child, now, start);
                }
            }
        }
    }

    /// Makes the requests that are due, on connections that are free for them.
    fn ask(&mut self, now: Instant, sockets: &mut dyn Sockets) {
        while let Some((_, number)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.pop_first();
            self.ready[self.plan.requests()[number].origin].push_back(number);
        }
        for origin in 0..self.ready.len() {
            while let Some(number) = self.ready[origin].front().copied() {
                let request = &self.plan.requests()[number];
                let (up, down, think) = (request.up.max(16), request.down, request.think);
                let ask = Ask { id: number as u32, up, down, think };
                if let Some(http3) = &mut self.http3 {
                    if !http3.ask(origin, ask, now, sockets) {
                        break;
                    }
                } else {
                    let Some(line) = self.line(origin, sockets) else { break };
                    let line = &mut self.lines[line];
                    line.held.push_back(ask);
                    line.unanswered += 1;
                }
                self.ready[origin].pop_front();
            }
        }
        if let Some(http3) = &mut self.http3 {
            http3.send(now, sockets);
        }
        for line in &mut self.lines {
            if line.is_greeted {
                line.held.drain(..).for_each(|ask| line.out.push(ask.head(), ask.body()));
            }
            line.out.flush(|bytes| sockets.send(line.connection, bytes));
        }
    }

    /// Returns a connection that can take another request, possibly a new one.
    fn line(&mut self, origin: usize, sockets: &mut dyn Sockets) -> Option<usize> {
        let of_origin = |line: &Line| line.origin == origin;
        let (free, most) = match self.plan.protocol() {
            // One alone for each origin; HTTP/3 has its own.
            Protocol::Http2 | Protocol::Http3 => (self.lines.iter().position(of_origin), 1),
            Protocol::Http1 => {
                (self.lines.iter().position(|line| of_origin(line) && line.unanswered == 0), CONNECTIONS)
            }
        };
        if free.is_some() || self.lines.iter().filter(|line| of_origin(line)).count() >= most {
            return free;
        }
        let connection = sockets.connect(SocketAddr::new(self.server, PORT)).ok()?;
        let mut out = Outgoing::default();
        out.push(HELLO.head(), HELLO.body());
        let finished = Ask { id: HELLO.id, up: FINISHED, down: 0, think: Duration::ZERO };
        let held = VecDeque::from([finished]);
        let incoming = Incoming::default();
        self.lines.push(Line { origin, connection, incoming, out, is_greeted: false, held, unanswered: 0 });
        Some(self.lines.len() - 1)
    }

    /// Sends the datagrams that are due.
    fn stream(&mut self, now: Instant, start: Instant, sockets: &mut dyn Sockets) {
        for (number, (sending, stream)) in self.streams.iter_mut().zip(self.plan.streams()).enumerate() {
            if sending.port.is_none() {
                sending.port = sockets.bind(FIRST_PORT + number as u16).ok();
            }
            let Some(port) = sending.port else { continue };
            let mut place = None;
            while sockets.receive_from(port, &mut |bytes| place = bytes.first_chunk().copied()).is_some() {
                if let Some(place) = place {
                    sending.received.note(u32::from_be_bytes(place), stream.every, now);
                }
            }
            while sending.sent < stream.count && start + stream.start + stream.every * sending.sent <= now {
                let bytes = datagram(stream.every, stream.count - sending.sent, stream.down, stream.up);
                sockets.send_to(port, SocketAddr::new(self.server, STREAMS), &bytes);
                sending.sent += 1;
            }
        }
    }

    fn is_done(&self) -> bool {
        let is_sent = |(sending, stream): (&Sending, &super::Stream)| sending.sent == stream.count;
        self.missing == 0 && self.streams.iter().zip(self.plan.streams()).all(is_sent)
    }
}

impl Application for Browser {
    fn act(&mut self, now: Instant, sockets: &mut dyn Sockets) {
        if self.start.is_none() {
            self.begin(now);
        }
        let Some(start) = self.start else { return };
        if self.is_leaving {
            self.lines.drain(..).for_each(|line| sockets.close(line.connection));
            if let Some(http3) = &mut self.http3 {
                http3.leave(now, sockets);
            }
            self.streams.drain(..).filter_map(|stream| stream.port).for_each(|port| sockets.unbind(port));
            return;
        }
        let complete = self.read(now, sockets);
        self.note_answers(complete, now, start);
        self.ask(now, sockets);
        self.stream(now, start, sockets);
        if self.answered.is_none() && self.is_done() {
            self.answered = Some(now);
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        let http3 = self.http3.as_ref().and_then(http3::Client::next_timeout);
        let Some(start) = self.start.filter(|_| !self.is_leaving) else { return http3 };
        let streams = self.streams.iter().zip(self.plan.streams());
        let streams = streams
            .filter(|(sending, stream)| sending.port.is_some() && sending.sent < stream.count)
            .map(|(sending, stream)| start + stream.start + stream.every * sending.sent);
        streams.chain(self.due.first().map(|(at, _)| *at)).chain(http3).min()
    }
}
