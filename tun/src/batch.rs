//! A reusable buffer of IP packets: filled by one side, drained by the other, never reallocated.

#[cfg(not(target_os = "linux"))]
use crate::no_offload::{Cut, HEADER};
#[cfg(target_os = "linux")]
use crate::offload::segment::{self, Cut};
#[cfg(target_os = "linux")]
use crate::offload::{HEADER, VirtioHeader};

/// Largest IP packet, in bytes, that a batch takes (the 16-bit length field of IPv4).
pub const MAX_PACKET: usize = 65_535;

/// Room behind each packet, in bytes, in which its reader may write: WireGuard pads to 16 bytes.
const TAIL_ROOM: usize = 16;

/// Most packets in one batch.
const MAX_PACKETS: usize = 128;

/// Size of the buffer, in bytes: 128 packets of Ethernet size, or at least four of the largest.
const CAPACITY: usize = 4 * SPACE;

/// What the largest entry takes: the packet, its tail room, and the header that offload puts before it.
const SPACE: usize = MAX_PACKET + TAIL_ROOM + HEADER;

const _: () = assert!(CAPACITY >= MAX_PACKETS * (1_500 + TAIL_ROOM));

/// Up to 128 entries in one buffer of 256 KiB: IP packets, or bursts that segmentation offload brought.
///
/// A burst is several packets of one flow that share one set of headers until [`next_packet`](Self::next_packet) cuts
/// them apart, in place. Only a device with offload reads bursts; what is [pushed](Self::push) is always one packet.
#[derive(Debug)]
pub struct PacketBatch {
    buffer: Box<[u8]>,
    entries: Vec<Entry>,
    /// Where the next entry starts.
    end: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    start: usize,
    length: usize,
    /// How it is cut, if it is a burst.
    cut: Option<Cut>,
    /// Packets that were taken.
    taken: usize,
    /// What stood behind the packet that was taken last: the start of the next one's payload.
    behind: [u8; TAIL_ROOM],
}

impl Default for PacketBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl PacketBatch {
    /// Returns an empty batch, its buffer allocated.
    pub fn new() -> Self {
        Self { buffer: vec![0; CAPACITY].into_boxed_slice(), entries: Vec::with_capacity(MAX_PACKETS), end: 0 }
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Tells whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Tells whether a packet of the largest size might not fit any more.
    pub fn is_full(&self) -> bool {
        self.entries.len() == MAX_PACKETS || self.end + SPACE > self.buffer.len()
    }

    /// Tells whether so many packets, of at most [`MAX_PACKET`] bytes together, fit for certain.
    pub fn has_room_for(&self, packets: usize) -> bool {
        self.entries.len() + packets <= MAX_PACKETS
            && self.end + MAX_PACKET + packets * (TAIL_ROOM + HEADER) + SPACE <= self.buffer.len()
    }

    /// Removes every entry.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.end = 0;
    }

    /// Returns the place for the next packet: at least [`MAX_PACKET`] bytes, with whatever was there before.
    /// What is written there counts only after [`commit`](Self::commit).
    ///
    /// # Panics
    /// Panics if the batch [is full](Self::is_full).
    pub fn space(&mut self) -> &mut [u8] {
        assert!(!self.is_full(), "a full batch has no space for another packet");
        &mut self.buffer[self.end..]
    }

    /// Takes the first `len` bytes of [`space`](Self::space) as the next packet.
    ///
    /// # Panics
    /// Panics if the batch is full, or `len` is over [`MAX_PACKET`].
    pub fn commit(&mut self, len: usize) {
        self.commit_entry(0, len, None);
    }

    fn commit_entry(&mut self, offset: usize, length: usize, cut: Option<Cut>) {
        assert!(!self.is_full(), "a full batch takes no more packets");
        assert!(length <= MAX_PACKET, "a packet is at most {MAX_PACKET} bytes");
        let start = self.end + offset;
        self.entries.push(Entry { start, length, cut, taken: 0, behind: [0; TAIL_ROOM] });
        self.end = start + length + TAIL_ROOM;
    }

    /// Copies `packet` to the end of the batch.
    ///
    /// # Panics
    /// Panics if the batch is full, or the packet is over [`MAX_PACKET`] bytes.
    pub fn push(&mut self, packet: &[u8]) {
        self.space()[..packet.len()].copy_from_slice(packet);
        self.commit(packet.len());
    }

    /// Returns the entries, in order. Of a burst, the IP addresses at its start are those of all its packets, and
    /// nothing else may be relied on.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().map(|entry| &self.buffer[entry.start..entry.start + entry.length])
    }

    /// Takes the next packet of entry `index`: the first, then each that follows in the burst, `None` when all are
    /// taken. Returns it with 16 bytes of room behind it, in which the caller may write, and its own length.
    ///
    /// # Panics
    /// Panics if there is no such entry.
    pub fn next_packet(&mut self, index: usize) -> Option<(&mut [u8], usize)> {
        let entry = &mut self.entries[index];
        let end = entry.start + entry.length;
        let Some(cut) = entry.cut else {
            let is_first = entry.taken == 0;
            entry.taken = 1;
            return is_first.then(|| (&mut self.buffer[entry.start..end + TAIL_ROOM], entry.length));
        };
        if let Some(before) = entry.taken.checked_sub(1) {
            // The last packet of the burst has nothing of it behind.
            let behind = cut.end_of(before, entry.length);
            let place = entry.start + behind..entry.start + behind + TAIL_ROOM;
            self.buffer[place].copy_from_slice(&entry.behind);
        }
        let place = cut.packet(&mut self.buffer[entry.start..end], entry.taken)?;
        entry.taken += 1;
        let start = entry.start + place.start;
        let tail = start + place.len();
        entry.behind.copy_from_slice(&self.buffer[tail..tail + TAIL_ROOM]);
        Some((&mut self.buffer[start..tail + TAIL_ROOM], place.len()))
    }
}

/// What a device with offload asks for.
#[cfg(target_os = "linux")]
impl PacketBatch {
    /// Returns the bytes of all entries together.
    pub(crate) fn bytes(&self) -> usize {
        self.end
    }

    /// Takes the first `len` bytes of [`space`](Self::space) as a [`VirtioHeader`] and what it stands before; nothing if
    /// they do not fit together.
    pub(crate) fn commit_offloaded(&mut self, len: usize) -> Result<(), segment::Malformed> {
        let (header, packet) = self.space()[..len].split_first_chunk_mut().ok_or(segment::Malformed)?;
        if packet.len() > MAX_PACKET {
            return Err(segment::Malformed);
        }
        let cut = segment::prepare(&VirtioHeader::from_bytes(header), packet)?;
        self.commit_entry(HEADER, len - HEADER, cut);
        Ok(())
    }

    /// Returns the bytes of entry `index`.
    pub(crate) fn entry(&self, index: usize) -> &[u8] {
        let Entry { start, length, .. } = self.entries[index];
        &self.buffer[start..start + length]
    }

    pub(crate) fn entry_mut(&mut self, index: usize) -> &mut [u8] {
        let Entry { start, length, .. } = self.entries[index];
        &mut self.buffer[start..start + length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_back_in_order_and_unharmed_by_writes_behind_a_neighbour() {
        let mut batch = PacketBatch::new();
        batch.push(&[1; 20]);
        batch.push(&[2; 1]);
        batch.push(&[3; MAX_PACKET]);
        let (first, len) = batch.next_packet(0).unwrap();
        first[len..].fill(0xee);
        assert!(batch.next_packet(0).is_none(), "a packet is taken once");
        let packets: Vec<_> = batch.iter().collect();
        assert_eq!(packets, [&[1u8; 20][..], &[2], &[3; MAX_PACKET]]);
    }

    #[test]
    fn a_batch_that_is_not_full_takes_a_packet_of_any_size() {
        let mut batch = PacketBatch::new();
        let mut count = 0;
        while !batch.is_full() {
            batch.push(&[0; MAX_PACKET]);
            count += 1;
        }
        assert_eq!(count, 4);
        batch.clear();
        while !batch.is_full() {
            batch.push(&[0; 40]);
        }
        assert_eq!(batch.len(), MAX_PACKETS);
    }

    #[test]
    fn what_is_written_but_not_committed_is_no_packet() {
        let mut batch = PacketBatch::new();
        batch.space()[..4].copy_from_slice(b"gone");
        assert!(batch.is_empty());
        assert_eq!(batch.iter().count(), 0);
    }
}
