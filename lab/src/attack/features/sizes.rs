//! What the sizes of datagrams tell, which k-fingerprinting leaves out because Tor's cells have one size: of each direction
//! and of both, bytes, mean, deviation, smallest, largest and quartiles; the share of each class of sizes; the bytes by each
//! twentieth of the load; and the sizes of the first twenty datagrams, those down as negative numbers.
//!
//! The list of the commented part of Hayes and Danezis's program (totals, means, variances, largest) is in it. The course of
//! the bytes is that of CUMUL (Panchenko et al., "Website Fingerprinting at Internet Scale", NDSS 2016), by direction.

use crate::attack::statistics::{deviation, largest, mean, quantile, smallest};
use crate::trace::{Direction, Passage, Trace};

/// Classes of sizes, of 128 bytes each; the last one has all that is larger.
const CLASSES: usize = 12;
const CLASS: usize = 128;

/// Points of the course of the bytes.
const POINTS: usize = 20;

/// First datagrams whose sizes count.
const FIRST: usize = 20;

/// Numbers in a row.
pub const COLUMNS: usize = 3 * 8 + 2 * CLASSES + 2 * POINTS + FIRST;

/// Adds the sizes of `trace` to a row.
pub(super) fn extend(row: &mut Vec<f32>, trace: &Trace) {
    let passages: Vec<Passage> = trace.iter().collect();
    let of = |direction| -> Vec<f64> {
        passages.iter().filter(|passage| passage.direction == direction).map(|passage| passage.size.into()).collect()
    };
    let directions = [of(Direction::Upload), of(Direction::Download)];
    let all: Vec<f64> = passages.iter().map(|passage| passage.size.into()).collect();
    for sizes in directions.iter().chain([&all]) {
        let quartiles = [0.25, 0.5, 0.75].map(|share| quantile(sizes, share));
        let figures = [sizes.iter().sum(), mean(sizes), deviation(sizes), smallest(sizes), largest(sizes)];
        row.extend(figures.into_iter().chain(quartiles).map(|value| value as f32));
    }
    for sizes in &directions {
        let mut classes = [0.0; CLASSES];
        for &size in sizes {
            classes[(size as usize / CLASS).min(CLASSES - 1)] += 1.0;
        }
        row.extend(classes.map(|count| count / sizes.len().max(1) as f32));
    }
    for direction in [Direction::Upload, Direction::Download] {
        let mut sum = 0.0;
        let course: Vec<f32> = passages
            .iter()
            .map(|passage| {
                sum += if passage.direction == direction { f64::from(passage.size) } else { 0.0 };
                sum as f32
            })
            .collect();
        row.extend((1..=POINTS).map(|point| match course.len() {
            0 => 0.0,
            count => course[(count * point).div_ceil(POINTS) - 1],
        }));
    }
    let signed = passages.iter().map(|passage| match passage.direction {
        Direction::Upload => f32::from(passage.size),
        Direction::Download => -f32::from(passage.size),
    });
    row.extend(signed.chain(std::iter::repeat(0.0)).take(FIRST));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_figure_of_sizes_is_where_it_should_be() {
        let passage = |direction, size| Passage { at: Duration::ZERO, direction, size };
        let trace = Trace::sorted(vec![
            passage(Direction::Upload, 100),
            passage(Direction::Download, 1_500),
            passage(Direction::Download, 500),
        ]);
        let mut row = Vec::new();
        extend(&mut row, &trace.unwrap());
        assert_eq!(row.len(), COLUMNS);
        assert_eq!(row[..8], [100.0, 100.0, 0.0, 100.0, 100.0, 100.0, 100.0, 100.0], "up");
        assert_eq!(row[8..16], [2_000.0, 1_000.0, 500.0, 500.0, 1_500.0, 750.0, 1_000.0, 1_250.0], "down");
        assert_eq!(row[16], 2_100.0);
        let classes = &row[24..24 + 2 * CLASSES];
        assert_eq!((classes[0], classes[CLASSES + 3], classes[2 * CLASSES - 1]), (1.0, 0.5, 0.5));
        let course = &row[48 + POINTS..48 + 2 * POINTS];
        assert_eq!((course[0], course[7], course[POINTS - 1]), (0.0, 1_500.0, 2_000.0));
        assert_eq!(row[COLUMNS - FIRST..][..4], [100.0, -1_500.0, -500.0, 0.0]);
    }
}
