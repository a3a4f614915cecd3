//! The second observer: he names what the user does (a call, a film, pages, nothing) from the throughput of the tunnel as a
//! whole, as anyone on the way reads it from a counter of bytes.
//!
//! Of a window, bytes in each direction in steps of 1 s and of 100 ms; of each such series mean, variation, quantiles,
//! autocorrelation, bursts and idle times; and the share of what goes up. The same trees as of the other attack.

use std::time::Duration;

use super::statistics::{deviation, largest, mean, quantile};
use super::{Accuracy, AttackError, Options, Trial};
use crate::trace::{Direction, Labelled, Trace};

/// Steps of the series.
pub const STEPS: [Duration; 2] = [Duration::from_secs(1), Duration::from_millis(100)];

/// Steps over which a series is compared with itself.
const LAGS: [usize; 6] = [1, 2, 3, 5, 10, 20];

const QUANTILES: [f64; 7] = [0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99];

/// Numbers of each series.
const OF_SERIES: usize = 3 + QUANTILES.len() + LAGS.len() + 8;

/// Numbers in a row.
pub const COLUMNS: usize = 2 * STEPS.len() * OF_SERIES + 2;

/// Names the class of activity (the label) of windows of traffic; a window lasts to its last datagram.
///
/// [`Options::features`] has no meaning here.
///
/// # Errors
/// As [`super::closed_world`].
pub fn classify(windows: &[Labelled], options: &Options) -> Result<Accuracy, AttackError> {
    Trial::new(windows, options, |window| row(&window.trace))?.run(None)
}

/// Returns the row of `trace`: [`COLUMNS`] finite numbers.
pub fn row(trace: &Trace) -> Vec<f32> {
    let mut row = Vec::with_capacity(COLUMNS);
    for step in STEPS {
        for direction in [Direction::Upload, Direction::Download] {
            row.extend(of_series(&series(trace, direction, step), step).map(|value| value as f32));
        }
    }
    let [up, down] = [Direction::Upload, Direction::Download].map(|direction| trace.bytes(direction) as f64);
    let changes = trace.iter().zip(trace.iter().skip(1)).filter(|(a, b)| a.direction != b.direction).count();
    row.extend([up / (up + down).max(1.0), changes as f64 / trace.len().max(1) as f64].map(|value| value as f32));
    row
}

/// Returns the bytes of one direction in each step, headers counted. The last step is the one with the last datagram.
pub fn series(trace: &Trace, direction: Direction, step: Duration) -> Vec<f64> {
    let place = |at: Duration| (at.as_nanos() / step.as_nanos().max(1)) as usize;
    let mut series = vec![0.0; if trace.is_empty() { 0 } else { place(trace.duration()) + 1 }];
    for passage in trace.iter().filter(|passage| passage.direction == direction) {
        series[place(passage.at)] += f64::from(passage.size);
    }
    series
}

/// Bytes a second, bursts in bytes, idle times in seconds.
fn of_series(series: &[f64], step: Duration) -> [f64; OF_SERIES] {
    let rates: Vec<f64> = series.iter().map(|bytes| bytes / step.as_secs_f64()).collect();
    let (mean, deviation) = (mean(&rates), deviation(&rates));
    let lagged = LAGS.map(|lag| autocorrelation(&rates, lag));
    // A burst is a stretch above the mean: what is steady has none.
    let bursts = stretches(&rates, |rate| rate > mean);
    let idle = stretches(&rates, |rate| rate == 0.0);
    let seconds = step.as_secs_f64() * rates.len().max(1) as f64;
    let sizes: Vec<f64> = bursts.iter().map(|burst| burst.iter().sum::<f64>() * step.as_secs_f64()).collect();
    let lengths: Vec<f64> = idle.iter().map(|idle| idle.len() as f64 * step.as_secs_f64()).collect();
    let head = [mean, deviation, if mean > 0.0 { deviation / mean } else { 0.0 }];
    let tail = [
        bursts.len() as f64 / seconds,
        self::mean(&sizes),
        self::deviation(&sizes),
        largest(&sizes),
        idle.len() as f64 / seconds,
        self::mean(&lengths),
        largest(&lengths),
        lengths.iter().sum::<f64>() / seconds,
    ];
    let mut values = head.into_iter().chain(QUANTILES.map(|share| quantile(&rates, share))).chain(lagged).chain(tail);
    std::array::from_fn(|_| values.next().unwrap_or(0.0))
}

/// Returns how alike the values are to those `lag` places later, -1 to 1: covariance over variance, both divided by all there
/// are; 0 where nothing varies (Box and Jenkins, "Time Series Analysis", section 2.1.5).
fn autocorrelation(values: &[f64], lag: usize) -> f64 {
    let mean = mean(values);
    let variance: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    if variance <= 0.0 {
        return 0.0;
    }
    values.iter().zip(values.iter().skip(lag)).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>() / variance
}

/// Returns the longest stretches of which it is true.
fn stretches(values: &[f64], is_within: impl Fn(f64) -> bool) -> Vec<&[f64]> {
    values.chunk_by(|a, b| is_within(*a) == is_within(*b)).filter(|stretch| is_within(stretch[0])).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::trace::Passage;

    #[test]
    fn the_figures_of_a_series_are_right() {
        let values = of_series(&[0.0, 400.0, 0.0, 0.0], Duration::from_millis(100));
        assert_eq!(values[0], 1_000.0, "bytes a second");
        assert!((values[1] - 3e6f64.sqrt()).abs() < 1e-6);
        assert_eq!(values[5], 0.0, "median");
        let tail = &values[OF_SERIES - 8..];
        let expected = [2.5, 400.0, 0.0, 400.0, 5.0, 0.15, 0.2, 0.75];
        assert!(tail.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{tail:?}");
    }

    #[test]
    fn what_repeats_after_two_steps_is_found_there() {
        let values: Vec<f64> = (0..100).map(|at| f64::from(at % 2)).collect();
        assert!(autocorrelation(&values, 1) < -0.9 && autocorrelation(&values, 2) > 0.9);
        assert_eq!(autocorrelation(&[3.0; 9], 1), 0.0);
    }

    proptest! {
        #[test]
        fn every_window_has_a_whole_row(times in prop::collection::vec((0u64..100_000, any::<bool>(), 1u16..), 0..50)) {
            let passages = times.into_iter().map(|(ms, is_up, size)| Passage {
                at: Duration::from_millis(ms),
                direction: if is_up { Direction::Upload } else { Direction::Download },
                size,
            });
            let row = row(&Trace::sorted(passages.collect()).unwrap());
            prop_assert_eq!(row.len(), COLUMNS);
            prop_assert!(row.iter().all(|value| value.is_finite()));
        }
    }
}
