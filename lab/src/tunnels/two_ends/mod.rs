//! Two tunnels on a virtual network, and its clock.

mod defenses;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use maybetun::keys::PrivateKey;
use maybetun::tunnel::{DatagramBatch, Event, Tunnel, TunnelConfig, packets};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

pub use defenses::renew;

use super::{Clocks, address, address_on, inner_address, packet};
use crate::datagram::Message;
use crate::virtual_network::{Fate, Happening, Link, Node, Packet, Passing, Tap, Wire};

/// Time that a datagram takes from one side to the other, unless a test changes it.
pub const DELAY: Duration = Duration::from_millis(10);

/// A datagram that was sent, for tests to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// When, since the beginning.
    pub at: Duration,
    /// The side that sent it.
    pub from: usize,
    /// Its bytes.
    pub length: usize,
    /// The first byte: 1 initiation, 2 response, 3 cookie, 4 data.
    pub kind: u8,
    /// The session indices in it: the sender's of a handshake message, and the receiver's.
    pub indices: [Option<u32>; 2],
    /// The network of side 0 that it was seen on: the last byte but one of the address.
    pub network: u8,
}

/// Does with a datagram what was decided before.
struct Decided(Fate);

impl Tap for Decided {
    fn sent(&mut self, _: Passing<'_>) -> Fate {
        self.0
    }
}

/// Reads the session indices of a datagram (whitepaper §5.4).
fn indices(datagram: &[u8]) -> [Option<u32>; 2] {
    let message = Message::parse(datagram);
    [message.sender, message.receiver]
}

/// Decides what becomes of each datagram that a side sends.
type Decide = Box<dyn FnMut(usize) -> Fate>;

/// Tells whether a datagram is delivered, whatever else decides.
type Spare = Box<dyn Fn(&[u8]) -> bool>;

/// Two sides, each with a tunnel, the wire between them and the clock of both. Side 0 is the client.
///
/// Its owner may do with the tunnels what he wants between two runs: their deadlines are looked at when a run begins.
///
/// ```
/// # #[cfg(feature = "virtual-time")] {
/// use std::time::Duration;
/// use maybetun_lab::tunnels::{Fate, TwoEnds, packet};
///
/// let mut network = TwoEnds::connected();
/// network.fate = Box::new(|from| if from == 0 { Fate::Lose } else { Fate::Deliver });
/// network.send(0, &packet(0, 1, 100));
/// network.run_for(Duration::from_secs(60));
/// // Nobody answers: after 15 s the client calls, again and again.
/// assert_eq!(network.delivered[1].len(), 1, "the one from before");
/// assert!(network.initiations().len() > 5);
/// # }
/// ```
pub struct TwoEnds {
    start: Instant,
    keys: [PrivateKey; 2],
    /// The tunnels of both sides.
    pub tunnels: [Tunnel; 2],
    wire: Wire,
    clocks: Clocks,
    /// How often an end was made anew.
    restarts: u8,
    /// The network that side 0 is on: part of its address.
    network: u8,
    /// Time that a datagram takes from one side to the other.
    delay: Duration,
    /// Decides what becomes of each datagram, by the side that sends it.
    pub fate: Decide,
    /// With it, a datagram of which it says so is delivered, whatever `fate` says.
    pub spared: Option<Spare>,
    /// Every datagram, as an observer sees it.
    pub seen: Vec<Sighting>,
    /// Every datagram, and who sent it.
    pub raw: Vec<(usize, Vec<u8>)>,
    /// Packets that came out at each side.
    pub delivered: [Vec<Vec<u8>>; 2],
    /// What each tunnel told.
    pub events: [Vec<Event>; 2],
    /// Which index of a session is the other end's.
    links: HashMap<u32, u32>,
    /// Sessions, by their own index, in which a side has said or heard something while it ran what was agreed on.
    vouched: HashSet<(usize, u32)>,
    /// When packets came out at a side in a session in which it had not.
    pub unvouched: [Vec<Duration>; 2],
    /// How often each tunnel was woken by its own deadline.
    pub wakeups: [usize; 2],
    /// What each side gave up for its size under defenses that were switched off.
    too_large: [u64; 2],
}

impl std::fmt::Debug for TwoEnds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TwoEnds").field("now", &self.now()).field("tunnels", &self.tunnels).finish_non_exhaustive()
    }
}

impl Default for TwoEnds {
    fn default() -> Self {
        Self::new()
    }
}

impl TwoEnds {
    /// Returns a network whose ends have no session.
    pub fn new() -> Self {
        Self::seeded(0)
    }

    /// Returns a network whose ends have a session, after a packet each way.
    pub fn connected() -> Self {
        let mut network = Self::new();
        for side in [0, 1] {
            network.send(side, &packet(side, 0, 100));
            network.run_for(Duration::from_secs(1));
        }
        network
    }

    /// Returns a network whose tunnels draw from `seed`.
    pub fn seeded(seed: u8) -> Self {
        let clocks = Clocks::default();
        clocks.set(Duration::ZERO);
        let keys = [0, 1].map(|side| PrivateKey::generate(&mut ChaCha20Rng::from_seed([2 * seed + side; 32])));
        let tunnels = [tunnel(&keys, 0, [seed, 0]), tunnel(&keys, 1, [seed, 0])];
        let mut wire = Wire::new(seed.into());
        for side in [0, 1] {
            wire.add(address(side).remote.ip());
        }
        let mut network = Self {
            start: Instant::now(),
            keys,
            tunnels,
            wire,
            clocks,
            restarts: 0,
            network: 2,
            delay: DELAY,
            fate: Box::new(|_| Fate::Deliver),
            spared: None,
            seen: Vec::new(),
            raw: Vec::new(),
            delivered: [Vec::new(), Vec::new()],
            events: [Vec::new(), Vec::new()],
            links: HashMap::new(),
            vouched: HashSet::new(),
            unvouched: [Vec::new(), Vec::new()],
            wakeups: [0; 2],
            too_large: [0; 2],
        };
        network.set_delay(DELAY);
        network
    }

    /// Sets the time that a datagram takes from one side to the other, from the next on, and returns what it was.
    pub fn set_delay(&mut self, delay: Duration) -> Duration {
        for (from, to) in [(0, 1), (1, 0)] {
            self.wire.link(Node(from), Node(to), Link::with_delay(delay));
        }
        std::mem::replace(&mut self.delay, delay)
    }

    /// Returns what has passed since the beginning.
    pub fn now(&self) -> Duration {
        self.wire.now()
    }

    /// Returns the instant that tunnels are told now.
    pub fn instant(&self) -> Instant {
        self.start + self.now()
    }

    /// Returns how many packets a side gave up since it was started that were accepted when the path took larger ones.
    pub fn too_large(&self, side: usize) -> u64 {
        let present =
            self.tunnels[side].defense_statistics(self.instant()).map_or(0, |statistics| statistics.too_large);
        self.too_large[side] + present
    }

    /// Makes the tunnel of a side anew, as a restarted process would.
    pub fn restart(&mut self, side: usize) {
        self.vouched.retain(|(of, _)| *of != side);
        // It draws anew: session indices that it had before would make two datagrams of one name.
        self.restarts += 1;
        self.tunnels[side] = tunnel(&self.keys, side, [99, self.restarts]);
        self.too_large[side] = 0;
        self.tunnels[side].set_endpoint(None);
    }

    /// Has a side send a packet.
    pub fn send(&mut self, side: usize, packet: &[u8]) {
        self.send_once(side, packet);
        self.flush(side);
    }

    /// Sends a packet with a single call to the tunnel.
    pub fn send_once(&mut self, side: usize, packet: &[u8]) {
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + 15, 0);
        self.act_once(side, |tunnel, now, out| tunnel.send(&mut buffer, packet.len(), now, out));
    }

    /// Lets time pass up to `until`; everything that is due happens at its time.
    pub fn run_until(&mut self, until: Duration) {
        [0, 1].into_iter().for_each(|side| self.arm(side));
        while let Some(happening) = self.wire.next(until, &mut ()) {
            self.set_clocks();
            let side = match happening {
                Happening::Wake(Node(side)) => {
                    self.wakeups[side] += 1;
                    self.act(side, |tunnel, now, out| tunnel.handle_timeout(now, out));
                    side
                }
                Happening::Arrive(Node(side), packet) => {
                    self.deliver_from(side, &packet.payload, self.network);
                    side
                }
            };
            self.arm(side);
        }
        self.set_clocks();
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.now() + time);
    }

    fn arm(&mut self, side: usize) {
        let at = self.tunnels[side].next_timeout().map(|at| at.saturating_duration_since(self.start));
        self.wire.wake_at(Node(side), at);
    }

    /// Has a tunnel do something now, and sends what comes of it.
    pub fn act<R>(&mut self, side: usize, act: impl FnOnce(&mut Tunnel, Instant, &mut DatagramBatch) -> R) -> R {
        let result = self.act_once(side, act);
        self.flush(side);
        result
    }

    /// Does the same without what found the batch full.
    fn act_once<R>(&mut self, side: usize, act: impl FnOnce(&mut Tunnel, Instant, &mut DatagramBatch) -> R) -> R {
        let (now, mut out) = (self.instant(), DatagramBatch::new());
        let result = act(&mut self.tunnels[side], now, &mut out);
        self.put_on_wire(side, &out);
        result
    }

    /// Returns the handshake initiations seen so far.
    pub fn initiations(&self) -> Vec<Duration> {
        self.seen.iter().filter(|sighting| sighting.kind == 1).map(|sighting| sighting.at).collect()
    }

    /// Puts on the wire what a test had a tunnel make by itself.
    pub fn inject(&mut self, from: usize, out: &DatagramBatch) {
        self.put_on_wire(from, out);
    }

    /// Takes side 0 to another network, and tells it; what was under way to it and from it is lost.
    pub fn change_network(&mut self) {
        self.move_unseen(self.network + 1);
        self.wire.clear();
        self.act(0, |tunnel, now, out| tunnel.network_changed(now, out));
    }

    /// Takes side 0 to another network, as an address translator does: it does not know.
    pub fn move_unseen(&mut self, network: u8) {
        self.network = network;
        self.wire.move_to(Node(0), address_on(network, 0).remote.ip());
    }

    /// Lets time pass without a look at deadlines, as a driver that oversleeps does.
    pub fn skip(&mut self, time: Duration) {
        self.wire.skip(time);
        self.set_clocks();
    }

    /// Lets the system sleep: the clock that boringtun reads counts on, the one that tunnels are told of does not.
    pub fn suspend(&mut self, time: Duration) {
        self.clocks.slept += time;
        self.set_clocks();
    }

    /// Sets the wall clock: `behind` the time that passed since the beginning, and the system's sleep.
    pub fn set_wall_clock(&mut self, behind: Duration) {
        self.clocks.behind = behind;
        self.set_clocks();
    }

    fn set_clocks(&self) {
        self.clocks.set(self.now());
    }

    /// Delivers a datagram to side 0 from another address than the relay's.
    pub fn deliver_as_relay_of(&mut self, datagram: &[u8], network: u8) {
        let (now, mut out, mut packet) = (self.instant(), DatagramBatch::new(), vec![0; datagram.len()]);
        self.tunnels[0].receive(datagram, address_on(network, 1), now, |_| true, &mut packet, &mut out);
        // What it sends goes to the wrong address.
    }

    /// Delivers a datagram to side 1 from an address on `network`, or to side 0 from the relay's.
    pub fn deliver_from(&mut self, to: usize, datagram: &[u8], network: u8) {
        let (now, mut out, mut packet) = (self.instant(), DatagramBatch::new(), vec![0; datagram.len()]);
        let allowed = inner_address(1 - to);
        let from = if to == 0 { address(1) } else { address_on(network, 0) };
        let length = self.tunnels[to].receive(datagram, from, now, |source| source == allowed, &mut packet, &mut out);
        let session = indices(datagram)[1];
        if let Some(length) = length {
            self.delivered[to].extend(packets(&packet[..length]).map(<[u8]>::to_vec));
            let is_vouched = session.is_some_and(|session| self.vouched.contains(&(to, session)));
            if !is_vouched {
                self.unvouched[to].push(self.now());
            }
        }
        self.vouch(to, session);
        self.put_on_wire(to, &out);
        self.flush(to);
    }

    /// Notes that a side uses a session of its own, if it runs what was agreed on.
    fn vouch(&mut self, side: usize, session: Option<u32>) {
        let has_epoch =
            self.tunnels[side].negotiation_status(self.instant()).is_some_and(|status| status.epoch.is_some());
        if let Some(session) = session.filter(|_| has_epoch) {
            self.vouched.insert((side, session));
        }
    }

    /// Sends what found the batch full.
    pub fn flush(&mut self, side: usize) {
        while self.tunnels[side].has_ready() {
            self.act_once(side, |tunnel, now, out| tunnel.flush(now, out));
        }
    }

    fn put_on_wire(&mut self, from: usize, out: &DatagramBatch) {
        while let Some(event) = self.tunnels[from].poll_event() {
            self.events[from].push(event);
        }
        let believed = self.tunnels[1].endpoint().map(|endpoint| endpoint.remote);
        let network = match believed {
            Some(SocketAddr::V4(address)) if from == 1 => address.ip().octets()[2],
            _ => self.network,
        };
        let to = if from == 0 { address(1) } else { address_on(network, 0) };
        let own = if from == 0 { address_on(self.network, 0) } else { address(1) };
        for datagram in out.iter() {
            self.note(from, datagram, network);
            let fate = match ((self.fate)(from), &self.spared) {
                (_, Some(is_spared)) if is_spared(datagram) => Fate::Deliver,
                (fate, _) => fate,
            };
            let packet = Packet { from: own.remote, to: to.remote, payload: datagram.to_vec() };
            self.wire.send(Node(from), packet, &mut Decided(fate));
        }
    }

    /// Notes what an observer sees of a datagram that is sent.
    fn note(&mut self, from: usize, datagram: &[u8], network: u8) {
        self.raw.push((from, datagram.to_vec()));
        if let [Some(sender), Some(receiver)] = indices(datagram) {
            self.links.extend([(sender, receiver), (receiver, sender)]);
        } else if let [None, Some(receiver)] = indices(datagram) {
            self.vouch(from, self.links.get(&receiver).copied());
        }
        let (at, length, kind) = (self.now(), datagram.len(), datagram[0]);
        self.seen.push(Sighting { at, from, length, kind, indices: indices(datagram), network });
    }
}

fn tunnel(keys: &[PrivateKey; 2], own: usize, [seed, life]: [u8; 2]) -> Tunnel {
    let mut seeds = [2 * seed + own as u8; 32];
    seeds[0] = life;
    let mut tunnel = Tunnel::new(TunnelConfig::new(&keys[own], keys[1 - own].public_key(), seeds));
    tunnel.set_endpoint(Some(address(1 - own)));
    tunnel
}
