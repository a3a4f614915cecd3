//! A reusable buffer of IP packets: filled by one side, drained by the other, never reallocated.

/// Largest IP packet, in bytes, that a batch takes (the 16-bit length field of IPv4).
pub const MAX_PACKET: usize = 65_535;

/// Room behind each packet, in bytes, in which its reader may write: WireGuard pads to 16 bytes.
const TAIL_ROOM: usize = 16;

/// Most packets in one batch.
const MAX_PACKETS: usize = 128;

/// Size of the buffer, in bytes: 128 packets of Ethernet size, or at least four of the largest.
const CAPACITY: usize = 4 * (MAX_PACKET + TAIL_ROOM);

const _: () = assert!(CAPACITY >= MAX_PACKETS * (1_500 + TAIL_ROOM));

/// Up to 128 IP packets in one buffer of 256 KiB.
#[derive(Debug)]
pub struct PacketBatch {
    buffer: Box<[u8]>,
    /// Where each packet starts, and its length.
    packets: Vec<(usize, usize)>,
    /// Where the next packet starts.
    end: usize,
}

impl Default for PacketBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl PacketBatch {
    /// Returns an empty batch, its buffer allocated.
    pub fn new() -> Self {
        Self { buffer: vec![0; CAPACITY].into_boxed_slice(), packets: Vec::with_capacity(MAX_PACKETS), end: 0 }
    }

    /// Returns the number of packets.
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Tells whether there is no packet.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Tells whether a packet of the largest size might not fit any more.
    pub fn is_full(&self) -> bool {
        self.packets.len() == MAX_PACKETS || self.end + MAX_PACKET + TAIL_ROOM > self.buffer.len()
    }

    /// Removes every packet.
    pub fn clear(&mut self) {
        self.packets.clear();
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
        assert!(!self.is_full(), "a full batch takes no more packets");
        assert!(len <= MAX_PACKET, "a packet is at most {MAX_PACKET} bytes");
        self.packets.push((self.end, len));
        self.end += len + TAIL_ROOM;
    }

    /// Copies `packet` to the end of the batch.
    ///
    /// # Panics
    /// Panics if the batch is full, or the packet is over [`MAX_PACKET`] bytes.
    pub fn push(&mut self, packet: &[u8]) {
        self.space()[..packet.len()].copy_from_slice(packet);
        self.commit(packet.len());
    }

    /// Returns the packets, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.packets.iter().map(|&(start, len)| &self.buffer[start..start + len])
    }

    /// Returns packet `index` with 16 bytes of room behind it, and the packet's own length.
    ///
    /// # Panics
    /// Panics if there is no such packet.
    pub fn get_mut(&mut self, index: usize) -> (&mut [u8], usize) {
        let (start, len) = self.packets[index];
        (&mut self.buffer[start..start + len + TAIL_ROOM], len)
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
        let (first, len) = batch.get_mut(0);
        first[len..].fill(0xee);
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
