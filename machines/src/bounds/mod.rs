//! What a draw can be, in numbers: bounds for a defense that somebody else says to have drawn.
//!
//! Two ends with different pools draw different defenses, and the client may run what the relay sends. A relay that lies
//! could send machines that pad at once, without end, a million times a second, and have the client flood its own uplink
//! or, where the address was spoofed, somebody else. So what is sent may do no more than what is drawn here:
//!
//! | of | bound | because |
//! |---|---|---|
//! | an end | as many machines as the strength stacks; at most 20,000 actions a second | what each machine may do adds up |
//! | a machine | at most 10 states | a draw is small |
//! | a machine that pads | 150 packets, then a fraction above 0 and at most 0.9 of all packets | 0 is no limit to Maybenot |
//! | a machine that blocks | the tier blocks; 0.15 s, then a fraction above 0 and at most 0.5 of the time | the same |
//! | a timeout, a time blocked, a timer | at most 0.1 s | a fraction is looked at only when blocking begins |
//! | a limit of a state, a counter | at most 100 | what counts to more is of no draw |
//! | a parameter of a distribution | at most half as much again as what is sampled may be | others sample slowly, or nothing |
//!
//! So in one run of a defense, the machines of an end send at most 150 padding packets each, and 9 for each normal packet.
//! How soon is not bounded by a draw: many of the pool's machines pad microseconds after one another.

use std::fmt;

use maybenot::Machine;
use maybenot::action::Action;
use maybenot::dist::{Dist, DistType};
use maybenot::state::State;
use thiserror::Error;

use crate::ephemeral::{ACTIONS_PER_SECOND, LEAST_SCALE, MOST_BLOCKING, MOST_PADDING, SCALES, pairs};
use crate::{Defense, Role, Side, Strength, Tier};

/// Most states of a machine: twice as many as the pool's largest has.
const MOST_STATES: usize = 10;

/// What the pool's machines count to at most: packets that need no share of others, a state's limit, a counter.
const MOST_COUNT: u32 = 100;

/// How long the pool's machines wait or block at most, in microseconds.
const MOST_DURATION: u32 = 100_000;

/// What a draw multiplies budgets by at most, in thousandths.
const MOST_SCALE: u32 = LEAST_SCALE + SCALES - 1;

/// Parameters of distributions are at most so many times what is sampled from them at most.
const MOST_PARAMETER: f64 = 1.5;

/// Says that a defense is none that could have been drawn, and what about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{role}{}: {quantity}", .machine.map(|index| format!(".machines[{index}]")).unwrap_or_default())]
pub struct OutOfBounds {
    /// The end whose machines or limits it is.
    pub role: Role,
    /// The index of the machine; `None` if it is about all of them.
    pub machine: Option<usize>,
    /// What is out of its bounds.
    pub quantity: Quantity,
}

/// What has a bound. What is bounded to what, its text says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Quantity {
    /// How many machines there are.
    Machines,
    /// How much all machines may do in a second.
    ActionsPerSecond,
    /// How many states a machine has.
    States,
    /// How many packets a machine may pad whatever else is sent.
    PaddingBudget,
    /// How much of all that is sent may be a machine's padding.
    PaddingFraction,
    /// That a machine blocks at all.
    Blocking,
    /// How long a machine may block however long it has run.
    BlockingBudget,
    /// How much of the time a machine may block.
    BlockingFraction,
    /// How long an action, or the end of blocking or of a timer, may be waited for.
    Duration,
    /// How often a state acts, or how far a counter is moved.
    Count,
    /// A parameter of a distribution.
    Parameter,
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let budget = |most| u64::from(most) * u64::from(MOST_SCALE) / 1_000;
        match self {
            Self::Machines => f.write_str("expected as many machines as a draw of this tier and strength has"),
            Self::ActionsPerSecond => write!(f, "expected at most {ACTIONS_PER_SECOND} actions a second"),
            Self::States => write!(f, "expected at most {MOST_STATES} states"),
            Self::PaddingBudget => write!(f, "expected a budget of at most {} padding packets", budget(MOST_COUNT)),
            Self::PaddingFraction => {
                write!(f, "expected a share of padding above 0 and at most {} thousandths", MOST_PADDING)
            }
            Self::Blocking => f.write_str("expected no blocking at this tier"),
            Self::BlockingBudget => write!(f, "expected a budget of at most {} us of blocking", budget(MOST_DURATION)),
            Self::BlockingFraction => {
                write!(f, "expected a share of blocking above 0 and at most {} thousandths", MOST_BLOCKING)
            }
            Self::Duration => write!(f, "expected timeouts and durations of at most {MOST_DURATION} us"),
            Self::Count => write!(f, "expected limits and counters of at most {MOST_COUNT}"),
            Self::Parameter => f.write_str("expected distributions that fit what is sampled from them"),
        }
    }
}

impl Defense {
    /// Checks that this could have been drawn at this tier and strength, from a pool like the built-in one: it is about
    /// quantities, not about which machines there are. Whatever [`draw`](crate::draw) draws is within the bounds.
    ///
    /// # Errors
    /// The first quantity that is out of its bounds.
    pub fn check_drawn(&self, tier: Tier, strength: Strength) -> Result<(), OutOfBounds> {
        for role in [Role::Client, Role::Relay] {
            let Side { machines, limits } = self.side(role);
            let of_all = |quantity| Err(OutOfBounds { role, machine: None, quantity });
            if machines.len() != pairs(tier, strength) {
                return of_all(Quantity::Machines);
            }
            if limits.max_actions_per_second > ACTIONS_PER_SECOND {
                return of_all(Quantity::ActionsPerSecond);
            }
            for (index, machine) in machines.iter().enumerate() {
                check_machine(machine, tier).map_err(|quantity| OutOfBounds {
                    role,
                    machine: Some(index),
                    quantity,
                })?;
            }
        }
        Ok(())
    }
}

fn check_machine(machine: &Machine, tier: Tier) -> Result<(), Quantity> {
    let is_within = |fraction: f64, most: u64| fraction > 0.0 && fraction <= most as f64 / 1_000.0;
    let is_affordable =
        |budget: u64, most: u32| u128::from(budget) * 1_000 <= u128::from(most) * u128::from(MOST_SCALE);
    let does = |is_it: fn(&Action) -> bool| machine.states.iter().filter_map(|state| state.action.as_ref()).any(is_it);
    check(machine.states.len() <= MOST_STATES, Quantity::States)?;
    check(is_affordable(machine.allowed_padding_packets, MOST_COUNT), Quantity::PaddingBudget)?;
    if does(|action| matches!(action, Action::SendPadding { .. })) {
        check(is_within(machine.max_padding_frac, MOST_PADDING), Quantity::PaddingFraction)?;
    }
    check(is_affordable(machine.allowed_blocked_microsec, MOST_DURATION), Quantity::BlockingBudget)?;
    if does(|action| matches!(action, Action::BlockOutgoing { .. })) {
        check(tier == Tier::Blocking, Quantity::Blocking)?;
        check(is_within(machine.max_blocking_frac, MOST_BLOCKING), Quantity::BlockingFraction)?;
    }
    for (dist, most, quantity) in machine.states.iter().flat_map(samples) {
        // A maximum of 0 is none to Maybenot.
        check(dist.max > 0.0 && dist.max <= f64::from(most), quantity)?;
        let fits = |parameter: f64| parameter.abs() <= MOST_PARAMETER * f64::from(most);
        check(parameters(dist).into_iter().all(fits), Quantity::Parameter)?;
    }
    Ok(())
}

/// Returns what a state samples, the most that may come of each, and what that is.
fn samples(state: &State) -> impl Iterator<Item = (Dist, u32, Quantity)> {
    let (durations, limit) = match state.action {
        None | Some(Action::Cancel { .. }) => ([None; 2], None),
        Some(Action::SendPadding { timeout, limit, .. }) => ([Some(timeout), None], limit),
        Some(Action::BlockOutgoing { timeout, duration, limit, .. }) => ([Some(timeout), Some(duration)], limit),
        Some(Action::UpdateTimer { duration, limit, .. }) => ([Some(duration), None], limit),
    };
    let counters = [&state.counter.0, &state.counter.1].into_iter().flatten().filter_map(|counter| counter.dist);
    let durations = durations.into_iter().flatten().map(|dist| (dist, MOST_DURATION, Quantity::Duration));
    durations.chain(counters.chain(limit).map(|dist| (dist, MOST_COUNT, Quantity::Count)))
}

/// Returns the numbers of a distribution, but for its maximum.
fn parameters(Dist { dist, start, .. }: Dist) -> [f64; 4] {
    match dist {
        DistType::Uniform { low, high } => [low, high, 0.0, start],
        DistType::Normal { mean, stdev } => [mean, stdev, 0.0, start],
        DistType::SkewNormal { location, scale, shape } => [location, scale, shape, start],
        DistType::LogNormal { mu, sigma } => [mu, sigma, 0.0, start],
        DistType::Binomial { trials, probability } => [trials as f64, probability, 0.0, start],
        DistType::Geometric { probability } => [probability, 0.0, 0.0, start],
        DistType::Pareto { scale, shape } | DistType::Weibull { scale, shape } | DistType::Gamma { scale, shape } => {
            [scale, shape, 0.0, start]
        }
        DistType::Poisson { lambda } => [lambda, 0.0, 0.0, start],
        DistType::Beta { alpha, beta } => [alpha, beta, 0.0, start],
    }
}

fn check(holds: bool, quantity: Quantity) -> Result<(), Quantity> {
    if holds { Ok(()) } else { Err(quantity) }
}

#[cfg(test)]
mod tests;
