//! A bucket of tokens: what is done costs one, and they come back with time.

use std::time::{Duration, Instant};

/// How many tokens there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    /// Tokens that come back in a second: at least 1.
    per_second: u64,
    /// Tokens that there are at most: at least 1.
    at_once: u64,
}

impl Share {
    /// Of both there is at least one.
    pub(super) const fn new(per_second: u64, at_once: u64) -> Self {
        const fn at_least_one(count: u64) -> u64 {
            if count == 0 { 1 } else { count }
        }
        Self { per_second: at_least_one(per_second), at_once: at_least_one(at_once) }
    }

    /// Returns so many times as much.
    pub(super) fn times(self, factor: u64) -> Self {
        Self::new(self.per_second.saturating_mul(factor), self.at_once.saturating_mul(factor))
    }

    /// Returns how long a token takes to come back.
    fn cost(self) -> Duration {
        Duration::from_nanos(1_000_000_000 / self.per_second)
    }

    /// Returns how long the tokens take that are to be left when one is taken.
    fn rest(self) -> Duration {
        Duration::from_nanos((self.cost().as_nanos() as u64).saturating_mul(self.at_once - 1))
    }
}

/// The tokens that are left of a share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    /// When all were, or will be, back.
    whole: Instant,
}

impl Bucket {
    pub(super) fn full(now: Instant) -> Self {
        Self { whole: now }
    }

    /// Tells whether all tokens are back.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        self.whole <= now
    }

    pub(super) fn has_one(&self, share: Share, now: Instant) -> bool {
        self.whole <= now + share.rest()
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, share: Share, now: Instant) -> bool {
        let has_one = self.has_one(share, now);
        if has_one {
            self.whole = self.whole.max(now) + share.cost();
        }
        has_one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lasts_for_some_at_once_and_fills_again_with_time() {
        let (share, now) = (Share::new(1_000, 50), Instant::now());
        let mut bucket = Bucket::full(now);
        let mut taken_at = |now| (0..1_000).filter(|_| bucket.take(share, now)).count();
        assert_eq!(taken_at(now), 50);
        assert_eq!(taken_at(now + share.cost()), 1);
        assert_eq!(taken_at(now + Duration::from_secs(1)), 50);
    }
}
