//! The cap on actions a second: what a runaway machine may cost.

use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(1);

/// Counts actions in windows of one second; those over the cap wait for a later window, in the order they came.
#[derive(Debug)]
pub(super) struct Budget {
    per_second: u32,
    /// When the window that is being filled began.
    window: Instant,
    used: u32,
}

impl Budget {
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second: per_second.max(1), window: now, used: 0 }
    }

    /// Returns when an action that is asked for at `now`, for `at`, may happen: then, or later if there were too many.
    /// Counts those that have to wait.
    pub(super) fn admit(&mut self, at: Instant, now: Instant, capped: &mut u64) -> Instant {
        if now >= self.window + WINDOW {
            self.window = now;
            self.used = 0;
        }
        if self.used == self.per_second {
            // This window is full: fill the one after it.
            self.window += WINDOW;
            self.used = 0;
        }
        self.used += 1;
        if at < self.window {
            *capped += 1;
        }
        at.max(self.window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_within_the_cap_is_not_moved() {
        let start = Instant::now();
        let (mut budget, mut capped) = (Budget::new(10, start), 0);
        for _ in 0..10 {
            assert_eq!(budget.admit(start, start, &mut capped), start);
        }
        assert_eq!(capped, 0);
    }

    #[test]
    fn a_loop_of_zero_timeouts_gets_the_cap_every_second() {
        let start = Instant::now();
        let (mut budget, mut capped, mut now) = (Budget::new(10, start), 0, start);
        let mut times = Vec::new();
        for _ in 0..100 {
            now = budget.admit(now, now, &mut capped);
            times.push(now - start);
        }
        for second in 0..10 {
            let in_second = times.iter().filter(|at| at.as_secs() == second).count();
            assert!(in_second <= 10, "{in_second} actions in second {second}");
        }
        assert!(capped >= 9);
    }
}
