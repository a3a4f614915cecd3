//! The network with its hosts.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Happening, Host, Link, Node, Outbox, Packet, Tap, Wire};

/// Hosts, what lies between them, and an observer of it.
///
/// Hosts of several kinds are `Box<dyn Host>`. Hosts are told instants: those of a network begin at one of their own, and only how
/// far they are apart means something.
#[derive(Debug)]
pub struct Network<H, T = ()> {
    wire: Wire,
    hosts: Vec<H>,
    start: Instant,
    out: Outbox,
    /// Who sees what passes.
    pub tap: T,
}

impl<H: Host, T: Tap> Network<H, T> {
    /// Returns a network without hosts; all that is random about its links is drawn from `seed`.
    pub fn new(seed: u64, tap: T) -> Self {
        Self { wire: Wire::new(seed), hosts: Vec::new(), start: Instant::now(), out: Outbox::default(), tap }
    }

    /// Returns what has passed since the network began.
    pub fn now(&self) -> Duration {
        self.wire.now()
    }

    /// Returns the instant that hosts are told now.
    pub fn instant(&self) -> Instant {
        self.start + self.wire.now()
    }

    /// Adds a host, without a link. An address that was another's is its own now.
    pub fn add(&mut self, address: IpAddr, host: H) -> Node {
        let node = self.wire.add(address);
        self.hosts.push(host);
        self.arm(node);
        node
    }

    /// Gives a host another address. What is under way to it arrives.
    pub fn move_to(&mut self, node: Node, address: IpAddr) {
        self.wire.move_to(node, address);
    }

    /// Sets the link from one host to another.
    pub fn link(&mut self, from: Node, to: Node, link: Link) {
        self.wire.link(from, to, link);
    }

    /// Sets the links between two hosts to the same, each way.
    pub fn link_both(&mut self, one: Node, other: Node, link: &Link) {
        self.link(one, other, link.clone());
        self.link(other, one, link.clone());
    }

    /// Returns a host.
    ///
    /// # Panics
    /// Panics if it is of another network.
    pub fn host(&self, node: Node) -> &H {
        &self.hosts[node.0]
    }

    /// Has something happen to a host now, whose consequences follow: what it sends, and when it wants to be woken.
    ///
    /// # Panics
    /// Panics if it is of another network.
    pub fn act<R>(&mut self, node: Node, act: impl FnOnce(&mut H, Instant, &mut Outbox) -> R) -> R {
        let now = self.instant();
        let result = act(&mut self.hosts[node.0], now, &mut self.out);
        let mut sent = self.out.take();
        for packet in sent.drain(..) {
            if let Some(buffer) = self.wire.send(node, packet, &mut self.tap) {
                self.out.recycle(buffer);
            }
        }
        self.out.restore(sent);
        self.arm(node);
        result
    }

    /// Has a host send a packet that it did not make.
    pub fn send(&mut self, from: Node, packet: Packet) {
        self.act(from, |_, _, out| out.put(packet));
    }

    fn arm(&mut self, node: Node) {
        let at = self.hosts[node.0].next_timeout();
        self.wire.wake_at(node, at.map(|at| at.saturating_duration_since(self.start)));
    }

    /// Has the next thing happen, if that is not later than `until`; tells whether there was one. Otherwise it is `until` now.
    pub fn step(&mut self, until: Duration) -> bool {
        match self.wire.next(until, &mut self.tap) {
            None => false,
            Some(Happening::Wake(node)) => {
                self.act(node, |host, now, out| host.handle_timeout(now, out));
                true
            }
            Some(Happening::Arrive(node, packet)) => {
                self.act(node, |host, now, out| host.receive(packet, now, out));
                true
            }
        }
    }

    /// Lets time pass up to `until`; everything that is due happens at its time.
    pub fn run_until(&mut self, until: Duration) {
        while self.step(until) {}
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.now() + time);
    }

    /// Lets time pass up to `until`, as long as `goes_on` says so: it is asked before each thing that happens. Tells whether it
    /// ended the run.
    pub fn run_while(&mut self, until: Duration, mut goes_on: impl FnMut(&Self) -> bool) -> bool {
        loop {
            if !goes_on(self) {
                return true;
            }
            if !self.step(until) {
                return !goes_on(self);
            }
        }
    }
}

#[cfg(test)]
mod tests;
