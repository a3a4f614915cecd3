//! A profile from what passed.
//!
//! Whoever derives one needs no more than how many bytes passed each way in every 10 ms ([`Traffic`]):
//!
//! 1. **States.** Each whole second gets a level. It is `silent` if less than [`SILENT`] bytes passed in both directions
//!    together. Else each direction is compared with its own peak, the 95th percentile of the seconds in which anything
//!    passed: from a half of it on it is `heavy`, from an eighth on `medium`, below `light`; the higher one counts. Seconds in a
//!    row that have one level are a stay in that state.
//! 2. **Transitions** are counted, as if the capture were followed by itself: so the chain spends as much time in each state as
//!    the capture did. States begin by the seconds that they have.
//! 3. **Bursts.** The seconds of a state are laid end to end. In each direction, bytes with less than [`GAP`] of silence between
//!    them are a burst, but a burst ends after a second: what follows without a gap has one of 10 ms, taken from its end.
//! 4. **Quantiles.** Nine points of each distribution. The last is set so that the mean is that of the samples, and rates, which
//!    are weighted by bytes, get a factor such that the state's mean rate is that of the capture.
//! 5. **The ratio** is that of bytes up and down in windows of ten seconds that are not silent, from the 5th to the 95th
//!    percentile, unless another is asked for.

mod table;
mod traffic;

use std::time::Duration;

use thiserror::Error;

use self::table::Cycle;
use super::{Direction, Profile, ProfileError, State};
pub use traffic::{BIN, MOST_CAPTURED, Traffic};

/// Below as many bytes a second, both directions together, it is silent.
pub const SILENT: u64 = 1_000;

/// Silence from which on two bursts are two.
pub const GAP: Duration = Duration::from_millis(50);

/// Shortest traffic that a profile is derived from.
pub const LEAST_CAPTURED: Duration = Duration::from_secs(30);

/// The inertia of what is derived.
pub const INERTIA: Duration = Duration::from_secs(1);

/// Bins of a second, of [`GAP`], and of the windows of the ratio.
const SECOND_BINS: usize = (1_000 / BIN.as_millis()) as usize;
const GAP_BINS: usize = (GAP.as_millis() / BIN.as_millis()) as usize;
const RATIO_BINS: usize = 10 * SECOND_BINS;

const SECOND_MICROS: u64 = 1_000_000;
const BIN_MICROS: u64 = BIN.as_micros() as u64;

/// What is said of a profile, and cannot be derived.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// Its name: 1 to [`MAX_NAME`](super::MAX_NAME) of `a-z`, `0-9` and `-`.
    pub name: &'a str,
    /// What it is a profile of.
    pub description: &'a str,
    /// What was captured, when, and how.
    pub source: &'a str,
    /// Bytes up for bytes down, low and high, in hundredths of a percent; what was measured if `None`.
    pub upload_ratio: Option<(u16, u16)>,
}

/// Why traffic gives no profile.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DeriveError {
    /// No packet of the client is in it.
    #[error("no packets of the client in it: is its address right?")]
    Empty,
    /// It is too short to tell anything of the long run.
    #[error("{} s of traffic, expected at least {} s", .0.as_secs(), LEAST_CAPTURED.as_secs())]
    TooShort(Duration),
    /// Nothing passed in a direction.
    #[error("no {} in it: is the client's address right?", .0.key())]
    NoTraffic(Direction),
    /// What is said of it is not valid.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

/// How much passes in a second, from nothing to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Silent,
    Light,
    Medium,
    Heavy,
}

impl Level {
    /// In the order of their names, in which a profile has its states.
    const BY_NAME: [Self; 4] = [Self::Heavy, Self::Light, Self::Medium, Self::Silent];

    fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Light => "light",
            Self::Medium => "medium",
            Self::Heavy => "heavy",
        }
    }
}

/// Derives a profile, as the module says.
///
/// # Errors
/// When nothing passed, or nothing in one direction, or the traffic is shorter than [`LEAST_CAPTURED`]; and when what is said of the
/// profile is not valid.
pub fn derive(traffic: &Traffic, about: &About<'_>) -> Result<Profile, DeriveError> {
    let (seconds, _) = traffic.bins().as_chunks::<SECOND_BINS>();
    if traffic.packets() == 0 {
        return Err(DeriveError::Empty);
    }
    if traffic.duration() < LEAST_CAPTURED {
        return Err(DeriveError::TooShort(traffic.duration()));
    }
    for direction in Direction::ALL {
        if traffic.bytes(direction) == 0 {
            return Err(DeriveError::NoTraffic(direction));
        }
    }
    let sums: Vec<[u64; 2]> = seconds.iter().map(|second| sum(second)).collect();
    let peaks = Direction::ALL.map(|direction| peak(sums.iter().map(|sum| sum[direction as usize])));
    let levels: Vec<Level> = sums.iter().map(|sum| level(*sum, peaks)).collect();
    let runs = runs(&levels);
    let present: Vec<Level> = Level::BY_NAME.into_iter().filter(|level| levels.contains(level)).collect();
    let states = present.iter().map(|&level| state(level, &present, &runs, &levels, seconds));
    let states = states.collect::<Result<_, _>>()?;
    let upload_ratio = about.upload_ratio.unwrap_or_else(|| ratio(traffic));
    Ok(Profile::new([about.name, about.description, about.source], upload_ratio, INERTIA, states)?)
}

fn sum(bins: &[[u32; 2]]) -> [u64; 2] {
    bins.iter().fold([0; 2], |[up, down], bin| [up + u64::from(bin[0]), down + u64::from(bin[1])])
}

/// Returns the 95th percentile of what is not 0; 0 if all is.
fn peak(sums: impl Iterator<Item = u64>) -> u64 {
    let mut sums: Vec<u64> = sums.filter(|sum| *sum > 0).collect();
    sums.sort_unstable();
    percentile(&sums, 95)
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last * percent).div_ceil(100)).copied().unwrap_or_default()
}

fn level(sum: [u64; 2], peaks: [u64; 2]) -> Level {
    if sum[0] + sum[1] < SILENT {
        return Level::Silent;
    }
    let of = |(sum, peak): (u64, u64)| match sum {
        0 => Level::Light,
        _ if sum >= peak.div_ceil(2) => Level::Heavy,
        _ if sum >= peak.div_ceil(8) => Level::Medium,
        _ => Level::Light,
    };
    let levels = sum.into_iter().zip(peaks).map(of);
    levels.max().unwrap_or(Level::Silent)
}

/// Returns levels with how many seconds in a row have them; the last and the first are one run if they are alike.
fn runs(levels: &[Level]) -> Vec<(Level, u64)> {
    let mut runs: Vec<_> = levels.chunk_by(|one, next| one == next).map(|run| (run[0], run.len() as u64)).collect();
    if runs.len() > 1 && runs.first().map(|run| run.0) == runs.last().map(|run| run.0) {
        let (_, seconds) = runs.pop().unwrap_or((Level::Silent, 0));
        runs[0].1 += seconds;
    }
    runs
}

fn state(
    level: Level,
    present: &[Level],
    runs: &[(Level, u64)],
    levels: &[Level],
    seconds: &[[[u32; 2]; SECOND_BINS]],
) -> Result<State, ProfileError> {
    let followers = runs.iter().zip(runs.iter().cycle().skip(1)).filter(|(run, _)| run.0 == level);
    let followers: Vec<Level> = followers.map(|(_, next)| next.0).collect();
    let weights = present.iter().enumerate().map(|(index, &next)| {
        // There are at most as many as seconds in MOST_CAPTURED.
        (index, followers.iter().filter(|follower| **follower == next).count() as u32)
    });
    let stays = runs.iter().filter(|run| run.0 == level).map(|run| run.1 * SECOND_MICROS);
    let own: Vec<[u32; 2]> = levels
        .iter()
        .zip(seconds)
        .filter(|(other, _)| **other == level)
        .flat_map(|(_, second)| second.iter().copied())
        .collect();
    let activity =
        |direction: Direction| table::activity(&cycles(own.iter().map(|bin| u64::from(bin[direction as usize]))));
    Ok(State {
        name: level.name().to_owned(),
        weight: (own.len() / SECOND_BINS) as u32,
        stay: table::times("stay", stays)?,
        next: weights.filter(|(_, weight)| *weight > 0).collect(),
        upload: activity(Direction::Upload)?,
        download: activity(Direction::Download)?,
    })
}

/// Returns the bursts with the gaps behind them; all times together are those of the bins, but for gaps that there were not.
fn cycles(bins: impl Iterator<Item = u64>) -> Vec<Cycle> {
    let mut cycles: Vec<Cycle> = Vec::new();
    // Silence before the first burst, which belongs behind the last one.
    let mut leading = 0;
    let mut silence = GAP_BINS;
    for bytes in bins {
        if bytes == 0 {
            silence += 1;
            match cycles.last_mut() {
                Some(cycle) => cycle.gap += BIN_MICROS,
                None => leading += BIN_MICROS,
            }
            continue;
        }
        match cycles.last_mut() {
            Some(cycle) if silence < GAP_BINS && cycle.burst + cycle.gap < SECOND_MICROS => {
                // What was no gap belongs to the burst.
                cycle.burst += cycle.gap + BIN_MICROS;
                cycle.gap = 0;
                cycle.bytes += bytes;
            }
            _ => cycles.push(Cycle { bytes, burst: BIN_MICROS, gap: 0 }),
        }
        silence = 0;
    }
    if let Some(cycle) = cycles.last_mut() {
        cycle.gap += leading;
    }
    for cycle in cycles.iter_mut().filter(|cycle| cycle.gap == 0) {
        cycle.gap = BIN_MICROS;
        if cycle.burst > BIN_MICROS {
            cycle.burst -= BIN_MICROS;
        }
    }
    cycles
}

/// Returns the 5th and the 95th percentile of bytes up for bytes down, in hundredths of a percent.
fn ratio(traffic: &Traffic) -> (u16, u16) {
    let of = |[up, down]: [u64; 2]| (10_000 * up).checked_div(down).unwrap_or(u64::MAX);
    let windows = traffic.bins().chunks(RATIO_BINS).map(sum).filter(|[up, down]| up + down >= 10 * SILENT);
    let mut ratios: Vec<u64> = windows.map(of).collect();
    if ratios.is_empty() {
        ratios.push(of(sum(traffic.bins())));
    }
    ratios.sort_unstable();
    let [low, high] = [5, 95].map(|percent| u16::try_from(percentile(&ratios, percent)).unwrap_or(u16::MAX));
    (low, high)
}

#[cfg(test)]
mod tests;
