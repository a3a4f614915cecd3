//! A host with a link of its own before it: a server beyond a relay, a browser behind a home's router.

use std::time::Instant;

use super::{Happening, Host, Link, Node, Outbox, Packet, Wire};

/// The two ends of the link.
const OUTSIDE: Node = Node(0);
const HOST: Node = Node(1);

/// A host with a link of its own before it, which is a host again. Inside the end of a tunnel, it is one that is farther away than
/// that end.
#[derive(Debug)]
pub struct Behind<H> {
    host: H,
    wire: Wire,
    /// When something happened first.
    start: Option<Instant>,
    sent: Outbox,
}

impl<H: Host> Behind<H> {
    /// Puts a host behind a link: `inward` is the direction to it, `outward` the one from it. What is random about them is drawn
    /// from `seed`.
    pub fn new(seed: u64, host: H, inward: Link, outward: Link) -> Self {
        let mut wire = Wire::new(seed);
        wire.link(OUTSIDE, HOST, inward);
        wire.link(HOST, OUTSIDE, outward);
        Self { host, wire, start: None, sent: Outbox::default() }
    }

    /// Returns the host.
    pub fn host(&self) -> &H {
        &self.host
    }

    /// Has something happen to the host now, whose consequences follow.
    pub fn act<R>(&mut self, now: Instant, out: &mut Outbox, act: impl FnOnce(&mut H, Instant, &mut Outbox) -> R) -> R {
        self.catch_up(now, out);
        let result = act(&mut self.host, now, &mut self.sent);
        self.ship();
        result
    }

    /// Has everything happen that is due.
    fn catch_up(&mut self, now: Instant, out: &mut Outbox) {
        let start = *self.start.get_or_insert(now);
        self.arm(start);
        while let Some(happening) = self.wire.next(now.saturating_duration_since(start), &mut ()) {
            let at = start + self.wire.now();
            match happening {
                Happening::Wake(_) => self.host.handle_timeout(at, &mut self.sent),
                Happening::Arrive(HOST, packet) => self.host.receive(packet, at, &mut self.sent),
                Happening::Arrive(_, packet) => out.put(packet),
            }
            self.ship();
            self.arm(start);
        }
    }

    /// Sends what the host has sent.
    fn ship(&mut self) {
        let mut sent = self.sent.take();
        for packet in sent.drain(..) {
            if let Some(buffer) = self.wire.send_to(HOST, OUTSIDE, packet, &mut ()) {
                self.sent.recycle(buffer);
            }
        }
        self.sent.restore(sent);
    }

    fn arm(&mut self, start: Instant) {
        let at = self.host.next_timeout();
        self.wire.wake_at(HOST, at.map(|at| at.saturating_duration_since(start)));
    }
}

impl<H: Host> Host for Behind<H> {
    fn receive(&mut self, packet: Packet, now: Instant, out: &mut Outbox) {
        self.catch_up(now, out);
        if let Some(buffer) = self.wire.send_to(OUTSIDE, HOST, packet, &mut ()) {
            out.recycle(buffer);
        }
    }

    fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) {
        self.catch_up(now, out);
    }

    fn next_timeout(&self) -> Option<Instant> {
        let next = self.start.zip(self.wire.next_at()).map(|(start, at)| start + at);
        [next, self.host.next_timeout()].into_iter().flatten().min()
    }
}
