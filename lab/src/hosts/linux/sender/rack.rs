//! Which segments are lost: those that were sent so much earlier than one that has arrived (RACK, RFC 8985, section 6).

use std::time::{Duration, Instant};

use super::super::packet::Place;
use super::flights::{Flight, Flights};
use super::round_trip::RoundTrip;

/// Segments that have arrived beyond a gap before it is taken for a loss at once, where packets are not known to be reordered.
const DUPLICATES: u32 = 3;

/// Recoveries after which the window for reordered packets is a quarter of a round trip again.
const PERSISTENCE: u32 = 16;

#[derive(Debug, Clone)]
pub(super) struct Rack {
    /// The last sent of those that have arrived: when it was sent, its end and its round trip.
    latest: Option<(Instant, Place)>,
    round_trip: Duration,
    /// The highest end that has arrived.
    highest: Place,
    is_reordered: bool,
    /// The window, in quarters of the least round trip; until when it does not grow; and for how many recoveries more it is so.
    quarters: u32,
    grows_at: Place,
    persists: u32,
}

impl Rack {
    pub(super) fn new(start: Place) -> Self {
        Self {
            latest: None,
            round_trip: Duration::ZERO,
            highest: start,
            is_reordered: false,
            quarters: 1,
            grows_at: start,
            persists: 0,
        }
    }

    pub(super) fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// Takes a segment that has arrived.
    pub(super) fn arrive(&mut self, flight: &Flight, now: Instant, least: Option<Duration>) {
        if flight.end > self.highest {
            self.highest = flight.end;
        } else if flight.end < self.highest && flight.times == 1 {
            self.is_reordered = true;
        }
        let round_trip = now.saturating_duration_since(flight.sent);
        // It was sent again, and what has arrived was sent before that.
        if flight.times > 1 && least.is_some_and(|least| round_trip < least) {
            return;
        }
        self.round_trip = round_trip;
        self.latest = self.latest.max(Some((flight.sent, flight.end)));
    }

    /// Takes a report that something has arrived twice, which it says once a round trip.
    pub(super) fn duplicate(&mut self, una: Place, next: Place) {
        if una >= self.grows_at {
            self.grows_at = next;
            self.quarters = (self.quarters + 1).min(255);
            self.persists = PERSISTENCE;
        }
    }

    /// Takes that a recovery is over.
    pub(super) fn recovered(&mut self) {
        self.persists = self.persists.saturating_sub(1);
        if self.persists == 0 {
            self.quarters = 1;
        }
    }

    /// Takes that nothing was lost where it was thought so.
    pub(super) fn was_wrong(&mut self) {
        self.is_reordered = true;
    }

    /// Takes segments for lost. Returns how many, and when more are if nothing arrives.
    pub(super) fn detect(
        &self,
        flights: &mut Flights,
        now: Instant,
        round_trip: &RoundTrip,
        is_recovering: bool,
    ) -> (u32, Option<Instant>) {
        let Some(latest) = self.latest else { return (0, None) };
        let after = self.round_trip + self.window(flights, round_trip, is_recovering);
        let mut later = None;
        let lost = flights.lose(|flight| {
            if (flight.sent, flight.end) >= latest {
                return false;
            }
            let due = flight.sent + after;
            if due > now {
                later = later.max(Some(due));
            }
            due <= now
        });
        (lost, later)
    }

    /// Returns for how long a packet may be reordered.
    fn window(&self, flights: &Flights, round_trip: &RoundTrip, is_recovering: bool) -> Duration {
        if !self.is_reordered && (is_recovering || flights.arrived() >= DUPLICATES) {
            return Duration::ZERO;
        }
        let least = round_trip.least().unwrap_or_default();
        (least / 4 * self.quarters).min(round_trip.smooth().unwrap_or_default())
    }
}
