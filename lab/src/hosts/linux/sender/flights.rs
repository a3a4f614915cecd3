//! Segments that were sent and are not acknowledged in order, and what is thought of each.

use std::collections::VecDeque;
use std::time::Instant;

use super::super::packet::Place;

/// What is thought of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is under way.
    InFlight,
    /// It is lost, and not sent again.
    Lost,
    /// It has arrived, and something before it has not.
    Arrived,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Flight {
    pub(super) start: Place,
    pub(super) end: Place,
    /// When it was sent the last time, and how often it was.
    pub(super) sent: Instant,
    pub(super) times: u32,
    pub(super) fate: Fate,
}

/// At most a segment for each byte of the stack's send buffer.
#[derive(Debug, Clone, Default)]
pub(super) struct Flights {
    all: VecDeque<Flight>,
    in_flight: u32,
    lost: u32,
    arrived: u32,
}

impl Flights {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn len(&self) -> u32 {
        self.all.len() as u32
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    pub(super) fn lost(&self) -> u32 {
        self.lost
    }

    pub(super) fn arrived(&self) -> u32 {
        self.arrived
    }

    pub(super) fn first(&self) -> Option<&Flight> {
        self.all.front()
    }

    pub(super) fn push(&mut self, start: Place, end: Place, now: Instant) {
        self.in_flight += 1;
        self.all.push_back(Flight { start, end, sent: now, times: 1, fate: Fate::InFlight });
    }

    /// Takes out the next segment that ends at a place or before.
    pub(super) fn pop(&mut self, una: Place) -> Option<Flight> {
        let first = self.all.front_mut()?;
        if first.end > una {
            first.start = first.start.max(una);
            return None;
        }
        let first = self.all.pop_front()?;
        *self.count(first.fate) -= 1;
        Some(first)
    }

    /// Notes that all between two places has arrived, and hands out each segment for which that is new.
    pub(super) fn arrive(&mut self, start: Place, end: Place, mut told: impl FnMut(&Flight)) {
        let from = self.all.partition_point(|flight| flight.start < start);
        for at in from..self.all.len() {
            if self.all[at].end > end {
                break;
            }
            if self.all[at].fate != Fate::Arrived {
                told(&self.all[at]);
                self.set(at, Fate::Arrived);
            }
        }
    }

    /// Takes those for lost that are under way and of which `is_lost` says so; returns how many.
    pub(super) fn lose(&mut self, mut is_lost: impl FnMut(&Flight) -> bool) -> u32 {
        let before = self.lost;
        for at in 0..self.all.len() {
            if self.all[at].fate == Fate::InFlight && is_lost(&self.all[at]) {
                self.set(at, Fate::Lost);
            }
        }
        self.lost - before
    }

    /// Takes all of a fate for under way.
    pub(super) fn reconsider(&mut self, fate: Fate) {
        for at in 0..self.all.len() {
            if self.all[at].fate == fate {
                self.set(at, Fate::InFlight);
            }
        }
    }

    /// Sends the first that is lost again.
    pub(super) fn send_lost(&mut self, now: Instant) -> Option<Flight> {
        if self.lost == 0 {
            return None;
        }
        let at = self.all.iter().position(|flight| flight.fate == Fate::Lost)?;
        Some(self.send_again(at, now))
    }

    /// Sends the last again, whatever is thought of it.
    pub(super) fn send_last(&mut self, now: Instant) -> Option<Flight> {
        let at = self.all.len().checked_sub(1)?;
        Some(self.send_again(at, now))
    }

    fn send_again(&mut self, at: usize, now: Instant) -> Flight {
        self.set(at, Fate::InFlight);
        let flight = &mut self.all[at];
        flight.sent = now;
        flight.times += 1;
        *flight
    }

    fn set(&mut self, at: usize, fate: Fate) {
        let before = std::mem::replace(&mut self.all[at].fate, fate);
        *self.count(before) -= 1;
        *self.count(fate) += 1;
    }

    fn count(&mut self, fate: Fate) -> &mut u32 {
        match fate {
            Fate::InFlight => &mut self.in_flight,
            Fate::Lost => &mut self.lost,
            Fate::Arrived => &mut self.arrived,
        }
    }
}
