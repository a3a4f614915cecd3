//! A profile: states of activity, and what each direction does in them.

use std::sync::Arc;
use std::time::Duration;

use rand_core::RngCore;

use super::{Direction, MAX_DESCRIPTION, MAX_NAME, MAX_SOURCE, ProfileError, STEP};

/// Most states of a profile.
pub const MAX_STATES: usize = 16;

/// Fewest points of a table of quantiles: the least and the most.
pub const MIN_POINTS: usize = 2;

/// Most points of a table of quantiles.
pub const MAX_POINTS: usize = 33;

/// Highest rate, in bytes a second: 10 Gbit/s.
pub const MAX_RATE: u64 = 1_250_000_000;

/// Largest burst, in bytes.
pub const MAX_BURST: u64 = 1 << 40;

/// Shortest gap, and shortest stay in a state. It bounds what a step of a [`Walk`](super::Walk) has to draw.
pub const MIN_TIME: Duration = Duration::from_millis(10);

/// Longest gap, and longest stay in a state.
pub const MAX_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Largest weight.
pub const MAX_WEIGHT: u32 = 1_000_000;

/// Least inertia: a step of a [`Walk`](super::Walk).
pub const MIN_INERTIA: Duration = STEP;

/// Most inertia.
pub const MAX_INERTIA: Duration = Duration::from_secs(60);

/// A distribution of whole numbers, as a table of its quantiles.
///
/// The points lie at evenly spaced probabilities: the first is the least that is drawn, the last the most, and of three the
/// second is the median. Between two points, all numbers are equally likely.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Quantiles(Box<[u64]>);

impl Quantiles {
    /// Takes [`MIN_POINTS`] to [`MAX_POINTS`] points.
    ///
    /// # Errors
    /// When there are fewer or more, or one is smaller than the one before it, or out of the range.
    pub(crate) fn new(key: &str, points: Vec<u64>, least: u64, most: u64) -> Result<Self, ProfileError> {
        if !(MIN_POINTS..=MAX_POINTS).contains(&points.len()) {
            let message = format_args!("{} points, expected {MIN_POINTS} to {MAX_POINTS}", points.len());
            return Err(ProfileError::new(key, message));
        }
        let mut before = 0;
        for (index, &point) in points.iter().enumerate() {
            let key = || format!("{key}[{index}]");
            if !(least..=most).contains(&point) {
                return Err(ProfileError::new(key(), format_args!("{point}, expected {least} to {most}")));
            }
            if point < before {
                let message = format_args!("{point}, expected at least {before}: quantiles ascend");
                return Err(ProfileError::new(key(), message));
            }
            before = point;
        }
        Ok(Self(points.into()))
    }

    /// Returns the points, ascending.
    pub fn points(&self) -> &[u64] {
        &self.0
    }

    /// Returns the greatest number that is drawn.
    pub fn most(&self) -> u64 {
        self.0.last().copied().unwrap_or_default()
    }

    /// Draws a number, by 32 bits of the stream.
    pub(crate) fn draw(&self, stream: &mut impl RngCore) -> u64 {
        let segments = self.0.len().saturating_sub(1) as u64;
        let place = u64::from(stream.next_u32()) * segments;
        let (index, fraction) = ((place >> 32) as usize, place & u64::from(u32::MAX));
        let (Some(&low), Some(&high)) = (self.0.get(index), self.0.get(index + 1)) else { return self.most() };
        // At most MAX_BURST and MAX_TIME times 2^32.
        low + ((u128::from(high - low) * u128::from(fraction)) >> 32) as u64
    }
}

/// What one direction does while a state lasts: bursts, and gaps between them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Activity {
    pub(crate) burst: Quantiles,
    pub(crate) rate: Quantiles,
    pub(crate) gap: Quantiles,
}

impl Activity {
    /// Returns how large bursts are, in bytes, 1 to [`MAX_BURST`].
    pub fn burst(&self) -> &Quantiles {
        &self.burst
    }

    /// Returns how fast they are, in bytes a second, 1 to [`MAX_RATE`].
    pub fn rate(&self) -> &Quantiles {
        &self.rate
    }

    /// Returns how long it is from the end of one to the start of the next, in microseconds, [`MIN_TIME`] to [`MAX_TIME`].
    pub fn gap(&self) -> &Quantiles {
        &self.gap
    }
}

/// A state of activity.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub(crate) name: String,
    pub(crate) weight: u32,
    pub(crate) stay: Quantiles,
    pub(crate) next: Box<[(usize, u32)]>,
    pub(crate) upload: Option<Activity>,
    pub(crate) download: Option<Activity>,
}

impl State {
    /// Returns the name: 1 to [`MAX_NAME`] of `a-z`, `0-9` and `-`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns how likely a walk begins here, among the weights of all states; 1 to [`MAX_WEIGHT`].
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// Returns how long it lasts, in microseconds, [`MIN_TIME`] to [`MAX_TIME`].
    pub fn stay(&self) -> &Quantiles {
        &self.stay
    }

    /// Returns what may come after it: indices of states with their weights, of which there is at least one.
    pub fn next(&self) -> &[(usize, u32)] {
        &self.next
    }

    /// Returns what a direction does; `None` if it is silent.
    pub fn activity(&self, direction: Direction) -> Option<&Activity> {
        match direction {
            Direction::Upload => self.upload.as_ref(),
            Direction::Download => self.download.as_ref(),
        }
    }
}

/// A traffic profile.
///
/// Always valid: names and texts are one bounded line, numbers within the bounds of this module, every state leads to one
/// that there is. Cheap to clone: the states are shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    name: String,
    description: String,
    source: String,
    upload_ratio: (u16, u16),
    inertia: Duration,
    states: Arc<[State]>,
}

impl Profile {
    /// Makes a profile of states whose own numbers are valid already.
    ///
    /// # Errors
    /// When a name or text is not valid, or a number of the profile itself out of its range.
    pub(crate) fn new(
        [name, description, source]: [&str; 3],
        upload_ratio: (u16, u16),
        inertia: Duration,
        states: Vec<State>,
    ) -> Result<Self, ProfileError> {
        check_name("name", name)?;
        check_line("description", description, MAX_DESCRIPTION)?;
        check_line("source", source, MAX_SOURCE)?;
        if upload_ratio.0 > upload_ratio.1 {
            let message = format_args!("{} to {}, expected the lower one first", upload_ratio.0, upload_ratio.1);
            return Err(ProfileError::new("upload_ratio", message));
        }
        if !(MIN_INERTIA..=MAX_INERTIA).contains(&inertia) {
            let [found, least, most] = [inertia, MIN_INERTIA, MAX_INERTIA].map(|time| time.as_micros());
            return Err(ProfileError::new("inertia", format_args!("{found}, expected {least} to {most}")));
        }
        if !(1..=MAX_STATES).contains(&states.len()) {
            let message = format_args!("{} states, expected 1 to {MAX_STATES}", states.len());
            return Err(ProfileError::new("states", message));
        }
        for state in &states {
            check_name(&format!("states.{}", state.name), &state.name)?;
        }
        let [name, description, source] = [name, description, source].map(str::to_owned);
        Ok(Self { name, description, source, upload_ratio, inertia, states: states.into() })
    }

    /// Returns the name: 1 to [`MAX_NAME`] of `a-z`, `0-9` and `-`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what it is a profile of; at most [`MAX_DESCRIPTION`] characters, empty if nothing is said.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Returns what it was derived from; at most [`MAX_SOURCE`] characters, empty if nothing is said.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns outer bytes up for outer bytes down, low and high, in hundredths of a percent: 300 and 800 are 3 to 8 %.
    pub fn upload_ratio(&self) -> (u16, u16) {
        self.upload_ratio
    }

    /// Returns how slowly rates follow what is drawn: the time constant of each of the two low-passes of a
    /// [`Walk`](super::Walk); [`MIN_INERTIA`] to [`MAX_INERTIA`].
    pub fn inertia(&self) -> Duration {
        self.inertia
    }

    /// Returns the states, of which there are 1 to [`MAX_STATES`].
    pub fn states(&self) -> &[State] {
        &self.states
    }

    /// Returns the highest rate of a direction that can be drawn, in bytes a second; 0 if it is always silent.
    pub fn peak(&self, direction: Direction) -> u64 {
        let activities = self.states.iter().filter_map(|state| state.activity(direction));
        activities.map(|activity| activity.rate.most()).max().unwrap_or_default()
    }

    /// Returns how many steps of a walk the inertia lasts; 1 or more.
    pub(crate) fn inertia_steps(&self) -> u32 {
        u32::try_from(self.inertia.as_millis() / STEP.as_millis()).unwrap_or(u32::MAX).max(1)
    }
}

/// Refuses what is no name.
pub(crate) fn check_name(key: &str, name: &str) -> Result<(), ProfileError> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_plain) {
        return Ok(());
    }
    let message = format_args!("expected 1 to {MAX_NAME} of a-z, 0-9 and `-`");
    Err(ProfileError::new(key.replace(char::is_control, " "), message))
}

fn check_line(key: &str, text: &str, most: usize) -> Result<(), ProfileError> {
    if text.chars().count() > most || text.chars().any(char::is_control) {
        return Err(ProfileError::new(key, format_args!("expected one line of at most {most} printable characters")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng as _;

    use super::*;

    fn draws(points: &[u64]) -> Vec<u64> {
        let quantiles = Quantiles::new("x", points.to_vec(), 0, MAX_BURST).unwrap();
        let mut stream = ChaCha20Rng::from_seed([1; 32]);
        (0..20_000).map(|_| quantiles.draw(&mut stream)).collect()
    }

    #[test]
    fn a_quarter_of_all_draws_lies_between_two_of_five_points() {
        let draws = draws(&[0, 10, 100, 1_000, 10_000]);
        for range in [0..10, 10..100, 100..1_000, 1_000..10_000] {
            let share = draws.iter().filter(|draw| range.contains(*draw)).count();
            assert!((4_800..5_200).contains(&share), "{range:?}: {share}");
        }
    }

    #[test]
    fn equal_points_are_a_single_number() {
        assert!(draws(&[7, 7]).iter().all(|&draw| draw == 7));
        assert!(draws(&[MAX_BURST, MAX_BURST, MAX_BURST]).iter().all(|&draw| draw == MAX_BURST));
    }
}
