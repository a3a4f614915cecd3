//! The bytes that the stack wants sent, until they are acknowledged, and the end that follows them.

use std::collections::VecDeque;

use super::super::packet::Place;

/// At most what the stack's send buffer holds, as it forgets nothing that is not acknowledged.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    start: Place,
    bytes: VecDeque<u8>,
    is_ended: bool,
}

impl Stream {
    pub(super) fn new(start: Place) -> Self {
        Self { start, bytes: VecDeque::new(), is_ended: false }
    }

    /// Takes what the stack sends, possibly again; what is known is passed over.
    pub(super) fn write(&mut self, start: Place, payload: &[u8], is_last: bool) {
        let written = self.written();
        let end = start + payload.len() as Place;
        // The stack leaves no gap.
        if self.is_ended || start > written || end < written {
            return;
        }
        self.bytes.extend(&payload[(written - start) as usize..]);
        self.is_ended = is_last;
    }

    /// Returns where the bytes end.
    pub(super) fn written(&self) -> Place {
        self.start + self.bytes.len() as Place
    }

    /// Returns where all ends: its end has a sequence number, too.
    pub(super) fn end(&self) -> Place {
        self.written() + Place::from(self.is_ended)
    }

    /// Forgets what is before a place.
    pub(super) fn forget(&mut self, before: Place) {
        let count = before.min(self.written()).saturating_sub(self.start);
        self.bytes.drain(..count as usize);
        self.start += count;
    }

    /// Returns the bytes between two places, in the two parts in which they lie.
    pub(super) fn between(&self, start: Place, end: Place) -> [&[u8]; 2] {
        let [from, to] = [start, end].map(|place| (place.min(self.written()).saturating_sub(self.start)) as usize);
        let (front, back) = self.bytes.as_slices();
        let middle = front.len();
        [&front[from.min(middle)..to.min(middle)], &back[from.saturating_sub(middle)..to.saturating_sub(middle)]]
    }
}
