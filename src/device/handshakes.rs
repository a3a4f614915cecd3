//! The device's guard against handshake floods: first a check of the mac1, then under load a cookie, then a bucket of
//! tokens for each source that proved its address (whitepaper §5.3 and §5.4.7).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Packet, TunnResult};
use parking_lot::Mutex;

use crate::keys::PublicKey;

/// Size of a cookie reply, in bytes.
pub(super) const COOKIE_REPLY: usize = 64;

/// Handshake messages a second that one source may send while the device is under load.
const TOKENS_PER_SECOND: u32 = 20;

/// Handshake messages that a source may send at once.
const MAX_TOKENS: u32 = 5;

/// Most sources that are remembered. Only sources that answered with a cookie get here, so their number cannot be forged.
const MAX_SOURCES: usize = 8_192;

const COST: Duration = Duration::from_nanos(1_000_000_000 / TOKENS_PER_SECOND as u64);
const FULL: Duration = Duration::from_nanos(COST.as_nanos() as u64 * MAX_TOKENS as u64);

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
    limiter: RateLimiter,
    per_second: u64,
    state: Mutex<State>,
}

struct State {
    /// When the current second began, and the valid messages seen in it.
    second: Instant,
    messages: u64,
    /// When each source's bucket was, or will be, full again.
    sources: HashMap<IpAddr, Instant>,
}

impl std::fmt::Debug for HandshakeLimiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandshakeLimiter").field("per_second", &self.per_second).finish_non_exhaustive()
    }
}

impl HandshakeLimiter {
    pub(super) fn new(own_key: PublicKey, per_second: u64) -> Self {
        Self {
            limiter: RateLimiter::new(&own_key.to_x25519(), per_second),
            per_second,
            state: Mutex::new(State { second: Instant::now(), messages: 0, sources: HashMap::new() }),
        }
    }

    /// Judges a handshake message. A cookie, if one is due, is written to `reply`.
    pub(super) fn judge<'a>(
        &self,
        datagram: &'a [u8],
        from: SocketAddr,
        now: Instant,
        reply: &mut [u8; COOKIE_REPLY],
    ) -> Verdict<'a> {
        self.limiter.reset_count();
        match self.limiter.verify_packet(Some(from.ip()), datagram, reply) {
            Ok(packet) if self.state.lock().admit(from.ip(), self.per_second, now) => Verdict::Accept(packet),
            Ok(_) => Verdict::TooMany,
            Err(TunnResult::WriteToNetwork(_)) => Verdict::SendCookie,
            Err(_) => Verdict::Invalid,
        }
    }
}

impl State {
    fn admit(&mut self, source: IpAddr, per_second: u64, now: Instant) -> bool {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            self.second = now;
            self.messages = 0;
            self.sources.retain(|_, refilled| *refilled > now);
        }
        self.messages += 1;
        if self.messages <= per_second {
            return true;
        }
        let source = network_of(source);
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&source) {
            return false;
        }
        let refilled = self.sources.entry(source).or_insert(now);
        if *refilled > now + FULL - COST {
            return false;
        }
        *refilled = (*refilled).max(now) + COST;
        true
    }
}

/// Returns what counts as one source: an IPv4 address, or an IPv6 network of 64 bits.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::keys::PrivateKey;
    use crate::tunnel::{DatagramBatch, Endpoint, Tunnel, TunnelConfig};

    /// A handshake initiation with a valid first MAC, from someone whom the device does not know.
    pub(in crate::device) fn initiation(to: PublicKey) -> Vec<u8> {
        let mut tunnel = Tunnel::new(TunnelConfig::new(&PrivateKey::generate_from_os(), to, [1; 32]));
        tunnel.set_endpoint(Some(Endpoint::from(SocketAddr::from(([192, 0, 2, 1], 1)))));
        let mut out = DatagramBatch::new();
        tunnel.start_handshake(Instant::now(), &mut out);
        out.iter().next().unwrap().to_vec()
    }

    fn state(now: Instant) -> State {
        State { second: now, messages: 0, sources: HashMap::new() }
    }

    #[test]
    fn a_message_without_a_valid_mac1_is_refused_and_does_not_count() {
        let own = PrivateKey::generate_from_os().public_key();
        let limiter = HandshakeLimiter::new(own, 1);
        let (from, now) = (SocketAddr::from(([192, 0, 2, 9], 9)), Instant::now());
        let mut forged = initiation(own);
        forged[120] ^= 1;
        for _ in 0..10 {
            assert!(matches!(limiter.judge(&forged, from, now, &mut [0; COOKIE_REPLY]), Verdict::Invalid));
        }
        assert!(matches!(limiter.judge(&initiation(own), from, now, &mut [0; COOKIE_REPLY]), Verdict::Accept(_)));
    }

    #[test]
    fn under_load_a_sender_without_a_cookie_gets_one() {
        let own = PrivateKey::generate_from_os().public_key();
        let limiter = HandshakeLimiter::new(own, 2);
        let (from, now) = (SocketAddr::from(([192, 0, 2, 9], 9)), Instant::now());
        let mut reply = [0; COOKIE_REPLY];
        for _ in 0..2 {
            assert!(matches!(limiter.judge(&initiation(own), from, now, &mut reply), Verdict::Accept(_)));
        }
        assert!(matches!(limiter.judge(&initiation(own), from, now, &mut reply), Verdict::SendCookie));
        assert_eq!(reply[0], 3, "a cookie reply is message type 3");
    }

    #[test]
    fn under_load_one_source_does_not_starve_another() {
        let now = Instant::now();
        let mut state = state(now);
        let [greedy, modest] = [IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2])];
        let admitted = (0..100).filter(|_| state.admit(greedy, 0, now)).count();
        assert_eq!(admitted, MAX_TOKENS as usize);
        assert!(state.admit(modest, 0, now));
        assert!(state.admit(greedy, 0, now + COST), "a token comes back with time");
        assert!(!state.admit(greedy, 0, now + COST));
    }

    #[test]
    fn the_table_of_sources_is_bounded_and_empties_with_time() {
        let now = Instant::now();
        let mut state = state(now);
        for i in 0..2 * MAX_SOURCES as u32 {
            state.admit(IpAddr::from(i.to_be_bytes()), 0, now);
        }
        assert_eq!(state.sources.len(), MAX_SOURCES);
        state.admit(IpAddr::from([203, 0, 113, 1]), 0, now + Duration::from_secs(2));
        assert_eq!(state.sources.len(), 1);
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_source() {
        let [a, b, c] = ["2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"].map(|text| text.parse().unwrap());
        assert_eq!(network_of(a), network_of(b));
        assert_ne!(network_of(a), network_of(c));
    }
}
