//! Blocking: one for all machines of a tunnel.

use std::time::{Duration, Instant};

/// What may leave a tunnel; the greater lets out less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gate {
    /// Everything.
    Open,
    /// Padding with the bypass flag, and handshake messages.
    Bypassable,
    /// Nothing.
    Closed,
}

/// Blocking in force, if any.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Blocking {
    active: Option<Active>,
}

#[derive(Debug, Clone, Copy)]
struct Active {
    since: Instant,
    until: Instant,
    gate: Gate,
}

impl Blocking {
    pub(super) fn gate(&self) -> Gate {
        self.active.map_or(Gate::Open, |active| active.gate)
    }

    pub(super) fn until(&self) -> Option<Instant> {
        self.active.map(|active| active.until)
    }

    /// Begins blocking, or changes the blocking in force: replaces its end, or takes the later one. The gate changes
    /// only when the end does.
    pub(super) fn begin(&mut self, now: Instant, duration: Duration, gate: Gate, replaces: bool) {
        let until = now + duration;
        match &mut self.active {
            None => self.active = Some(Active { since: now, until, gate }),
            Some(active) if replaces || until > active.until => {
                active.until = until;
                active.gate = gate;
            }
            Some(_) => {}
        }
    }

    /// Has the blocking in force end at `now` at the latest.
    pub(super) fn end_by(&mut self, now: Instant) {
        if let Some(active) = &mut self.active {
            active.until = active.until.min(now);
        }
    }

    /// Returns how long the blocking in force has lasted.
    pub(super) fn so_far(&self, now: Instant) -> Duration {
        self.active.map_or(Duration::ZERO, |active| now.saturating_duration_since(active.since))
    }

    /// Ends blocking, and returns how long it lasted.
    pub(super) fn end(&mut self, now: Instant) -> Duration {
        let lasted = self.so_far(now);
        self.active = None;
        lasted
    }
}

/// A bound on the time that is blocked, as a fraction of all time since an instant.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct BlockingLimit {
    bound: Option<(f64, Instant)>,
    /// What the engine had blocked before, which does not count.
    uncounted: Duration,
    /// What engines before this one have blocked, which does.
    counted: Duration,
}

impl BlockingLimit {
    /// Bounds what is blocked from `now` on, when the engine had blocked for `blocked`; 0 and 1 are no bound.
    pub(super) fn new(max_frac: f64, now: Instant, blocked: Duration) -> Self {
        let bound = (max_frac > 0.0 && max_frac < 1.0).then_some((max_frac, now));
        Self { bound, uncounted: blocked, counted: Duration::ZERO }
    }

    pub(super) fn is_bound(&self) -> bool {
        self.bound.is_some()
    }

    /// Returns the bound for an engine that follows on one that has blocked for `blocked`.
    pub(super) fn after(self, blocked: Duration) -> Self {
        let counted = self.counted + blocked.saturating_sub(self.uncounted);
        Self { uncounted: Duration::ZERO, counted, ..self }
    }

    /// Returns how much of `duration` may be blocked from `now` on, when the engine has blocked for `blocked`; `None` if
    /// nothing may.
    pub(super) fn shorten(&self, duration: Duration, blocked: Duration, now: Instant) -> Option<Duration> {
        let Some((frac, since)) = self.bound else { return Some(duration) };
        let blocked = self.counted + blocked.saturating_sub(self.uncounted);
        let elapsed = now.saturating_duration_since(since).as_secs_f64();
        // What is blocked by the end, over all time by then: (blocked + d) / (elapsed + d) = frac.
        let most = (frac * elapsed - blocked.as_secs_f64()) / (1.0 - frac);
        Duration::try_from_secs_f64(most).ok().map(|most| duration.min(most)).filter(|most| !most.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn at_no_instant_is_more_blocked_than_the_limit(
            hundredths in 1..100u32,
            asked in prop::collection::vec((0..2_000u64, 1..5_000u64), 1..200),
        ) {
            let (frac, start) = (f64::from(hundredths) / 100.0, Instant::now());
            let limit = BlockingLimit::new(frac, start, Duration::ZERO);
            let (mut blocked, mut now) = (Duration::ZERO, Duration::ZERO);
            for (pause, duration) in asked {
                now += Duration::from_millis(pause);
                if let Some(granted) = limit.shorten(Duration::from_millis(duration), blocked, start + now) {
                    blocked += granted;
                    now += granted;
                }
                // A nanosecond for rounding.
                prop_assert!(blocked.as_secs_f64() <= frac * now.as_secs_f64() + 1e-9);
            }
        }
    }

    #[test]
    fn what_was_blocked_counts_on_in_the_next_engine_and_not_from_before_the_limit() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let limit = BlockingLimit::new(0.5, start, 9 * second);
        assert_eq!(limit.shorten(9 * second, 9 * second, start + second), Some(second));
        let next = limit.after(10 * second);
        assert_eq!(next.shorten(9 * second, Duration::ZERO, start + 2 * second), None);
        assert_eq!(next.shorten(9 * second, Duration::ZERO, start + 3 * second), Some(second));
        assert_eq!(BlockingLimit::default().shorten(second, 9 * second, start), Some(second));
    }
}
