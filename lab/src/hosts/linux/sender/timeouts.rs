//! What a sender does when nothing comes: it probes, then sends all again.

use std::time::{Duration, Instant};

use super::Sender;
use super::flights::Fate;
use super::recovery::{State, Undo};
use super::round_trip::LEAST_VARIANCE;

/// What a probe of the tail waits beyond two round trips (`TCP_TIMEOUT_MIN`).
const PROBE_MARGIN: Duration = Duration::from_millis(2);

/// What is done when nothing comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// One more segment, so that its acknowledgement tells of losses (RFC 8985, section 7).
    Probe,
    /// All again.
    Timeout,
}

impl Sender {
    /// Returns when something is to be done though nothing comes.
    pub(in super::super) fn next_timeout(&self) -> Option<Instant> {
        [self.timer.map(|(_, at)| at), self.reordering].into_iter().flatten().min()
    }

    /// Does what is due.
    pub(in super::super) fn handle_timeout(&mut self, now: Instant) {
        if self.reordering.is_some_and(|at| at <= now) {
            self.detect(now);
            self.recover();
            if let State::Recovery(reduction) = &mut self.state {
                let window = reduction.take(0, self.flights.in_flight(), self.cubic.threshold(), false);
                self.cubic.set_window(window);
            }
        }
        match self.timer {
            Some((Timer::Probe, at)) if at <= now => {
                self.is_probe_due = self.state == State::Open && self.flights.lost() == 0;
                self.timer = Some((Timer::Timeout, now + self.round_trip.timeout()));
            }
            Some((Timer::Timeout, at)) if at <= now => self.time_out(now),
            _ => {}
        }
    }

    /// Takes all for lost.
    fn time_out(&mut self, now: Instant) {
        self.round_trip.back_off();
        self.timer = Some((Timer::Timeout, now + self.round_trip.timeout()));
        let Some(first) = self.flights.first() else {
            self.timer = None;
            return;
        };
        let (start, after) = (first.start, self.rack.round_trip());
        if first.fate == Fate::Arrived {
            // The peer has thrown away what it had.
            self.flights.reconsider(Fate::Arrived);
        }
        self.flights.lose(|flight| flight.start == start || flight.sent + after <= now);
        // A peer that takes nothing has lost nothing.
        if self.is_closed {
            return;
        }
        let (window, threshold) = (self.cubic.window(), self.cubic.threshold());
        if self.state == State::Open {
            self.undo = Some(Undo { window, threshold, repeated: None });
            self.cubic.lose_all();
        } else {
            self.cubic.forget();
        }
        self.cubic.set_window(self.flights.in_flight() + 1);
        self.state = State::Loss { until: self.next };
        (self.reordering, self.probe, self.is_probe_due) = (None, None, false);
    }

    /// Sets the timer anew.
    pub(super) fn arm(&mut self, now: Instant) {
        let timeout = self.round_trip.timeout();
        self.timer = Some((Timer::Timeout, now + timeout));
        let is_quiet = self.state == State::Open && self.flights.arrived() == 0 && self.probe.is_none();
        if let (true, Some(smooth), Some(first)) = (is_quiet, self.round_trip.smooth(), self.flights.first()) {
            // The acknowledgement of a single segment may be delayed.
            let margin = if self.flights.len() == 1 { LEAST_VARIANCE } else { PROBE_MARGIN };
            let probe = now + smooth * 2 + margin;
            self.timer = Some((Timer::Probe, probe.min((first.sent + timeout).max(now))));
        }
    }

    /// Sets the timer for a segment that was not sent before, if none waits for what was.
    pub(super) fn arm_for_new(&mut self, now: Instant) {
        let is_probing = matches!(self.timer, None | Some((Timer::Probe, _)));
        if is_probing {
            self.arm(now);
        }
    }
}
