//! How late the datagrams of a stream come, beside the quickest of them.

use std::time::{Duration, Instant};

/// When the datagrams of a stream came.
#[derive(Debug, Clone, Default)]
pub struct Lateness {
    /// When the first came, and its number.
    first: Option<(Instant, u32)>,
    /// Microseconds by which each was later than the first, against its place in the stream: negative if that was held up more.
    offsets: Vec<i64>,
}

impl Lateness {
    /// Notes that the datagram of a number has come now; one is sent `every` so long.
    pub(super) fn note(&mut self, number: u32, every: Duration, now: Instant) {
        let (first, first_number) = *self.first.get_or_insert((now, number));
        let passed = now.saturating_duration_since(first).as_micros() as i64;
        let places = i64::from(number) - i64::from(first_number);
        self.offsets.push(passed - places.saturating_mul(every.as_micros() as i64));
    }

    /// Returns how many have come.
    pub fn count(&self) -> usize {
        self.offsets.len()
    }

    /// Returns how much later each came than the quickest, in the order in which they came.
    pub fn times(&self) -> impl Iterator<Item = Duration> + '_ {
        let quickest = self.offsets.iter().copied().min().unwrap_or(0);
        self.offsets.iter().map(move |offset| Duration::from_micros((offset - quickest) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_as_late_as_it_was_held_up_more_than_the_quickest() {
        let (start, ms) = (Instant::now(), Duration::from_millis(1));
        let mut lateness = Lateness::default();
        // Of one every 20 ms: the first was held up by 5 ms, the third by 1, and the second is lost.
        for (number, at) in [(0, 5), (2, 41), (3, 63)] {
            lateness.note(number, 20 * ms, start + at * ms);
        }
        assert_eq!(lateness.times().collect::<Vec<_>>(), [4 * ms, Duration::ZERO, 2 * ms]);
        assert_eq!(lateness.count(), 3);
    }
}
