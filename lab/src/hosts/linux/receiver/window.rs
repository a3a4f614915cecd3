//! How much a peer may send: it grows with what is read (dynamic right-sizing, `tcp_rcv_space_adjust`).

use std::time::{Duration, Instant};

use super::super::packet::Place;

/// The window at first, half of `tcp_rmem`'s 131,072, and the segments that are read in the first round trip.
const FIRST: u64 = 65_536;
const FIRST_SEGMENTS: u64 = 10;

#[derive(Debug, Clone)]
pub(super) struct Window {
    size: u64,
    most: u64,
    mss: u64,
    round_trip: Option<Duration>,
    /// What was read in the last round trip.
    read: u64,
    /// Where and when this one began.
    from: Place,
    since: Option<Instant>,
}

impl Window {
    /// Returns a window of at most so many bytes.
    pub(super) fn new(start: Place, most: usize, mss: usize) -> Self {
        let (most, mss) = (most as u64, mss as u64);
        Self {
            size: FIRST.min(most),
            most,
            mss,
            round_trip: None,
            read: FIRST_SEGMENTS * mss,
            from: start,
            since: None,
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Takes a round trip that a time stamp has told.
    pub(super) fn measure(&mut self, sample: Duration) {
        let sample = sample.max(Duration::from_millis(1));
        self.round_trip = Some(self.round_trip.map_or(sample, |before| (before * 7 + sample) / 8));
    }

    /// Takes that all before a place is read.
    pub(super) fn read(&mut self, next: Place, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let Some(round_trip) = self.round_trip else { return };
        if now.saturating_duration_since(since) < round_trip {
            return;
        }
        let read = next.saturating_sub(self.from);
        if read > self.read {
            // Twice what a round trip brings, and more if that becomes more.
            let size = read * 2 + 16 * self.mss;
            let growth = size * (read - self.read) / self.read.max(1);
            self.size = self.size.max(size.saturating_add(growth * 2)).min(self.most);
            self.read = read;
        }
        (self.from, self.since) = (next, Some(now));
    }
}
