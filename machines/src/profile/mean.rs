//! How fast a profile is in the long run. For those who read it: nothing that is walked depends on it.

use super::{Activity, Direction, Profile, Quantiles, Rates, State};

/// How often the chain is followed; stays weigh what comes out.
const ROUNDS: usize = 2_000;

impl Profile {
    /// Returns the mean rates in the long run, as the tables have them, to within some percent of what walks do.
    ///
    /// It is computed with floating-point numbers: two machines may differ in the last digit.
    pub fn mean_rates(&self) -> Rates {
        let shares = shares(self.states());
        let of = |direction| {
            let rates = self.states().iter().map(|state| state.activity(direction).map_or(0.0, mean_rate));
            rates.zip(&shares).map(|(rate, share)| rate * share).sum::<f64>().round() as u64
        };
        Rates { upload: of(Direction::Upload), download: of(Direction::Download) }
    }

    /// Returns the share of time that is spent in each state in the long run, in hundredths of a percent.
    pub fn shares(&self) -> Vec<u16> {
        shares(self.states()).into_iter().map(|share| (share * 10_000.0).round() as u16).collect()
    }
}

/// Returns the share of time of each state.
fn shares(states: &[State]) -> Vec<f64> {
    let mut visits: Vec<f64> = states.iter().map(|state| f64::from(state.weight)).collect();
    for _ in 0..ROUNDS {
        // Half stays where it is: a chain that goes round in a circle has a mean too.
        let mut after: Vec<f64> = visits.iter().map(|visit| visit / 2.0).collect();
        for (state, visit) in states.iter().zip(&visits) {
            let total: f64 = state.next.iter().map(|&(_, weight)| f64::from(weight)).sum();
            for &(next, weight) in &state.next {
                after[next] += visit / 2.0 * f64::from(weight) / total;
            }
        }
        visits = after;
    }
    let times: Vec<f64> = states.iter().zip(&visits).map(|(state, visit)| visit * mean(&state.stay)).collect();
    let total: f64 = times.iter().sum();
    times.into_iter().map(|time| time / total).collect()
}

/// Returns the mean rate of a direction while a state lasts, in bytes a second.
fn mean_rate(activity: &Activity) -> f64 {
    let burst = mean(&activity.burst);
    let seconds = burst * mean_inverse(&activity.rate) + mean(&activity.gap) / 1e6;
    burst / seconds
}

pub(super) fn mean(quantiles: &Quantiles) -> f64 {
    average(quantiles, f64::midpoint)
}

/// Returns the mean of one over what is drawn; no point is 0.
pub(super) fn mean_inverse(quantiles: &Quantiles) -> f64 {
    average(quantiles, |low, high| if high > low { (high / low).ln() / (high - low) } else { 1.0 / low })
}

fn average(quantiles: &Quantiles, of: impl Fn(f64, f64) -> f64) -> f64 {
    let segments = quantiles.points().windows(2).map(|pair| of(pair[0] as f64, pair[1] as f64));
    let (sum, count) = segments.fold((0.0, 0.0), |(sum, count), segment| (sum + segment, count + 1.0));
    sum / count
}
