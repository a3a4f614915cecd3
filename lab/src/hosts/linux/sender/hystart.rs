//! When slow start ends before a loss: HyStart as Linux has it (`hystart_update` in `net/ipv4/tcp_cubic.c`), by trains of
//! acknowledgements and by delay. It is not HyStart++ (RFC 9406).

use std::time::{Duration, Instant};

use super::super::packet::Place;

/// From this window on, in segments.
const LOW_WINDOW: u32 = 16;

/// Samples of a round before its delay is believed.
const SAMPLES: u32 = 8;

/// How far two acknowledgements of one train are apart at most, and what the sender's own bursts may have added to it.
const TRAIN_GAP: Duration = Duration::from_millis(2);
const BURST: Duration = Duration::from_millis(1);

/// How much longer a round trip is that tells of a queue: an eighth of the least, within these.
const LEAST_RISE: Duration = Duration::from_millis(4);
const MOST_RISE: Duration = Duration::from_millis(16);

#[derive(Debug, Clone, Default)]
pub(super) struct HyStart {
    is_found: bool,
    round: Option<Round>,
}

#[derive(Debug, Clone, Copy)]
struct Round {
    start: Instant,
    last: Instant,
    /// It ends when this is acknowledged.
    end: Place,
    least: Duration,
    samples: u32,
}

impl HyStart {
    /// Takes an acknowledgement in slow start; tells whether it is over.
    pub(super) fn take(&mut self, ack: &Acknowledged, window: u32, least_ever: Duration) -> bool {
        let Acknowledged { now, una, next, round_trip } = *ack;
        if self.is_found {
            return false;
        }
        let round = self.round.get_or_insert(Round::new(now, next));
        if una > round.end {
            *round = Round::new(now, next);
        }
        if window < LOW_WINDOW {
            return false;
        }
        if now - round.last <= TRAIN_GAP {
            round.last = now;
            // Half, as the sender does not pace.
            self.is_found |= now - round.start > (least_ever + BURST) / 2;
        }
        round.least = round.least.min(round_trip);
        if round.samples < SAMPLES {
            round.samples += 1;
        } else {
            self.is_found |= round.least > least_ever + (least_ever / 8).clamp(LEAST_RISE, MOST_RISE);
        }
        self.is_found
    }
}

impl Round {
    fn new(now: Instant, end: Place) -> Self {
        Self { start: now, last: now, end, least: Duration::MAX, samples: 0 }
    }
}

/// What an acknowledgement says to what finds the rate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Acknowledged {
    pub(super) now: Instant,
    pub(super) una: Place,
    pub(super) next: Place,
    pub(super) round_trip: Duration,
}
