//! When padding leaves that is asked for at a rate: about when it comes due, never like clockwork.

use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};

/// The most that the rate grows from one look to the next: by half, and by this much in any case, in bytes a second.
const GROWTH: f64 = 1.5;
const LEAST_GROWTH: f64 = 50_000.0;

/// What is left of what it had grown to, from one look to the next, while less is wanted: a pause of a moment begins nothing anew.
const LEFT: f64 = 0.9;

/// Padding of one instant, at most: what comes due in this time leaves at once.
const QUANTUM: Duration = Duration::from_millis(2);

/// What comes due in this time is kept, at most, if it cannot leave; and no pause between two is longer.
const KEPT: Duration = Duration::from_secs(1);

/// The most that is between two datagrams of a burst.
const BURST_PAUSE: Duration = Duration::from_millis(4);

/// How long nothing is asked for after nothing could leave.
const PAUSE: Duration = Duration::from_secs(1);

/// How often padding leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Batching {
    /// When it comes due.
    None,
    /// Once a second.
    Second,
}

/// Padding that is asked for at a rate.
#[derive(Debug)]
pub(super) struct Pace {
    rng: ChaCha20Rng,
    /// Bytes of a datagram.
    size: u64,
    /// Bytes a second, and what they may grow to by the next look.
    rate: f64,
    reach: f64,
    /// Bytes that are due.
    due: f64,
    /// Datagrams of a burst that are left, whatever else is wanted.
    burst: u64,
    /// When the rate was last looked at.
    at: Instant,
    next: Option<Instant>,
    paused_until: Option<Instant>,
}

impl Pace {
    pub(super) fn new(seed: [u8; 32], size: u64, now: Instant) -> Self {
        let rng = ChaCha20Rng::from_seed(seed);
        Self { rng, size, rate: 0.0, reach: 0.0, due: 0.0, burst: 0, at: now, next: None, paused_until: None }
    }

    /// Says how large a datagram is.
    pub(super) fn set_size(&mut self, size: u64) {
        self.size = size.max(1);
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Asks for nothing any more.
    pub(super) fn stop(&mut self) {
        (self.rate, self.due) = (0.0, 0.0);
        self.next = self.next.filter(|_| self.burst > 0);
    }

    /// Notes that nothing can leave for now.
    pub(super) fn pause(&mut self, now: Instant) {
        self.burst = 0;
        self.stop();
        (self.reach, self.paused_until) = (0.0, Some(now + PAUSE));
    }

    /// Asks anew where it was paused.
    pub(super) fn go_on(&mut self) {
        self.paused_until = None;
    }

    /// Lets the rate grow towards `wanted`, in bytes a second, and has what came due since the last look leave from `now` on.
    pub(super) fn ask(&mut self, wanted: f64, batching: Batching, now: Instant) {
        let passed = now.saturating_duration_since(self.at).min(KEPT);
        self.at = self.at.max(now);
        if self.paused_until.is_some_and(|until| now < until) {
            return;
        }
        self.paused_until = None;
        self.rate = wanted.clamp(0.0, (self.reach * GROWTH).max(self.reach + LEAST_GROWTH));
        self.reach = self.rate.max(self.reach * LEFT);
        if self.rate <= 0.0 {
            self.stop();
            return;
        }
        let most = self.rate * KEPT.as_secs_f64() + self.size as f64;
        self.due = (self.due + self.rate * passed.as_secs_f64()).min(most);
        if self.is_due() && self.next.is_none() {
            // Not at the look itself, unless that is what is waited for.
            self.next = Some(match batching {
                Batching::Second => now,
                Batching::None => now + self.interval().mul_f64(self.part()),
            });
        }
    }

    /// Has so many datagrams leave one soon behind the other.
    pub(super) fn burst(&mut self, datagrams: u64, now: Instant) {
        (self.burst, self.next) = (datagrams, Some(now));
    }

    fn is_due(&self) -> bool {
        self.due >= self.size as f64
    }

    /// Takes the next datagram that leaves by `now`; `false` if there is none.
    pub(super) fn take(&mut self, batching: Batching, now: Instant) -> bool {
        if self.next.take_if(|at| *at <= now).is_none() {
            return false;
        }
        if self.burst > 0 {
            self.burst -= 1;
            self.next = (self.burst > 0 || self.is_due()).then(|| now + BURST_PAUSE.mul_f64(self.part()));
            return true;
        }
        if !self.is_due() {
            return false;
        }
        self.due -= self.size as f64;
        self.next = self.is_due().then(|| now + self.after(batching));
        true
    }

    /// Returns the time in which a datagram comes due, at most [`KEPT`].
    fn interval(&self) -> Duration {
        Duration::from_secs_f64((self.size as f64 / self.rate).min(KEPT.as_secs_f64()))
    }

    /// Draws a part of a whole.
    fn part(&mut self) -> f64 {
        f64::from(self.rng.next_u32()) / f64::from(u32::MAX)
    }

    /// Draws how long after one datagram the next leaves.
    fn after(&mut self, batching: Batching) -> Duration {
        let pause = self.interval();
        match batching {
            Batching::Second => Duration::ZERO,
            Batching::None if pause < QUANTUM => {
                // So many leave at once, on average.
                let at_once = (QUANTUM.as_secs_f64() / pause.as_secs_f64()) as u64;
                let is_last = self.rng.next_u64().is_multiple_of(at_once.max(1));
                if is_last { QUANTUM } else { Duration::ZERO }
            }
            Batching::None => pause.mul_f64(0.5 + self.part()),
        }
    }

    /// Returns when the next datagram leaves.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STEP: Duration = Duration::from_millis(100);

    /// Lets a pace that wants `wanted` run for so many steps, and returns the instants at which datagrams left, in all and of one at most.
    fn run(pace: &mut Pace, wanted: impl Fn(u32) -> f64, steps: u32, start: Instant) -> (u64, u64) {
        let (mut all, mut most) = (0, 0);
        for step in 0..steps {
            let mut at = start + step * STEP;
            pace.ask(wanted(step), Batching::None, at);
            while let Some(next) = pace.next_timeout().filter(|next| *next < start + (step + 1) * STEP) {
                at = at.max(next);
                let at_once = std::iter::from_fn(|| pace.take(Batching::None, at).then_some(())).count() as u64;
                all += at_once;
                most = most.max(at_once);
            }
        }
        (all, most)
    }

    #[test]
    fn a_rate_is_grown_into_and_then_kept() {
        let start = Instant::now();
        let mut pace = Pace::new([1; 32], 1_480, start);
        let (first, _) = run(&mut pace, |_| 1_480_000.0, 10, start);
        assert!((100..700).contains(&first), "{first} of 1,000 in the first second");
        let (later, most) = run(&mut pace, |_| 1_480_000.0, 100, start + 10 * STEP);
        assert!((9_700..=10_300).contains(&later) && most <= 40, "{later}, {most} at once");
    }

    #[test]
    fn after_a_refusal_nothing_is_asked_for_a_second() {
        let start = Instant::now();
        let mut pace = Pace::new([1; 32], 1_480, start);
        run(&mut pace, |_| 500_000.0, 20, start);
        pace.pause(start + 20 * STEP);
        assert_eq!(run(&mut pace, |_| 500_000.0, 10, start + 20 * STEP).0, 0);
        assert!(run(&mut pace, |_| 500_000.0, 10, start + 30 * STEP).0 > 0);
    }

    proptest! {
        /// Whatever is wanted, no more leaves than that, and a clock that goes back or jumps asks for no more than a second of it.
        #[test]
        fn no_more_leaves_than_is_wanted(wanted in prop::collection::vec(0.0..5e6f64, 1..100), jump in 0u64..1_000_000, back in any::<bool>()) {
            let start = Instant::now() + Duration::from_secs(2_000_000);
            let mut pace = Pace::new([2; 32], 1_480, start);
            let (all, _) = run(&mut pace, |step| wanted[step as usize], wanted.len() as u32, start);
            let most: f64 = wanted.iter().map(|rate| rate * STEP.as_secs_f64()).sum();
            prop_assert!(all as f64 * 1_480.0 <= most + 1_480.0, "{all} of {most} bytes");
            let moved = Duration::from_secs(jump);
            let at = if back { start - moved } else { start + moved };
            pace.ask(1e6, Batching::None, at);
            let taken = (0..100_000).filter(|_| pace.take(Batching::Second, at + Duration::from_secs(1))).count();
            prop_assert!(taken as f64 * 1_480.0 <= 5e6 + 1_480.0);
        }
    }
}
