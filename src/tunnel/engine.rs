//! One handshake and the session that comes of it: a boringtun engine of its own, under a session index of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use boringtun::noise::errors::WireGuardError;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Tunn, TunnResult};

use super::DATA_OVERHEAD;
use super::clock;
use super::indices::Lease;
use super::noise::Refused;
use super::timers::{MAX_JITTER, REJECT_AFTER_TIME, REKEY_TIMEOUT};
use crate::keys::{KEY_LENGTH, PresharedKey, PrivateKey, PublicKey};
use crate::secret::on_wiped_stack;

/// The counter from which on a session takes no more messages: the kernel's, and 64 times the window that replays are looked
/// for in.
const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);

/// How long an answer to an initiation is waited for: until it is sent again at the latest.
pub(super) const CALL_TIME: Duration =
    Duration::from_millis(REKEY_TIMEOUT.as_millis() as u64 + MAX_JITTER.as_millis() as u64);

/// What handshakes are made under.
pub(super) struct Keys {
    pub(super) private: PrivateKey,
    pub(super) peer: PublicKey,
    pub(super) preshared: Option<PresharedKey>,
    /// Shared by the engines: here every message is only checked for its mac1, as the device limits them before.
    limiter: Arc<RateLimiter>,
}

impl Keys {
    pub(super) fn new(private: &PrivateKey, peer: PublicKey, preshared: Option<PresharedKey>) -> Self {
        let limiter = Arc::new(RateLimiter::new(&private.public_key().to_x25519(), u64::MAX));
        Self { private: private.clone(), peer, preshared, limiter }
    }

    /// Makes an engine whose session indices begin with these 24 bits; and says how old it takes itself to be.
    fn engine(&self, bits: u32) -> (Box<Tunn>, Duration) {
        on_wiped_stack(|| self.engine_with(bits, self.preshared.as_ref().map(|key| *key.as_bytes())))
    }

    /// Makes an engine whose answers lead nowhere: it has no use for the preshared key, and holds none.
    pub(super) fn guard(&self) -> Box<Tunn> {
        on_wiped_stack(|| self.engine_with(0, None).0)
    }

    /// Call it on a stack that is wiped: boringtun takes keys, and gives the engine that has them, by value.
    fn engine_with(&self, bits: u32, preshared: Option<[u8; KEY_LENGTH]>) -> (Box<Tunn>, Duration) {
        let (private, limiter) = (self.private.as_x25519().clone(), Some(Arc::clone(&self.limiter)));
        let (engine, age) = clock::start(|| Tunn::new(private, self.peer.to_x25519(), preshared, None, bits, limiter));
        (Box::new(engine), age)
    }

    /// Gives an engine the private key in force; what it knows of the peer's timestamps stays.
    pub(super) fn give(&self, engine: &mut Tunn) {
        let (public, limiter) = (self.private.public_key().to_x25519(), Some(Arc::clone(&self.limiter)));
        on_wiped_stack(|| engine.set_static_private(self.private.as_x25519().clone(), public, limiter));
    }
}

/// How far a handshake has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// We sent an initiation at this instant, the last of one attempt.
    Calling(Instant),
    /// We answered one at this instant, and the peer has not used the session yet.
    Answered(Instant),
    /// There is a session. It is as old as the initiation, or the answer, that we sent at this instant. Whether it is sealed in
    /// is [`Noise`](super::noise::Noise)'s to say.
    Session(Instant),
}

/// One handshake, and its session.
pub(super) struct Engine {
    pub(super) tunn: Box<Tunn>,
    pub(super) index: Lease,
    pub(super) stage: Stage,
    /// Where our message of the handshake goes.
    pub(super) sent_to: SocketAddr,
    /// The peer's index of the session, once something was sealed in it.
    pub(super) receiver: Option<u32>,
    /// When it was made, and how old boringtun took it to be then.
    made: (Instant, Duration),
    /// What the wall clock was then.
    wall: Duration,
}

impl Engine {
    pub(super) fn new(keys: &Keys, index: Lease, stage: Stage, sent_to: SocketAddr, now: Instant) -> Self {
        let wall = clock::wall();
        let (tunn, age) = keys.engine(index.bits());
        Self { tunn, index, stage, sent_to, receiver: None, made: (now, age), wall }
    }

    /// Returns the time that an initiation of its own would bear now: what boringtun counted on to. It does not count what
    /// the system slept, which boringtun does on most systems.
    pub(super) fn timestamp(&self, now: Instant) -> Duration {
        self.wall + now.saturating_duration_since(self.made.0)
    }

    /// Tells whether the wall clock was set forward since it was made, or the system slept, by more than the time in which an
    /// initiation is sent again.
    pub(super) fn is_behind(&self, now: Instant) -> bool {
        clock::wall().saturating_sub(self.timestamp(now)) > REKEY_TIMEOUT
    }

    /// Returns when the handshake, or its session, is over: an answer is not taken when the call was long sent again, nor
    /// used when the session that it made could not be any more.
    pub(super) fn ends(&self) -> Instant {
        match self.stage {
            Stage::Calling(at) => at + CALL_TIME,
            Stage::Answered(at) | Stage::Session(at) => at + REJECT_AFTER_TIME,
        }
    }

    /// Tells whether it was made longer ago than `age`.
    pub(super) fn is_older(&self, age: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.made.0) > age
    }

    /// Tells whether it is over at `now`, by a clock that runs while the system sleeps, as far as there is a session to tell
    /// that time by.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let (made, age) = self.made;
        let awake = now.saturating_duration_since(made);
        let slept = self.tunn.time_since_last_handshake().map(|now| now.saturating_sub(age).saturating_sub(awake));
        now + slept.unwrap_or_default() > self.ends()
    }

    /// Opens a transport data message into `packet`, and returns the length of its payload.
    pub(super) fn open(&mut self, datagram: &[u8], packet: &mut [u8]) -> Result<usize, Refused> {
        // boringtun counts on from a counter without a look at its end; WireGuard takes none from here on (whitepaper §6.1).
        let counter = datagram.get(8..16).and_then(|bytes| bytes.try_into().ok()).map_or(u64::MAX, u64::from_le_bytes);
        if counter >= REJECT_AFTER_MESSAGES {
            return Err(Refused::Replayed);
        }
        match self.tunn.decapsulate(None, datagram, packet) {
            TunnResult::WriteToTunnelV4(opened, _) | TunnResult::WriteToTunnelV6(opened, _) => Ok(opened.len()),
            TunnResult::Done => Ok(0),
            // boringtun checks that a payload is IP only after it opened it, and leaves the plaintext in the buffer.
            TunnResult::Err(WireGuardError::InvalidPacket) => Ok(datagram.len() - DATA_OVERHEAD),
            TunnResult::Err(WireGuardError::DuplicateCounter | WireGuardError::InvalidCounter) => {
                Err(Refused::Replayed)
            }
            TunnResult::Err(_) | TunnResult::WriteToNetwork(_) => Err(Refused::Unauthenticated),
        }
    }
}

/// Writes an initiation of the engine's to `out`, and returns its length.
pub(super) fn initiate(tunn: &mut Tunn, out: &mut [u8]) -> Option<usize> {
    match on_wiped_stack(|| tunn.format_handshake_initiation(out, true)) {
        TunnResult::WriteToNetwork(datagram) => Some(datagram.len()),
        TunnResult::Done | TunnResult::Err(_) => None,
        TunnResult::WriteToTunnelV4(..) | TunnResult::WriteToTunnelV6(..) => None,
    }
}

/// Hands a handshake message to an engine; returns the length of its answer, 0 if there is none.
pub(super) fn take(tunn: &mut Tunn, message: &[u8], out: &mut [u8]) -> Result<usize, Refused> {
    match on_wiped_stack(|| tunn.decapsulate(None, message, out)) {
        TunnResult::WriteToNetwork(answer) => Ok(answer.len()),
        TunnResult::Done => Ok(0),
        TunnResult::Err(_) => Err(Refused::Unauthenticated),
        TunnResult::WriteToTunnelV4(..) | TunnResult::WriteToTunnelV6(..) => Err(Refused::Unauthenticated),
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng as _;

    use super::super::indices::SessionIndices;
    use super::*;

    fn engine(own: &PrivateKey, other: &PrivateKey, stage: Stage) -> Engine {
        let keys = Keys::new(own, other.public_key(), None);
        let index = SessionIndices::default().lease(0, &mut ChaCha20Rng::from_seed([1; 32]));
        Engine::new(&keys, index, stage, SocketAddr::from(([192, 0, 2, 1], 1)), Instant::now())
    }

    // In virtual time the clock is not the system's.
    #[cfg(not(feature = "virtual-time"))]
    #[test]
    fn an_engine_is_behind_the_system_s_clock_where_that_was_set_forward_and_not_where_it_was_set_back() {
        let now = Instant::now();
        let mut engine = engine(&PrivateKey::generate_from_os(), &PrivateKey::generate_from_os(), Stage::Calling(now));
        let hour = Duration::from_secs(3_600);
        assert!(!engine.is_behind(Instant::now()));
        engine.wall -= hour;
        assert!(engine.is_behind(Instant::now()));
        assert!(!engine.is_behind(now + hour), "it counts on");
        engine.wall += 2 * hour;
        assert!(!engine.is_behind(Instant::now()));
    }

    #[test]
    fn counters_near_their_end_are_refused_before_boringtun_counts_on_from_them() {
        let keys = [PrivateKey::generate_from_os(), PrivateKey::generate_from_os()];
        let engine = |own: usize, stage| engine(&keys[own], &keys[1 - own], stage);
        let now = Instant::now();
        let (mut caller, mut answerer) = (engine(0, Stage::Calling(now)), engine(1, Stage::Answered(now)));
        let (mut call, mut answer, mut confirmation) = ([0; 148], [0; 148], [0; 148]);
        initiate(&mut caller.tunn, &mut call).unwrap();
        let length = take(&mut answerer.tunn, &call, &mut answer).unwrap();
        let length = take(&mut caller.tunn, &answer[..length], &mut confirmation).unwrap();
        let mut opened = [0; 148];
        assert_eq!(answerer.open(&confirmation[..length], &mut opened), Ok(0));
        // Whether they authenticate is not looked at.
        for (counter, refused) in [
            (REJECT_AFTER_MESSAGES - 1, Refused::Unauthenticated),
            (REJECT_AFTER_MESSAGES, Refused::Replayed),
            (u64::MAX, Refused::Replayed),
        ] {
            confirmation[8..16].copy_from_slice(&counter.to_le_bytes());
            assert_eq!(answerer.open(&confirmation[..length], &mut opened), Err(refused), "{counter:x}");
        }
    }
}
