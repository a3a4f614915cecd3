//! One peer of a WireGuard device, sans-IO: bytes and instants in; datagrams, IP packets, events and a deadline out.
//!
//! A [`Tunnel`] never reads a socket, starts a task or waits. Its owner
//! - hands it IP packets ([`send`](Tunnel::send)) and datagrams ([`receive`](Tunnel::receive)) with the time they came;
//! - sends what it finds in the [`DatagramBatch`] afterwards to [`endpoint`](Tunnel::endpoint);
//! - calls [`handle_timeout`](Tunnel::handle_timeout) when [`next_timeout`](Tunnel::next_timeout) has come;
//! - reads [`poll_event`](Tunnel::poll_event) for what the user may want to know.
//!
//! The handshake, the sessions and the AEAD are the `boringtun` crate's. It reads the system's clocks by itself, and the tunnel
//! looks where they were set; with the feature `virtual-time` both read those that a test moves. When a handshake begins and a keepalive leaves is the tunnel's
//! own to say; what is random about it is drawn from [`TunnelConfig::seed`].
//!
//! ```
//! use std::time::Instant;
//! use maybetun::keys::PrivateKey;
//! use maybetun::tunnel::{DatagramBatch, Endpoint, Tunnel, TunnelConfig};
//!
//! let (ours, theirs) = (PrivateKey::generate_from_os(), PrivateKey::generate_from_os());
//! # let random_seed = || [7; 32];
//! let mut tunnel = Tunnel::new(TunnelConfig::new(&ours, theirs.public_key(), random_seed()));
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
mod bundle;
mod clock;
mod config;
mod controllers;
mod defended;
mod departure;
mod ecn;
mod engine;
mod frame;
mod gathering;
mod handshake;
mod incoming;
mod indices;
mod ip;
mod masked;
mod negotiated;
mod noise;
mod outgoing;
mod padding;
mod padding_actions;
mod path_size;
mod queue;
mod sealed;
mod sealing;
mod sessions;
mod sizing;
mod talk;
#[cfg(test)]
mod tests;
mod timeouts;
mod timers;
mod turn;

pub use allowed_ips::AllowedIps;
pub use batch::{DatagramBatch, Mark, Run, Runs};
pub use boringtun::noise::rate_limiter::RateLimiter;
pub use bundle::{MAX_BUNDLED, packets};
pub use config::TunnelConfig;
pub use ecn::Ecn;
pub use indices::{INDEX_BITS, SessionIndices};
pub use ip::IpHeader;
#[cfg(all(test, feature = "device"))]
pub(crate) use ip::tests as ip_tests;
#[cfg(feature = "device")]
pub(crate) use ip::{FRAGMENT_OFFSET, MORE_FRAGMENTS};
pub use padding::PaddingRate;
pub use queue::{MAX_QUEUED_BYTES, MAX_QUEUED_PACKETS};
pub use timers::{MAX_SILENCE, REJECT_AFTER_TIME};

pub use crate::traffic::DATA_OVERHEAD;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use crate::keys::{PresharedKey, PrivateKey, PublicKey};
use crate::masking::Masking;
use crate::settings::{Cause, Protection, Statistics};
use crate::traffic::{Drop, Kind, Layer, Traffic};
use defended::Defended;
use engine::Keys;
use negotiated::Negotiated;
use noise::Noise;
use padding::Padding;
use path_size::PathSize;
use queue::Queue;
use sessions::Sessions;
use talk::Talk;
use timers::{Timer, Timers};

/// Largest datagram that a tunnel makes, in bytes: one that carries the largest IP packet.
pub const MAX_DATAGRAM: usize = u16::MAX as usize + DATA_OVERHEAD;

/// Plaintexts are padded to a multiple of this many bytes (whitepaper §5.4.6).
pub const PADDING_MULTIPLE: usize = 16;

/// MTU of a tunnel until it is told another: what fits an Ethernet link over IPv6.
pub const DEFAULT_MTU: u16 = 1_420;

/// Most events that wait to be read; the oldest go first.
const MAX_EVENTS: usize = 16;

/// Largest handshake message, in bytes: the initiation.
const HANDSHAKE_INITIATION: usize = 148;

/// Where a peer is, and which of our addresses it talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// The peer's address and port.
    pub remote: SocketAddr,
    /// Our address that the last datagram came to, from which to answer; `None` lets the operating system choose.
    pub local: Option<IpAddr>,
}

impl Endpoint {
    /// Tells whether nothing can be sent there: port 0 is nobody's (RFC 6335, section 6).
    pub fn is_nowhere(&self) -> bool {
        self.remote.port() == 0
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(remote: SocketAddr) -> Self {
        Self { remote, local: None }
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
    /// A handshake begins, and the system's clock is this far behind the last: a peer that took that one takes none until
    /// the clock is there again.
    ClockSetBack(Duration),
    /// The peer was heard from at another address.
    EndpointChanged(SocketAddr),
    /// The traffic is protected in another way than before.
    Protection(Protection),
    /// The path to the peer takes other datagrams than before, and the tunnel other packets.
    PathTakes {
        /// The largest IP packet that the peer is sent, in bytes.
        datagram: usize,
        /// The largest packet inside the tunnel, in bytes.
        packet: usize,
    },
}

/// One peer of a WireGuard device.
pub struct Tunnel {
    noise: Noise,
    mtu: usize,
    endpoint: Option<Endpoint>,
    persistent_keepalive: Option<Duration>,
    queue: Queue,
    padding: Padding,
    timers: Timers,
    defended: Option<Box<Defended>>,
    /// What masked before the defense was switched off, for the sake of its books.
    kept_masking: Option<Box<Masking>>,
    negotiated: Option<Box<Negotiated>>,
    /// What the ends say to each other of an agreement, or of one that is over.
    talk: Option<Box<Talk>>,
    /// What was told last of how the traffic is protected.
    told: Protection,
    /// Packets received since one was sent last that held no normal packet, and were no bare keepalives.
    padding_since_sent: u32,
    path: PathSize,
    /// The size of packets, and what both MTUs allow, as they were when they were looked at last.
    told_size: Option<(usize, usize)>,
    /// Control frames that were sent since the peer was heard from in a session.
    unanswered: u32,
    sessions: Sessions,
    statistics: Statistics,
    events: VecDeque<Event>,
    rng: ChaCha20Rng,
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnel").field("peer", &self.peer()).field("sessions", &self.sessions).finish_non_exhaustive()
    }
}

impl Tunnel {
    /// Returns a tunnel without an endpoint or a session.
    pub fn new(config: TunnelConfig<'_>) -> Self {
        let preshared_key = config.preshared_key.filter(|key| !key.is_zero()).cloned();
        let keys = Keys::new(config.private_key, config.peer, preshared_key);
        Self {
            noise: Noise::new(keys, config.indices, config.owner),
            mtu: usize::from(config.mtu),
            endpoint: None,
            persistent_keepalive: seconds(config.persistent_keepalive),
            queue: Queue::default(),
            padding: Padding::new(config.padding_rate),
            timers: Timers::default(),
            defended: None,
            kept_masking: None,
            negotiated: None,
            talk: None,
            told: Protection::NotProtected(Cause::Off),
            padding_since_sent: 0,
            path: PathSize::default(),
            told_size: None,
            unanswered: 0,
            sessions: Sessions::default(),
            statistics: Statistics::default(),
            events: VecDeque::new(),
            rng: ChaCha20Rng::from_seed(config.seed),
        }
    }

    /// Returns the oldest event that was not read yet.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Names the peer.
    pub fn peer(&self) -> PublicKey {
        self.noise.peer()
    }

    /// Returns where the peer is, as far as is known.
    pub fn endpoint(&self) -> Option<Endpoint> {
        self.endpoint
    }

    /// Returns the peer's address, as far as is known.
    fn remote(&self) -> Option<SocketAddr> {
        self.endpoint.map(|endpoint| endpoint.remote)
    }

    /// Says where the peer is, until an authenticated datagram says otherwise. An endpoint with port 0 is none.
    pub fn set_endpoint(&mut self, endpoint: Option<Endpoint>) {
        self.endpoint = endpoint.filter(|endpoint| !endpoint.is_nowhere());
        self.note_path();
    }

    /// Forgets which of our addresses the peer talks to, so that the operating system chooses one.
    pub fn forget_local_address(&mut self) {
        if let Some(endpoint) = &mut self.endpoint {
            endpoint.local = None;
        }
    }

    /// Takes `bytes` off what counts as sent: datagrams of this tunnel that the network did not take.
    pub fn unsent(&mut self, bytes: u64) {
        self.statistics.sent_bytes = self.statistics.sent_bytes.saturating_sub(bytes);
    }

    /// Returns the preshared key, if there is one.
    pub fn preshared_key(&self) -> Option<&PresharedKey> {
        self.noise.preshared_key()
    }

    /// Changes the preshared key of handshakes to come; all zeros takes it away. The session in use stays in use until
    /// the next handshake, or its own end.
    pub fn set_preshared_key(&mut self, key: &PresharedKey, now: Instant) {
        let key = Some(key).filter(|key| !key.is_zero()).cloned();
        if key.as_ref() == self.noise.preshared_key() {
            return;
        }
        self.noise.set_preshared_key(key);
        self.renew_keys(now);
        self.sessions.forget_handshakes();
        if !self.queue.is_empty() {
            self.timers.set(Timer::HandshakeRetry, now);
        }
    }

    /// Changes our private key. The session ends unless the key is the same.
    pub fn set_private_key(&mut self, key: &PrivateKey, now: Instant) {
        if key != self.noise.private_key() {
            self.noise.set_private_key(key);
            self.renew_keys(now);
            self.forget_sessions(now);
        }
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
        self.renew_mtu();
    }

    /// Tells whether there is a session to seal in.
    pub fn has_session(&self) -> bool {
        self.sessions.is_in_use()
    }

    /// Tells whether a data message whose receiver index is `receiver` is one of this tunnel's own, for its peer: of a session that
    /// something was sealed in and that is not over.
    pub fn seals_for(&self, receiver: u32) -> bool {
        self.noise.seals_for(receiver)
    }

    /// Returns when the last handshake completed.
    pub fn last_handshake(&self) -> Option<Instant> {
        self.sessions.last_handshake()
    }

    /// Returns how many packets of the user's wait to be sealed.
    pub fn queued(&self) -> usize {
        self.queue.packets()
    }

    /// Tells whether anything waits to be sealed, be it padding.
    pub fn is_waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Returns what the tunnel has counted.
    pub fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// Tells of what passes: nothing is told of it elsewhere.
    fn note(&mut self, traffic: &Traffic) {
        self.statistics.observe(traffic);
        if let Some(defended) = &mut self.defended {
            defended.observe(traffic);
        }
    }

    /// Tells of packets of the user's that are dropped.
    fn note_dropped(&mut self, why: Drop, packets: usize, now: Instant) {
        self.note(&Traffic::dropped(Layer::Packet, Kind::Normal, why, packets, now));
    }

    /// Tells of a datagram that is dropped, or of messages in it.
    fn note_refused(&mut self, why: Drop, count: usize, now: Instant) {
        self.note(&Traffic::dropped(Layer::Datagram, Kind::Unknown, why, count, now));
    }

    /// Tells how the traffic is protected, if that changed.
    fn note_protection(&mut self) {
        let protection = self.protection();
        if protection != self.told {
            self.told = protection;
            self.push_event(Event::Protection(protection));
        }
    }

    fn push_event(&mut self, event: Event) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

fn seconds(interval: u16) -> Option<Duration> {
    (interval > 0).then(|| Duration::from_secs(interval.into()))
}

const _: () = assert!(MAX_DATAGRAM >= HANDSHAKE_INITIATION);
