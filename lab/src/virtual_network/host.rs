//! A host on the network, sans-IO: packets and instants in; packets and its next deadline out.

use std::net::SocketAddr;
use std::time::Instant;

/// Most buffers that are kept to be used again.
const MAX_SPARE: usize = 1_024;

/// What travels: a UDP datagram, or an IP packet, whose ports are 0 then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Where it says that it comes from.
    pub from: SocketAddr,
    /// Where it goes. The network looks at the address alone.
    pub to: SocketAddr,
    /// The bytes that the hosts see: of a datagram its payload, of an IP packet all.
    pub payload: Vec<u8>,
}

/// A host: given packets and instants, gives packets and its next deadline.
///
/// It neither waits nor reads a clock. A TCP/IP stack, a QUIC endpoint, and the end of a tunnel with another host inside are such
/// hosts.
pub trait Host {
    /// Takes a packet that arrived, and puts into `out` what it sends at once.
    fn receive(&mut self, packet: Packet, now: Instant, out: &mut Outbox);

    /// Does what is due, and puts into `out` what it sends. It may be called before anything is due.
    fn handle_timeout(&mut self, _now: Instant, _out: &mut Outbox) {}

    /// Returns when [`handle_timeout`](Self::handle_timeout) has something to do; `None` if never. Time passes only when it is
    /// later, in the end, than the instant that `handle_timeout` was called at: else the network stands still.
    fn next_timeout(&self) -> Option<Instant> {
        None
    }
}

impl<H: Host + ?Sized> Host for Box<H> {
    fn receive(&mut self, packet: Packet, now: Instant, out: &mut Outbox) {
        (**self).receive(packet, now, out);
    }

    fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) {
        (**self).handle_timeout(now, out);
    }

    fn next_timeout(&self) -> Option<Instant> {
        (**self).next_timeout()
    }
}

/// What a host sends, in order, and buffers that were used before: at most 1,024.
#[derive(Debug, Default)]
pub struct Outbox {
    packets: Vec<Packet>,
    spare: Vec<Vec<u8>>,
}

impl Outbox {
    /// Sends a packet.
    pub fn put(&mut self, packet: Packet) {
        self.packets.push(packet);
    }

    /// Sends a packet with a copy of `payload`.
    pub fn send(&mut self, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
        let mut buffer = self.buffer();
        buffer.extend_from_slice(payload);
        self.put(Packet { from, to, payload: buffer });
    }

    /// Returns an empty buffer, which has its capacity from before if there is one.
    pub fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes a buffer that is not needed any more, to be used again.
    pub fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.spare.len() < MAX_SPARE {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// Takes out what was sent, in order.
    pub fn drain(&mut self) -> impl Iterator<Item = Packet> + '_ {
        self.packets.drain(..)
    }

    /// Tells whether nothing was sent.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Takes out all that was sent, in order, for an owner who needs the outbox meanwhile; [`restore`](Self::restore) gives its
    /// room back.
    pub fn take(&mut self) -> Vec<Packet> {
        std::mem::take(&mut self.packets)
    }

    /// Takes back the room of what was taken, unless there is something new.
    pub fn restore(&mut self, mut packets: Vec<Packet>) {
        if self.packets.is_empty() {
            packets.clear();
            self.packets = packets;
        }
    }
}
