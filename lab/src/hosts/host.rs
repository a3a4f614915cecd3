//! A stack and an application on it, as a host of a virtual network.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rand_core::{RngCore as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{Settings, Sockets, Stack};
use crate::virtual_network::{Host, Outbox, Packet, fraction};

/// The longest mean time until a host is at what has arrived.
const LONGEST_WAKEUP: Duration = Duration::from_secs(1);

/// What runs on a host.
pub trait Application {
    /// Does all that can be done now. It is called when packets have arrived, when time has come, and possibly for nothing.
    fn act(&mut self, now: Instant, sockets: &mut dyn Sockets);

    /// Returns when it wants to act whatever arrives; `None` if not. It is later than the instant it acted at last.
    fn next_timeout(&self) -> Option<Instant>;
}

impl<A: Application + ?Sized> Application for Box<A> {
    fn act(&mut self, now: Instant, sockets: &mut dyn Sockets) {
        (**self).act(now, sockets);
    }

    fn next_timeout(&self) -> Option<Instant> {
        (**self).next_timeout()
    }
}

/// A TCP/IP host: what it sends and receives are IPv4 packets.
#[derive(Debug)]
pub struct TcpHost<A> {
    stack: Stack,
    /// What has arrived and is not taken yet, and when it is.
    inbox: Vec<Vec<u8>>,
    taken_at: Option<Instant>,
    wakeup: Duration,
    draws: Xoshiro256PlusPlus,
    /// When the stack has something to do.
    due: Option<Instant>,
    /// What runs on it.
    pub application: A,
}

impl<A: Application> TcpHost<A> {
    /// Returns a host with an address; what its stack draws, sequence numbers and ports, comes from `seed`.
    pub fn new(address: Ipv4Addr, seed: u64, settings: &Settings, application: A) -> Self {
        Self {
            stack: Stack::new(address, seed, settings),
            inbox: Vec::new(),
            taken_at: None,
            wakeup: settings.wakeup.min(LONGEST_WAKEUP),
            draws: Xoshiro256PlusPlus::seed_from_u64(seed),
            due: None,
            application,
        }
    }

    /// Has the application act now, and sends what comes of it. A host that waits for nothing does nothing before.
    pub fn wake(&mut self, now: Instant, out: &mut Outbox) {
        self.taken_at = None;
        for packet in std::mem::take(&mut self.inbox) {
            self.stack.arrive(packet, now);
            // A listener takes one caller at a time.
            self.stack.take_in(now, out);
        }
        self.stack.poll(now, out);
        self.application.act(now, &mut self.stack);
        if self.stack.take_is_changed() {
            self.stack.poll(now, out);
        }
        let address = self.stack.address();
        for payload in self.stack.leave() {
            let to = destination(&payload);
            out.put(Packet { from: SocketAddr::new(address.into(), 0), to: SocketAddr::new(to, 0), payload });
        }
        self.due = self.stack.next_timeout(now);
    }
}

impl<A> TcpHost<A> {
    /// Draws how long it takes until the host is at something: most often less than the mean, up to five times that now and then.
    fn draw_wakeup(&mut self) -> Duration {
        let [often, rarely] = [(); 2].map(|()| fraction(self.draws.next_u64()));
        let rarely = rarely.powi(8);
        self.wakeup.mul_f64((often + 4.5 * rarely).min(5.0))
    }
}

/// Reads where a packet of the stack's goes.
fn destination(packet: &[u8]) -> IpAddr {
    let address = packet.get(16..20).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    IpAddr::from(address.unwrap_or_default())
}

impl<A: Application> Host for TcpHost<A> {
    fn receive(&mut self, packet: Packet, now: Instant, out: &mut Outbox) {
        self.inbox.push(packet.payload);
        if self.wakeup.is_zero() {
            self.wake(now, out);
        } else if self.taken_at.is_none() {
            self.taken_at = Some(now + self.draw_wakeup().max(Duration::from_nanos(1)));
        }
    }

    fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) {
        self.wake(now, out);
    }

    fn next_timeout(&self) -> Option<Instant> {
        [self.due, self.application.next_timeout(), self.taken_at].into_iter().flatten().min()
    }
}
