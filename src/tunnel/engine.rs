//! One handshake and the session that comes of it: a boringtun engine of its own, under a session index of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use boringtun::noise::errors::WireGuardError;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Tunn, TunnResult};

use super::DATA_OVERHEAD;
use super::indices::Lease;
use super::noise::Refused;
use super::timers::REJECT_AFTER_TIME;
use crate::keys::{PresharedKey, PrivateKey, PublicKey};

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

    /// Makes an engine whose session indices begin with these 24 bits.
    pub(super) fn engine(&self, bits: u32) -> Box<Tunn> {
        let preshared = self.preshared.as_ref().map(|key| *key.as_bytes());
        let limiter = Some(Arc::clone(&self.limiter));
        let make = || Tunn::new(self.private.to_x25519(), self.peer.to_x25519(), preshared, None, bits, limiter);
        Box::new(on_a_steady_clock(make))
    }
}

/// Makes an engine. It reads the wall clock now and counts on from there, by a clock that tests move: for them, all engines
/// begin at its zero, or a later one would lag behind by what was moved.
#[cfg(feature = "virtual-time")]
fn on_a_steady_clock(make: impl FnOnce() -> Tunn) -> Tunn {
    use mock_instant::MockClock;
    let now = MockClock::time();
    MockClock::set_time(Duration::ZERO);
    let engine = make();
    MockClock::set_time(now);
    engine
}

#[cfg(not(feature = "virtual-time"))]
fn on_a_steady_clock(make: impl FnOnce() -> Tunn) -> Tunn {
    make()
}

/// How far a handshake has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// We sent an initiation.
    Calling,
    /// We answered one at this instant, and the peer has not used the session yet.
    Answered(Instant),
    /// There is a session, made at this instant. Whether it is sealed in is [`Noise`](super::noise::Noise)'s to say.
    Session(Instant),
}

/// One handshake, and its session.
pub(super) struct Engine {
    pub(super) tunn: Box<Tunn>,
    pub(super) index: Lease,
    pub(super) stage: Stage,
    /// When the session was taken into use, and how old boringtun thought it then: it counts on while the system sleeps.
    used: Option<(Instant, Duration)>,
}

impl Engine {
    pub(super) fn new(keys: &Keys, index: Lease, stage: Stage) -> Self {
        Self { tunn: keys.engine(index.bits()), index, stage, used: None }
    }

    /// Returns when the session ends, or could have begun to: an answer that nobody uses does not stay longer.
    pub(super) fn ends(&self) -> Option<Instant> {
        match self.stage {
            Stage::Calling => None,
            Stage::Answered(made) | Stage::Session(made) => Some(made + REJECT_AFTER_TIME),
        }
    }

    /// Notes that the session is in use from `now` on.
    pub(super) fn take_into_use(&mut self, now: Instant) {
        if let Stage::Answered(made) = self.stage {
            self.stage = Stage::Session(made);
        }
        self.used = self.tunn.time_since_last_handshake().map(|age| (now, age));
    }

    /// Returns how long the system slept since the session was taken into use.
    pub(super) fn slept(&self, now: Instant) -> Duration {
        let Some((since, age)) = self.used else { return Duration::ZERO };
        let by_the_clock_that_sleeps = now.saturating_duration_since(since);
        let by_the_other = self.tunn.time_since_last_handshake().map_or(Duration::ZERO, |now| now.saturating_sub(age));
        by_the_other.saturating_sub(by_the_clock_that_sleeps)
    }

    /// Opens a transport data message into `packet`, and returns the length of its payload.
    pub(super) fn open(&mut self, datagram: &[u8], packet: &mut [u8]) -> Result<usize, Refused> {
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

    /// Hands over a handshake message; returns the length of what boringtun wrote to `out`, 0 if nothing.
    pub(super) fn take(&mut self, message: &[u8], out: &mut [u8]) -> Result<usize, Refused> {
        take(&mut self.tunn, message, out)
    }
}

/// Hands a handshake message to an engine; returns the length of its answer, 0 if there is none.
pub(super) fn take(tunn: &mut Tunn, message: &[u8], out: &mut [u8]) -> Result<usize, Refused> {
    match tunn.decapsulate(None, message, out) {
        TunnResult::WriteToNetwork(answer) => Ok(answer.len()),
        TunnResult::Done => Ok(0),
        TunnResult::Err(_) => Err(Refused::Unauthenticated),
        TunnResult::WriteToTunnelV4(..) | TunnResult::WriteToTunnelV6(..) => Err(Refused::Unauthenticated),
    }
}
