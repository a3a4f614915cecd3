//! The device's guard against handshake floods: first a check of the mac1, then, under load, each source has its share,
//! and more of it after it proved its address with a cookie (whitepaper §5.3 and §5.4.7).
//!
//! A client that gets a cookie calls again only when its timer says so, after five seconds. So under load a source that
//! sends little is served without one, as long as what is kept for such sources lasts: addresses can be forged.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Packet, TunnResult};
use parking_lot::Mutex;

use super::bucket::{Bucket, Share};
use super::sources::Sources;
use crate::keys::PublicKey;
use crate::settings::HandshakeLoad;

/// Size of a cookie reply, in bytes.
pub(super) const COOKIE_REPLY: usize = 64;

/// Handshake messages a second that a device takes from whomever they come, unless the user says otherwise: at least.
const LEAST_RATE: u64 = 100;

/// A device with more peers takes one message a second for so many: six times what comes when each renews its session
/// every 120 s.
const PEERS_PER_MESSAGE: u64 = 20;

/// Of what the device takes, the part that one address may send under load: without a cookie, and with one.
const UNPROVEN_PART: u64 = 100;
const PROVEN_PART: u64 = 10;

/// What one address may send under load at least, in messages a second, and at once: those of some users.
const LEAST_PROVEN: u64 = 20;
const AT_ONCE: u64 = 5;

const SECOND: Duration = Duration::from_secs(1);

/// What becomes of a handshake message.
pub(super) enum Verdict<'a> {
    /// It goes to its tunnel.
    Accept(Packet<'a>),
    /// The first 64 bytes of the reply buffer go back to the sender.
    SendCookie,
    /// It has no valid mac1.
    Invalid,
    /// Its source sent too many.
    TooMany,
}

pub(super) struct HandshakeLimiter {
    /// Looks at the mac1 alone.
    calm: RateLimiter,
    /// Asks for a cookie.
    strict: RateLimiter,
    /// What the user asked for.
    rate: Option<u64>,
    state: Mutex<State>,
}

struct State {
    /// What is taken from whomever it comes, and what is kept under load for sources that did not prove their address.
    any: Bucket,
    reserve: Bucket,
    unproven: Sources,
    proven: Sources,
    meter: Meter,
    load: HandshakeLoad,
    /// When a message last found that the device takes no more from whomever they come.
    loaded: Option<Instant>,
}

impl std::fmt::Debug for HandshakeLimiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandshakeLimiter").field("rate", &self.rate).finish_non_exhaustive()
    }
}

impl HandshakeLimiter {
    /// `rate`: messages a second from which on the device is under load; `None` has it follow from the number of peers.
    pub(super) fn new(own_key: PublicKey, rate: Option<u64>, now: Instant) -> Self {
        let limiter = |limit| RateLimiter::new(&own_key.to_x25519(), limit);
        let state = State {
            any: Bucket::full(now),
            reserve: Bucket::full(now),
            unproven: Sources::new(now),
            proven: Sources::new(now),
            meter: Meter { second: now, messages: 0, before: 0 },
            load: HandshakeLoad::default(),
            loaded: None,
        };
        Self { calm: limiter(u64::MAX), strict: limiter(0), rate, state: Mutex::new(state) }
    }

    /// Judges a handshake message to a device with so many peers. A cookie, if one is due, is written to `reply`.
    pub(super) fn judge<'a>(
        &self,
        datagram: &'a [u8],
        from: SocketAddr,
        peers: usize,
        now: Instant,
        reply: &mut [u8; COOKIE_REPLY],
    ) -> Verdict<'a> {
        let (source, rate) = (from.ip(), self.rate(peers));
        let Ok(message) = self.calm.verify_packet(Some(source), datagram, reply) else {
            self.state.lock().load.invalid += 1;
            return Verdict::Invalid;
        };
        if self.state.lock().admit_unproven(source, rate, now) {
            return Verdict::Accept(message);
        }
        let has_cookie = match self.strict.verify_packet(Some(source), datagram, reply) {
            Ok(_) => true,
            Err(TunnResult::WriteToNetwork(_)) => false,
            Err(_) => return Verdict::Invalid,
        };
        let state = &mut *self.state.lock();
        if !has_cookie {
            state.load.cookies_sent += 1;
            return Verdict::SendCookie;
        }
        if state.proven.take(source, proven_share(rate), now) {
            return Verdict::Accept(message);
        }
        state.load.too_many += 1;
        Verdict::TooMany
    }

    /// Returns what came, and what became of it.
    pub(super) fn load(&self, peers: usize, now: Instant) -> HandshakeLoad {
        let state = &mut *self.state.lock();
        let per_second = state.meter.read(now);
        let is_under_load = state.loaded.is_some_and(|at| now.saturating_duration_since(at) < SECOND);
        HandshakeLoad { is_under_load, per_second, max_per_second: self.rate(peers), ..state.load }
    }

    fn rate(&self, peers: usize) -> u64 {
        self.rate.unwrap_or_else(|| LEAST_RATE.max(peers as u64 / PEERS_PER_MESSAGE))
    }
}

impl State {
    /// Takes a message with a valid mac1, unless it has to prove where it comes from.
    fn admit_unproven(&mut self, source: IpAddr, rate: u64, now: Instant) -> bool {
        self.meter.count(now);
        // What a source sent before there was load counts: who floods has had his share by then.
        let has_share = self.unproven.take(source, Share::new(rate / UNPROVEN_PART, AT_ONCE), now);
        // A second's worth may come at once.
        let all = Share::new(rate, rate);
        if rate > 0 && self.any.take(all, now) {
            return true;
        }
        self.loaded = Some(now);
        rate > 0 && has_share && self.reserve.take(all, now)
    }
}

fn proven_share(rate: u64) -> Share {
    let per_second = LEAST_PROVEN.max(rate / PROVEN_PART);
    Share::new(per_second, AT_ONCE.max(per_second / 4))
}

/// Counts what comes in a second.
struct Meter {
    /// When the current second began, what came in it, and what in the one before.
    second: Instant,
    messages: u64,
    before: u64,
}

impl Meter {
    fn count(&mut self, now: Instant) {
        self.turn(now);
        self.messages += 1;
    }

    fn turn(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.second);
        if age >= SECOND {
            self.before = if age < 2 * SECOND { self.messages } else { 0 };
            (self.second, self.messages) = (now, 0);
        }
    }

    /// Returns what came in the last whole second, or in this one if that is more already.
    fn read(&mut self, now: Instant) -> u64 {
        self.turn(now);
        self.before.max(self.messages)
    }
}

#[cfg(test)]
pub(super) mod tests;
