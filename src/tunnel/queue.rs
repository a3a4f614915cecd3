//! The queue layer: plaintext IP packets that were accepted and are not yet sealed.
//!
//! While a session exists and nothing blocks, the queue stays empty and packets pass it by. They wait here as plaintext,
//! so that whatever they wait for, they are sealed in order at the moment they leave.

use std::collections::VecDeque;

/// Most packets that wait for one peer.
pub const MAX_QUEUED_PACKETS: usize = 1_024;

/// Most bytes that wait for one peer: 1,024 packets of Ethernet size.
pub const MAX_QUEUED_BYTES: usize = MAX_QUEUED_PACKETS * 1_500;

/// A bounded first-in, first-out queue of IP packets.
#[derive(Debug, Default)]
pub(super) struct Queue {
    packets: VecDeque<Vec<u8>>,
    bytes: usize,
}

/// Says that the queue had no room, and the packet was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueFull;

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.packets.len()
    }

    /// Appends a copy of `packet`.
    pub(super) fn push(&mut self, packet: &[u8]) -> Result<(), QueueFull> {
        if self.packets.len() == MAX_QUEUED_PACKETS || self.bytes + packet.len() > MAX_QUEUED_BYTES {
            return Err(QueueFull);
        }
        self.bytes += packet.len();
        self.packets.push_back(packet.to_vec());
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        let packet = self.packets.pop_front()?;
        self.bytes -= packet.len();
        Some(packet)
    }

    /// Empties the queue, and returns how many packets were in it.
    pub(super) fn clear(&mut self) -> usize {
        self.bytes = 0;
        let count = self.packets.len();
        self.packets = VecDeque::new();
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_leave_in_the_order_they_came() {
        let mut queue = Queue::default();
        for i in 0..10u8 {
            queue.push(&[i; 20]).unwrap();
        }
        assert_eq!(
            (0..10u8).map(|i| vec![i; 20]).collect::<Vec<_>>(),
            std::iter::from_fn(|| queue.pop()).collect::<Vec<_>>()
        );
    }

    #[test]
    fn packets_are_bounded_in_number() {
        let mut queue = Queue::default();
        for _ in 0..MAX_QUEUED_PACKETS {
            queue.push(&[0; 20]).unwrap();
        }
        assert_eq!(queue.push(&[0; 20]), Err(QueueFull));
        queue.pop();
        assert_eq!(queue.push(&[0; 20]), Ok(()));
    }

    #[test]
    fn packets_are_bounded_in_bytes() {
        let mut queue = Queue::default();
        let mut taken = 0;
        while queue.push(&[0; 9_000]).is_ok() {
            taken += 9_000;
        }
        assert!(taken <= MAX_QUEUED_BYTES && taken + 9_000 > MAX_QUEUED_BYTES);
        assert_eq!(queue.clear(), taken / 9_000);
        assert_eq!(queue.push(&[0; 9_000]), Ok(()));
    }
}
