//! Tables of quantiles from samples.

use super::super::Activity;
use super::super::mean::{mean, mean_inverse};
use super::super::{MAX_BURST, MAX_RATE, MAX_TIME, MIN_TIME, ProfileError, Quantiles};

/// Points of a table.
const POINTS: usize = 9;

/// Returns the table of the samples, which have weights, with their mean; the points lie in the range.
///
/// The last point is not the greatest sample but the one with which numbers drawn from the table have the mean of the samples: a
/// line to the greatest of a heavy tail would have a far larger one.
pub(super) fn table(key: &str, mut samples: Vec<(u64, u64)>, least: u64, most: u64) -> Result<Quantiles, ProfileError> {
    samples.sort_unstable();
    let total: u128 = samples.iter().map(|&(_, weight)| u128::from(weight)).sum();
    let weighted: u128 = samples.iter().map(|&(value, weight)| u128::from(value) * u128::from(weight)).sum();
    let target = weighted as f64 / total.max(1) as f64;
    let mut points: Vec<f64> = (0..POINTS).map(|index| quantile(&samples, total, index) as f64).collect();
    if let [first, inner @ .., last] = &mut points[..] {
        let before = inner.last().copied().unwrap_or(*first);
        let sum: f64 = inner.iter().sum();
        *last = (2.0 * ((POINTS - 1) as f64 * target - *first / 2.0 - sum)).max(before);
        let found = (*first / 2.0 + sum + *last / 2.0) / (POINTS - 1) as f64;
        if found > 0.0 {
            points.iter_mut().for_each(|point| *point *= target / found);
        }
    }
    bounded(key, &points, least, most)
}

/// Returns the value below which `index` parts of `POINTS - 1` of the weight lie.
fn quantile(samples: &[(u64, u64)], total: u128, index: usize) -> u64 {
    let target = total * index as u128 / (POINTS - 1) as u128;
    let mut passed = 0;
    for &(value, weight) in samples {
        passed += u128::from(weight);
        if passed > target {
            return value;
        }
    }
    samples.last().map_or(0, |&(value, _)| value)
}

fn bounded(key: &str, points: &[f64], least: u64, most: u64) -> Result<Quantiles, ProfileError> {
    let mut points: Vec<u64> = points.iter().map(|point| (point.round() as u64).clamp(least, most)).collect();
    if points.first() == points.last() {
        points.truncate(2);
    }
    Quantiles::new(key, points, least, most)
}

/// Returns the table of times in microseconds.
pub(super) fn times(key: &str, samples: impl Iterator<Item = u64>) -> Result<Quantiles, ProfileError> {
    let [least, most] = [MIN_TIME, MAX_TIME].map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    table(key, samples.map(|sample| (sample, 1)).collect(), least, most)
}

/// A burst with the gap behind it: bytes, and two times in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cycle {
    pub(super) bytes: u64,
    pub(super) burst: u64,
    pub(super) gap: u64,
}

/// Returns the tables of bursts, whose mean rate is that of the bursts to within rounding.
///
/// Rates are weighted by bytes, so that bursts take as long as they did; what the tables make of that in spite of it is set right by
/// a factor on all rates.
pub(super) fn activity(cycles: &[Cycle]) -> Result<Option<Activity>, ProfileError> {
    if cycles.is_empty() {
        return Ok(None);
    }
    let rate_of = |cycle: &Cycle| {
        let rate = u128::from(cycle.bytes) * 1_000_000 / u128::from(cycle.burst.max(1));
        u64::try_from(rate).unwrap_or(u64::MAX).clamp(1, MAX_RATE)
    };
    let burst = table("burst", cycles.iter().map(|cycle| (cycle.bytes, 1)).collect(), 1, MAX_BURST)?;
    let gap = times("gap", cycles.iter().map(|cycle| cycle.gap))?;
    let mut rate = table("rate", cycles.iter().map(|cycle| (rate_of(cycle), cycle.bytes)).collect(), 1, MAX_RATE)?;
    let sum = |of: fn(&Cycle) -> u64| cycles.iter().map(|cycle| of(cycle) as f64).sum::<f64>();
    let seconds_a_byte = (sum(|cycle| cycle.burst) + sum(|cycle| cycle.gap)) / 1e6 / sum(|cycle| cycle.bytes);
    let wanted = seconds_a_byte - mean(&gap) / 1e6 / mean(&burst);
    let factor = mean_inverse(&rate) / wanted;
    if (0.25..=4.0).contains(&factor) {
        let points: Vec<f64> = rate.points().iter().map(|&point| point as f64 * factor).collect();
        rate = bounded("rate", &points, 1, MAX_RATE)?;
    }
    Ok(Some(Activity { burst, rate, gap }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(samples: &[u64]) -> Quantiles {
        table("x", samples.iter().map(|&sample| (sample, 1)).collect(), 1, MAX_BURST).unwrap()
    }

    #[test]
    fn equal_samples_are_two_equal_points() {
        assert_eq!(of(&[5]).points(), [5, 5]);
        assert_eq!(of(&[5; 100]).points(), [5, 5]);
    }

    #[test]
    fn even_samples_are_a_line() {
        let samples: Vec<_> = (0..=8_000).map(|sample| 1_000 + sample).collect();
        let table = of(&samples);
        for (index, point) in table.points().iter().enumerate() {
            assert!(point.abs_diff(1_000 + 1_000 * index as u64) < 10, "{:?}", table.points());
        }
    }

    #[test]
    fn a_heavy_tail_keeps_its_mean() {
        let mut samples = vec![100; 990];
        samples.extend([1_000_000; 10]);
        assert!((mean(&of(&samples)) - 10_099.0).abs() < 5.0, "{:?}", of(&samples).points());
    }

    proptest! {
        #[test]
        fn a_table_has_the_mean_of_its_samples(samples in prop::collection::vec(1_000..1_000_000_000u64, 1..50)) {
            let expected = samples.iter().sum::<u64>() as f64 / samples.len() as f64;
            let table = of(&samples);
            prop_assert!((mean(&table) / expected - 1.0).abs() < 0.01, "{expected} {:?}", table.points());
        }
    }
}
