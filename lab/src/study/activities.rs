//! Whether the throughput of a tunnel tells what the user does.

use std::time::Duration;

use rand_core::{RngCore as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::engine::Through;
use super::loads::{observed, seed_of};
use super::{Options, StudyError};
use crate::attack::{Accuracy, shape};
use crate::defense::Defense;
use crate::trace::{Labelled, Passage, Trace};
use crate::workload::{MAX_BYTES, Plan, Site, bulk_down, bulk_up, call, camera, chatter, messaging, video};

/// What users do, in the order of labels.
pub const ACTIVITIES: [&str; 8] = ["idle", "messaging", "browsing", "video", "call", "camera", "download", "upload"];

/// Has the observer of the throughput name what the user does in windows of so long, `windows` of each of [`ACTIVITIES`]. A window
/// begins with what he does.
///
/// # Errors
/// When there are fewer windows than folds, or a trace would be too long.
pub fn activities(options: &Options, defense: &Defense, windows: u32, time: Duration) -> Result<Accuracy, StudyError> {
    let windows = windows as usize;
    let draws = |number| Xoshiro256PlusPlus::seed_from_u64(seed_of(options.seed, number));
    let activity = |number: usize| ACTIVITIES[number / windows];
    let through = |number| {
        // What comes after a plan that is done belongs to the window: nothing, but for the defense.
        let reading = Duration::from_secs(5 + draws(number).next_u64() % 20);
        let after = if activity(number) == "browsing" { reading } else { time };
        Through { access: &options.access, defense, seed: options.seed, longest: time, after, is_pages: false }
    };
    let traces = options.engine.each(ACTIVITIES.len() * windows, &through, |number, run| {
        let mut draws = draws(number);
        let (mut passages, mut lasted) = (Vec::new(), Duration::ZERO);
        while lasted < time {
            let load = run(plan(activity(number), time, draws.next_u64()))?;
            let trace = observed(&load)?;
            passages.extend(trace.iter().map(|passage| Passage { at: passage.at + lasted, ..passage }));
            lasted += load.lasted;
        }
        passages.retain(|passage| passage.at < time);
        let (label, visit) = ((number / windows) as u32, (number % windows) as u32);
        let draw = defense.is_drawn().then_some(number as u64);
        Ok(Labelled { label, visit, draw, trace: Trace::sorted(passages)? })
    })?;
    Ok(shape::classify(&traces, &options.attack)?)
}

/// Draws what he does: of a page, one; of the rest, all of a window.
fn plan(activity: &str, time: Duration, seed: u64) -> Plan {
    match activity {
        "idle" => chatter(time, seed),
        "messaging" => messaging(time, seed),
        "browsing" => Site::generate(seed).visit(0),
        // From 1.5 to 8 Mbit/s.
        "video" => video(time, 1_500_000 + seed % 6_500_000, seed),
        "call" => call(time),
        "camera" => camera(time, seed),
        "download" => bulk_down(MAX_BYTES),
        _ => bulk_up(MAX_BYTES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attack;

    #[test]
    fn without_a_defense_the_throughput_tells_what_the_user_does() {
        let options = Options {
            attack: attack::Options { folds: 3, trees: 30, ..attack::Options::default() },
            ..Options::default()
        };
        let accuracy = activities(&options, &Defense::None, 3, Duration::from_secs(10)).unwrap();
        assert_eq!(accuracy.labels.len(), ACTIVITIES.len());
        assert!(accuracy.mean > 0.7, "{accuracy:?}");
        assert!(matches!(activities(&options, &Defense::None, 2, Duration::from_secs(1)), Err(StudyError::Attack(_))));
    }
}
