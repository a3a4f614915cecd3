//! How much of the window was used: one that is not is no evidence of a rate (RFC 7661, as Linux's `tcp_cwnd_validate` has it).

use std::time::{Duration, Instant};

use super::super::packet::Place;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    is_full: bool,
    /// The most segments under way, until this is acknowledged.
    most: u32,
    until: Place,
    /// When all was used the last time, and the most since.
    full_at: Option<Instant>,
    since: u32,
}

impl Usage {
    /// Tells whether all was used, in this round trip.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Returns the most segments that were under way, in this round trip.
    pub(super) fn most(&self) -> u32 {
        self.most
    }

    /// Takes that so many segments are under way.
    pub(super) fn note(&mut self, una: Place, next: Place, out: u32, is_full: bool) {
        if una >= self.until || is_full || (!self.is_full && out > self.most) {
            (self.is_full, self.most, self.until) = (is_full, out, next);
        }
    }

    /// Returns the most that was used, if for a timeout the window was not.
    pub(super) fn unused(&mut self, is_used: bool, out: u32, timeout: Duration, now: Instant) -> Option<u32> {
        let Some(full_at) = self.full_at.filter(|_| !is_used) else {
            (self.full_at, self.since) = (Some(now), 0);
            return None;
        };
        self.since = self.since.max(out);
        if now.saturating_duration_since(full_at) < timeout {
            return None;
        }
        let since = self.since;
        (self.full_at, self.since) = (Some(now), 0);
        Some(since)
    }
}
