//! When a message is sent again: after a second, then twice as long each time, with jitter, a few times.

use std::time::{Duration, Instant};

use rand_core::RngCore;

/// How long the first answer is waited for.
const FIRST: Duration = Duration::from_secs(1);

/// The longest that any answer is waited for.
const LONGEST: Duration = Duration::from_secs(8);

/// How often a message is sent. With the waits between them, an answer may take 39 s, a quarter more or less.
pub(super) const MAX_TRIES: u32 = 7;

/// The tries of one message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retry {
    tries: u32,
    pub(super) at: Instant,
}

impl Retry {
    /// Notes that a message was sent for the first time.
    pub(super) fn first(now: Instant, rng: &mut impl RngCore) -> Self {
        Self { tries: 1, at: now + jittered(FIRST, rng) }
    }

    /// Notes that it is sent again; `None` if it was sent often enough.
    pub(super) fn again(self, now: Instant, rng: &mut impl RngCore) -> Option<Self> {
        let wait = FIRST.saturating_mul(1 << self.tries).min(LONGEST);
        (self.tries < MAX_TRIES).then(|| Self { tries: self.tries + 1, at: now + jittered(wait, rng) })
    }
}

/// Returns a duration between three and five quarters of `mean`: what recurs to the second would be a signature.
pub(super) fn jittered(mean: Duration, rng: &mut impl RngCore) -> Duration {
    mean * 3 / 4 + (mean / 2).mul_f64(f64::from(rng.next_u32()) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng as _;

    use super::*;

    #[test]
    fn waits_grow_are_never_the_same_and_end() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let now = Instant::now();
        let mut retry = Some(Retry::first(now, &mut rng));
        let mut waits = Vec::new();
        while let Some(next) = retry {
            waits.push(next.at - now);
            retry = next.again(now, &mut rng);
        }
        assert_eq!(waits.len(), MAX_TRIES as usize);
        for (wait, seconds) in waits.iter().zip([1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0]) {
            assert!((0.75 * seconds..=1.25 * seconds).contains(&wait.as_secs_f64()), "{waits:?}");
        }
        assert!(waits[3..].windows(2).all(|pair| pair[0] != pair[1]));
    }
}
