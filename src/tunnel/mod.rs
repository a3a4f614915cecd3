//! One peer of a WireGuard device, sans-IO: bytes and instants in; datagrams, IP packets, events and a deadline out.
//!
//! A [`Tunnel`] never reads a socket, starts a task or waits. Its owner
//! - hands it IP packets ([`send`](Tunnel::send)) and datagrams ([`receive`](Tunnel::receive)) with the time they came;
//! - sends what it finds in the [`DatagramBatch`] afterwards to [`endpoint`](Tunnel::endpoint);
//! - calls [`handle_timeout`](Tunnel::handle_timeout) when [`next_timeout`](Tunnel::next_timeout) has come;
//! - reads [`poll_event`](Tunnel::poll_event) for what the user may want to know.
//!
//! The handshake, the sessions and the AEAD are the `boringtun` crate's. It reads the system's clock by itself; with the
//! feature `virtual-time` it reads one that a test moves.
//!
//! ```
//! use std::time::Instant;
//! use maybetun::keys::PrivateKey;
//! use maybetun::tunnel::{DatagramBatch, Endpoint, Tunnel, TunnelConfig};
//!
//! let (ours, theirs) = (PrivateKey::generate_from_os(), PrivateKey::generate_from_os());
//! let mut tunnel = Tunnel::new(TunnelConfig::new(&ours, theirs.public_key(), 1));
//! tunnel.set_endpoint(Some(Endpoint::from("192.0.2.1:51820".parse::<std::net::SocketAddr>().unwrap())));
//!
//! let mut out = DatagramBatch::new();
//! let mut packet = vec![0x45, 0, 0, 20, 0, 0, 0, 0, 64, 59, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
//! let length = packet.len();
//! tunnel.send(&mut packet, length, Instant::now(), &mut out);
//! // No session yet: the packet waits, and a handshake initiation of 148 bytes goes out.
//! assert_eq!(out.iter().map(<[u8]>::len).collect::<Vec<_>>(), [148]);
//! ```

mod allowed_ips;
mod batch;
mod frame;
mod ip;
mod queue;
#[cfg(test)]
mod tests;
mod timers;

pub use allowed_ips::AllowedIps;
pub use batch::{DatagramBatch, Run, Runs};
pub use boringtun::noise::rate_limiter::RateLimiter;
pub use ip::IpHeader;
#[cfg(all(test, feature = "device"))]
pub(crate) use ip::tests as ip_tests;
pub use queue::{MAX_QUEUED_BYTES, MAX_QUEUED_PACKETS};

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use boringtun::noise::errors::WireGuardError;
use boringtun::noise::{Packet, Tunn, TunnResult};

use crate::keys::{PresharedKey, PrivateKey, PublicKey};
use crate::settings::Statistics;
use frame::Frame;
use queue::Queue;
use timers::{
    FORGET_AFTER, KEEPALIVE_TIMEOUT, MAX_JITTER_MS, REJECT_AFTER_TIME, REKEY_AFTER_TIME, REKEY_ON_RECEIVE,
    REKEY_TIMEOUT, SILENCE_TIMEOUT, Timer, Timers,
};

/// Bytes that sealing adds to a plaintext: type, receiver, counter (16) and tag (16).
pub const DATA_OVERHEAD: usize = 32;

/// Largest datagram that a tunnel makes, in bytes: one that carries the largest IP packet.
pub const MAX_DATAGRAM: usize = u16::MAX as usize + DATA_OVERHEAD;

/// Plaintexts are padded to a multiple of this many bytes (whitepaper §5.4.6).
pub const PADDING_MULTIPLE: usize = 16;

/// MTU of a tunnel until it is told another: what fits an Ethernet link over IPv6.
pub const DEFAULT_MTU: u16 = 1_420;

/// boringtun's own view of time is brought up to date when it is older than this.
const TICK: Duration = Duration::from_secs(1);

/// Most events that wait to be read; the oldest go first.
const MAX_EVENTS: usize = 16;

/// Largest handshake message, in bytes: the initiation.
const HANDSHAKE_INITIATION: usize = 148;

/// Most sessions that boringtun keeps; a new one takes the place of the oldest.
const MAX_SESSIONS: usize = 8;

/// Bits of a session index that name the tunnel; boringtun counts sessions in the other eight.
pub const INDEX_BITS: u32 = 24;

/// Where a peer is, and which of our addresses it talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// The peer's address and port.
    pub remote: SocketAddr,
    /// Our address that the last datagram came to, from which to answer; `None` lets the operating system choose.
    pub local: Option<IpAddr>,
}

impl From<SocketAddr> for Endpoint {
    fn from(remote: SocketAddr) -> Self {
        Self { remote, local: None }
    }
}

/// What a tunnel is made of.
#[derive(Debug)]
pub struct TunnelConfig<'a> {
    /// Our private key.
    pub private_key: &'a PrivateKey,
    /// The peer's public key.
    pub peer: PublicKey,
    /// A key that both hold beside their key pairs.
    pub preshared_key: Option<&'a PresharedKey>,
    /// Seconds of silence after which a keepalive is sent; 0 turns it off.
    pub persistent_keepalive: u16,
    /// 24 random bits that name the tunnel in session indices; the higher bits are ignored.
    pub index: u32,
    /// MTU of the TUN device, in bytes.
    pub mtu: u16,
}

impl<'a> TunnelConfig<'a> {
    /// Returns a configuration without a preshared key or keepalives, at the default MTU.
    pub fn new(private_key: &'a PrivateKey, peer: PublicKey, index: u32) -> Self {
        Self { private_key, peer, preshared_key: None, persistent_keepalive: 0, index, mtu: DEFAULT_MTU }
    }
}

/// What a tunnel tells its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A handshake completed: there is a new session.
    SessionStarted,
    /// The last session ended and no new one replaced it.
    SessionEnded,
    /// No answer came to a handshake for 90 s; waiting packets were dropped.
    HandshakeFailed,
    /// The peer was heard from at another address.
    EndpointChanged(SocketAddr),
}

/// One peer of a WireGuard device.
pub struct Tunnel {
    tunn: Tunn,
    private_key: PrivateKey,
    peer: PublicKey,
    preshared_key: Option<PresharedKey>,
    index: u32,
    mtu: usize,
    endpoint: Option<Endpoint>,
    persistent_keepalive: Option<Duration>,
    queue: Queue,
    timers: Timers,
    /// When boringtun's timers were last polled.
    ticked: Option<Instant>,
    session: Option<Session>,
    /// Index of a session that we answered for and that the peer has not used yet.
    unconfirmed: Option<u32>,
    /// When the sessions that may still be in use were made, the oldest first; boringtun keeps eight.
    started: VecDeque<Instant>,
    handshakes_sent: u32,
    last_handshake: Option<Instant>,
    statistics: Statistics,
    events: VecDeque<Event>,
}

/// The session in use.
#[derive(Debug, Clone, Copy)]
struct Session {
    started: Instant,
    role: Role,
}

/// Who began the handshake of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Initiator,
    Responder,
}

/// How a datagram that we sent counts for the timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Data,
    Keepalive,
    Handshake,
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnel").field("peer", &self.peer).field("session", &self.session).finish_non_exhaustive()
    }
}

impl Tunnel {
    /// Returns a tunnel without an endpoint or a session.
    pub fn new(config: TunnelConfig<'_>) -> Self {
        let index = config.index & ((1 << INDEX_BITS) - 1);
        let preshared_key = config.preshared_key.filter(|key| !key.is_zero()).cloned();
        let tunn = new_tunn(config.private_key, config.peer, preshared_key.as_ref(), index);
        Self {
            tunn,
            private_key: config.private_key.clone(),
            peer: config.peer,
            preshared_key,
            index,
            mtu: usize::from(config.mtu),
            endpoint: None,
            persistent_keepalive: seconds(config.persistent_keepalive),
            queue: Queue::default(),
            timers: Timers::default(),
            ticked: None,
            session: None,
            unconfirmed: None,
            started: VecDeque::with_capacity(MAX_SESSIONS),
            handshakes_sent: 0,
            last_handshake: None,
            statistics: Statistics::default(),
            events: VecDeque::new(),
        }
    }

    /// Takes an IP packet, the first `length` bytes of `buffer`, to be sent to the peer.
    ///
    /// With a session it is sealed into `out` at once; without one it waits, at most [`MAX_QUEUED_PACKETS`] with it, and
    /// a handshake begins. Bytes of `buffer` behind the packet may be overwritten: give at least 15, in which the packet
    /// is padded to a multiple of 16 bytes. A packet for a peer without an endpoint, or that finds the queue full, is
    /// dropped and counted.
    ///
    /// # Panics
    /// Panics if `length` is over the buffer's length or 65,535.
    pub fn send(&mut self, buffer: &mut [u8], length: usize, now: Instant, out: &mut DatagramBatch) {
        assert!(length <= buffer.len() && length <= usize::from(u16::MAX), "an IP packet is at most 65,535 bytes");
        if self.endpoint.is_none() {
            self.statistics.dropped.no_endpoint += 1;
            return;
        }
        self.end_old_sessions(now, out);
        if self.session.is_some() && self.queue.is_empty() && !out.is_full() {
            self.seal(buffer, length, now, out);
            self.rekey_if_older(REKEY_AFTER_TIME, now, out);
            return;
        }
        if self.queue.push(&buffer[..length]).is_err() {
            self.statistics.dropped.queue_full += 1;
        }
        if self.session.is_none() {
            self.start_handshake(now, out);
        }
    }

    /// Takes a datagram from the peer, or from someone who claims to be.
    ///
    /// If it carries an IP packet from an allowed source, the packet is written to the start of `packet` and its length
    /// returned. `source_is_allowed` is asked, for the inner source address, whether cryptokey routing leads to this peer.
    /// The endpoint follows `from` only when the datagram authenticates. Answers and packets that waited for a session
    /// are sealed into `out`; when [`has_ready`](Self::has_ready) afterwards, there are more.
    ///
    /// # Panics
    /// Panics if `packet` is shorter than the datagram, or `out` is full.
    pub fn receive(
        &mut self,
        datagram: &[u8],
        from: Endpoint,
        now: Instant,
        source_is_allowed: impl FnOnce(IpAddr) -> bool,
        packet: &mut [u8],
        out: &mut DatagramBatch,
    ) -> Option<usize> {
        assert!(packet.len() >= datagram.len() && !out.is_full(), "a tunnel needs room for what it is given");
        match Tunn::parse_incoming_packet(datagram) {
            Ok(Packet::PacketData(data)) => {
                let receiver = data.receiver_idx;
                self.end_old_sessions(now, out);
                self.receive_data(datagram, receiver, from, now, source_is_allowed, packet, out)
            }
            Ok(Packet::HandshakeInit(_) | Packet::HandshakeResponse(_) | Packet::PacketCookieReply(_)) => {
                self.tick(now, out);
                if out.is_full() {
                    return None;
                }
                self.receive_handshake(datagram, from, now, out);
                None
            }
            Err(_) => {
                self.statistics.dropped.unauthenticated += 1;
                None
            }
        }
    }

    /// Does what has become due: retries, keepalives, the end of sessions.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut DatagramBatch) {
        while !out.is_full() {
            let Some(timer) = self.timers.expire(now) else { return };
            match timer {
                Timer::HandshakeRetry => {
                    self.forget_local_address();
                    self.poll_boringtun(now, out);
                    if self.handshakes_sent > 0 {
                        // boringtun's clock may be a little behind ours.
                        self.timers.set_first(Timer::HandshakeRetry, now + TICK);
                    }
                }
                Timer::Keepalive => self.send_keepalive(now, out),
                Timer::PersistentKeepalive => {
                    if let Some(interval) = self.persistent_keepalive {
                        self.timers.set(Timer::PersistentKeepalive, now + interval);
                        self.send_keepalive(now, out);
                    }
                }
                Timer::Silence => {
                    self.forget_local_address();
                    self.start_handshake(now, out);
                }
                Timer::Forget => self.poll_boringtun(now, out),
            }
        }
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) should be called next; `None` if an idle tunnel may sleep
    /// until something is sent or received.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Returns the oldest event that was not read yet.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Tells whether packets wait that could be sealed now: they found the batch full.
    pub fn has_ready(&self) -> bool {
        self.session.is_some() && !self.queue.is_empty()
    }

    /// Seals waiting packets into `out` until it is full or none waits.
    pub fn flush(&mut self, now: Instant, out: &mut DatagramBatch) {
        while self.session.is_some() && !out.is_full() {
            let Some(mut packet) = self.queue.pop() else { return };
            let length = packet.len();
            packet.resize(length + PADDING_MULTIPLE - 1, 0);
            self.seal(&mut packet, length, now, out);
        }
    }

    /// Begins a handshake unless one is under way or there is nowhere to send it.
    pub fn start_handshake(&mut self, now: Instant, out: &mut DatagramBatch) {
        if self.endpoint.is_none() || out.is_full() {
            return;
        }
        self.tick(now, out);
        if out.is_full() {
            return;
        }
        let result = self.tunn.format_handshake_initiation(out.space(), false);
        let TunnResult::WriteToNetwork(datagram) = result else { return };
        let length = datagram.len();
        out.commit(length);
        self.sent(Content::Handshake, length, now);
    }

    /// Sends the handshake initiation that is under way again, if one is: the way to the peer may have just opened.
    pub fn resend_handshake(&mut self, now: Instant, out: &mut DatagramBatch) {
        if self.handshakes_sent == 0 || self.endpoint.is_none() || out.is_full() {
            return;
        }
        if let TunnResult::WriteToNetwork(datagram) = self.tunn.format_handshake_initiation(out.space(), true) {
            let length = datagram.len();
            out.commit(length);
            self.sent(Content::Handshake, length, now);
        }
    }

    /// Sends a keepalive, or begins a handshake if there is no session to send it in.
    pub fn send_keepalive(&mut self, now: Instant, out: &mut DatagramBatch) {
        if self.endpoint.is_none() || out.is_full() {
            return;
        }
        self.end_old_sessions(now, out);
        if self.session.is_none() {
            self.start_handshake(now, out);
            return;
        }
        if out.is_full() {
            return;
        }
        if let TunnResult::WriteToNetwork(datagram) = self.tunn.encapsulate(&[], out.space()) {
            let length = datagram.len();
            out.commit(length);
            self.sent(Content::Keepalive, length, now);
        }
        self.rekey_if_older(REKEY_AFTER_TIME, now, out);
    }

    /// Names the peer.
    pub fn peer(&self) -> PublicKey {
        self.peer
    }

    /// Returns the 24 bits that name this tunnel in the receiver index of datagrams to it (index / 256).
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Returns where the peer is, as far as is known.
    pub fn endpoint(&self) -> Option<Endpoint> {
        self.endpoint
    }

    /// Says where the peer is, until an authenticated datagram says otherwise.
    pub fn set_endpoint(&mut self, endpoint: Option<Endpoint>) {
        self.endpoint = endpoint;
    }

    /// Forgets which of our addresses the peer talks to, so that the operating system chooses one.
    pub fn forget_local_address(&mut self) {
        if let Some(endpoint) = &mut self.endpoint {
            endpoint.local = None;
        }
    }

    /// Returns the preshared key, if there is one.
    pub fn preshared_key(&self) -> Option<&PresharedKey> {
        self.preshared_key.as_ref()
    }

    /// Changes the preshared key; all zeros takes it away. The session ends unless the key is the same.
    pub fn set_preshared_key(&mut self, key: &PresharedKey, now: Instant) {
        let key = Some(key).filter(|key| !key.is_zero()).cloned();
        if key == self.preshared_key {
            return;
        }
        self.preshared_key = key;
        self.forget_sessions(now);
    }

    /// Changes our private key. The session ends unless the key is the same.
    pub fn set_private_key(&mut self, key: &PrivateKey, now: Instant) {
        if *key == self.private_key {
            return;
        }
        self.private_key = key.clone();
        self.forget_sessions(now);
    }

    /// Returns the seconds of silence after which a keepalive is sent; 0 if never.
    pub fn persistent_keepalive(&self) -> u16 {
        self.persistent_keepalive.and_then(|interval| u16::try_from(interval.as_secs()).ok()).unwrap_or(0)
    }

    /// Sets the seconds of silence after which a keepalive is sent; 0 turns it off.
    pub fn set_persistent_keepalive(&mut self, interval: u16, now: Instant) {
        self.persistent_keepalive = seconds(interval);
        match self.persistent_keepalive {
            Some(interval) => self.timers.set(Timer::PersistentKeepalive, now + interval),
            None => self.timers.cancel(Timer::PersistentKeepalive),
        }
    }

    /// Sets the MTU of the TUN device, in bytes: padding to 16 bytes does not go beyond it.
    pub fn set_mtu(&mut self, mtu: u16) {
        self.mtu = usize::from(mtu);
    }

    /// Returns when the last handshake completed.
    pub fn last_handshake(&self) -> Option<Instant> {
        self.last_handshake
    }

    /// Returns how many packets wait to be sealed.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Returns what the tunnel has counted.
    pub fn statistics(&self) -> Statistics {
        self.statistics
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one datagram's journey; a struct would be used once")]
    fn receive_data(
        &mut self,
        datagram: &[u8],
        receiver: u32,
        from: Endpoint,
        now: Instant,
        source_is_allowed: impl FnOnce(IpAddr) -> bool,
        packet: &mut [u8],
        out: &mut DatagramBatch,
    ) -> Option<usize> {
        let (opened, is_keepalive) = match self.tunn.decapsulate(None, datagram, packet) {
            TunnResult::WriteToTunnelV4(opened, _) | TunnResult::WriteToTunnelV6(opened, _) => (opened.len(), false),
            TunnResult::Done => (0, true),
            // boringtun checks that a payload is IP only after it opened it.
            TunnResult::Err(WireGuardError::InvalidPacket) => (datagram.len() - DATA_OVERHEAD, false),
            TunnResult::Err(WireGuardError::DuplicateCounter | WireGuardError::InvalidCounter) => {
                self.statistics.dropped.replayed += 1;
                return None;
            }
            TunnResult::Err(_) | TunnResult::WriteToNetwork(_) => {
                self.statistics.dropped.unauthenticated += 1;
                return None;
            }
        };
        self.received(datagram.len(), from, now);
        if self.unconfirmed == Some(receiver) {
            self.unconfirmed = None;
            self.start_session(Role::Responder, now, out);
        }
        self.rekey_if_older(REKEY_ON_RECEIVE, now, out);
        if is_keepalive {
            return None;
        }
        self.timers.set_first(Timer::Keepalive, now + KEEPALIVE_TIMEOUT);
        self.accept(&packet[..opened], source_is_allowed)
    }

    /// Judges an authenticated payload, and returns its length if it is an IP packet that may come from this peer.
    fn accept(&mut self, payload: &[u8], source_is_allowed: impl FnOnce(IpAddr) -> bool) -> Option<usize> {
        let Some(header) = IpHeader::parse(payload) else {
            if Frame::parse(payload).is_none() {
                self.statistics.dropped.malformed += 1;
            }
            return None;
        };
        if !source_is_allowed(header.source) {
            self.statistics.dropped.source_not_allowed += 1;
            return None;
        }
        self.statistics.received_packets += 1;
        Some(header.length)
    }

    fn receive_handshake(&mut self, datagram: &[u8], from: Endpoint, now: Instant, out: &mut DatagramBatch) {
        let (length, first_byte) = match self.tunn.decapsulate(None, datagram, out.space()) {
            TunnResult::WriteToNetwork(answer) => (answer.len(), answer[0]),
            // A cookie was taken: it goes into the next initiation.
            TunnResult::Done => return,
            TunnResult::Err(_) | TunnResult::WriteToTunnelV4(..) | TunnResult::WriteToTunnelV6(..) => {
                self.statistics.dropped.unauthenticated += 1;
                return;
            }
        };
        out.commit(length);
        self.received(datagram.len(), from, now);
        if self.started.len() == MAX_SESSIONS {
            self.started.pop_front();
        }
        self.started.push_back(now);
        match MessageType::of(first_byte) {
            MessageType::Response => {
                let sender = &out.iter().last().unwrap_or_default()[4..8];
                self.unconfirmed = sender.try_into().ok().map(u32::from_le_bytes);
                self.sent(Content::Handshake, length, now);
                // The response is ours: nothing is left to retry.
                self.timers.cancel(Timer::HandshakeRetry);
                self.handshakes_sent = 0;
            }
            MessageType::Data => {
                self.sent(Content::Keepalive, length, now);
                self.start_session(Role::Initiator, now, out);
            }
            MessageType::Initiation | MessageType::Other => {}
        }
    }

    /// Lets boringtun end the sessions that are too old to be used.
    ///
    /// It is polled for nothing else while data flows: it takes any packet sent after a silence for an unanswered one.
    fn end_old_sessions(&mut self, now: Instant, out: &mut DatagramBatch) {
        let is_old = |started: &Instant| now.saturating_duration_since(*started) > REJECT_AFTER_TIME;
        if self.started.front().is_none_or(|started| !is_old(started)) || out.is_full() {
            return;
        }
        self.started.retain(|started| !is_old(started));
        self.poll_boringtun(now, out);
    }

    /// Brings boringtun's view of time up to date, before it makes or reads a handshake message.
    fn tick(&mut self, now: Instant, out: &mut DatagramBatch) {
        if self.ticked.is_none_or(|ticked| now.saturating_duration_since(ticked) >= TICK) && !out.is_full() {
            self.poll_boringtun(now, out);
        }
    }

    fn poll_boringtun(&mut self, now: Instant, out: &mut DatagramBatch) {
        self.ticked = Some(now);
        match self.tunn.update_timers(out.space()) {
            TunnResult::WriteToNetwork(datagram) => {
                let (length, first_byte) = (datagram.len(), datagram[0]);
                if self.endpoint.is_some() {
                    out.commit(length);
                    let content = match MessageType::of(first_byte) {
                        MessageType::Data => Content::Keepalive,
                        MessageType::Initiation | MessageType::Response | MessageType::Other => Content::Handshake,
                    };
                    self.sent(content, length, now);
                }
            }
            TunnResult::Err(WireGuardError::ConnectionExpired) if self.handshakes_sent > 0 => {
                self.handshakes_sent = 0;
                self.timers.cancel(Timer::HandshakeRetry);
                self.statistics.dropped.no_session += self.queue.clear() as u64;
                self.push_event(Event::HandshakeFailed);
            }
            TunnResult::Err(_) | TunnResult::Done => {}
            TunnResult::WriteToTunnelV4(..) | TunnResult::WriteToTunnelV6(..) => {}
        }
        if self.session.is_some() && self.tunn.time_since_last_handshake().is_none() {
            self.session = None;
            self.timers.cancel(Timer::Keepalive);
            self.timers.cancel(Timer::Silence);
            self.push_event(Event::SessionEnded);
        }
    }

    /// Seals the packet and pads it; there is a session, and room in the batch.
    fn seal(&mut self, buffer: &mut [u8], length: usize, now: Instant, out: &mut DatagramBatch) {
        let padded = length.next_multiple_of(PADDING_MULTIPLE).min(self.mtu.max(length)).min(buffer.len());
        buffer[length..padded].fill(0);
        if let TunnResult::WriteToNetwork(datagram) = self.tunn.encapsulate(&buffer[..padded], out.space()) {
            let length = datagram.len();
            out.commit(length);
            self.statistics.sent_packets += 1;
            self.sent(Content::Data, length, now);
        }
    }

    /// Begins a handshake if the session was ours to begin and is at least `age` old.
    fn rekey_if_older(&mut self, age: Duration, now: Instant, out: &mut DatagramBatch) {
        let Some(session) = self.session else { return };
        if session.role == Role::Initiator && now.saturating_duration_since(session.started) >= age {
            self.start_handshake(now, out);
        }
    }

    fn start_session(&mut self, role: Role, now: Instant, out: &mut DatagramBatch) {
        self.session = Some(Session { started: now, role });
        self.last_handshake = Some(now);
        self.handshakes_sent = 0;
        self.statistics.handshakes += 1;
        self.timers.cancel(Timer::HandshakeRetry);
        self.timers.set(Timer::Forget, now + FORGET_AFTER + TICK);
        self.push_event(Event::SessionStarted);
        self.flush(now, out);
    }

    /// Keeps the books for a datagram that was sealed.
    fn sent(&mut self, content: Content, length: usize, now: Instant) {
        self.statistics.sent_bytes += length as u64;
        self.timers.cancel(Timer::Keepalive);
        if let Some(interval) = self.persistent_keepalive {
            self.timers.set(Timer::PersistentKeepalive, now + interval);
        }
        match content {
            Content::Data => self.timers.set_first(Timer::Silence, now + SILENCE_TIMEOUT),
            Content::Handshake => {
                self.handshakes_sent += 1;
                self.timers.set(Timer::HandshakeRetry, now + REKEY_TIMEOUT + self.jitter());
            }
            Content::Keepalive => {}
        }
    }

    /// Keeps the books for a datagram that authenticated.
    fn received(&mut self, length: usize, from: Endpoint, now: Instant) {
        self.statistics.received_bytes += length as u64;
        if self.endpoint.map(|endpoint| endpoint.remote) != Some(from.remote) {
            self.push_event(Event::EndpointChanged(from.remote));
        }
        self.endpoint = Some(from);
        self.timers.cancel(Timer::Silence);
        if let Some(interval) = self.persistent_keepalive {
            self.timers.set(Timer::PersistentKeepalive, now + interval);
        }
    }

    /// Returns up to 333 ms that differ from one tunnel and attempt to the next.
    fn jitter(&self) -> Duration {
        let mixed = (self.index ^ self.handshakes_sent.rotate_left(16)).wrapping_mul(0x9e37_79b1);
        Duration::from_millis(u64::from((mixed >> 8) % (MAX_JITTER_MS + 1)))
    }

    fn forget_sessions(&mut self, now: Instant) {
        self.tunn = new_tunn(&self.private_key, self.peer, self.preshared_key.as_ref(), self.index);
        self.session = None;
        self.unconfirmed = None;
        self.started.clear();
        self.handshakes_sent = 0;
        self.ticked = None;
        self.timers = Timers::default();
        self.set_persistent_keepalive(self.persistent_keepalive(), now);
    }

    fn push_event(&mut self, event: Event) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

/// The kinds of WireGuard messages, by their first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MessageType {
    Initiation,
    Response,
    Data,
    Other,
}

impl MessageType {
    fn of(first_byte: u8) -> Self {
        match first_byte {
            1 => Self::Initiation,
            2 => Self::Response,
            4 => Self::Data,
            _ => Self::Other,
        }
    }
}

fn seconds(interval: u16) -> Option<Duration> {
    (interval > 0).then(|| Duration::from_secs(interval.into()))
}

fn new_tunn(key: &PrivateKey, peer: PublicKey, preshared_key: Option<&PresharedKey>, index: u32) -> Tunn {
    // The device limits handshakes before they reach a tunnel; here every message is only checked for its mac1.
    let limiter = Arc::new(RateLimiter::new(&key.public_key().to_x25519(), u64::MAX));
    Tunn::new(key.to_x25519(), peer.to_x25519(), preshared_key.map(|key| *key.as_bytes()), None, index, Some(limiter))
}

const _: () = assert!(MAX_DATAGRAM >= HANDSHAKE_INITIATION);
