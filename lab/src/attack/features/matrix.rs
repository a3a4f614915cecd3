//! The matrix of Robust Fingerprinting: how many datagrams passed in each direction in each slot of 80 s (Shen et al.,
//! "Subverting Website Fingerprinting Defenses with Robust Traffic Representation", USENIX Security 2023, section 4).
//!
//! The paper says 44 ms a slot for 1,800 slots of its 80 s; here a slot has 80 ms, of 144 s in all, because loads over a tunnel
//! with a defense that delays them last longer. What comes later is counted in the last slot, as there.

use std::time::Duration;

use crate::trace::{Direction, Trace};

/// Slots of each direction.
pub const SLOTS: usize = 1_800;

/// How long a slot is.
pub const SLOT: Duration = Duration::from_millis(80);

/// Numbers in a row: the slots up, then those down.
pub const COLUMNS: usize = 2 * SLOTS;

/// Adds the matrix of `trace` to a row.
pub(super) fn extend(row: &mut Vec<f32>, trace: &Trace) {
    let start = row.len();
    row.resize(start + COLUMNS, 0.0);
    for passage in trace.iter() {
        let slot = (passage.at.as_nanos() / SLOT.as_nanos()).min(SLOTS as u128 - 1) as usize;
        let first = match passage.direction {
            Direction::Upload => 0,
            Direction::Download => SLOTS,
        };
        row[start + first + slot] += 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Passage;

    #[test]
    fn a_slot_counts_its_datagrams_and_the_last_one_the_rest() {
        let passage = |ms, direction| Passage { at: Duration::from_millis(ms), direction, size: 100 };
        let trace = Trace::sorted(vec![
            passage(0, Direction::Upload),
            passage(79, Direction::Upload),
            passage(80, Direction::Upload),
            passage(80, Direction::Download),
            passage(143_920, Direction::Download),
            passage(900_000, Direction::Download),
        ]);
        let mut row = vec![7.0];
        extend(&mut row, &trace.unwrap());
        assert_eq!(row[..4], [7.0, 2.0, 1.0, 0.0]);
        assert_eq!(row[1 + SLOTS..][..2], [0.0, 1.0]);
        assert_eq!((row[COLUMNS], row.iter().sum::<f32>()), (2.0, 13.0));
    }
}
