//! The timers of one tunnel: a small enum and one table (whitepaper §6).
//!
//! boringtun makes the messages; when is said here, so that an idle tunnel sleeps.
//!
//! An observer who drops what one side sends sees what the timers make of it. Between ends that agreed to
//! ([`Capabilities::TIMERS`](crate::negotiation::Capabilities::TIMERS)) they tell him nothing of what a datagram carried:
//! every transport datagram but a keepalive frame is data to them, and a keepalive frame is neither answered nor awaited.
//! How long they wait is drawn anew each time, so that no exact interval names the timer.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use rand_core::RngCore;

/// An initiator makes a new session when it sends and the session is this old.
pub(super) const REKEY_AFTER_TIME: Duration = Duration::from_secs(120);

/// A session this old is not used any more.
pub const REJECT_AFTER_TIME: Duration = Duration::from_secs(180);

/// A handshake initiation is sent again after this long, plus jitter.
pub(super) const REKEY_TIMEOUT: Duration = Duration::from_secs(5);

/// The most jitter, so that two peers that start together do not stay in step.
pub(super) const MAX_JITTER: Duration = Duration::from_millis(333);

/// A handshake that was not answered for this long is given up.
pub(super) const REKEY_ATTEMPT_TIME: Duration = Duration::from_secs(90);

/// Data received is answered within this time, by a keepalive if by nothing else.
pub(super) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Data sent and unanswered for this long means that the session is lost.
pub(super) const SILENCE_TIMEOUT: Duration = Duration::from_secs(15);

/// The same two between ends whose timers are alike: a peer that waits as long as it may has its answer in time.
pub(super) const KEEPALIVE_TIMEOUTS: RangeInclusive<Duration> = Duration::from_secs(5)..=KEEPALIVE_TIMEOUT;
pub(super) const SILENCE_TIMEOUTS: RangeInclusive<Duration> = SILENCE_TIMEOUT..=Duration::from_secs(20);

/// Padding that nothing authentic has answered for this long is the last: the peer may be gone, and somebody else have its
/// address. Between ends whose timers are alike, which tell padding from nothing else and answer it within half of this, packets
/// wait then too.
pub const MAX_SILENCE: Duration = Duration::from_secs(20);

/// A packet that waits for the peer to agree on a defense that is required is given up after as long as one that waits for
/// a handshake.
pub(super) const AGREEMENT_TIME: Duration = REKEY_ATTEMPT_TIME;

/// How long a new session waits for the peer to confirm in it what both agreed on, where that is not required, while the
/// last one goes on: a round trip and what the ends wait at random, with room.
pub(super) const SETTLE_TIME: Duration = Duration::from_secs(1);

/// An initiator makes a new session when it receives and the session is this old.
pub(super) const REKEY_ON_RECEIVE: Duration = Duration::from_secs(165);

const _: () = assert!(SILENCE_TIMEOUT.as_secs() == KEEPALIVE_TIMEOUT.as_secs() + REKEY_TIMEOUT.as_secs());
const _: () = assert!(MAX_SILENCE.as_secs() >= SILENCE_TIMEOUTS.end().as_secs());
const _: () = assert!(MAX_SILENCE.as_secs() >= 2 * KEEPALIVE_TIMEOUTS.end().as_secs());
const _: () = assert!(REKEY_ON_RECEIVE.as_secs() == REJECT_AFTER_TIME.as_secs() - SILENCE_TIMEOUT.as_secs());

/// What a tunnel waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// A handshake initiation went unanswered: send it again, or give up.
    HandshakeRetry,
    /// Data was received and nothing sent since: send a keepalive.
    Keepalive,
    /// The user asked for a keepalive after this much silence.
    PersistentKeepalive,
    /// Data was sent and nothing received since: the session may be lost.
    Silence,
    /// Data was sent, and nothing received for so long that no more is sent until something is.
    Lost,
    /// The peer did not confirm, in a new session, what both agreed on: what is not required goes on without.
    Settle,
    /// A packet has waited for an agreement for too long.
    Expire,
    /// A session is over: its keys are to be forgotten.
    Forget,
}

/// Draws a duration, to the microsecond.
pub(super) fn between(range: RangeInclusive<Duration>, rng: &mut impl RngCore) -> Duration {
    let micros = (*range.end() - *range.start()).as_micros() as u64 + 1;
    // A remainder prefers some of 2^64 values by one part in 2^40: nobody can see that.
    *range.start() + Duration::from_micros(rng.next_u64() % micros)
}

const TIMERS: [Timer; 8] = [
    Timer::HandshakeRetry,
    Timer::Keepalive,
    Timer::PersistentKeepalive,
    Timer::Silence,
    Timer::Lost,
    Timer::Settle,
    Timer::Expire,
    Timer::Forget,
];

/// When each timer fires, if it is set.
#[derive(Debug, Default)]
pub(super) struct Timers {
    deadlines: [Option<Instant>; TIMERS.len()],
}

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, at: Instant) {
        self.deadlines[timer as usize] = Some(at);
    }

    /// Sets the timer unless it is already set.
    pub(super) fn set_first(&mut self, timer: Timer, at: Instant) {
        self.deadlines[timer as usize].get_or_insert(at);
    }

    pub(super) fn cancel(&mut self, timer: Timer) {
        self.deadlines[timer as usize] = None;
    }

    /// Returns when the timer fires, if it is set.
    pub(super) fn get(&self, timer: Timer) -> Option<Instant> {
        self.deadlines[timer as usize]
    }

    /// Returns when the first timer fires.
    pub(super) fn next(&self) -> Option<Instant> {
        self.deadlines.iter().flatten().min().copied()
    }

    /// Does as [`expire`](Self::expire), for this timer alone.
    pub(super) fn expire_only(&mut self, timer: Timer, now: Instant) -> Option<Timer> {
        self.get(timer).filter(|at| *at <= now)?;
        self.cancel(timer);
        Some(timer)
    }

    /// Returns a timer whose time has come, and cancels it.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Timer> {
        let due = |timer: &Timer| self.deadlines[*timer as usize].is_some_and(|at| at <= now);
        let timer = TIMERS.into_iter().find(due)?;
        self.cancel(timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_each_timer_at_its_own_place() {
        for (place, timer) in TIMERS.into_iter().enumerate() {
            assert_eq!(timer as usize, place);
        }
    }

    #[test]
    fn a_timer_expires_once_and_not_early() {
        let start = Instant::now();
        let mut timers = Timers::default();
        timers.set(Timer::Silence, start + SILENCE_TIMEOUT);
        assert_eq!(timers.next(), Some(start + SILENCE_TIMEOUT));
        assert_eq!(timers.expire(start + SILENCE_TIMEOUT - Duration::from_nanos(1)), None);
        assert_eq!(timers.expire(start + SILENCE_TIMEOUT), Some(Timer::Silence));
        assert_eq!(timers.expire(start + SILENCE_TIMEOUT), None);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn what_is_drawn_fills_its_range_and_nothing_else() {
        use rand_core::SeedableRng as _;
        let mut rng = rand_chacha::ChaCha20Rng::from_seed([1; 32]);
        let drawn: Vec<_> = (0..1_000).map(|_| between(KEEPALIVE_TIMEOUTS, &mut rng)).collect();
        assert!(drawn.iter().all(|wait| KEEPALIVE_TIMEOUTS.contains(wait)));
        let (least, most) = (drawn.iter().min().unwrap(), drawn.iter().max().unwrap());
        assert!(*least < Duration::from_millis(5_100) && *most > Duration::from_millis(9_900));
        let only = Duration::from_secs(1);
        assert_eq!(between(only..=only, &mut rng), only);
    }

    #[test]
    fn setting_first_keeps_the_earlier_start() {
        let start = Instant::now();
        let mut timers = Timers::default();
        timers.set_first(Timer::Keepalive, start + KEEPALIVE_TIMEOUT);
        timers.set_first(Timer::Keepalive, start + KEEPALIVE_TIMEOUT * 2);
        assert_eq!(timers.next(), Some(start + KEEPALIVE_TIMEOUT));
    }
}
