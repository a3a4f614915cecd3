//! The end of one tunnel or of several, as a host of a virtual network, with another host inside.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use maybetun::tunnel::{
    AllowedIps, DatagramBatch, Endpoint, IpHeader, PADDING_MULTIPLE, SessionIndices, Tunnel, TunnelConfig, packets,
};

use super::Clocks;
use crate::datagram::Message;
use crate::virtual_network::{Host, Outbox, Packet};

/// The kind of a handshake's initiation: in clear, it says nothing of whose it is.
const INITIATION: u8 = 1;

/// The end of tunnels to one peer or several, and the host inside: what that sends goes through a tunnel, and what comes out of one
/// is its.
///
/// The host inside takes and sends IP packets ([`Packet::payload`]) that come from and go to addresses inside the tunnels, with
/// port 0. It need not know that there is a tunnel: on a network of its own it does the same.
#[derive(Debug)]
pub struct End<I> {
    /// The host inside. Whoever has it send something does so by [`act`](Self::act).
    pub inside: I,
    peers: Peers,
    /// What the host inside sends.
    sent: Outbox,
}

/// The tunnels, and what leaves them.
#[derive(Debug)]
struct Peers {
    address: SocketAddr,
    start: Instant,
    clocks: Clocks,
    tunnels: Vec<Tunnel>,
    /// Whose an address inside is.
    allowed_ips: AllowedIps<usize>,
    indices: SessionIndices,
    /// Who called from an address last, or is to.
    callers: HashMap<SocketAddr, usize>,
    /// The deadline of each, and all of them in order: a thousand tunnels are not asked because one was.
    deadlines: Vec<Option<Instant>>,
    due: BTreeSet<(Instant, usize)>,
    batch: DatagramBatch,
    /// Packets that no peer has the address of.
    unrouted: u64,
    /// How often a tunnel was woken by its own deadline.
    wakeups: u64,
}

impl<I: Host> End<I> {
    /// Returns an end at `address` that has no peer. `start` is the instant at which its network began.
    pub fn new(address: SocketAddr, start: Instant, inside: I) -> Self {
        let peers = Peers {
            address,
            start,
            clocks: Clocks::default(),
            tunnels: Vec::new(),
            allowed_ips: AllowedIps::default(),
            indices: SessionIndices::default(),
            callers: HashMap::new(),
            deadlines: Vec::new(),
            due: BTreeSet::new(),
            batch: DatagramBatch::new(),
            unrouted: 0,
            wakeups: 0,
        };
        Self { inside, peers, sent: Outbox::default() }
    }

    /// Adds a peer, and returns its number. `config` is without a table of session indices: the end has its own. `prefixes` are
    /// the addresses inside that are the peer's; without an endpoint it is where it calls from. Peers are added before time passes.
    ///
    /// # Panics
    /// Panics if something of `prefixes` is none.
    pub fn add_peer(&mut self, config: TunnelConfig<'_>, endpoint: Option<SocketAddr>, prefixes: &[&str]) -> usize {
        let peers = &mut self.peers;
        let number = peers.tunnels.len();
        let owner = u32::try_from(number).expect("fewer peers than a table can name");
        peers.clocks.set(Duration::ZERO);
        let mut tunnel = Tunnel::new(TunnelConfig { indices: peers.indices.clone(), owner, ..config });
        tunnel.set_endpoint(endpoint.map(Endpoint::from));
        peers.tunnels.push(tunnel);
        peers.deadlines.push(None);
        for prefix in prefixes {
            let prefix = prefix.parse().unwrap_or_else(|_| panic!("{prefix} is no prefix, such as 10.0.0.2/32"));
            peers.allowed_ips.insert(prefix, number);
        }
        number
    }

    /// Says from where a peer will call. Its tunnel does not know; but among many, it is asked first.
    pub fn expect_from(&mut self, peer: usize, address: SocketAddr) {
        self.peers.callers.insert(address, peer);
    }

    /// Gives the end another address, from which it sends from now on. Its tunnels are not told.
    pub fn move_to(&mut self, address: IpAddr) {
        self.peers.address.set_ip(address);
    }

    /// Returns the tunnel to a peer.
    ///
    /// # Panics
    /// Panics if there is no such peer.
    pub fn tunnel(&self, peer: usize) -> &Tunnel {
        &self.peers.tunnels[peer]
    }

    /// Returns the number of peers.
    pub fn peers(&self) -> usize {
        self.peers.tunnels.len()
    }

    /// Returns how many packets the host inside sent to addresses that no peer has.
    pub fn unrouted(&self) -> u64 {
        self.peers.unrouted
    }

    /// Returns how often a tunnel was woken by its own deadline.
    pub fn wakeups(&self) -> u64 {
        self.peers.wakeups
    }

    /// Has something happen to the tunnel to a peer now.
    ///
    /// # Panics
    /// Panics if there is no such peer.
    pub fn act_on<R>(
        &mut self,
        peer: usize,
        now: Instant,
        out: &mut Outbox,
        act: impl FnOnce(&mut Tunnel, Instant, &mut DatagramBatch) -> R,
    ) -> R {
        self.peers.set_clocks(now);
        let result = self.peers.act(peer, now, out, act);
        self.peers.settle(peer, now, out);
        result
    }

    /// Has something happen to the host inside now, and sends through the tunnels what it sends.
    pub fn act<R>(&mut self, now: Instant, out: &mut Outbox, act: impl FnOnce(&mut I, Instant, &mut Outbox) -> R) -> R {
        self.peers.set_clocks(now);
        let result = act(&mut self.inside, now, &mut self.sent);
        self.carry(now, out);
        result
    }

    /// Sends what the host inside has sent.
    fn carry(&mut self, now: Instant, out: &mut Outbox) {
        let mut sent = self.sent.take();
        // The peer whose tunnel took the last: as a rule that of all.
        let mut last = None;
        for Packet { payload, .. } in sent.drain(..) {
            let peer = self.peers.peer_of_packet(&payload);
            if let Some(before) = last.filter(|_| last != peer) {
                self.peers.settle(before, now, out);
            }
            last = peer;
            self.sent.recycle(self.peers.seal(peer, payload, now, out));
        }
        if let Some(peer) = last {
            self.peers.settle(peer, now, out);
        }
        self.sent.restore(sent);
    }

    /// Takes a call. Whose it is shows when a tunnel takes it: as a rule that of the peer which called from its address last. It
    /// counts as not authentic at those that were asked in vain.
    fn take_call(&mut self, call: &Packet, now: Instant, out: &mut Outbox) {
        let known = self.peers.callers.get(&call.from).copied();
        for peer in known.into_iter().chain((0..self.peers()).filter(|peer| Some(*peer) != known)) {
            let refused = |end: &Self| end.tunnel(peer).statistics().dropped.unauthenticated;
            let before = refused(self);
            self.open(peer, call, now, out);
            if refused(self) == before {
                self.peers.callers.insert(call.from, peer);
                break;
            }
        }
    }

    /// Takes a datagram for the tunnel to a peer.
    fn open(&mut self, peer: usize, datagram: &Packet, now: Instant, out: &mut Outbox) {
        let mut buffer = self.sent.buffer();
        buffer.resize(datagram.payload.len(), 0);
        let length = self.peers.open(peer, datagram, &mut buffer, now, out);
        buffer.truncate(length.unwrap_or(0));
        // Of a bundle, the first packet keeps the buffer.
        let first = packets(&buffer).next().map_or(0, <[u8]>::len);
        let others: Vec<_> = packets(&buffer[first..]).map(<[u8]>::to_vec).collect();
        buffer.truncate(first);
        match length {
            Some(_) => self.give(buffer, now),
            None => self.sent.recycle(buffer),
        }
        for packet in others {
            self.give(packet, now);
        }
    }

    /// Gives a packet to the host inside.
    fn give(&mut self, payload: Vec<u8>, now: Instant) {
        let Some(header) = IpHeader::parse(&payload) else { return };
        let [from, to] = [header.source, header.destination].map(|address| SocketAddr::new(address, 0));
        self.inside.receive(Packet { from, to, payload }, now, &mut self.sent);
    }
}

impl<I: Host> Host for End<I> {
    fn receive(&mut self, packet: Packet, now: Instant, out: &mut Outbox) {
        self.peers.set_clocks(now);
        match Message::parse(&packet.payload) {
            Message { kind: INITIATION, .. } => self.take_call(&packet, now, out),
            Message { receiver: Some(receiver), .. } => {
                if let Some(peer) = self.peers.indices.owner_of(receiver) {
                    self.open(peer as usize, &packet, now, out);
                }
            }
            _ => {}
        }
        out.recycle(packet.payload);
        self.carry(now, out);
    }

    fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) {
        self.peers.set_clocks(now);
        while let Some(peer) = self.peers.take_due(now) {
            self.peers.wakeups += 1;
            self.peers.act(peer, now, out, |tunnel, now, batch| tunnel.handle_timeout(now, batch));
            self.peers.settle(peer, now, out);
            if self.peers.deadlines[peer].is_some_and(|at| at <= now) {
                // It goes on when others have had their turn.
                break;
            }
        }
        if self.inside.next_timeout().is_some_and(|at| at <= now) {
            self.inside.handle_timeout(now, &mut self.sent);
        }
        self.carry(now, out);
    }

    fn next_timeout(&self) -> Option<Instant> {
        let due = self.peers.due.first().map(|(at, _)| *at);
        [due, self.inside.next_timeout()].into_iter().flatten().min()
    }
}

impl Peers {
    fn set_clocks(&self, now: Instant) {
        self.clocks.set(now.saturating_duration_since(self.start));
    }

    /// Whose address a packet goes to.
    fn peer_of_packet(&self, packet: &[u8]) -> Option<usize> {
        self.allowed_ips.owner_of(IpHeader::parse(packet)?.destination)
    }

    /// Seals a packet for a peer, and returns its buffer.
    fn seal(&mut self, peer: Option<usize>, mut packet: Vec<u8>, now: Instant, out: &mut Outbox) -> Vec<u8> {
        let Some(peer) = peer else {
            self.unrouted += 1;
            return packet;
        };
        let length = packet.len();
        packet.resize(length + PADDING_MULTIPLE - 1, 0);
        self.act(peer, now, out, |tunnel, now, batch| tunnel.send(&mut packet, length, now, batch));
        packet
    }

    /// Opens a datagram into `buffer`, and returns the bytes of what came out.
    fn open(
        &mut self,
        peer: usize,
        datagram: &Packet,
        buffer: &mut [u8],
        now: Instant,
        out: &mut Outbox,
    ) -> Option<usize> {
        let from = Endpoint::from(datagram.from);
        let Self { tunnels, allowed_ips, batch, .. } = self;
        let is_allowed = |source: IpAddr| allowed_ips.owner_of(source) == Some(peer);
        let length = tunnels[peer].receive(&datagram.payload, from, now, is_allowed, buffer, batch);
        self.ship(peer, out);
        self.settle(peer, now, out);
        length
    }

    /// Has something happen to a tunnel, and sends the datagrams that come of it.
    fn act<R>(
        &mut self,
        peer: usize,
        now: Instant,
        out: &mut Outbox,
        act: impl FnOnce(&mut Tunnel, Instant, &mut DatagramBatch) -> R,
    ) -> R {
        let result = act(&mut self.tunnels[peer], now, &mut self.batch);
        self.ship(peer, out);
        result
    }

    /// Sends the datagrams that a tunnel has made.
    fn ship(&mut self, peer: usize, out: &mut Outbox) {
        if self.batch.is_empty() {
            return;
        }
        if let Some(endpoint) = self.tunnels[peer].endpoint() {
            self.batch.iter().for_each(|datagram| out.send(self.address, endpoint.remote, datagram));
        }
        self.batch.clear();
    }

    /// Sends what found the batch full or waited for others, and notes when the tunnel wants to be woken.
    fn settle(&mut self, peer: usize, now: Instant, out: &mut Outbox) {
        while self.tunnels[peer].has_ready() {
            self.act(peer, now, out, |tunnel, now, batch| tunnel.flush(now, batch));
        }
        self.arm(peer, self.tunnels[peer].next_timeout());
    }

    fn arm(&mut self, peer: usize, at: Option<Instant>) {
        let before = std::mem::replace(&mut self.deadlines[peer], at);
        if before != at {
            if let Some(before) = before {
                self.due.remove(&(before, peer));
            }
            self.due.extend(at.map(|at| (at, peer)));
        }
    }

    /// Takes out the tunnel whose deadline is the earliest, if that has come.
    fn take_due(&mut self, now: Instant) -> Option<usize> {
        let (_, peer) = *self.due.first().filter(|(at, _)| *at <= now)?;
        self.arm(peer, None);
        Some(peer)
    }
}
