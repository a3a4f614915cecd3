//! How fast it went, on a line much faster than Tor's, where a page is there in ten slots of the matrix or fewer. Of our own, for each
//! direction:
//! - how many datagrams had passed by a time, and when so many had passed, both in steps of 12 %: near the start they are fine, where
//!   the first objects come, and they sum up what follows;
//! - how many there were in the fullest slots of 5, 20 and 80 ms, in the second fullest, and so on in doubling steps: bursts of objects
//!   are far above the pace of padding, whenever they come.

use std::time::Duration;

use crate::trace::{Direction, Trace};

/// How much later each point is than the one before.
const STEP: f64 = 1.12;

/// The first time, and how many of them: the last is some 160 s.
const FIRST: Duration = Duration::from_millis(5);
const TIMES: usize = 92;

/// How many numbers of datagrams: the last is some 20,000.
const COUNTS: usize = 79;

/// How long slots are.
const SLOTS: [Duration; 3] = [Duration::from_millis(5), Duration::from_millis(20), Duration::from_millis(80)];

/// How full the fullest slot is, the second, the fourth, and so on up to the 512th.
const RANKS: usize = 10;

/// Numbers in a row.
pub const COLUMNS: usize = 2 * (TIMES + COUNTS + SLOTS.len() * RANKS);

/// Adds the pace of `trace` to a row.
pub(super) fn extend(row: &mut Vec<f32>, trace: &Trace) {
    for direction in [Direction::Upload, Direction::Download] {
        let times: Vec<Duration> =
            trace.iter().filter(|passage| passage.direction == direction).map(|passage| passage.at).collect();
        let mut until = FIRST.as_secs_f64();
        row.extend((0..TIMES).map(|_| {
            let passed = times.partition_point(|at| at.as_secs_f64() < until);
            until *= STEP;
            passed as f32
        }));
        let mut count = 1.0;
        row.extend((0..COUNTS).map(|_| {
            // The first of them are one datagram apart.
            let place = count as usize;
            count = (count * STEP).max(count + 1.0);
            // What did not come is later than all that did.
            times.get(place - 1).map_or(-1.0, |at| at.as_secs_f32())
        }));
        for slot in SLOTS {
            let mut full = fullness(&times, slot);
            full.sort_unstable_by(|a, b| b.cmp(a));
            row.extend((0..RANKS).map(|rank| full.get((1 << rank) - 1).copied().unwrap_or(0) as f32));
        }
    }
}

/// Counts the datagrams of each slot that has any.
fn fullness(times: &[Duration], slot: Duration) -> Vec<usize> {
    let number = |at: &Duration| at.as_nanos() / slot.as_nanos();
    times.chunk_by(|a, b| number(a) == number(b)).map(<[Duration]>::len).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Passage;

    #[test]
    fn every_figure_of_the_pace_is_where_it_should_be() {
        let passage = |ms, direction| Passage { at: Duration::from_millis(ms), direction, size: 100 };
        let down = [0, 1, 2, 30, 31, 1_000].map(|ms| passage(ms, Direction::Download));
        let trace = Trace::sorted(down.into_iter().chain([passage(3, Direction::Upload)]).collect()).unwrap();
        let mut row = Vec::new();
        extend(&mut row, &trace);
        assert_eq!(row.len(), COLUMNS);
        let down = &row[COLUMNS / 2..];
        assert_eq!((row[0], down[0], down[TIMES - 1]), (1.0, 3.0, 6.0), "by 5 ms, and in all");
        assert_eq!(down[TIMES..][..7], [0.0, 0.001, 0.002, 0.03, 0.031, 1.0, -1.0], "when each had passed");
        let slots = &down[TIMES + COUNTS..];
        assert_eq!(slots[..3], [3.0, 2.0, 0.0], "the fullest of 5 ms, the second, the fourth");
        assert_eq!(slots[2 * RANKS..][..3], [5.0, 1.0, 0.0], "the same of 80 ms");
    }

    #[test]
    fn points_reach_as_far_as_traces_do() {
        let last = FIRST.as_secs_f64() * STEP.powi(TIMES as i32 - 1);
        assert!((144.0..200.0).contains(&last), "{last}");
        let mut count = 1.0f64;
        (1..COUNTS).for_each(|_| count = (count * STEP).max(count + 1.0));
        assert!((15_000.0..40_000.0).contains(&count), "{count}");
    }
}
