//! What leaves of a connection, and when: its window, what is lost, what is sent again.

mod cubic;
mod flights;
mod heard;
mod hystart;
mod rack;
mod recovery;
mod round_trip;
mod stream;
mod timeouts;
mod usage;

use std::time::{Duration, Instant};

use super::packet::Place;
use cubic::{Cubic, INITIAL_WINDOW};
use flights::{Fate, Flights};
pub(super) use heard::Ack;
use heard::News;
use hystart::Acknowledged;
use rack::Rack;
use recovery::{Reduction, State, Undo};
use round_trip::RoundTrip;
use stream::Stream;
use timeouts::Timer;
use usage::Usage;

/// What Linux's send buffer has for each segment of the window, in bytes (`tcp_sndbuf_expand`, at an MTU of 1,500).
const BUFFER_PER_SEGMENT: usize = 2 * 4_352;

/// A probe whose answer has not come.
#[derive(Debug, Clone, Copy)]
struct Probe {
    /// What its acknowledgement says.
    until: Place,
    /// Whether it was a segment that had been sent before.
    is_repeat: bool,
}

/// What leaves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Departure {
    pub(super) start: Place,
    pub(super) end: Place,
}

#[derive(Debug, Clone)]
pub(super) struct Sender {
    /// The most bytes of a segment.
    mss: usize,
    is_unlimited: bool,
    stream: Stream,
    una: Place,
    next: Place,
    flights: Flights,
    round_trip: RoundTrip,
    cubic: Cubic,
    rack: Rack,
    state: State,
    undo: Option<Undo>,
    timer: Option<(Timer, Instant)>,
    /// When segments that may have been reordered are lost.
    reordering: Option<Instant>,
    probe: Option<Probe>,
    /// Whether a segment leaves whatever the window is.
    is_probe_due: bool,
    usage: Usage,
    last_sent: Option<Instant>,
    is_closed: bool,
}

impl Sender {
    pub(super) fn new(start: Place, mss: usize, is_unlimited: bool) -> Self {
        Self {
            mss,
            is_unlimited,
            stream: Stream::new(start),
            una: start,
            next: start,
            flights: Flights::default(),
            round_trip: RoundTrip::default(),
            cubic: Cubic::default(),
            rack: Rack::new(start),
            state: State::Open,
            undo: None,
            timer: None,
            reordering: None,
            probe: None,
            is_probe_due: false,
            usage: Usage::default(),
            last_sent: None,
            is_closed: false,
        }
    }

    /// Returns what is not acknowledged: its start.
    pub(super) fn una(&self) -> Place {
        self.una
    }

    /// Returns where what was sent ends.
    pub(super) fn next(&self) -> Place {
        self.next
    }

    /// Returns the most bytes of a segment.
    pub(super) fn mss(&self) -> usize {
        self.mss
    }

    /// Takes the largest segment that both ends take.
    pub(super) fn set_mss(&mut self, mss: usize) {
        self.mss = mss;
    }

    /// Takes the round trip of the handshake.
    pub(super) fn shook_hands(&mut self, round_trip: Duration) {
        self.round_trip.sample(round_trip);
    }

    /// Returns how many bytes an application may have waiting here and in the stack.
    pub(super) fn buffer(&self) -> usize {
        if self.is_unlimited {
            return usize::MAX;
        }
        BUFFER_PER_SEGMENT.saturating_mul(self.cubic.window().max(INITIAL_WINDOW) as usize)
    }

    /// Takes what the stack sends.
    pub(super) fn write(&mut self, start: Place, payload: &[u8], is_last: bool) {
        self.stream.write(start, payload, is_last);
    }

    /// Returns the bytes of a segment, and whether it is the last: an end.
    pub(super) fn contents(&self, departure: &Departure) -> ([&[u8]; 2], bool) {
        let Departure { start, end } = *departure;
        (self.stream.between(start, end), end > self.stream.written())
    }

    /// Tells whether nothing is behind a segment.
    pub(super) fn is_behind_all(&self, departure: &Departure) -> bool {
        departure.end >= self.stream.written()
    }

    /// Takes an acknowledgement.
    pub(super) fn acknowledge(&mut self, ack: &Ack<'_>, now: Instant) {
        if ack.una < self.una || ack.una > self.next {
            return;
        }
        self.is_closed = ack.is_closed;
        let news = self.hear(ack, now);
        if news.is_progress {
            self.round_trip.end_backoff();
        }
        if let Some(sample) = news.first {
            self.round_trip.sample(sample);
        }
        if let Some(round_trip) = news.last {
            self.cubic.measure(&Acknowledged { now, una: self.una, next: self.next, round_trip });
        }
        if ack.is_duplicate {
            self.rack.duplicate(self.una, self.next);
        }
        self.end_probe(ack, &news);
        self.react(ack, &news, now);
        if self.flights.is_empty() {
            (self.timer, self.reordering) = (None, None);
        } else if news.arrived > 0 || news.is_progress {
            self.arm(now);
        }
    }

    /// Finds what is new in an acknowledgement.
    fn hear(&mut self, ack: &Ack<'_>, now: Instant) -> News {
        let Self { flights, rack, round_trip, .. } = self;
        let mut news = News { is_progress: ack.una > self.una, ..News::default() };
        let least = round_trip.least();
        self.una = ack.una;
        while let Some(flight) = flights.pop(ack.una) {
            if flight.fate != Fate::Arrived {
                news.take(&flight, now);
                rack.arrive(&flight, now, least);
            }
        }
        self.stream.forget(ack.una);
        for (start, end) in ack.blocks {
            flights.arrive(*start, *end, |flight| {
                news.take(flight, now);
                rack.arrive(flight, now, least);
            });
        }
        if news.is_ambiguous {
            (news.first, news.last) = (None, None);
        }
        news
    }

    /// Finds out what became of a probe. One that has filled a gap at the end has told of a loss (RFC 8985, section 7.4).
    fn end_probe(&mut self, ack: &Ack<'_>, news: &News) {
        let Some(probe) = self.probe else { return };
        let is_over = ack.una >= probe.until;
        let is_second = !news.is_progress && news.arrived == 0 && ack.is_empty;
        if !is_over {
            return;
        }
        self.probe = None;
        if probe.is_repeat && !ack.is_duplicate && !is_second && self.state == State::Open {
            self.cubic.lose();
            self.cubic.set_window(self.cubic.threshold());
        }
    }

    fn react(&mut self, ack: &Ack<'_>, news: &News, now: Instant) {
        if news.is_progress && self.undo.is_some_and(|undo| undo.is_due(ack.echo)) {
            self.take_back();
        }
        match self.state {
            State::Recovery(Reduction { until, .. }) if self.una >= until => {
                self.cubic.set_window(self.cubic.threshold());
                self.rack.recovered();
                self.open();
            }
            State::Loss { until } if self.una >= until => self.open(),
            State::Open | State::Recovery(_) | State::Loss { .. } => {}
        }
        let lost = self.detect(now);
        self.recover();
        if let State::Recovery(reduction) = &mut self.state {
            let is_progress = news.is_progress && lost == 0;
            let window = reduction.take(news.arrived, self.flights.in_flight(), self.cubic.threshold(), is_progress);
            self.cubic.set_window(window);
        } else if news.is_progress && self.is_window_used() {
            self.cubic.grow(now, news.arrived);
        }
    }

    fn open(&mut self) {
        (self.state, self.undo) = (State::Open, None);
    }

    /// Begins to recover, if something is lost.
    fn recover(&mut self) {
        if self.state != State::Open || self.flights.lost() == 0 {
            return;
        }
        let (window, threshold) = (self.cubic.window(), self.cubic.threshold());
        self.undo = Some(Undo { window, threshold, repeated: None });
        self.cubic.lose();
        self.state = State::Recovery(Reduction { until: self.next, from: window, arrived: 0, sent: 0 });
        self.probe = None;
    }

    /// Goes on as if nothing had been taken for lost.
    fn take_back(&mut self) {
        if let Some(undo) = self.undo {
            self.cubic.undo(undo.window, undo.threshold);
        }
        self.flights.reconsider(Fate::Lost);
        self.rack.was_wrong();
        self.open();
    }

    /// Takes segments for lost that were sent before others that have arrived. Returns how many.
    fn detect(&mut self, now: Instant) -> u32 {
        let is_recovering = self.state != State::Open;
        if !is_recovering && self.flights.arrived() == 0 {
            self.reordering = None;
            return 0;
        }
        let Self { rack, flights, round_trip, .. } = self;
        let (lost, later) = rack.detect(flights, now, round_trip, is_recovering);
        self.reordering = later;
        lost
    }

    fn is_window_used(&self) -> bool {
        let is_filling = self.cubic.is_in_slow_start() && self.cubic.window() < 2 * self.usage.most();
        is_filling || self.usage.is_full()
    }

    /// Returns what leaves now, if something does, and takes it for sent. What is new leaves so many bytes of a full segment to
    /// options; `stamp` is the time as a time stamp says it.
    pub(super) fn depart(&mut self, now: Instant, stamp: u32, less: usize) -> Option<Departure> {
        if std::mem::take(&mut self.is_probe_due) && !self.flights.is_empty() {
            return self.send_probe(now, stamp, less);
        }
        if !self.is_unlimited && self.flights.in_flight() >= self.cubic.window() {
            return None;
        }
        let departure = match self.flights.send_lost(now) {
            Some(flight) => {
                self.note_repeat(stamp);
                if Some(flight.start) == self.flights.first().map(|first| first.start) {
                    self.timer = Some((Timer::Timeout, now + self.round_trip.timeout()));
                }
                Departure { start: flight.start, end: flight.end }
            }
            None => self.send_new(now, less)?,
        };
        if let State::Recovery(reduction) = &mut self.state {
            reduction.sent += 1;
        }
        Some(departure)
    }

    /// Sends what was not sent before.
    fn send_new(&mut self, now: Instant, less: usize) -> Option<Departure> {
        let end = self.stream.end();
        if self.next >= end {
            return None;
        }
        if let Some(last) = self.last_sent.filter(|_| self.flights.is_empty()) {
            self.cubic.idle(now.saturating_duration_since(last), self.round_trip.timeout());
        }
        let size = self.mss.saturating_sub(less).max(1);
        let full = self.next + size as Place;
        // An end goes with the last bytes.
        let departure = Departure { start: self.next, end: if full >= self.stream.written() { end } else { full } };
        self.flights.push(departure.start, departure.end, now);
        self.next = departure.end;
        self.last_sent = Some(now);
        self.arm_for_new(now);
        Some(departure)
    }

    fn send_probe(&mut self, now: Instant, stamp: u32, less: usize) -> Option<Departure> {
        let timer = self.timer;
        let fresh = self.send_new(now, less);
        let is_repeat = fresh.is_none();
        let departure = match fresh {
            Some(departure) => departure,
            None => {
                self.note_repeat(stamp);
                let flight = self.flights.send_last(now)?;
                Departure { start: flight.start, end: flight.end }
            }
        };
        self.probe = Some(Probe { until: self.next, is_repeat });
        self.timer = timer;
        Some(departure)
    }

    fn note_repeat(&mut self, stamp: u32) {
        if let Some(undo) = &mut self.undo {
            undo.repeated.get_or_insert(stamp);
        }
    }

    /// Takes that nothing more leaves now.
    pub(super) fn rest(&mut self, now: Instant) {
        let out = self.flights.len();
        let is_full = self.flights.in_flight() >= self.cubic.window();
        self.usage.note(self.una, self.next, out, is_full);
        let unused = self.usage.unused(self.is_window_used(), out, self.round_trip.timeout(), now);
        if let Some(used) = unused.filter(|_| self.state == State::Open) {
            self.cubic.use_less(used);
        }
    }
}
