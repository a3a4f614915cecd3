//! How late timers fire: a histogram of bounded size.

use std::time::Duration;

/// Width of a bin.
const BIN: Duration = Duration::from_micros(5);

/// Number of bins: up to 5 ms; what is later counts as that.
const BINS: usize = 1_000;

#[derive(Debug, Clone, Default)]
pub(super) struct Lateness {
    /// None until something is recorded: most peers of a relay are idle, and this is most of what a defense takes.
    bins: Vec<u64>,
    total: u64,
}

impl Lateness {
    pub(super) fn record(&mut self, late: Duration) {
        let bin = usize::try_from(late.as_nanos() / BIN.as_nanos()).unwrap_or(BINS);
        self.bins.resize(BINS, 0);
        self.bins[bin.min(BINS - 1)] += 1;
        self.total += 1;
    }

    /// Returns the upper edge of the bin that `percent` of all records lie in or below; zero without records.
    pub(super) fn percentile(&self, percent: u8) -> Duration {
        let wanted = (self.total * u64::from(percent.min(100))).div_ceil(100);
        if wanted == 0 {
            return Duration::ZERO;
        }
        let mut seen = 0;
        for (bin, count) in (1..).zip(&self.bins) {
            seen += count;
            if seen >= wanted {
                return BIN * bin;
            }
        }
        BIN * BINS as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_upper_edges() {
        let mut lateness = Lateness::default();
        assert_eq!(lateness.percentile(50), Duration::ZERO);
        for micros in 0..100 {
            lateness.record(Duration::from_micros(micros));
        }
        assert_eq!(lateness.percentile(50), Duration::from_micros(50));
        assert_eq!(lateness.percentile(99), Duration::from_micros(100));
        lateness.record(Duration::from_secs(9));
        assert_eq!(lateness.percentile(100), Duration::from_millis(5));
    }
}
