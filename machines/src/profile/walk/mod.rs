//! One course through a profile, smoothed.

use std::fmt;
use std::time::Duration;

use rand_core::RngCore;

use super::{Activity, Direction, Profile, Rates, State};

/// The grid of a walk: rates change at multiples of it, and are constant in between.
pub const STEP: Duration = Duration::from_millis(100);

/// The longest time between two calls of [`Walk::at`] that is simulated. After more, the walk begins anew.
pub const MOST_SIMULATED: Duration = Duration::from_secs(60 * 60);

/// A step in microseconds.
const STEP_MICROS: u64 = 100_000;

/// Most steps that one call simulates. A step draws at most some dozens of numbers each way.
const MOST_STEPS: u64 = 36_000;

const _: () = assert!(STEP.as_micros() == STEP_MICROS as u128);
const _: () = assert!(MOST_SIMULATED.as_micros() == (MOST_STEPS * STEP_MICROS) as u128);

/// Bits behind the point of what is smoothed.
const FRACTION: u32 = 16;

/// A course through a profile that a stream of random numbers draws: what both ends compute alike from the same stream.
///
/// While a state lasts, only its bursts and gaps pass; when it comes again, they go on where they were.
///
/// It begins at rates of 0. In each [`STEP`], what was drawn for a direction is averaged, and two low-passes in a row follow it,
/// each by one part in `n` of its distance, `n` being the profile's inertia in steps. The second one is the rate. Its velocity
/// is an `n`th of what lies between the two, so it has momentum, and:
///
/// - it is never below 0, nor above the profile's [`peak`](Profile::peak);
/// - from one step to the next it changes by at most an `n`th of the peak, and one byte a second of rounding;
/// - the change itself changes by at most 2 / `n`² of the peak, and two bytes a second;
/// - its mean is that of what was drawn.
///
/// The same profile and stream give the same rates at each multiple of [`STEP`], however often they are asked for, as long as no
/// two questions are more than [`MOST_SIMULATED`] apart.
#[derive(Clone)]
pub struct Walk<R> {
    profile: Profile,
    stream: R,
    /// Steps that have passed.
    steps: u64,
    state: usize,
    /// Microseconds that the state still lasts.
    stay: u64,
    /// What each direction does in each state, of which only that of the state itself passes.
    phases: Box<[[Phase; 2]]>,
    flows: [Flow; 2],
}

impl<R: RngCore> Walk<R> {
    /// Begins a walk. The profile's states are shared, not copied.
    pub fn new(profile: &Profile, mut stream: R) -> Self {
        let profile = profile.clone();
        let mut phases = |state: &State| {
            Direction::ALL.map(|direction| {
                state.activity(direction).map_or(Phase::Silent, |activity| Phase::draw(activity, &mut stream))
            })
        };
        let phases = profile.states().iter().map(&mut phases).collect();
        let mut walk = Self { profile, stream, steps: 0, state: 0, stay: 0, phases, flows: [Flow::default(); 2] };
        walk.begin();
        walk
    }

    /// Returns the rates at `elapsed` since the walk began.
    ///
    /// Time only goes on: an earlier one gives what the last gave. It takes as long as there are steps since the last call, which
    /// are at most those of [`MOST_SIMULATED`]: after more, a state is drawn as at the beginning, and the rates go on from there.
    pub fn at(&mut self, elapsed: Duration) -> Rates {
        let steps = u64::try_from(elapsed.as_micros() / u128::from(STEP_MICROS)).unwrap_or(u64::MAX);
        let ahead = steps.saturating_sub(self.steps);
        if ahead > MOST_STEPS {
            self.begin();
        } else {
            (0..ahead).for_each(|_| self.step());
        }
        self.steps = self.steps.max(steps);
        let [upload, download] = self.flows.map(|flow| flow.rate());
        Rates { upload, download }
    }

    /// Draws the state to begin with.
    fn begin(&mut self) {
        let weights = self.profile.states().iter().map(|state| state.weight).enumerate();
        let state = choose(weights, &mut self.stream);
        self.enter(state);
    }

    fn enter(&mut self, state: usize) {
        self.state = state;
        self.stay = self.profile.states()[state].stay.draw(&mut self.stream);
    }

    fn step(&mut self) {
        let mut left = STEP_MICROS;
        while left > 0 {
            let passing = left.min(self.stay);
            let state = &self.profile.states()[self.state];
            let phases = &mut self.phases[self.state];
            for (direction, (flow, phase)) in Direction::ALL.into_iter().zip(self.flows.iter_mut().zip(phases)) {
                if let Some(activity) = state.activity(direction) {
                    flow.passed += phase.pass(passing, activity, &mut self.stream);
                }
            }
            left -= passing;
            self.stay -= passing;
            if self.stay == 0 {
                let next = choose(state.next.iter().copied(), &mut self.stream);
                self.enter(next);
            }
        }
        let inertia = i64::from(self.profile.inertia_steps());
        self.flows.iter_mut().for_each(|flow| flow.smooth(inertia));
    }

    /// Returns what was drawn for a direction in the last step, not smoothed.
    #[cfg(test)]
    fn raw(&self, direction: Direction) -> u64 {
        self.flows[direction as usize].raw
    }
}

impl<R> fmt::Debug for Walk<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Where a walk is and what it draws is for the two ends alone.
        f.debug_struct("Walk")
            .field("profile", &self.profile.name())
            .field("steps", &self.steps)
            .finish_non_exhaustive()
    }
}

/// What a direction does in a state, and for how many more microseconds.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Silent,
    Burst { rate: u64, left: u64 },
    Gap { left: u64 },
}

impl Phase {
    /// Draws a burst and the gap behind it, and a place in them: whoever enters a state finds it under way.
    fn draw(activity: &Activity, stream: &mut impl RngCore) -> Self {
        let (rate, duration) = burst(activity, stream);
        let gap = activity.gap.draw(stream);
        let place = ((u128::from(stream.next_u64()) * u128::from(duration + gap)) >> 64) as u64;
        match place.checked_sub(duration) {
            None => Self::Burst { rate, left: duration - place },
            Some(into) => Self::Gap { left: gap - into },
        }
    }

    /// Lets microseconds pass; returns bytes a second times microseconds.
    fn pass(&mut self, mut micros: u64, activity: &Activity, stream: &mut impl RngCore) -> u64 {
        let mut passed = 0;
        while micros > 0 {
            let (rate, left) = match self {
                Self::Silent => break,
                Self::Burst { rate, left } => (*rate, left),
                Self::Gap { left } => (0, left),
            };
            let passing = micros.min(*left);
            *left -= passing;
            micros -= passing;
            passed += rate * passing;
            if *left == 0 {
                *self = match self {
                    Self::Burst { .. } => Self::Gap { left: activity.gap.draw(stream) },
                    Self::Gap { .. } | Self::Silent => {
                        let (rate, left) = burst(activity, stream);
                        Self::Burst { rate, left }
                    }
                };
            }
        }
        passed
    }
}

/// One direction, smoothed.
#[derive(Debug, Clone, Copy, Default)]
struct Flow {
    /// Bytes a second times microseconds of this step.
    passed: u64,
    /// What was drawn in the last step, in bytes a second.
    #[cfg(test)]
    raw: u64,
    /// The first low-pass and the second, in bytes a second times 2^[`FRACTION`].
    first: i64,
    second: i64,
}

impl Flow {
    /// Ends a step.
    fn smooth(&mut self, inertia: i64) {
        let passed = std::mem::take(&mut self.passed);
        #[cfg(test)]
        {
            self.raw = passed / STEP_MICROS;
        }
        // At most MAX_RATE in each microsecond: below 2^63.
        let raw = i64::try_from((passed << FRACTION) / STEP_MICROS).unwrap_or(i64::MAX);
        self.first += (raw - self.first) / inertia;
        self.second += (self.first - self.second) / inertia;
    }

    fn rate(self) -> u64 {
        u64::try_from(self.second >> FRACTION).unwrap_or_default()
    }
}

/// Draws a burst: its rate, and how many microseconds it takes, of which there is at least one.
fn burst(activity: &Activity, stream: &mut impl RngCore) -> (u64, u64) {
    let (bytes, rate) = (activity.burst.draw(stream), activity.rate.draw(stream));
    // At most 2^40 times 10^6: it fits.
    (rate, (bytes * 1_000_000 / rate).max(1))
}

/// Draws one by its weight. Of at most 16 weights, none above a million, the sum fits.
fn choose(weights: impl Iterator<Item = (usize, u32)> + Clone, stream: &mut impl RngCore) -> usize {
    let total: u64 = weights.clone().map(|(_, weight)| u64::from(weight)).sum();
    let mut place = (u64::from(stream.next_u32()) * total) >> 32;
    let mut last = 0;
    for (index, weight) in weights {
        last = index;
        match place.checked_sub(weight.into()) {
            Some(rest) => place = rest,
            None => break,
        }
    }
    last
}

#[cfg(test)]
mod tests;
