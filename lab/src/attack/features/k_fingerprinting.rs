//! The features of k-fingerprinting: J. Hayes and G. Danezis, "k-fingerprinting: a Robust Scalable Website Fingerprinting
//! Technique", USENIX Security 2016, section 4, in the order of the table of the authors' program (github.com/jhayes14/k-FP,
//! `RF_fextract.py`). Times are seconds, in is down, out is up.
//!
//! Where the list varies in length, so that one column means different things in different traces there, it does not here: the
//! concentrations and the counts of each second at its end have 60 columns each. The smallest concentration, which the
//! program computes and leaves out, is in.

use crate::attack::statistics::{deviation, largest, mean, quantile, smallest};
use crate::trace::{Direction, Trace};

/// Datagrams of which a concentration is the number of those that go out.
const CHUNK: usize = 20;

/// Sums of neighbouring concentrations, and of neighbouring seconds.
const CONCENTRATIONS: usize = 70;
const SECONDS: usize = 20;

/// Concentrations, and seconds, that are listed one by one from the first.
const LISTED: usize = 60;

/// Datagrams at each end whose directions are counted.
const END: usize = 30;

/// Numbers in a row.
pub const COLUMNS: usize = 12 + 12 + 3 + 4 + 5 + 5 + 4 + 2 + CONCENTRATIONS + SECONDS + 5 + 2 * LISTED;

/// Adds the features of `trace` to a row.
pub(super) fn extend(row: &mut Vec<f32>, trace: &Trace) {
    let all: Vec<(f64, bool)> =
        trace.iter().map(|passage| (passage.at.as_secs_f64(), passage.direction == Direction::Upload)).collect();
    let times = |is_wanted: &dyn Fn(bool) -> bool| -> Vec<f64> {
        all.iter().filter(|one| is_wanted(one.1)).map(|one| one.0).collect()
    };
    let times = [times(&|is_out| !is_out), times(&|is_out| is_out), times(&|_| true)];

    let gaps = times.each_ref().map(|times| times.windows(2).map(|two| two[1] - two[0]).collect::<Vec<_>>());
    let figures: [fn(&[f64]) -> f64; 4] = [largest, mean, deviation, |gaps| quantile(gaps, 0.75)];
    let gaps: Vec<f64> = figures.iter().flat_map(|figure| gaps.iter().map(move |gaps| figure(gaps))).collect();
    let percentiles: Vec<f64> =
        times.iter().flat_map(|times| [0.25, 0.5, 0.75, 1.0].map(|share| quantile(times, share))).collect();
    let counts = times.each_ref().map(|times| times.len() as f64);
    let concentrations: Vec<f64> = all.chunks(CHUNK).map(outgoing).collect();
    let seconds = per_second(&times[2]);
    let sums = sums(&concentrations, CONCENTRATIONS);
    let seconds_sums = self::sums(&seconds, SECONDS);

    let mut push = |values: &[f64]| row.extend(values.iter().map(|&value| value as f32));
    push(&gaps);
    push(&percentiles);
    push(&counts);
    for end in [&all[..END.min(all.len())], &all[all.len().saturating_sub(END)..]] {
        push(&[end.len() as f64 - outgoing(end), outgoing(end)]);
    }
    push(&five(&concentrations));
    push(&five(&seconds));
    for is_out in [false, true] {
        let places: Vec<f64> =
            (0..).zip(&all).filter(|(_, one)| one.1 == is_out).map(|(at, _)| f64::from(at)).collect();
        push(&[mean(&places), deviation(&places)]);
    }
    push(&[0, 1].map(|at| if all.is_empty() { 0.0 } else { counts[at] / counts[2] }));
    push(&sums);
    push(&seconds_sums);
    push(&[&sums[..], &seconds_sums, &gaps, &percentiles, &counts].map(|values| values.iter().sum()));
    for listed in [concentrations, seconds] {
        let padded: Vec<f64> = listed.into_iter().chain(std::iter::repeat(0.0)).take(LISTED).collect();
        push(&padded);
    }
}

/// Counts those that go out.
fn outgoing(passages: &[(f64, bool)]) -> f64 {
    passages.iter().filter(|one| one.1).count() as f64
}

/// Returns deviation, mean, median, smallest and largest.
fn five(values: &[f64]) -> [f64; 5] {
    [deviation(values), mean(values), quantile(values, 0.5), smallest(values), largest(values)]
}

/// Counts the datagrams of each second.
fn per_second(times: &[f64]) -> Vec<f64> {
    let mut seconds = vec![0.0; times.last().map_or(0, |last| *last as usize + 1)];
    for &time in times {
        seconds[time as usize] += 1.0;
    }
    seconds
}

/// Cuts the values into `parts` as long as each other, and sums each.
fn sums(values: &[f64], parts: usize) -> Vec<f64> {
    let border = |part: usize| values.len() * part / parts;
    (0..parts).map(|part| values[border(part)..border(part + 1)].iter().sum()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::trace::Passage;

    /// Up at 0 s, down at 1 s and 3 s, up at 3.5 s.
    fn row() -> Vec<f32> {
        let passages = [
            (0, Direction::Upload),
            (1_000, Direction::Download),
            (3_000, Direction::Download),
            (3_500, Direction::Upload),
        ];
        let passages = passages.map(|(ms, direction)| Passage { at: Duration::from_millis(ms), direction, size: 100 });
        let mut row = Vec::new();
        extend(&mut row, &Trace::sorted(passages.to_vec()).unwrap());
        row
    }

    #[test]
    fn every_feature_is_where_it_should_be() {
        let row = row();
        assert_eq!(row.len(), COLUMNS);
        assert_eq!(row[..3], [2.0, 3.5, 2.0], "longest gap in, out, of all");
        assert_eq!(row[3..6], [2.0, 3.5, 3.5 / 3.0], "mean gap");
        assert_eq!(row[9..12], [2.0, 3.5, 1.5], "upper quartile of the gaps");
        assert_eq!(row[12..16], [1.5, 2.0, 2.5, 3.0], "when quarters of what comes in have passed");
        assert_eq!(row[24..27], [2.0, 2.0, 4.0], "counts");
        assert_eq!(row[27..31], [2.0, 2.0, 2.0, 2.0], "at the ends");
        assert_eq!(row[31..36], [0.0, 2.0, 2.0, 2.0, 2.0], "concentrations");
        assert_eq!(row[37..41], [1.0, 1.0, 0.0, 2.0], "seconds: mean, median, fewest, most");
        assert_eq!(row[41..45], [1.5, 0.5, 1.5, 1.5], "order");
        assert_eq!(row[45..47], [0.5, 0.5], "shares");
        let sums = &row[47..47 + CONCENTRATIONS + SECONDS];
        assert_eq!((sums.iter().sum::<f32>(), sums[CONCENTRATIONS - 1]), (6.0, 2.0));
        assert_eq!(row[137..139], [2.0, 4.0], "sums of all");
        assert_eq!(row[141], 8.0, "sum of the counts");
        assert_eq!(row[142..144], [2.0, 0.0]);
        assert_eq!(row[142 + LISTED..][..5], [1.0, 1.0, 0.0, 2.0, 0.0]);
    }
}
