//! Segments that have arrived before others that belong before them, and what acknowledgements say of them.

use std::collections::BTreeMap;

use super::super::packet::{MAX_BLOCKS, Place};

/// The most segments that wait. Their bytes are bounded by the stack's receive buffer.
const MAX_SEGMENTS: usize = 8_192;

/// The most ranges whose order of arrival is known.
const MAX_RECENT: usize = MAX_BLOCKS + 1;

/// What waits.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) payload: Vec<u8>,
    pub(super) is_last: bool,
}

impl Waiting {
    /// Returns where it ends, if it begins at a place. An end has a sequence number, too.
    pub(super) fn end(&self, start: Place) -> Place {
        start + self.payload.len() as Place + Place::from(self.is_last)
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Store {
    segments: BTreeMap<Place, Waiting>,
    bytes: usize,
    /// Ranges without a gap, the one that has grown last first (RFC 2018, section 4).
    recent: Vec<(Place, Place)>,
    /// What arrived again, to be told once (RFC 2883).
    duplicate: Option<(Place, Place)>,
}

impl Store {
    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Keeps a segment, if there is room for it within `most` bytes.
    pub(super) fn put(&mut self, start: Place, waiting: Waiting, most: usize) {
        let end = waiting.end(start);
        let is_known = self.recent.iter().any(|(from, to)| *from <= start && end <= *to)
            || self.segments.get(&start).is_some_and(|known| known.end(start) >= end);
        if is_known {
            self.repeat(start, end);
            return;
        }
        if self.segments.len() >= MAX_SEGMENTS || self.bytes + waiting.payload.len() > most {
            return;
        }
        self.bytes += waiting.payload.len();
        if let Some(shorter) = self.segments.insert(start, waiting) {
            self.bytes -= shorter.payload.len();
        }
        let mut grown = (start, end);
        self.recent.retain(|(from, to)| {
            let touches = *from <= grown.1 && grown.0 <= *to;
            if touches {
                grown = (grown.0.min(*from), grown.1.max(*to));
            }
            !touches
        });
        self.recent.insert(0, grown);
        self.recent.truncate(MAX_RECENT);
    }

    /// Notes that something has arrived again.
    pub(super) fn repeat(&mut self, start: Place, end: Place) {
        self.duplicate = Some((start, end));
    }

    /// Takes out the first segment if nothing is missing before it.
    pub(super) fn take(&mut self, next: Place) -> Option<(Place, Waiting)> {
        let first = self.segments.first_entry().filter(|first| *first.key() <= next)?;
        let (start, waiting) = first.remove_entry();
        self.bytes -= waiting.payload.len();
        Some((start, waiting))
    }

    /// Forgets ranges that are acknowledged.
    pub(super) fn acknowledge(&mut self, next: Place) {
        self.recent.retain(|(_, end)| *end > next);
    }

    /// Returns the blocks of an acknowledgement, at most three. What arrived again is first, and `told` with it.
    pub(super) fn blocks(&self) -> Vec<(u32, u32)> {
        let ranges = self.duplicate.iter().chain(&self.recent);
        ranges.take(MAX_BLOCKS).map(|(start, end)| (*start as u32, *end as u32)).collect()
    }

    /// Takes that the blocks were sent.
    pub(super) fn told(&mut self) {
        self.duplicate = None;
    }
}
