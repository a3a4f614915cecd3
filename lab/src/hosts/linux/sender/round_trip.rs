//! The round trip of a connection, and the time after which a segment is taken for lost (RFC 6298, with Linux's numbers).

use std::time::Duration;

/// The least that the variance adds (`tcp_rto_min`).
pub(super) const LEAST_VARIANCE: Duration = Duration::from_millis(200);

/// The time before there is a round trip, and the longest (`TCP_TIMEOUT_INIT`, `TCP_RTO_MAX`).
const INITIAL: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Default)]
pub(super) struct RoundTrip {
    smooth: Option<Duration>,
    variance: Duration,
    least: Option<Duration>,
    /// How often the time was doubled.
    backoff: u32,
}

impl RoundTrip {
    pub(super) fn sample(&mut self, sample: Duration) {
        let sample = sample.max(Duration::from_micros(1));
        self.least = Some(self.least.map_or(sample, |least| least.min(sample)));
        match self.smooth {
            None => {
                self.smooth = Some(sample);
                self.variance = sample / 2;
            }
            Some(smooth) => {
                self.variance = (self.variance * 3 + smooth.abs_diff(sample)) / 4;
                self.smooth = Some((smooth * 7 + sample) / 8);
            }
        }
    }

    pub(super) fn smooth(&self) -> Option<Duration> {
        self.smooth
    }

    pub(super) fn least(&self) -> Option<Duration> {
        self.least
    }

    /// Returns the time after which a segment is taken for lost.
    pub(super) fn timeout(&self) -> Duration {
        let timeout = self.smooth.map_or(INITIAL, |smooth| smooth + (self.variance * 4).max(LEAST_VARIANCE));
        timeout.saturating_mul(1 << self.backoff.min(16)).min(LONGEST)
    }

    pub(super) fn back_off(&mut self) {
        self.backoff = self.backoff.saturating_add(1);
    }

    pub(super) fn end_backoff(&mut self) {
        self.backoff = 0;
    }
}
