//! Traces: what an observer of the outer flow sees of one load of a page, or of one session.
//!
//! A [`Trace`] has the time, the direction and the size of each datagram, and nothing else: with a defense, nothing else tells.
//! [`Labelled`] adds what whoever made it knows. `file` (feature `traces`) reads and writes sets of them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use crate::sighting::Direction;

#[cfg(feature = "traces")]
pub mod csv;
#[cfg(feature = "traces")]
pub mod error;
#[cfg(feature = "traces")]
pub mod file;
#[cfg(feature = "traces")]
mod lines;
#[cfg(feature = "traces")]
mod npy;
#[cfg(feature = "traces")]
pub mod npz;
#[cfg(feature = "traces")]
pub mod pcapng;
#[cfg(feature = "traces")]
pub mod simulator;

/// Most datagrams of one trace: 512 MiB of them, more than a day at full speed of what the lab's links have.
pub const MAX_DATAGRAMS: usize = 1 << 26;

/// No trace is longer than this: 39 hours, what 47 bits of nanoseconds hold.
pub const MAX_TIME: Duration = Duration::from_nanos((1 << TIME_BITS) - 1);

/// What a datagram counts as, in bytes, where a format has no sizes.
pub const UNKNOWN_SIZE: u16 = 1_500;

const TIME_BITS: u32 = 47;
const SIZE_BITS: u32 = 16;

/// A datagram as the observer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passage {
    /// When it passed, since the trace began.
    pub at: Duration,
    /// Which way: up is from the client.
    pub direction: Direction,
    /// Bytes, with IP and UDP headers.
    pub size: u16,
}

/// What passed, in order of time. Eight bytes a datagram.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// From the highest bit: nanoseconds, 1 for download, bytes. So they are in order of time.
    packed: Vec<u64>,
}

/// A trace, and what is known of how it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled {
    /// What the attack is to name: the index of the site, or of the class of activity.
    pub label: u32,
    /// The how manieth visit of the site it is.
    pub visit: u32,
    /// Which draw of an ephemeral defense it was made with; `None` if the defense is one and the same for all.
    pub draw: Option<u64>,
    /// What the observer sees.
    pub trace: Trace,
}

/// Why a datagram cannot be in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TraceError {
    /// Another one passed later, before it in the trace.
    #[error("a datagram at {at:?} follows one at {before:?}: expected the order of time")]
    OutOfOrder {
        /// Its time.
        at: Duration,
        /// That of the one before it.
        before: Duration,
    },
    /// Its time is beyond [`MAX_TIME`].
    #[error("a datagram at {at:?}: expected at most {MAX_TIME:?} since the trace began")]
    TooLate {
        /// Its time.
        at: Duration,
    },
    /// It has no bytes.
    #[error("a datagram of 0 bytes: expected 1 to 65535")]
    Empty,
    /// There are [`MAX_DATAGRAMS`] already.
    #[error("more than {MAX_DATAGRAMS} datagrams in one trace")]
    TooMany,
}

impl Trace {
    /// Returns a trace of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a trace of datagrams in any order.
    ///
    /// # Errors
    /// As [`Trace::push`], but for the order.
    pub fn sorted(mut passages: Vec<Passage>) -> Result<Self, TraceError> {
        passages.sort_by_key(|passage| passage.at);
        let mut trace = Self::new();
        for passage in passages {
            trace.push(passage)?;
        }
        Ok(trace)
    }

    /// Adds a datagram behind the others.
    ///
    /// # Errors
    /// If it is earlier than the last one, later than [`MAX_TIME`], empty, or one too many.
    pub fn push(&mut self, passage: Passage) -> Result<(), TraceError> {
        let Passage { at, direction, size } = passage;
        if at > MAX_TIME {
            return Err(TraceError::TooLate { at });
        }
        if size == 0 {
            return Err(TraceError::Empty);
        }
        if self.len() >= MAX_DATAGRAMS {
            return Err(TraceError::TooMany);
        }
        let before = self.duration();
        if at < before {
            return Err(TraceError::OutOfOrder { at, before });
        }
        let down = u64::from(direction == Direction::Download);
        self.packed.push((at.as_nanos() as u64) << (SIZE_BITS + 1) | down << SIZE_BITS | u64::from(size));
        Ok(())
    }

    /// Returns how many datagrams there are.
    pub fn len(&self) -> usize {
        self.packed.len()
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }

    /// Returns the datagrams in order of time.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Passage> + ExactSizeIterator + '_ {
        self.packed.iter().map(|&packed| unpack(packed))
    }

    /// Returns the time of the last datagram, zero if there is none.
    pub fn duration(&self) -> Duration {
        self.packed.last().map_or(Duration::ZERO, |&packed| unpack(packed).at)
    }

    /// Returns the bytes of one direction, headers counted.
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.iter().filter(|passage| passage.direction == direction).map(|passage| u64::from(passage.size)).sum()
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trace of {} datagrams in {:?}", self.len(), self.duration())
    }
}

fn unpack(packed: u64) -> Passage {
    let direction = if packed >> SIZE_BITS & 1 == 1 { Direction::Download } else { Direction::Upload };
    Passage { at: Duration::from_nanos(packed >> (SIZE_BITS + 1)), direction, size: packed as u16 }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Draws datagrams of all sizes, at times of all magnitudes.
    pub(crate) fn passages() -> impl Strategy<Value = Vec<Passage>> {
        let passage =
            (0u64..1 << TIME_BITS, 0u32..40, any::<bool>(), 1u16..).prop_map(|(at, shift, is_up, size)| Passage {
                at: Duration::from_nanos(at >> shift),
                direction: if is_up { Direction::Upload } else { Direction::Download },
                size,
            });
        prop::collection::vec(passage, 0..60)
    }

    /// Draws traces.
    pub(crate) fn traces() -> impl Strategy<Value = Trace> {
        passages().prop_map(|passages| Trace::sorted(passages).unwrap())
    }

    /// Draws sets of traces.
    #[cfg(feature = "traces")]
    pub(crate) fn loads() -> impl Strategy<Value = Vec<Labelled>> {
        let load = (any::<u32>(), any::<u32>(), prop::option::of(0..i64::MAX as u64), traces())
            .prop_map(|(label, visit, draw, trace)| Labelled { label, visit, draw, trace });
        prop::collection::vec(load, 0..4)
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_out_as_it_went_in(mut passages in passages()) {
            let trace = Trace::sorted(passages.clone()).unwrap();
            passages.sort_by_key(|passage| passage.at);
            prop_assert_eq!(trace.iter().collect::<Vec<_>>(), passages);
        }
    }

    #[test]
    fn what_no_trace_can_hold_is_refused() {
        let good = Passage { at: Duration::from_secs(1), direction: Direction::Upload, size: 1 };
        let mut trace = Trace::new();
        trace.push(good).unwrap();
        let (at, before) = (Duration::from_millis(999), good.at);
        assert_eq!(trace.push(Passage { at, ..good }), Err(TraceError::OutOfOrder { at, before }));
        assert_eq!(trace.push(Passage { size: 0, ..good }), Err(TraceError::Empty));
        let at = MAX_TIME + Duration::from_nanos(1);
        assert_eq!(trace.push(Passage { at, ..good }), Err(TraceError::TooLate { at }));
        trace.push(Passage { at: MAX_TIME, size: u16::MAX, ..good }).unwrap();
        assert_eq!((trace.len(), trace.duration(), trace.bytes(Direction::Upload)), (2, MAX_TIME, 65_536));
        assert_eq!(trace.bytes(Direction::Download), 0);
    }
}
