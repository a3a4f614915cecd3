//! When what has arrived is acknowledged: at once at first, then each second segment, or after a while (`net/ipv4/tcp_input.c`).

use std::time::{Duration, Instant};

use super::super::packet::Place;

/// Segments that are acknowledged at once when a conversation begins (`TCP_MAX_QUICKACKS`).
const QUICK: u32 = 16;

/// The size of a full segment until one has arrived (`TCP_MSS_DEFAULT`).
const FIRST_FULL: usize = 536;

/// Acknowledgements of a gap that leave at once: they are duplicates by which the peer learns of it (`TCP_FASTRETRANS_THRESH`).
const DUPLICATES: u32 = 3;

/// How long what follows a gap waits for more after those, and how many segments at most (`tcp_comp_sack_delay_ns`, which counts where a
/// round trip takes 20 ms or more, and `tcp_comp_sack_nr`).
const COMPRESSED_AFTER: Duration = Duration::from_millis(1);
const COMPRESSED: u32 = 44;

#[derive(Debug, Clone)]
pub(super) struct Acknowledging {
    /// How long one waits; `None` is not at all.
    after: Option<Duration>,
    /// How many are sent at once.
    quick: u32,
    /// Whether data went soon after data had come: then an acknowledgement goes with data.
    is_interactive: bool,
    full: usize,
    last: Option<Instant>,
    /// Where a gap is, how many segments behind it were told of at once, and how many wait.
    gap: Place,
    duplicates: u32,
    compressed: u32,
    due: Due,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Nothing,
    At(Instant),
    Now,
}

impl Acknowledging {
    pub(super) fn new(after: Option<Duration>) -> Self {
        Self {
            after,
            quick: 0,
            is_interactive: false,
            full: FIRST_FULL,
            last: None,
            gap: 0,
            duplicates: 0,
            compressed: 0,
            due: Due::Nothing,
        }
    }

    /// Takes a segment in order, with which so many bytes are not acknowledged.
    pub(super) fn take(&mut self, size: usize, open: u64, now: Instant, timeout: Duration) {
        self.full = self.full.max(size);
        let is_new = self.last.is_none_or(|last| now.saturating_duration_since(last) > timeout);
        if is_new {
            self.quick = QUICK;
        }
        self.last = Some(now);
        match self.after {
            Some(after) if !self.is_quick() && open <= self.full as u64 => {
                if self.due == Due::Nothing {
                    self.due = Due::At(now + after);
                }
            }
            _ => self.due = Due::Now,
        }
    }

    /// Tells whether each segment is acknowledged at once.
    fn is_quick(&self) -> bool {
        self.quick > 0 && !self.is_interactive
    }

    /// Takes a segment while something is missing at `gap`.
    pub(super) fn take_behind(&mut self, gap: Place, now: Instant) {
        if gap != self.gap {
            (self.gap, self.duplicates) = (gap, 0);
        }
        if self.is_quick() || self.compressed >= COMPRESSED {
            self.due = Due::Now;
        } else if self.duplicates < DUPLICATES {
            self.duplicates += 1;
            self.due = Due::Now;
        } else {
            self.compressed += 1;
            let by = now + COMPRESSED_AFTER;
            self.due = match self.due {
                Due::Nothing => Due::At(by),
                Due::At(at) => Due::At(at.min(by)),
                Due::Now => Due::Now,
            };
        }
    }

    /// Has the next acknowledgement leave at once.
    pub(super) fn hurry(&mut self) {
        self.due = Due::Now;
    }

    /// Takes that something is amiss on the way: for a while, each segment is acknowledged.
    pub(super) fn alarm(&mut self) {
        self.quick = QUICK;
        self.is_interactive = false;
        self.due = Due::Now;
    }

    /// Takes that an acknowledgement has left, possibly with data.
    pub(super) fn sent(&mut self, is_with_data: bool, now: Instant) {
        if self.due != Due::Nothing {
            self.quick = self.quick.saturating_sub(1);
        }
        self.due = Due::Nothing;
        self.compressed = 0;
        let is_answer = |last| Some(now.saturating_duration_since(last)) < self.after;
        if is_with_data && self.last.is_some_and(is_answer) {
            self.is_interactive = true;
        }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        match self.due {
            Due::Nothing => false,
            Due::At(at) => at <= now,
            Due::Now => true,
        }
    }

    /// Returns when one leaves that waits.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        match self.due {
            Due::At(at) => Some(at),
            Due::Nothing | Due::Now => None,
        }
    }
}
