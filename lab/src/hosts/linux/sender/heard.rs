//! What an acknowledgement says, and what is new in it.

use std::time::{Duration, Instant};

use super::super::packet::Place;
use super::flights::Flight;

/// What an acknowledgement says.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Ack<'a> {
    pub(in super::super) una: Place,
    /// What has arrived beyond it.
    pub(in super::super) blocks: &'a [(Place, Place)],
    /// Whether it says that something has arrived twice (RFC 2883).
    pub(in super::super) is_duplicate: bool,
    /// Whether it says nothing else.
    pub(in super::super) is_empty: bool,
    pub(in super::super) echo: Option<u32>,
    /// Whether the peer takes nothing now.
    pub(in super::super) is_closed: bool,
}

/// What an acknowledgement has told of segments.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct News {
    pub(super) arrived: u32,
    pub(super) is_progress: bool,
    /// The round trips of the first and the last segment, if nothing among them was sent twice.
    pub(super) first: Option<Duration>,
    pub(super) last: Option<Duration>,
    pub(super) is_ambiguous: bool,
}

impl News {
    pub(super) fn take(&mut self, flight: &Flight, now: Instant) {
        self.arrived += 1;
        self.is_ambiguous |= flight.times > 1;
        let round_trip = now.saturating_duration_since(flight.sent);
        self.first.get_or_insert(round_trip);
        self.last = Some(round_trip);
    }
}
