//! What arrives of a connection: put in order for the stack, and acknowledged.

mod acknowledging;
mod store;
mod window;

use std::time::{Duration, Instant};

use super::packet::{Place, first_place, place};
use acknowledging::Acknowledging;
use store::{Store, Waiting};
use window::Window;

/// How long nothing comes before a conversation begins anew, as to acknowledgements: the least time after which a segment is lost.
const PAUSE: Duration = Duration::from_millis(200);

/// What becomes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is nothing in it.
    Empty,
    /// The stack takes it now.
    InOrder,
    /// It waits, is known, or nobody has room for it.
    Kept,
}

/// What the stack has said last: what it has, and how much more it takes.
#[derive(Debug, Clone, Copy)]
struct Said {
    ack: Place,
    edge: Place,
}

#[derive(Debug, Clone)]
pub(super) struct Receiver {
    /// What the stack was given ends here.
    next: Place,
    said: Said,
    /// What was acknowledged, and what the peer may send.
    acknowledged: Place,
    announced: Place,
    /// The window's scale on the wire.
    shift: u8,
    store: Store,
    most: usize,
    acknowledging: Acknowledging,
    window: Window,
    /// The time stamp that is sent back (RFC 7323, section 4.3).
    stamp: u32,
    /// What was sent back last.
    echoed: u32,
}

/// What has arrived, but for its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) seq: u32,
    pub(super) size: usize,
    pub(super) is_last: bool,
    pub(super) stamp: Option<(u32, u32)>,
}

impl Receiver {
    /// Returns the receiver of a stream that begins behind `seq`, the peer's first number. The stack's buffer has `most` bytes.
    pub(super) fn new(seq: u32, shift: u8, most: usize, mss: usize, after: Option<Duration>) -> Self {
        let next = first_place(seq) + 1;
        let most_window = most.min(usize::from(u16::MAX) << shift);
        Self {
            next,
            said: Said { ack: next, edge: next },
            acknowledged: next - 1,
            announced: next,
            shift,
            store: Store::default(),
            most,
            acknowledging: Acknowledging::new(after),
            window: Window::new(next, most_window, mss),
            stamp: 0,
            echoed: 0,
        }
    }

    /// Returns where the stack's bytes end.
    pub(super) fn next(&self) -> Place {
        self.next
    }

    /// Takes what the stack says in a segment: what it has, and its window.
    pub(super) fn hear(&mut self, ack: u32, window: u16, shift: u8) {
        let ack = place(ack, self.next);
        self.said = Said { ack, edge: ack + (Place::from(window) << shift) };
    }

    /// Has it acknowledge at once.
    pub(super) fn hurry(&mut self) {
        self.acknowledging.hurry();
    }

    /// Tells whether all that the stack has is acknowledged.
    pub(super) fn is_acknowledged(&self) -> bool {
        self.acknowledged == self.said.ack
    }

    /// Takes a time stamp, at the time that says itself `clock`.
    pub(super) fn take_stamp(&mut self, arrival: &Arrival, clock: u32) {
        let Some((value, echo)) = arrival.stamp else { return };
        let is_next = place(arrival.seq, self.next) <= self.acknowledged;
        if is_next && value.wrapping_sub(self.stamp) as i32 > 0 {
            self.stamp = value;
        }
        let passed = clock.wrapping_sub(echo);
        if arrival.size > 0 && echo != 0 && echo != self.echoed && passed < 1 << 20 {
            self.echoed = echo;
            self.window.measure(Duration::from_millis(passed.into()));
        }
    }

    /// Takes a segment; `payload` makes its bytes, if they are to be kept.
    pub(super) fn take(&mut self, arrival: &Arrival, payload: impl FnOnce() -> Vec<u8>, now: Instant) -> Verdict {
        let Arrival { seq, size, is_last, .. } = *arrival;
        let start = place(seq, self.next);
        let end = start + size as Place + Place::from(is_last);
        if start == end {
            if start < self.next {
                // Somebody asks whether we are there.
                self.acknowledging.hurry();
            }
            return Verdict::Empty;
        }
        if end <= self.next {
            self.store.repeat(start, end);
            self.acknowledging.alarm();
            return Verdict::Kept;
        }
        if start + size as Place > self.said.edge {
            self.acknowledging.alarm();
            return Verdict::Kept;
        }
        if start > self.next {
            self.store.put(start, Waiting { payload: payload(), is_last }, self.most);
            self.acknowledging.take_behind(self.next, now);
            return Verdict::Kept;
        }
        let is_gap_filled = !self.store.is_empty();
        self.advance(end, now);
        self.acknowledging.take(size, self.next - self.acknowledged, now, PAUSE);
        if is_gap_filled || is_last {
            self.acknowledging.hurry();
        }
        Verdict::InOrder
    }

    /// Takes out what has waited and has nothing missing before it now: its place, its bytes and whether it is the last.
    pub(super) fn take_waiting(&mut self, now: Instant) -> Option<(Place, Vec<u8>, bool)> {
        loop {
            let (start, waiting) = self.store.take(self.next)?;
            let end = waiting.end(start);
            if end > self.next {
                self.advance(end, now);
                return Some((start, waiting.payload, waiting.is_last));
            }
        }
    }

    fn advance(&mut self, end: Place, now: Instant) {
        self.next = end;
        self.store.acknowledge(end);
        self.window.read(end, now);
    }

    /// Returns the blocks of the next segment.
    pub(super) fn blocks(&self) -> Vec<(u32, u32)> {
        self.store.blocks()
    }

    /// Returns what a segment says that leaves now: acknowledgement, window, and the time stamp that it sends back.
    pub(super) fn say(&mut self, is_with_data: bool, has_blocks: bool, now: Instant) -> (u32, u16, u32) {
        let Said { ack, edge } = self.said;
        let edge = edge.min((ack + self.window.size()).max(self.announced));
        let window = (edge.saturating_sub(ack) >> self.shift).min(u16::MAX.into());
        self.announced = self.announced.max(ack + (window << self.shift));
        self.acknowledged = ack;
        self.acknowledging.sent(is_with_data, now);
        if has_blocks {
            self.store.told();
        }
        (ack as u32, window as u16, self.stamp)
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.acknowledging.is_due(now)
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.acknowledging.next_timeout()
    }
}
