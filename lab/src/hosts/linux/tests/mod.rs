//! Two hosts that talk over a link on which a test decides what is lost.

mod acknowledging;
mod losses;
mod properties;
mod rates;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use smoltcp::wire::TcpControl;

use super::packet::Segment;
use crate::hosts::{Application, Connection, Settings, Sockets, TcpHost};
use crate::virtual_network::{Fate, Host as _, Link, Loss, Network, Node, Passing, Tap};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PORT: u16 = 443;

/// The bytes of a full segment, with a time stamp, at an MTU of 1,420.
const FULL: usize = 1_368;

/// Sends bytes that are known, at the times that are said, and checks those that come.
#[derive(Debug, Default)]
struct Talker {
    is_server: bool,
    /// How many bytes are sent from when on.
    says: Vec<(Duration, usize)>,
    /// How many come, and before when none is read.
    hears: usize,
    deaf: Duration,
    start: Option<Instant>,
    acted: Option<Instant>,
    connection: Option<Connection>,
    sent: usize,
    heard: usize,
    is_wrong: bool,
    is_over: bool,
}

fn byte(at: usize) -> u8 {
    (at % 251) as u8
}

impl Talker {
    fn new(is_server: bool, says: &[(Duration, usize)], hears: usize) -> Self {
        Self { is_server, says: says.to_vec(), hears, ..Self::default() }
    }
}

impl Application for Talker {
    fn act(&mut self, now: Instant, sockets: &mut dyn Sockets) {
        self.acted = Some(now);
        let start = match self.start {
            Some(start) => start,
            None if self.is_server => {
                sockets.listen(PORT).unwrap();
                *self.start.insert(now)
            }
            None => {
                self.connection = Some(sockets.connect(SocketAddr::new(SERVER.into(), PORT)).unwrap());
                *self.start.insert(now)
            }
        };
        if self.is_over {
            return;
        }
        self.connection = self.connection.or_else(|| sockets.accept());
        let Some(connection) = self.connection else { return };
        if start + self.deaf <= now {
            sockets.receive(connection, &mut |bytes| {
                self.is_wrong |= bytes.iter().zip(self.heard..).any(|(found, at)| *found != byte(at));
                self.heard += bytes.len();
            });
        }
        let due: usize = self.says.iter().filter(|(at, _)| start + *at <= now).map(|(_, size)| size).sum();
        let room = sockets.room(connection);
        let bytes: Vec<u8> = (self.sent..due.min(self.sent + room)).map(byte).collect();
        self.sent += sockets.send(connection, &bytes);
        let all: usize = self.says.iter().map(|(_, size)| size).sum();
        let has_heard = if self.is_server { !sockets.may_receive(connection) } else { self.heard >= self.hears };
        if self.sent == all && has_heard {
            sockets.close(connection);
            self.is_over = true;
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        let (start, acted) = (self.start?, self.acted?);
        let times = self.says.iter().map(|(at, _)| at).chain([&self.deaf]).map(|at| start + *at);
        times.filter(|at| *at > acted && self.connection.is_some() && !self.is_over).min()
    }
}

/// A segment on the wire.
#[derive(Debug, Clone)]
struct Seen {
    at: Duration,
    is_up: bool,
    /// Where its bytes lie in the stream.
    from: usize,
    size: usize,
    /// What it acknowledges in the other's.
    ack: usize,
    window: u16,
    blocks: Vec<(usize, usize)>,
    is_end: bool,
    is_first: bool,
}

impl Seen {
    fn is_data(&self) -> bool {
        self.size > 0
    }
}

type Decide = Box<dyn FnMut(&Seen) -> Fate>;

/// Sees all segments, and has a test decide about each.
struct Wire {
    client: Option<Node>,
    first: [u32; 2],
    seen: Vec<Seen>,
    decide: Decide,
    overflows: Vec<Duration>,
    /// The packets themselves, if a test wants them.
    kept: Option<Vec<Vec<u8>>>,
}

impl Tap for Wire {
    fn sent(&mut self, passing: Passing<'_>) -> Fate {
        let Some(segment) = Segment::parse(&passing.packet.payload) else { return Fate::Deliver };
        if let Some(kept) = &mut self.kept {
            kept.push(passing.packet.payload.clone());
        }
        let is_up = Some(passing.from) == self.client;
        let (own, other) = (usize::from(!is_up), usize::from(is_up));
        let is_first = segment.control == TcpControl::Syn;
        if is_first {
            self.first[own] = segment.seq.wrapping_add(1);
        }
        let place = |seq: u32, of: usize| seq.wrapping_sub(self.first[of]) as usize;
        let blocks = segment.blocks.iter().flatten();
        let seen = Seen {
            at: passing.at,
            is_up,
            from: if is_first { 0 } else { place(segment.seq, own) },
            size: segment.payload.len(),
            ack: segment.ack.map_or(0, |ack| place(ack, other)),
            window: segment.window,
            blocks: blocks.map(|(from, to)| (place(*from, other), place(*to, other))).collect(),
            is_end: segment.control == TcpControl::Fin,
            is_first,
        };
        let fate = (self.decide)(&seen);
        self.seen.push(seen);
        fate
    }

    fn lost(&mut self, passing: Passing<'_>, loss: Loss) {
        if loss == Loss::QueueFull {
            self.overflows.push(passing.at);
        }
    }
}

type Hosts = Network<TcpHost<Talker>, Wire>;

struct Talk {
    network: Hosts,
    client: Node,
    server: Node,
}

impl Talk {
    /// Has a client say something and a server answer, from the beginning on.
    fn new(link: &Link, up: &[(Duration, usize)], down: &[(Duration, usize)], decide: Decide) -> Self {
        Self::with(&Settings::default(), link, up, down, decide)
    }

    fn with(
        settings: &Settings,
        link: &Link,
        up: &[(Duration, usize)],
        down: &[(Duration, usize)],
        decide: Decide,
    ) -> Self {
        let all = |says: &[(Duration, usize)]| says.iter().map(|(_, size)| size).sum();
        let wire = Wire { client: None, first: [0; 2], seen: Vec::new(), decide, overflows: Vec::new(), kept: None };
        let mut network = Network::new(1, wire);
        let host = |address, talker| TcpHost::new(address, 1, settings, talker);
        let client = network.add(CLIENT.into(), host(CLIENT, Talker::new(false, up, all(down))));
        let server = network.add(SERVER.into(), host(SERVER, Talker::new(true, down, all(up))));
        network.tap.client = Some(client);
        network.link_both(client, server, link);
        [server, client].into_iter().for_each(|node| network.act(node, |host, now, out| host.wake(now, out)));
        Self { network, client, server }
    }

    /// Goes on until a time, or as long as `goes_on` says; tells whether that ended it.
    fn run(&mut self, until: Duration, mut goes_on: impl FnMut(&Hosts) -> bool) -> bool {
        let mut steps = 0;
        self.network.run_while(until, |network| {
            steps += 1;
            assert!(steps < 1_000_000, "time stands still at {:?}", network.now());
            goes_on(network)
        })
    }

    /// Goes on until the server has heard all, and returns when.
    fn heard(&mut self) -> Duration {
        let server = self.server;
        let is_heard = self.run(3_600 * SECOND, |network| {
            let talker = &network.host(server).application;
            talker.heard < talker.hears
        });
        assert!(is_heard, "{:?}", self.network.host(server).application);
        self.network.now()
    }

    /// Goes on until both have heard all and ended, and checks what they heard.
    fn finish(&mut self) -> Duration {
        let nodes = [self.client, self.server];
        let is_over =
            self.run(3_600 * SECOND, |network| nodes.iter().any(|node| !network.host(*node).application.is_over));
        for node in nodes {
            let talker = &self.network.host(node).application;
            assert!(is_over && !talker.is_wrong && talker.heard == talker.hears, "{talker:?}");
        }
        let took = self.network.now();
        // And nothing goes on by itself.
        let is_quiet = self.run(took + 3_600 * SECOND, |network| {
            nodes.iter().any(|node| network.host(*node).next_timeout().is_some())
        });
        assert!(is_quiet, "a connection that has ended goes on");
        took
    }

    /// Returns the segments with bytes of the client's.
    fn data(&self) -> Vec<&Seen> {
        self.network.tap.seen.iter().filter(|seen| seen.is_up && seen.is_data()).collect()
    }

    /// Returns those that were sent before.
    fn repeats(&self) -> Vec<&Seen> {
        let mut highest = 0;
        let mut data = self.data();
        data.retain(|seen| {
            let is_known = seen.from < highest;
            highest = highest.max(seen.from + seen.size);
            is_known
        });
        data
    }
}

fn lose(is_lost: bool) -> Fate {
    if is_lost { Fate::Lose } else { Fate::Deliver }
}

fn nothing() -> Decide {
    Box::new(|_| Fate::Deliver)
}

/// Loses segments of the client's at these places, the first time.
fn once(segments: &[usize]) -> Decide {
    let mut left = segments.to_vec();
    Box::new(move |seen| {
        let before = left.len();
        left.retain(|segment| !(seen.is_up && seen.is_data() && seen.from == segment * FULL));
        lose(left.len() < before)
    })
}

/// A link of IP packets that is nothing but slow: half of a round trip.
fn half(round_trip: Duration) -> Link {
    Link { headers: 0, ..Link::with_delay(round_trip / 2) }
}

/// So many segments, at once.
fn segments(count: usize) -> [(Duration, usize); 1] {
    [(Duration::ZERO, count * FULL)]
}
