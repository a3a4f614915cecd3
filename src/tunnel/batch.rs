//! The outgoing batch: datagrams sealed one behind the other in one buffer, ready for segmentation offload.

use super::{Ecn, MAX_DATAGRAM};

/// Most datagrams in one batch.
pub(super) const MAX_DATAGRAMS: usize = 128;

/// Size of the buffer, in bytes: 128 datagrams of Ethernet size, or at least three of the largest.
const CAPACITY: usize = 4 * MAX_DATAGRAM;

/// Most bytes in one run: what one UDP send takes over IPv4 (65,535 less the IP and UDP headers).
const MAX_RUN: usize = 65_507;

const _: () = assert!(CAPACITY >= MAX_DATAGRAMS * 1_500);
const _: () = assert!(MAX_RUN <= MAX_DATAGRAM);

/// How a datagram leaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    /// The mark of its outer header.
    pub ecn: Ecn,
    /// Whether it leaves whole or not at all, whatever the system takes the path for: it is to show that it passes.
    pub is_whole: bool,
}

impl From<Ecn> for Mark {
    fn from(ecn: Ecn) -> Self {
        Self { ecn, is_whole: false }
    }
}

/// Up to 128 datagrams for one peer, in one buffer of 256 KiB.
///
/// A tunnel seals straight into the buffer; the driver sends [runs](Self::runs) of equal size with one system call each.
#[derive(Debug)]
pub struct DatagramBatch {
    buffer: Box<[u8]>,
    lengths: Vec<usize>,
    /// How each one leaves.
    marks: Vec<Mark>,
    end: usize,
    /// Most datagrams with normal packets in them, and with padding: see [`set_room`](Self::set_room).
    room: usize,
    padding_room: usize,
}

impl Default for DatagramBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl DatagramBatch {
    /// Returns an empty batch, its buffer allocated.
    pub fn new() -> Self {
        Self {
            buffer: vec![0; CAPACITY].into_boxed_slice(),
            lengths: Vec::with_capacity(MAX_DATAGRAMS),
            marks: Vec::with_capacity(MAX_DATAGRAMS),
            end: 0,
            room: usize::MAX,
            padding_room: usize::MAX,
        }
    }

    /// Returns the number of datagrams.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Tells whether there is no datagram.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Tells whether a datagram of the largest size might not fit any more.
    pub fn is_full(&self) -> bool {
        self.lengths.len() == MAX_DATAGRAMS || self.end + MAX_DATAGRAM > self.buffer.len()
    }

    /// Says how many datagrams may leave now: normal packets are sealed while there are fewer than `normal` in the batch,
    /// padding while there are fewer than `padding`. Normal packets without room wait, padding without room is dropped;
    /// handshakes and answers take what [`is_full`](Self::is_full) leaves them. It holds until the batch is cleared.
    pub fn set_room(&mut self, normal: usize, padding: usize) {
        self.room = normal;
        self.padding_room = padding;
    }

    /// Tells whether one more datagram with normal packets may be sealed.
    pub fn has_room(&self) -> bool {
        self.len() < self.room && !self.is_full()
    }

    /// Tells whether one more padding packet may be sealed.
    pub fn has_padding_room(&self) -> bool {
        self.len() < self.padding_room && !self.is_full()
    }

    /// Removes every datagram. There is room for as many as the batch holds, until [`set_room`](Self::set_room) says other.
    pub fn clear(&mut self) {
        self.lengths.clear();
        self.marks.clear();
        self.end = 0;
        self.set_room(usize::MAX, usize::MAX);
    }

    /// Removes every datagram, as one that is not to leave any more; the room stays. What was written to the place of the
    /// next one, of `length` bytes, is at the place of the first then.
    /// Returns how many bytes they had.
    #[must_use]
    pub(super) fn forget_but_next(&mut self, length: usize) -> u64 {
        let forgotten = self.iter().map(|datagram| datagram.len() as u64).sum();
        self.buffer.copy_within(self.end..self.end + length, 0);
        self.lengths.clear();
        self.marks.clear();
        self.end = 0;
        forgotten
    }

    /// Returns the place of the next datagram, at least 65,567 bytes of it.
    pub(super) fn space(&mut self) -> &mut [u8] {
        debug_assert!(!self.is_full());
        &mut self.buffer[self.end..]
    }

    /// Takes the first `len` bytes of the space as the next datagram.
    pub(super) fn commit(&mut self, len: usize) {
        self.commit_marked(len, Mark::default());
    }

    /// Does the same for a datagram that leaves whole or not at all.
    pub(super) fn commit_whole(&mut self, len: usize) {
        self.commit_marked(len, Mark { is_whole: true, ..Mark::default() });
    }

    /// Does the same for a datagram that leaves as `mark` says.
    pub(super) fn commit_marked(&mut self, len: usize, mark: Mark) {
        self.lengths.push(len);
        self.marks.push(mark);
        self.end += len;
    }

    /// Returns the datagrams, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.lengths.iter().map(move |&len| {
            let datagram = &self.buffer[start..start + len];
            start += len;
            datagram
        })
    }

    /// Returns the datagrams from the one at `first` on, in order, and how each leaves.
    pub fn marked_from(&self, first: usize) -> impl Iterator<Item = (&[u8], Mark)> {
        self.iter().zip(self.marks.iter().copied()).skip(first)
    }

    /// Returns the datagrams as runs that segmentation offload can send at once: all of one size and mark, but
    /// for a last one that may be shorter; at most `max_segments` datagrams and 65,507 bytes each.
    pub fn runs(&self, max_segments: usize) -> Runs<'_> {
        Runs { batch: self, next: 0, start: 0, max_segments: max_segments.max(1) }
    }
}

/// Several datagrams that lie one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run<'a> {
    /// The bytes of all.
    pub contents: &'a [u8],
    /// The size of each but the last, in bytes.
    pub segment_size: usize,
    /// How every one leaves.
    pub mark: Mark,
}

impl<'a> Run<'a> {
    /// Returns the datagrams, in order.
    pub fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.contents.chunks(self.segment_size)
    }

    /// Returns the run without its first `count` datagrams.
    pub fn behind(&self, count: usize) -> Self {
        let start = (count * self.segment_size).min(self.contents.len());
        Self { contents: &self.contents[start..], ..*self }
    }
}

/// Iterator over the runs of a batch.
#[derive(Debug)]
pub struct Runs<'a> {
    batch: &'a DatagramBatch,
    /// Index of the next datagram, and where it starts.
    next: usize,
    start: usize,
    max_segments: usize,
}

impl<'a> Iterator for Runs<'a> {
    type Item = Run<'a>;

    fn next(&mut self) -> Option<Run<'a>> {
        let lengths = &self.batch.lengths[self.next..];
        let &segment_size = lengths.first()?;
        let marks = &self.batch.marks[self.next..];
        let first = marks[0];
        let (mut segments, mut bytes) = (0, 0);
        for (&len, &mark) in lengths.iter().zip(marks).take(self.max_segments) {
            if mark != first || len > segment_size || (segments > 0 && bytes + len > MAX_RUN) {
                break;
            }
            segments += 1;
            bytes += len;
            if len < segment_size {
                break;
            }
        }
        let contents = &self.batch.buffer[self.start..self.start + bytes];
        self.next += segments;
        self.start += bytes;
        Some(Run { contents, segment_size, mark: first })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch_of(lengths: &[usize]) -> DatagramBatch {
        let mut batch = DatagramBatch::new();
        for (i, &len) in lengths.iter().enumerate() {
            batch.space()[..len].fill(i as u8);
            batch.commit(len);
        }
        batch
    }

    #[test]
    fn equal_sizes_make_one_run_and_a_shorter_one_ends_it() {
        let batch = batch_of(&[100, 100, 60, 100, 120, 120]);
        let sizes: Vec<_> = batch.runs(64).map(|run| (run.contents.len(), run.segment_size)).collect();
        assert_eq!(sizes, [(260, 100), (100, 100), (240, 120)]);
    }

    #[test]
    fn a_run_holds_no_more_than_the_kernel_takes() {
        let batch = batch_of(&[1_452; 100]);
        for run in batch.runs(64) {
            assert!(run.contents.len() <= MAX_RUN);
            assert!(run.datagrams().count() <= 64);
        }
        assert!(batch.runs(1).all(|run| run.contents.len() == 1_452));
    }

    #[test]
    fn room_is_for_normal_packets_and_for_padding_apart_until_the_batch_is_cleared() {
        let mut batch = batch_of(&[100, 100]);
        batch.set_room(2, 3);
        assert!(!batch.has_room() && batch.has_padding_room() && !batch.is_full());
        batch.commit(100);
        assert!(!batch.has_padding_room() && !batch.is_full());
        batch.clear();
        assert!(batch.has_room() && batch.has_padding_room());
        assert!(!batch_of(&[100; MAX_DATAGRAMS]).has_room());
    }

    proptest! {
        #[test]
        fn runs_hold_every_datagram_once_and_in_order(
            lengths in prop::collection::vec(prop_oneof![Just(1_452usize), 32..2_000usize], 0..120),
            max_segments in 1..70usize,
        ) {
            let batch = batch_of(&lengths);
            let sent: Vec<_> = batch.runs(max_segments).flat_map(|run| run.datagrams().collect::<Vec<_>>()).collect();
            let expected: Vec<_> = batch.iter().collect();
            prop_assert_eq!(sent, expected);
        }
    }
}
