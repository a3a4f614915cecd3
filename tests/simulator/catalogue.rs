//! Every defense of the catalogue, its machines made deterministic.

use std::time::Duration;

use maybenot::dist::{Dist, DistType};
use maybetun_machines::catalogue;

use crate::compare::{Defense, Trace, compare};
use crate::fixed::{Values, fixed};

/// The middle of each distribution, as near as its parameters give it.
struct Middle;

impl Values for Middle {
    fn time(&mut self, dist: &Dist) -> u64 {
        middle(dist).clamp(0.0, 1e9) as u64
    }

    fn count(&mut self, dist: &Dist) -> u64 {
        middle(dist).clamp(1.0, 1e6) as u64
    }
}

fn middle(dist: &Dist) -> f64 {
    let value = match dist.dist {
        DistType::Uniform { low, high } => f64::midpoint(low, high),
        DistType::Normal { mean, .. } => mean,
        DistType::SkewNormal { location, .. } => location,
        DistType::LogNormal { mu, .. } => mu.exp(),
        DistType::Binomial { trials, probability } => trials as f64 * probability,
        DistType::Geometric { probability } => 1.0 / probability,
        DistType::Pareto { scale, shape } => scale * 2f64.powf(1.0 / shape),
        DistType::Poisson { lambda } => lambda,
        DistType::Weibull { scale, shape } => scale * 2f64.ln().powf(1.0 / shape),
        DistType::Gamma { scale, shape } => scale * shape,
        DistType::Beta { alpha, beta } => alpha / (alpha + beta),
    };
    let value = value + dist.start;
    if dist.max > 0.0 { value.min(dist.max) } else { value }
}

/// A page load in small: requests, and bursts of answers. No two packets share a nanosecond within a microsecond, so
/// that times that come from different packets do not meet by chance.
pub(crate) fn page_load() -> Trace {
    let mut trace = Vec::new();
    let mut serial = 0;
    let mut push = |micros: u64, side: usize| {
        serial += 1;
        trace.push((Duration::from_nanos(micros * 1_000 + serial), side));
    };
    for (page, request) in [0, 40_300, 90_700, 160_100, 900_900, 2_500_300].into_iter().enumerate() {
        push(request, 0);
        for answer in 0..(5 + 7 * page as u64) {
            push(request + 30_011 + answer * 213, 1);
        }
        for acknowledgement in 0..(2 + 3 * page as u64) {
            push(request + 50_007 + acknowledgement * 431, 0);
        }
    }
    trace.sort_unstable();
    trace
}

/// Both sides send more than any defense lets through, and then nothing: no packet waits for another one's delay.
fn flood() -> Trace {
    let burst = (0..400u64).flat_map(|count| {
        let at = |side: u64| Duration::from_nanos(count * 700_000 + side * 300_000 + 2 * count + side);
        [(at(0), 0), (at(1), 1)]
    });
    burst.collect()
}

/// One packet each way, and silence.
fn lone() -> Trace {
    vec![(Duration::ZERO, 0), (Duration::from_nanos(500_033), 1)]
}

#[test]
fn every_defense_of_the_catalogue_does_as_in_the_simulator() {
    let mut failures = Vec::new();
    for entry in catalogue() {
        let defense = entry.defense();
        let side =
            |side: &maybetun_machines::Side| side.machines.iter().map(|machine| fixed(machine, &mut Middle)).collect();
        let limits = &defense.client().limits;
        let defense = Defense {
            machines: [side(defense.client()), side(defense.relay())],
            max_padding_frac: limits.max_padding_frac,
            max_blocking_frac: limits.max_blocking_frac,
        };
        for (name, trace) in [("page load", page_load()), ("flood", flood()), ("lone", lone())] {
            match compare(&defense, &trace) {
                // What a page load meets of the simulator's rules, the other two traces do not.
                Ok(agreement) if agreement.cut.is_none() || (name == "page load" && agreement.events > 100) => {}
                Ok(agreement) => failures.push(format!("{}, {name}: {agreement:?}", entry.name())),
                Err(error) => failures.push(format!("{}, {name}: {error}", entry.name())),
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
