use maybenot::Machine;
use maybenot::counter::{Counter, Operation};
use maybenot::event::Event;
use maybenot::state::{State, Trans};
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::*;
use crate::{Limits, POOL_PAIRS, draw, pool_pair};

const STRENGTHS: [Strength; 3] = Strength::ALL;

fn drawn(seed: u64, tier: Tier, strength: Strength) -> Defense {
    draw(&mut ChaCha20Rng::seed_from_u64(seed), tier, strength)
}

/// The same defense with one machine of an end replaced.
fn with(defense: &Defense, role: Role, index: usize, change: impl FnOnce(&mut Machine)) -> Defense {
    let sides = [Role::Client, Role::Relay].map(|side| defense.side(side).clone());
    let mut machines = sides.each_ref().map(|side| side.machines.to_vec());
    change(&mut machines[usize::from(role == Role::Relay)][index]);
    let [client, relay] = machines;
    let side = |machines: Vec<Machine>, of: &Side| Side { machines: machines.into(), limits: of.limits };
    Defense::from_machines("changed", side(client, &sides[0]), side(relay, &sides[1])).expect("it is a valid defense")
}

/// A state with this action that comes back to itself whatever happens.
fn looping(action: Action) -> State {
    let mut state = State::new(enum_map::enum_map! {
        Event::NormalSent | Event::PaddingSent | Event::TimerEnd | Event::BlockingEnd => vec![Trans(0, 1.0)],
        _ => vec![],
    });
    state.action = Some(action);
    state
}

fn constant(value: f64) -> Dist {
    Dist::new(DistType::Uniform { low: value, high: value }, 0.0, value)
}

fn padding(timeout: Dist, limit: Option<Dist>) -> Action {
    Action::SendPadding { bypass: true, replace: false, timeout, limit }
}

fn blocking(timeout: Dist, duration: Dist) -> Action {
    Action::BlockOutgoing { bypass: false, replace: true, timeout, duration, limit: None }
}

/// Pads within every bound.
fn modest() -> Machine {
    Machine::new(150, 0.9, 150_000, 0.5, vec![looping(padding(constant(1_000.0), Some(constant(100.0))))])
        .expect("it is valid")
}

fn acting(action: Action) -> impl FnOnce(&mut Machine) {
    move |machine| *machine = Machine { states: vec![looping(action)], ..modest() }
}

#[test]
fn all_that_is_drawn_is_within_the_bounds() {
    for tier in Tier::ALL {
        for strength in STRENGTHS {
            for seed in 0..200 {
                let defense = drawn(seed, tier, strength);
                assert_eq!(defense.check_drawn(tier, strength), Ok(()), "{tier} {strength} {seed}");
            }
        }
    }
}

/// The greatest of all values.
fn most(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(0.0, f64::max)
}

#[test]
fn the_whole_pool_is_within_the_bounds_and_reaches_them() {
    let mut pool = Vec::new();
    for tier in [Tier::Padding, Tier::Blocking] {
        for index in 0..POOL_PAIRS as u32 {
            let pair = pool_pair(tier, index).expect("the pool is whole");
            assert_eq!(pair.check_drawn(tier, Strength::Low), Ok(()), "{tier} {index}");
            pool.extend(pair.client().machines.iter().chain(pair.relay().machines.iter()).cloned());
        }
    }
    let of_machines = |value: fn(&Machine) -> f64| most(pool.iter().map(value));
    let sampled = || pool.iter().flat_map(|machine| machine.states.iter().flat_map(samples));
    let of_samples = |of: Quantity, value: fn(Dist, f64) -> f64| {
        most(sampled().filter(|(.., quantity)| *quantity == of).map(|(dist, most, _)| value(dist, f64::from(most))))
    };
    let maximum = |dist: Dist, most: f64| dist.max / most;
    let parameter = |dist: Dist, bound: f64| most(parameters(dist)) / bound;
    for (what, reached, bound, looseness) in [
        ("states", of_machines(|machine| machine.states.len() as f64), MOST_STATES as f64, 2.0),
        ("padding budget", of_machines(|machine| machine.allowed_padding_packets as f64), f64::from(MOST_COUNT), 1.1),
        (
            "blocking budget",
            of_machines(|machine| machine.allowed_blocked_microsec as f64),
            f64::from(MOST_DURATION),
            1.1,
        ),
        ("padding share", of_machines(|machine| machine.max_padding_frac), MOST_PADDING as f64 / 1_000.0, 1.0),
        ("blocking share", of_machines(|machine| machine.max_blocking_frac), MOST_BLOCKING as f64 / 1_000.0, 1.0),
        ("duration", of_samples(Quantity::Duration, maximum), 1.0, 1.0),
        ("count", of_samples(Quantity::Count, maximum), 1.0, 1.0),
        ("parameter of a duration", of_samples(Quantity::Duration, parameter), MOST_PARAMETER, 1.1),
        ("parameter of a count", of_samples(Quantity::Count, parameter), MOST_PARAMETER, 1.6),
    ] {
        assert!(reached <= bound && bound <= reached * looseness, "{what}: {reached} of {bound}");
    }
}

#[test]
fn what_one_quantity_puts_out_of_bounds_is_refused_for_it() {
    let whole = drawn(1, Tier::Blocking, Strength::Medium);
    assert_eq!(
        with(&whole, Role::Client, 0, |machine| *machine = modest()).check_drawn(Tier::Blocking, Strength::Medium),
        Ok(())
    );
    let counting = |dist| {
        move |machine: &mut Machine| {
            *machine = modest();
            machine.states[0].counter.1 = Some(Counter::new_dist(Operation::Set, dist));
        }
    };
    let unbounded = |value: f64| Dist { max: 0.0, ..constant(value) };
    type Change = Box<dyn FnOnce(&mut Machine)>;
    let hostile: Vec<(Quantity, Change)> = vec![
        (
            Quantity::States,
            Box::new(|machine| {
                *machine = Machine { states: vec![modest().states[0].clone(); MOST_STATES + 1], ..modest() };
            }),
        ),
        (Quantity::PaddingBudget, Box::new(|machine| *machine = Machine { allowed_padding_packets: 151, ..modest() })),
        (
            Quantity::PaddingBudget,
            Box::new(|machine| *machine = Machine { allowed_padding_packets: u64::MAX, ..modest() }),
        ),
        // No limit to Maybenot: it pads at once and without end.
        (Quantity::PaddingFraction, Box::new(|machine| *machine = Machine { max_padding_frac: 0.0, ..modest() })),
        (Quantity::PaddingFraction, Box::new(|machine| *machine = Machine { max_padding_frac: 0.901, ..modest() })),
        (Quantity::PaddingFraction, Box::new(|machine| *machine = Machine { max_padding_frac: 1.0, ..modest() })),
        (
            Quantity::BlockingBudget,
            Box::new(|machine| *machine = Machine { allowed_blocked_microsec: 150_001, ..modest() }),
        ),
        (
            Quantity::BlockingBudget,
            Box::new(|machine| *machine = Machine { allowed_blocked_microsec: u64::MAX, ..modest() }),
        ),
        (
            Quantity::BlockingFraction,
            Box::new(|machine| {
                acting(blocking(constant(1.0), constant(1_000.0)))(machine);
                machine.max_blocking_frac = 0.0;
            }),
        ),
        (
            Quantity::BlockingFraction,
            Box::new(|machine| {
                acting(blocking(constant(1.0), constant(1_000.0)))(machine);
                machine.max_blocking_frac = 0.51;
            }),
        ),
        // Nothing leaves for a day.
        (Quantity::Duration, Box::new(acting(blocking(constant(1.0), constant(86_400e6))))),
        (Quantity::Duration, Box::new(acting(blocking(constant(100_001.0), constant(1.0))))),
        (Quantity::Duration, Box::new(acting(blocking(constant(1.0), unbounded(1.0))))),
        (Quantity::Duration, Box::new(acting(padding(constant(100_001.0), None)))),
        (Quantity::Duration, Box::new(acting(padding(unbounded(1.0), None)))),
        (Quantity::Duration, Box::new(acting(padding(Dist { max: f64::INFINITY, ..constant(1.0) }, None)))),
        (
            Quantity::Duration,
            Box::new(acting(Action::UpdateTimer { replace: true, duration: unbounded(0.0), limit: None })),
        ),
        (Quantity::Count, Box::new(acting(padding(constant(1.0), Some(constant(101.0)))))),
        (Quantity::Count, Box::new(acting(padding(constant(1.0), Some(unbounded(1.0)))))),
        (Quantity::Count, Box::new(counting(constant(1e18)))),
        (Quantity::Count, Box::new(counting(unbounded(1.0)))),
        (Quantity::Parameter, Box::new(counting(Dist { start: 151.0, ..constant(1.0) }))),
        (
            Quantity::Parameter,
            Box::new(counting(Dist {
                dist: DistType::Binomial { trials: 1_000_000_000, probability: 0.5 },
                start: 0.0,
                max: 1.0,
            })),
        ),
        (
            Quantity::Parameter,
            Box::new(acting(padding(
                Dist { dist: DistType::Normal { mean: 0.0, stdev: 1e300 }, start: 0.0, max: 1.0 },
                None,
            ))),
        ),
    ];
    for (number, (quantity, change)) in hostile.into_iter().enumerate() {
        let (role, index) = ([Role::Client, Role::Relay][number % 2], number % 3);
        let expected = OutOfBounds { role, machine: Some(index), quantity };
        let changed = with(&whole, role, index, change);
        assert_eq!(changed.check_drawn(Tier::Blocking, Strength::Medium), Err(expected), "number {number}");
    }
}

#[test]
fn only_a_tier_that_blocks_may_block() {
    for strength in STRENGTHS {
        let whole = drawn(2, Tier::Padding, strength);
        let blocks = with(&whole, Role::Client, 0, acting(blocking(constant(1.0), constant(1_000.0))));
        let error = OutOfBounds { role: Role::Client, machine: Some(0), quantity: Quantity::Blocking };
        assert_eq!(blocks.check_drawn(Tier::Padding, strength), Err(error));
        assert_eq!(error.to_string(), "client.machines[0]: expected no blocking at this tier");
    }
}

#[test]
fn a_draw_has_as_many_machines_as_its_strength_stacks_and_no_other_limit() {
    let mut sizes = Vec::new();
    for (tier, strength) in Tier::ALL.into_iter().flat_map(|tier| STRENGTHS.map(|strength| (tier, strength))) {
        let defense = drawn(3, tier, strength);
        sizes.push(defense.client().machines.len());
        let other = STRENGTHS.into_iter().filter(|other| pairs(tier, *other) != pairs(tier, strength));
        for other in other {
            let error = OutOfBounds { role: Role::Client, machine: None, quantity: Quantity::Machines };
            assert_eq!(defense.check_drawn(tier, other), Err(error), "{tier} {strength} as {other}");
        }
        for role in [Role::Client, Role::Relay] {
            let quick = Limits { max_actions_per_second: 20_001.0, ..Limits::default() };
            let error = OutOfBounds { role, machine: None, quantity: Quantity::ActionsPerSecond };
            let quick = defense.clone().with_limits(role, quick).expect("it is valid");
            assert_eq!(quick.check_drawn(tier, strength), Err(error));
            let strict = Limits { max_padding_frac: 0.1, max_blocking_frac: 0.1, max_actions_per_second: 1.0 };
            let strict = defense.clone().with_limits(role, strict).expect("it is valid");
            assert_eq!(strict.check_drawn(tier, strength), Ok(()), "less is within");
        }
    }
    assert_eq!(sizes, [0, 0, 0, 1, 3, 5, 1, 3, 5]);
}

/// Says by how much a quantity goes beyond its bound, and which machine's.
fn a_mutation() -> impl Strategy<Value = (u8, f64, u32)> {
    (0..8_u8, prop_oneof![1.000_1..2.0_f64, 2.0..1e6_f64], any::<u32>())
}

proptest! {
    #[test]
    fn a_draw_that_exceeds_one_bound_is_refused(seed: u64, (kind, factor, choice) in a_mutation(), is_client: bool) {
        let (tier, strength) = (Tier::Blocking, Strength::ALL[choice as usize % 3]);
        let whole = drawn(seed, tier, strength);
        let role = if is_client { Role::Client } else { Role::Relay };
        let index = choice as usize % whole.side(role).machines.len();
        let beyond = |bound: f64| (bound * factor).max(bound + 1.0).ceil();
        let out = |share: f64, most: u64| (share.max(most as f64 / 1_000.0) * factor).min(1.0);
        let changed = with(&whole, role, index, |machine| match kind {
            0 => machine.allowed_padding_packets = beyond(150.0) as u64,
            1 => machine.allowed_blocked_microsec = beyond(150_000.0) as u64,
            2 => {
                machine.states[0].action = Some(padding(constant(1.0), None));
                machine.max_padding_frac = out(machine.max_padding_frac, MOST_PADDING);
            }
            3 => {
                machine.states[0].action = Some(blocking(constant(1.0), constant(1.0)));
                machine.max_blocking_frac = out(machine.max_blocking_frac, MOST_BLOCKING);
            }
            4 => machine.states[0].action = Some(padding(constant(beyond(100_000.0)), None)),
            5 => machine.states[0].action = Some(padding(constant(1.0), Some(constant(beyond(100.0))))),
            6 => machine.states[0].counter.0 = Some(Counter::new_dist(Operation::Increment, constant(beyond(100.0)))),
            _ => {
                let state = machine.states[0].clone();
                machine.states.resize(MOST_STATES + 1 + choice as usize % 50, state);
            }
        });
        let expected = match kind {
            0 => Quantity::PaddingBudget,
            1 => Quantity::BlockingBudget,
            2 => Quantity::PaddingFraction,
            3 => Quantity::BlockingFraction,
            4 => Quantity::Duration,
            5 | 6 => Quantity::Count,
            _ => Quantity::States,
        };
        let error = OutOfBounds { role, machine: Some(index), quantity: expected };
        prop_assert_eq!(changed.check_drawn(tier, strength), Err(error));
    }

    /// Whoever draws from other seeds, scaled by other numbers, is an honest peer.
    #[test]
    fn no_draw_is_refused(seed: u64, tier in 0..3_usize, strength in 0..3_usize) {
        let (tier, strength) = (Tier::ALL[tier], Strength::ALL[strength]);
        prop_assert_eq!(drawn(seed, tier, strength).check_drawn(tier, strength), Ok(()));
    }
}
