//! What a defense costs a large download, and a call beside it.

use std::time::Duration;

use super::engine::Through;
use super::{Options, StudyError, at};
use crate::defense::Defense;
use crate::report::Bulk;
use crate::workload::{MAX_BYTES, bulk_down, call};

/// How long it goes on.
const TIME: Duration = Duration::from_secs(10);

/// How often it is done: a defense by agreement is another each time.
const RUNS: usize = 10;

/// Measures them on the network on which the observer looks.
///
/// # Errors
/// When the engine fails.
pub(super) fn bulk(options: &Options, defense: &Defense) -> Result<Bulk, StudyError> {
    let plan = call(TIME).with(&bulk_down(MAX_BYTES), Duration::ZERO).expect("a call and a download are a plan");
    let through = Through {
        access: &options.access,
        defense,
        seed: !options.seed,
        longest: TIME,
        after: Duration::ZERO,
        is_pages: false,
    };
    let runs = options.engine.alone().each(RUNS, &|_| through, |_, run| {
        let load = run(plan.clone())?;
        Ok((load.received, load.late))
    })?;
    let bits: f64 = runs.iter().map(|(received, _)| 8.0 * *received as f64).sum();
    let round_trip = options.access.round_trip.as_secs_f64();
    let late = [0, 1].map(|direction| {
        let mut late: Vec<f64> =
            runs.iter().flat_map(|(_, late)| &late[direction]).map(|time| time.as_secs_f64()).collect();
        late.sort_unstable_by(f64::total_cmp);
        late
    });
    // Packets of the two directions are not each other's answers: what one is late, at such a share, the other is too.
    let call = [0.5, 0.95].map(|share| round_trip + late.iter().filter_map(|late| at(late, share)).sum::<f64>());
    Ok(Bulk { goodput: bits / (RUNS as f64 * TIME.as_secs_f64()), call })
}
