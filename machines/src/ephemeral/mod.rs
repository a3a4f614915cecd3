//! Ephemeral defenses: drawn from a seed that only both ends know, new for each connection, unknown to whoever would train
//! on it ("Ephemeral Network-Layer Fingerprinting Defenses", Pulls, Korhonen, Witwer, Carlsson, PoPETs 2026).
//!
//! A draw stacks pairs of the [pool](crate::pool_digest) and scales the limits of each machine. It uses whole numbers only, and
//! of its generator only `next_u32`, so that every platform draws the same.

use maybenot::Machine;
use rand_core::RngCore;

use crate::pool::{self, Strength, Tier};
use crate::{Defense, Limits, Side};

/// The name of every defense that is drawn.
pub const EPHEMERAL: &str = "ephemeral";

/// Machines' own limits are scaled by 0.5 to 1.5, drawn in thousandths.
pub(crate) const LEAST_SCALE: u32 = 500;
pub(crate) const SCALES: u32 = 1_001;

/// Most of all packets that may be padding, and of the time that may be blocked, by one machine, in thousandths.
pub(crate) const MOST_PADDING: u64 = 900;
pub(crate) const MOST_BLOCKING: u64 = 500;

/// Most actions a second of one end: far above what its machines do, and a bound on what one could.
pub(crate) const ACTIONS_PER_SECOND: f64 = 20_000.0;

/// How many pairs are stacked.
pub(crate) fn pairs(tier: Tier, strength: Strength) -> usize {
    match (tier, strength) {
        (Tier::Size, _) => 0,
        (_, Strength::Low) => 1,
        (_, Strength::Medium) => 3,
        (_, Strength::High) => 5,
    }
}

/// Draws a defense of this tier and strength: the same numbers give the same defense, on every platform. It is called
/// [`EPHEMERAL`].
///
/// # Panics
/// Never with the built-in pool: a test reads all of it.
pub fn draw(rng: &mut impl RngCore, tier: Tier, strength: Strength) -> Defense {
    let pairs = pairs(tier, strength);
    let mut indices = Vec::with_capacity(pairs);
    while indices.len() < pairs {
        let index = below(rng, pool::len(tier));
        if !indices.contains(&index) {
            indices.push(index);
        }
    }
    let (mut client, mut relay) = (Vec::new(), Vec::new());
    for index in indices {
        let [of_client, of_relay] = pool::pair(tier, index).expect("the built-in pool is whole");
        client.push(scaled(of_client, rng));
        relay.push(scaled(of_relay, rng));
    }
    let limits = Limits { max_actions_per_second: ACTIONS_PER_SECOND, ..Limits::default() };
    let [client, relay] = [client, relay].map(|machines| Side { machines: machines.into(), limits });
    Defense::from_machines(EPHEMERAL, client, relay).expect("a few small machines are within every bound")
}

/// Returns one pair of the pool, 0 to [`POOL_PAIRS`](crate::POOL_PAIRS), as a defense by itself, its limits as they are in the
/// pool: for whoever wants to measure each. `None` beyond the end, and for the tier without machines.
pub fn pool_pair(tier: Tier, index: u32) -> Option<Defense> {
    let pair = pool::pair(tier, index).ok()?;
    let limits = Limits { max_actions_per_second: ACTIONS_PER_SECOND, ..Limits::default() };
    let [client, relay] = pair.map(|machine| Side { machines: vec![machine].into(), limits });
    Defense::from_machines(EPHEMERAL, client, relay).ok()
}

/// Draws a number below `bound`, each as likely as any other: the high half of a product, and what would favour some of
/// them is drawn again (Lemire, "Fast Random Integer Generation in an Interval", 2019).
fn below(rng: &mut impl RngCore, bound: u32) -> u32 {
    loop {
        let product = u64::from(rng.next_u32()) * u64::from(bound);
        if product as u32 >= bound.wrapping_neg() % bound {
            return (product >> 32) as u32;
        }
    }
}

/// Scales what a machine may do.
fn scaled(mut machine: Machine, rng: &mut impl RngCore) -> Machine {
    let scale = u64::from(LEAST_SCALE + below(rng, SCALES));
    let count = |count: u64| count.saturating_mul(scale) / 1_000;
    // The pool's fractions are whole thousandths; a division of whole numbers is the same everywhere.
    let fraction = |fraction: f64, most: u64| match (fraction * 1_000.0).round() as u64 {
        0 => 0.0,
        thousandths => (thousandths * scale / 1_000).clamp(1, most) as f64 / 1_000.0,
    };
    machine.allowed_padding_packets = count(machine.allowed_padding_packets);
    machine.allowed_blocked_microsec = count(machine.allowed_blocked_microsec);
    machine.max_padding_frac = fraction(machine.max_padding_frac, MOST_PADDING);
    machine.max_blocking_frac = fraction(machine.max_blocking_frac, MOST_BLOCKING);
    machine
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng as _;

    use super::*;

    const TIERS: [Tier; 2] = [Tier::Padding, Tier::Blocking];

    fn drawn(seed: u8, tier: Tier, strength: Strength) -> Defense {
        draw(&mut ChaCha20Rng::from_seed([seed; 32]), tier, strength)
    }

    #[test]
    fn the_same_seed_draws_the_same_defense() {
        let vectors = include_str!("vectors.txt");
        let mut lines = vectors.lines();
        for seed in [0, 1, 255] {
            for (tier, strength) in TIERS.into_iter().flat_map(|tier| Strength::ALL.map(|strength| (tier, strength))) {
                let defense = drawn(seed, tier, strength);
                let line = format!("{seed} {tier} {strength} {}", defense.digest());
                assert_eq!(lines.next(), Some(&*line));
                let machines = [defense.client(), defense.relay()].map(|side| side.machines.len());
                assert_eq!(machines, [pairs(tier, strength); 2]);
            }
        }
        assert_eq!(lines.next(), None);
    }

    #[test]
    fn one_size_needs_no_machine() {
        let defense = drawn(0, Tier::Size, Strength::High);
        assert!(defense.client().machines.is_empty() && defense.relay().machines.is_empty());
    }

    #[test]
    fn no_two_of_a_thousand_draws_are_the_same() {
        let mut rng = ChaCha20Rng::seed_from_u64(0);
        let digests = (0..1_000).map(|_| draw(&mut rng, Tier::Padding, Strength::Low).digest());
        assert_eq!(digests.collect::<HashSet<_>>().len(), 1_000);
    }

    #[test]
    fn limits_stay_within_their_bounds_and_are_not_those_of_the_pool() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut fractions = HashSet::new();
        for _ in 0..200 {
            let defense = draw(&mut rng, Tier::Blocking, Strength::Medium);
            for machine in defense.client().machines.iter().chain(defense.relay().machines.iter()) {
                assert!(machine.max_padding_frac > 0.0 && machine.max_padding_frac <= 0.9);
                assert!(machine.max_blocking_frac <= 0.5);
                fractions.insert(machine.max_padding_frac.to_bits());
            }
        }
        assert!(fractions.len() > 300, "{} different fractions", fractions.len());
    }

    #[test]
    fn numbers_below_a_bound_are_all_drawn_and_equally_often() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let mut counts = [0_u32; 10];
        (0..100_000).for_each(|_| counts[below(&mut rng, 10) as usize] += 1);
        // Each is 10,000 with a standard deviation of 95.
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }
}
