//! The cap on actions a second: what a runaway machine may cost.

use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(1);

/// Counts what machines do in windows of one second; what is over the cap waits for the next window.
///
/// What counts is what is done, not what is asked for: under load machines ask anew with every packet, and each answer
/// takes the place of the one before.
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

    /// Counts something that is to be done at `now`; `false` if it has to wait until the next window.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if now >= self.window + WINDOW {
            self.window = now;
            self.used = 0;
        }
        let has_room = self.used < self.per_second;
        if has_room {
            self.used += 1;
        }
        has_room
    }

    /// Returns the end of the present window if it is full: nothing is done before.
    pub(super) fn closed_until(&self) -> Option<Instant> {
        (self.used == self.per_second).then(|| self.window + WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_within_the_cap_does_not_wait() {
        let start = Instant::now();
        let mut budget = Budget::new(10, start);
        assert!((0..10).all(|_| budget.take(start)));
        assert_eq!(budget.closed_until(), Some(start + WINDOW));
        assert!(!budget.take(start + WINDOW - Duration::from_nanos(1)));
        assert!(budget.take(start + WINDOW));
        assert_eq!(budget.closed_until(), None);
    }

    #[test]
    fn a_silent_second_saves_nothing_for_the_next() {
        let start = Instant::now();
        let mut budget = Budget::new(10, start);
        let later = start + Duration::from_secs(5);
        assert_eq!((0..30).filter(|_| budget.take(later)).count(), 10);
    }
}
