//! Numbers from distributions, the same on every machine: sums and products only.

use std::time::Duration;

use rand_core::{RngCore as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::virtual_network::fraction;

/// A stream of draws.
#[derive(Debug, Clone)]
pub(super) struct Draws(Xoshiro256PlusPlus);

impl Draws {
    /// Returns the stream of a seed and of a number within it.
    pub(super) fn new(seed: u64, number: u64) -> Self {
        let mut seeds = Xoshiro256PlusPlus::seed_from_u64(seed);
        let first = seeds.next_u64();
        Self(Xoshiro256PlusPlus::seed_from_u64(first ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// Returns a number from 0 to less than 1.
    pub(super) fn fraction(&mut self) -> f64 {
        fraction(self.0.next_u64())
    }

    pub(super) fn happens(&mut self, probability: f64) -> bool {
        self.fraction() < probability
    }

    /// Returns a number evenly from a range.
    pub(super) fn between(&mut self, least: f64, most: f64) -> f64 {
        least + (most - least) * self.fraction()
    }

    /// Returns a factor from 1/`most` to `most`, as often below 1 as above, and rarely far from it.
    pub(super) fn times(&mut self, most: f64) -> f64 {
        let far = 1.0 + (most - 1.0) * self.fraction() * self.fraction();
        if self.happens(0.5) { far } else { 1.0 / far }
    }

    /// Returns a number below `end`, which is not 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        ((self.fraction() * end as f64) as usize).min(end - 1)
    }

    /// Returns a time evenly from a range of milliseconds.
    pub(super) fn milliseconds(&mut self, least: f64, most: f64) -> Duration {
        Duration::from_micros((self.between(least, most) * 1_000.0) as u64)
    }

    /// Returns a number of a distribution.
    pub(super) fn of(&mut self, quantiles: &[f64]) -> f64 {
        at(quantiles, self.fraction())
    }
}

/// Returns a quantile from a table of some that are equally far apart, the first 0 and the last 1: a straight line between two.
pub(super) fn at(quantiles: &[f64], fraction: f64) -> f64 {
    let place = fraction.clamp(0.0, 1.0) * (quantiles.len() - 1) as f64;
    let below = (place as usize).min(quantiles.len() - 2);
    let [least, most] = [quantiles[below], quantiles[below + 1]];
    least + (most - least) * (place - below as f64)
}
