//! What makes the stack's TCP behave as Linux's: it lies between the stack and the network, sans-IO.
//!
//! The stack has no congestion control, sends all that the peer takes, and acknowledges everything at once. What it sends is kept here
//! until it is acknowledged, and leaves as a [`Sender`](sender::Sender) says, which also finds losses and repairs them; what the
//! stack sends again by itself is known, and passed over. What arrives is put in order by a [`Receiver`](receiver::Receiver), which
//! says when it is acknowledged. So the stack has a network that loses nothing, and is left the handshake, the buffers, and the end.
//!
//! Memory is bounded by the stack's: a connection is known from the stack's own first segment until the stack has forgotten it, what is
//! kept to be sent is in the stack's buffer, too, and what waits to be in order would be in its other one.

mod connection;
mod packet;
mod receiver;
mod sender;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use smoltcp::wire::TcpControl;

use super::{Congestion, Settings};
use connection::Connection;
use packet::Segment;
pub(super) use packet::Tuple;

/// Most buffers that are kept to be used again.
const MAX_SPARE: usize = 64;

/// The headers of IPv4 and TCP without options.
const HEADERS: usize = 40;

/// What all connections share.
#[derive(Debug, Clone)]
struct Limits {
    /// The most bytes of a segment, with its options.
    mss: usize,
    receive_buffer: usize,
    acknowledge_after: Option<Duration>,
    congestion: Congestion,
}

/// Packets on their way out of here.
#[derive(Debug, Default)]
struct Io {
    for_stack: Vec<Vec<u8>>,
    leaving: Vec<Vec<u8>>,
    spare: Vec<Vec<u8>>,
}

impl Io {
    fn recycle(&mut self, packet: Vec<u8>) {
        if self.spare.len() < MAX_SPARE {
            self.spare.push(packet);
        }
    }
}

/// The connections of a host.
#[derive(Debug)]
pub(super) struct Linux {
    limits: Limits,
    connections: BTreeMap<Tuple, Connection>,
    /// The last segment that may begin a connection, as long as the stack may answer it.
    caller: Option<Segment>,
    io: Io,
    /// The time that time stamps count from.
    start: Option<Instant>,
    /// Whether the stack may have forgotten a connection.
    is_less: bool,
}

impl Linux {
    pub(super) fn new(settings: &Settings) -> Self {
        let Settings { mtu, receive_buffer, acknowledge_after, congestion, .. } = *settings;
        Self {
            limits: Limits { mss: mtu - HEADERS, receive_buffer, acknowledge_after, congestion },
            connections: BTreeMap::new(),
            caller: None,
            io: Io::default(),
            start: None,
            is_less: false,
        }
    }

    /// Takes a packet from the network.
    pub(super) fn arrive(&mut self, packet: Vec<u8>, now: Instant) {
        let clock = self.clock(now);
        let Some(segment) = Segment::parse(&packet) else {
            self.io.for_stack.push(packet);
            return;
        };
        let connection = self.connections.get_mut(&segment.of_receiver());
        match (connection, segment.control) {
            (Some(connection), TcpControl::Syn) => connection.be_answered(&segment, &self.limits, now),
            (None, TcpControl::Syn) => {}
            (Some(connection), TcpControl::None | TcpControl::Psh | TcpControl::Fin) => {
                connection.arrive(&segment, packet, clock, now, &mut self.io);
                return;
            }
            (_, TcpControl::Rst) => self.is_less = true,
            (None, TcpControl::None | TcpControl::Psh | TcpControl::Fin) => {}
        }
        if segment.control == TcpControl::Syn {
            self.caller = Some(segment);
        }
        self.io.for_stack.push(packet);
    }

    /// Takes out what the stack is to be given.
    pub(super) fn for_stack(&mut self) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.io.for_stack.drain(..)
    }

    /// Takes a packet of the stack's.
    pub(super) fn leave(&mut self, mut packet: Vec<u8>, now: Instant) {
        let clock = self.clock(now);
        let Some(segment) = Segment::parse(&packet) else {
            self.io.leaving.push(packet);
            return;
        };
        let tuple = segment.of_sender();
        match segment.control {
            TcpControl::Syn => self.begin(&segment, now),
            TcpControl::Rst => {
                self.connections.remove(&tuple);
            }
            TcpControl::None | TcpControl::Psh | TcpControl::Fin => {
                if let Some(connection) = self.connections.get_mut(&tuple) {
                    connection.leave(&segment, &packet);
                    self.io.recycle(packet);
                    return;
                }
            }
        }
        segment.stamp(&mut packet, clock);
        self.io.leaving.push(packet);
    }

    /// Takes the first segment of the stack's.
    fn begin(&mut self, syn: &Segment, now: Instant) {
        let tuple = syn.of_sender();
        if let Some(known) = self.connections.get_mut(&tuple)
            && known.first() == syn.seq
        {
            known.begin_again();
            return;
        }
        self.is_less = true;
        let mut connection = Connection::new(syn, &self.limits, now);
        if let Some(caller) = self.caller.take_if(|caller| syn.ack.is_some() && caller.of_receiver() == tuple) {
            connection.meet(&caller, &self.limits);
            connection.answer(syn, now);
        }
        self.connections.insert(tuple, connection);
    }

    /// Sends all that may leave now.
    pub(super) fn flush(&mut self, now: Instant) {
        let clock = self.clock(now);
        self.connections.values_mut().for_each(|connection| connection.flush(clock, now, &mut self.io));
    }

    /// Takes out the packets that leave, in order.
    pub(super) fn leaving(&mut self) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.io.leaving.drain(..)
    }

    /// Tells, once, whether the stack may have forgotten a connection.
    pub(super) fn take_is_less(&mut self) -> bool {
        std::mem::take(&mut self.is_less)
    }

    /// Forgets the connections that the stack has forgotten.
    pub(super) fn retain(&mut self, is_known: impl Fn(&Tuple) -> bool) {
        self.connections.retain(|tuple, _| is_known(tuple));
    }

    /// Returns how many bytes an application may have waiting on a connection: a send buffer that grows with the window.
    pub(super) fn buffer(&self, tuple: &Tuple) -> usize {
        self.connections.get(tuple).map_or(usize::MAX, Connection::buffer)
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.connections.values().filter_map(Connection::next_timeout).min()
    }

    /// Returns the time as time stamps have it: milliseconds, from 1 on.
    fn clock(&mut self, now: Instant) -> u32 {
        let start = *self.start.get_or_insert(now);
        (now.saturating_duration_since(start).as_millis() as u32).wrapping_add(1)
    }
}
