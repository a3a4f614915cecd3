//! The network between two tunnels, and its clock.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use maybetun::defense::Plan;
use maybetun::keys::PrivateKey;
use maybetun::negotiation::RenewError;
use maybetun::settings::{DefenseChange, DefenseSettings, EphemeralSettings, Limits, Role};
use maybetun::tunnel::{DatagramBatch, Endpoint, Event, Tunnel, TunnelConfig, packets};
use mock_instant::MockClock;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use crate::sealed::Ledger;

/// Time that a datagram takes from one side to the other, unless a test changes it.
pub(crate) const DELAY: Duration = Duration::from_millis(10);

/// What the network does with one datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Deliver,
    Lose,
    Repeat,
    /// Arrives this much later than others.
    Delay(Duration),
}

/// A datagram that was sent, for tests to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sighting {
    pub(crate) at: Duration,
    pub(crate) from: usize,
    pub(crate) length: usize,
    /// The first byte: 1 initiation, 2 response, 3 cookie, 4 data.
    pub(crate) kind: u8,
    /// The session indices in it: the sender's of a handshake message, and the receiver's.
    pub(crate) indices: [Option<u32>; 2],
    /// The network of side 0 that it was seen on: the last byte but one of the address.
    pub(crate) network: u8,
}

/// Reads the session indices of a datagram (whitepaper §5.4).
fn indices(datagram: &[u8]) -> [Option<u32>; 2] {
    let at = |at: usize| Some(u32::from_le_bytes(datagram[at..at + 4].try_into().unwrap()));
    match datagram[0] {
        1 => [at(4), None],
        2 => [at(4), at(8)],
        _ => [None, at(4)],
    }
}

/// Two sides, each with a tunnel, the wire between them and the clock of both.
pub(crate) struct Network {
    start: Instant,
    now: Duration,
    keys: [PrivateKey; 2],
    pub(crate) tunnels: [Tunnel; 2],
    wire: BTreeMap<(Duration, u64), (usize, Vec<u8>)>,
    serial: u64,
    /// How often an end was made anew.
    restarts: u8,
    /// How long the system has slept.
    slept: Duration,
    /// How far the wall clock is behind the time that passed.
    behind: Duration,
    /// The network that side 0 is on: part of its address.
    network: u8,
    /// Time that a datagram takes from one side to the other.
    pub(crate) delay: Duration,
    /// Decides what becomes of each datagram.
    pub(crate) fate: Box<dyn FnMut(usize) -> Fate>,
    /// With it, what may carry packets of the user's is delivered, whatever `fate` says.
    pub(crate) spared: Option<Ledger>,
    pub(crate) seen: Vec<Sighting>,
    /// Every datagram, and who sent it.
    pub(crate) raw: Vec<(usize, Vec<u8>)>,
    /// Packets that came out at each side.
    pub(crate) delivered: [Vec<Vec<u8>>; 2],
    pub(crate) events: [Vec<Event>; 2],
    /// Which index of a session is the other end's.
    links: HashMap<u32, u32>,
    /// Sessions, by their own index, in which a side has said or heard something while it ran what was agreed on.
    vouched: HashSet<(usize, u32)>,
    /// When packets came out at a side in a session in which it had not.
    pub(crate) unvouched: [Vec<Duration>; 2],
    /// How often each tunnel was woken by its own deadline.
    pub(crate) wakeups: [usize; 2],
    /// What each side gave up for its size under defenses that were switched off.
    too_large: [u64; 2],
}

impl Network {
    pub(crate) fn new() -> Self {
        Self::seeded(0)
    }

    /// Returns a network whose ends have a session, after a packet each way.
    pub(crate) fn connected() -> Self {
        let mut network = Self::new();
        for side in [0, 1] {
            network.send(side, &packet(side, 0, 100));
            network.run_for(Duration::from_secs(1));
        }
        network
    }

    /// Returns a network whose tunnels draw from `seed`.
    pub(crate) fn seeded(seed: u8) -> Self {
        MockClock::set_time(Duration::ZERO);
        MockClock::set_system_time(Duration::ZERO);
        let keys = [0, 1].map(|side| PrivateKey::generate(&mut ChaCha20Rng::from_seed([2 * seed + side; 32])));
        let tunnels = [tunnel(&keys, 0, [seed, 0]), tunnel(&keys, 1, [seed, 0])];
        Self {
            start: Instant::now(),
            now: Duration::ZERO,
            keys,
            tunnels,
            wire: BTreeMap::new(),
            serial: 0,
            restarts: 0,
            slept: Duration::ZERO,
            behind: Duration::ZERO,
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
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    pub(crate) fn instant(&self) -> Instant {
        self.start + self.now
    }

    /// Returns how many packets a side gave up since it was started that were accepted when the path took larger ones.
    pub(crate) fn too_large(&self, side: usize) -> u64 {
        let present =
            self.tunnels[side].defense_statistics(self.instant()).map_or(0, |statistics| statistics.too_large);
        self.too_large[side] + present
    }

    /// Makes the tunnel of a side anew, as a restarted process would.
    pub(crate) fn restart(&mut self, side: usize) {
        self.vouched.retain(|(of, _)| *of != side);
        // It draws anew: session indices that it had before would make two datagrams of one name.
        self.restarts += 1;
        self.tunnels[side] = tunnel(&self.keys, side, [99, self.restarts]);
        self.too_large[side] = 0;
        self.tunnels[side].set_endpoint(None);
    }

    pub(crate) fn send(&mut self, side: usize, packet: &[u8]) {
        self.send_once(side, packet);
        self.flush(side);
    }

    /// Sends a packet with a single call to the tunnel.
    pub(crate) fn send_once(&mut self, side: usize, packet: &[u8]) {
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + 15, 0);
        let mut out = DatagramBatch::new();
        let now = self.instant();
        self.tunnels[side].send(&mut buffer, packet.len(), now, &mut out);
        self.put_on_wire(side, &out);
    }

    /// Lets time pass up to `until`; everything that is due happens at its time.
    pub(crate) fn run_until(&mut self, until: Duration) {
        loop {
            let arrival = self.wire.keys().next().map(|(at, _)| *at);
            let deadlines = [0, 1].map(|side| self.tunnels[side].next_timeout().map(|at| at - self.start));
            let next = deadlines.iter().flatten().chain(&arrival).min().copied();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.set_time(next.max(self.now));
            for side in [0, 1] {
                if deadlines[side].is_some_and(|deadline| deadline <= self.now) {
                    self.wakeups[side] += 1;
                    let mut out = DatagramBatch::new();
                    let now = self.instant();
                    self.tunnels[side].handle_timeout(now, &mut out);
                    self.put_on_wire(side, &out);
                    self.flush(side);
                }
            }
            while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (to, datagram) = entry.remove();
                self.deliver(to, &datagram);
            }
        }
        self.set_time(until);
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    /// Returns the handshake initiations seen so far.
    pub(crate) fn initiations(&self) -> Vec<Duration> {
        self.seen.iter().filter(|sighting| sighting.kind == 1).map(|sighting| sighting.at).collect()
    }

    /// Puts on the wire what a test had a tunnel make by itself.
    pub(crate) fn inject(&mut self, from: usize, out: &DatagramBatch) {
        self.put_on_wire(from, out);
    }

    /// Has a side agree on a defense: side 0 as the client, side 1 as the relay. Tells whether it had not before.
    pub(crate) fn agree(&mut self, side: usize, settings: &EphemeralSettings) -> bool {
        // Numbers that no other network has.
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        self.agree_by(side, settings, SERIAL.fetch_add(1, Ordering::Relaxed))
    }

    /// Does the same with delays that are drawn from `serial`: two networks with the same have the same.
    pub(crate) fn agree_by(&mut self, side: usize, settings: &EphemeralSettings, serial: u64) -> bool {
        let mut out = DatagramBatch::new();
        let (now, role) = (self.instant(), [Role::Client, Role::Relay][side]);
        let mut seed = [side as u8; 32];
        seed[8..16].copy_from_slice(&serial.to_le_bytes());
        let change = DefenseChange::Ephemeral(settings.clone());
        let is_new =
            self.tunnels[side].set_defense(change, role, seed, now, &mut out).expect("only a renewal is refused");
        self.put_on_wire(side, &out);
        self.flush(side);
        is_new
    }

    /// Has a side send a padding packet.
    pub(crate) fn pad(&mut self, side: usize) {
        let mut out = DatagramBatch::new();
        let now = self.instant();
        self.tunnels[side].pad_once(now, &mut out);
        self.put_on_wire(side, &out);
        self.flush(side);
    }

    /// Takes side 0 to another network, and tells it; what was under way to it and from it is lost.
    pub(crate) fn change_network(&mut self) {
        self.network += 1;
        self.wire.clear();
        let mut out = DatagramBatch::new();
        let now = self.instant();
        self.tunnels[0].network_changed(now, &mut out);
        self.put_on_wire(0, &out);
        self.flush(0);
    }

    /// Takes side 0 to another network, as an address translator does: it does not know.
    pub(crate) fn move_unseen(&mut self, network: u8) {
        self.network = network;
    }

    /// Has a side run a plan of its own, whose machines draw from `seed`; what waits is not flushed.
    pub(crate) fn start(&mut self, side: usize, plan: &Plan, seed: [u8; 32]) {
        self.start_within(&Limits::default(), side, plan, seed);
    }

    /// Does the same within the user's limits.
    pub(crate) fn start_within(&mut self, limits: &Limits, side: usize, plan: &Plan, seed: [u8; 32]) {
        let settings = DefenseSettings { name: "plan".to_owned(), role: None, plan: plan.clone(), limits: *limits };
        let (now, mut out) = (self.instant(), DatagramBatch::new());
        let change = DefenseChange::On(settings);
        self.tunnels[side].set_defense(change, Role::Client, seed, now, &mut out).expect("only a renewal is refused");
        self.put_on_wire(side, &out);
    }

    /// Has a side run a plan of its own.
    pub(crate) fn defend(&mut self, side: usize, plan: &Plan) {
        self.start(side, plan, [side as u8; 32]);
        self.flush(side);
    }

    /// Has a side agree on another defense now, if it can.
    pub(crate) fn renew(&mut self, side: usize) {
        let mut out = DatagramBatch::new();
        let now = self.instant();
        let _ = renew(&mut self.tunnels[side], now, &mut out);
        self.put_on_wire(side, &out);
        self.flush(side);
    }

    /// Ends the defense of a side.
    pub(crate) fn stop_defense(&mut self, side: usize) {
        self.too_large[side] = self.too_large(side);
        let mut out = DatagramBatch::new();
        let now = self.instant();
        let change = DefenseChange::Off;
        self.tunnels[side]
            .set_defense(change, Role::Client, [0; 32], now, &mut out)
            .expect("only a renewal is refused");
        self.put_on_wire(side, &out);
        self.flush(side);
    }

    /// Lets time pass without a look at deadlines, as a driver that oversleeps does.
    pub(crate) fn skip(&mut self, time: Duration) {
        self.set_time(self.now + time);
    }

    /// Lets the system sleep: the clock that boringtun reads counts on, the one that tunnels are told of does not.
    pub(crate) fn suspend(&mut self, time: Duration) {
        self.slept += time;
        self.set_time(self.now);
    }

    /// Sets the wall clock: `behind` the time that passed since the beginning, and the system's sleep.
    pub(crate) fn set_wall_clock(&mut self, behind: Duration) {
        self.behind = behind;
        self.set_time(self.now);
    }

    fn set_time(&mut self, now: Duration) {
        self.now = now;
        MockClock::set_time(now + self.slept);
        MockClock::set_system_time(now + self.slept - self.behind);
    }

    /// Delivers a datagram to side 0 from another address than the relay's.
    pub(crate) fn deliver_as_relay_of(&mut self, datagram: &[u8], network: u8) {
        let (now, mut out, mut packet) = (self.instant(), DatagramBatch::new(), vec![0; datagram.len()]);
        self.tunnels[0].receive(datagram, address_on(network, 1), now, |_| true, &mut packet, &mut out);
        // What it sends goes to the wrong address.
    }

    /// Delivers a datagram to side 1 from an address on `network`, or to side 0 from the relay's.
    pub(crate) fn deliver_from(&mut self, to: usize, datagram: &[u8], network: u8) {
        let mut out = DatagramBatch::new();
        let mut packet = vec![0; datagram.len()];
        let now = self.instant();
        let allowed = IpAddr::from([10, 0, 0, 2 - to as u8]);
        let from = if to == 0 { address(1) } else { address_on(network, 0) };
        let length = self.tunnels[to].receive(datagram, from, now, |source| source == allowed, &mut packet, &mut out);
        let session = indices(datagram)[1];
        if let Some(length) = length {
            self.delivered[to].extend(packets(&packet[..length]).map(<[u8]>::to_vec));
            let is_vouched = session.is_some_and(|session| self.vouched.contains(&(to, session)));
            if !is_vouched {
                self.unvouched[to].push(self.now);
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

    fn deliver(&mut self, to: usize, datagram: &[u8]) {
        self.deliver_from(to, datagram, self.network);
    }

    /// Sends what found the batch full.
    pub(crate) fn flush(&mut self, side: usize) {
        while self.tunnels[side].has_ready() {
            let mut out = DatagramBatch::new();
            let now = self.instant();
            self.tunnels[side].flush(now, &mut out);
            self.put_on_wire(side, &out);
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
        for datagram in out.iter() {
            self.raw.push((from, datagram.to_vec()));
            if let [Some(sender), Some(receiver)] = indices(datagram) {
                self.links.extend([(sender, receiver), (receiver, sender)]);
            } else if let [None, Some(receiver)] = indices(datagram) {
                self.vouch(from, self.links.get(&receiver).copied());
            }
            let (length, kind) = (datagram.len(), datagram[0]);
            self.seen.push(Sighting { at: self.now, from, length, kind, indices: indices(datagram), network });
            let (copies, delay) = match (self.fate)(from) {
                _ if network != self.network => (0, self.delay),
                _ if self.spared.as_ref().is_some_and(|ledger| ledger.may_have_packets(datagram)) => (1, self.delay),
                Fate::Deliver => (1, self.delay),
                Fate::Lose => (0, self.delay),
                Fate::Repeat => (2, self.delay),
                Fate::Delay(more) => (1, self.delay + more),
            };
            for _ in 0..copies {
                self.serial += 1;
                self.wire.insert((self.now + delay, self.serial), (1 - from, datagram.to_vec()));
            }
        }
    }
}

fn tunnel(keys: &[PrivateKey; 2], own: usize, [seed, life]: [u8; 2]) -> Tunnel {
    let mut seeds = [2 * seed + own as u8; 32];
    seeds[0] = life;
    let mut tunnel = Tunnel::new(TunnelConfig::new(&keys[own], keys[1 - own].public_key(), seeds));
    tunnel.set_endpoint(Some(address(1 - own)));
    tunnel
}

/// Has a tunnel agree anew, and tells why it does not.
pub(crate) fn renew(tunnel: &mut Tunnel, now: Instant, out: &mut DatagramBatch) -> Result<bool, RenewError> {
    tunnel.set_defense(DefenseChange::Renew, Role::Client, [0; 32], now, out)
}

pub(crate) fn address(side: usize) -> Endpoint {
    address_on(2, side)
}

pub(crate) fn address_on(network: u8, side: usize) -> Endpoint {
    Endpoint::from(SocketAddr::from(([192, 0, network, side as u8 + 1], 51_820)))
}

/// Builds an IPv4 packet from a side to the other, of 24 bytes or more, that carries a number.
pub(crate) fn packet(from: usize, number: u32, length: usize) -> Vec<u8> {
    let length = length.max(24);
    let mut packet = vec![0; length];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
    packet[12..16].copy_from_slice(&[10, 0, 0, 1 + from as u8]);
    packet[16..20].copy_from_slice(&[10, 0, 0, 2 - from as u8]);
    packet[20..24].copy_from_slice(&number.to_be_bytes());
    packet
}

/// Reads the number back.
pub(crate) fn number(packet: &[u8]) -> u32 {
    u32::from_be_bytes(packet[20..24].try_into().unwrap())
}
