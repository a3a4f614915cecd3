//! The queue layer: plaintext that was accepted and is not yet sealed.
//!
//! While a session exists and nothing blocks, the queue stays empty and packets pass it by. They wait here as plaintext,
//! so that whatever they wait for, they are sealed in order at the moment they leave.

use std::collections::VecDeque;
use std::time::Instant;

use super::departure::Class;

/// Most packets that wait for one peer, normal and padding together, so that the number that leaves in the end does not say
/// which they were: a normal packet that finds no room takes the place of the last padding.
pub const MAX_QUEUED_PACKETS: usize = 1_024;

/// Most bytes of normal packets that wait for one peer: 1,024 packets of Ethernet size.
pub const MAX_QUEUED_BYTES: usize = MAX_QUEUED_PACKETS * 1_500;

/// What waits to be sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// A normal packet.
    Packet(Vec<u8>),
    /// A padding packet, which needs no bytes until it is sealed.
    Padding,
    /// A keepalive that waits for the gate.
    Keepalive,
}

/// A bounded first-in, first-out queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    items: VecDeque<Item>,
    /// Since when each normal packet has waited.
    since: VecDeque<Instant>,
    packets: usize,
    bytes: usize,
    high_water: usize,
}

/// Says that the queue had no room, and the item was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueFull;

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns of what class the first that waits is.
    pub(super) fn first(&self) -> Option<Class> {
        self.items.front().map(|item| match item {
            Item::Packet(_) => Class::User,
            Item::Padding => Class::Padding,
            Item::Keepalive => Class::Keepalive,
        })
    }

    /// Returns how many normal packets wait.
    pub(super) fn packets(&self) -> usize {
        self.packets
    }

    /// Returns the most normal packets that ever waited at once.
    pub(super) fn high_water(&self) -> usize {
        self.high_water
    }

    /// Tells whether `packets` more of Ethernet size would be taken.
    pub(super) fn has_room_for(&self, packets: usize) -> bool {
        self.packets + packets <= MAX_QUEUED_PACKETS && self.bytes + packets * 1_500 <= MAX_QUEUED_BYTES
    }

    /// Appends a copy of `packet`, which waits from `now` on.
    pub(super) fn push(&mut self, packet: &[u8], now: Instant) -> Result<(), QueueFull> {
        if self.packets == MAX_QUEUED_PACKETS || self.bytes + packet.len() > MAX_QUEUED_BYTES {
            return Err(QueueFull);
        }
        if self.items.len() >= MAX_QUEUED_PACKETS
            && let Some(last) = self.items.iter().rposition(|item| !matches!(item, Item::Packet(_)))
        {
            self.items.remove(last);
        }
        self.packets += 1;
        self.bytes += packet.len();
        self.high_water = self.high_water.max(self.packets);
        self.items.push_back(Item::Packet(packet.to_vec()));
        self.since.push_back(now);
        Ok(())
    }

    /// Appends a padding packet.
    pub(super) fn push_padding(&mut self) -> Result<(), QueueFull> {
        if self.items.len() >= MAX_QUEUED_PACKETS {
            return Err(QueueFull);
        }
        self.items.push_back(Item::Padding);
        Ok(())
    }

    /// Appends a keepalive, if nothing waits: whatever waits serves as one.
    pub(super) fn push_keepalive(&mut self) {
        if self.items.is_empty() {
            self.items.push_back(Item::Keepalive);
        }
    }

    /// Tells whether all that waits are normal packets, of at most `room` bytes together, and fewer than `most`.
    pub(super) fn fits_whole(&self, room: usize, most: usize) -> bool {
        self.packets == self.items.len() && self.packets < most && self.bytes <= room
    }

    /// Returns how many normal packets at the front have at most `room` bytes together; no more than `most`.
    pub(super) fn fitting(&self, room: usize, most: usize) -> usize {
        let lengths = self.items.iter().map_while(|item| match item {
            Item::Packet(packet) => Some(packet.len()),
            Item::Padding | Item::Keepalive => None,
        });
        let mut left = room;
        let fits = |length: &usize| left.checked_sub(*length).map(|rest| left = rest).is_some();
        lengths.take(most).take_while(fits).count()
    }

    /// Takes the normal packet at the front, and appends it to `bytes`; nothing if there is none.
    pub(super) fn pop_into(&mut self, bytes: &mut Vec<u8>) {
        if let Some(Item::Packet(_)) = self.items.front()
            && let Some(Item::Packet(packet)) = self.pop()
        {
            bytes.extend_from_slice(&packet);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        if let Item::Packet(packet) = &item {
            self.packets -= 1;
            self.bytes -= packet.len();
            self.since.pop_front();
        }
        Some(item)
    }

    /// Returns since when the first of the normal packets has waited.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.since.front().copied()
    }

    /// Removes the normal packets that have waited since `limit` or longer, and returns how many they were.
    pub(super) fn expire(&mut self, limit: Instant) -> usize {
        let expired = self.since.iter().take_while(|since| **since <= limit).count();
        self.since.drain(..expired);
        let (mut left, mut bytes) = (expired, 0);
        self.items.retain(|item| match item {
            Item::Packet(packet) if left > 0 => {
                left -= 1;
                bytes += packet.len();
                false
            }
            Item::Packet(_) | Item::Padding | Item::Keepalive => true,
        });
        self.packets -= expired;
        self.bytes -= bytes;
        expired
    }

    /// Removes what is no packet of the user's.
    pub(super) fn drop_padding(&mut self) {
        self.items.retain(|item| matches!(item, Item::Packet(_)));
    }

    /// Empties the queue, and returns how many normal packets were in it.
    pub(super) fn clear(&mut self) -> usize {
        let packets = self.packets;
        *self = Self { high_water: self.high_water, ..Self::default() };
        packets
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Appends a packet of which the test does not care how long it waits.
    fn push(queue: &mut Queue, packet: &[u8]) -> Result<(), QueueFull> {
        queue.push(packet, Instant::now())
    }

    #[test]
    fn packets_that_waited_too_long_are_removed_and_nothing_else() {
        let (mut queue, start) = (Queue::default(), Instant::now());
        for second in 0..4u8 {
            queue.push(&[second; 20], start + Duration::from_secs(second.into())).unwrap();
            queue.push_padding().unwrap();
        }
        assert_eq!(queue.expire(start + Duration::from_millis(1_999)), 2);
        assert_eq!(queue.oldest(), Some(start + Duration::from_secs(2)));
        assert_eq!((queue.packets(), queue.bytes, queue.items.len()), (2, 40, 6));
        let packets = std::iter::from_fn(|| queue.pop()).filter(|item| matches!(item, Item::Packet(_)));
        assert_eq!(packets.collect::<Vec<_>>(), [Item::Packet(vec![2; 20]), Item::Packet(vec![3; 20])]);
        assert_eq!((queue.oldest(), queue.expire(start + Duration::from_secs(9))), (None, 0));
    }

    #[test]
    fn items_leave_in_the_order_they_came() {
        let mut queue = Queue::default();
        push(&mut queue, &[1; 20]).unwrap();
        queue.push_padding().unwrap();
        push(&mut queue, &[2; 20]).unwrap();
        let items: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(items, [Item::Packet(vec![1; 20]), Item::Padding, Item::Packet(vec![2; 20])]);
    }

    #[test]
    fn packets_are_bounded_in_number() {
        let mut queue = Queue::default();
        for _ in 0..MAX_QUEUED_PACKETS {
            push(&mut queue, &[0; 20]).unwrap();
        }
        assert_eq!(push(&mut queue, &[0; 20]), Err(QueueFull));
        queue.pop();
        assert_eq!(push(&mut queue, &[0; 20]), Ok(()));
        assert_eq!(queue.high_water(), MAX_QUEUED_PACKETS);
    }

    #[test]
    fn packets_are_bounded_in_bytes() {
        let mut queue = Queue::default();
        let mut taken = 0;
        while push(&mut queue, &[0; 9_000]).is_ok() {
            taken += 9_000;
        }
        assert!(taken <= MAX_QUEUED_BYTES && taken + 9_000 > MAX_QUEUED_BYTES);
        assert_eq!(queue.clear(), taken / 9_000);
        assert_eq!(push(&mut queue, &[0; 9_000]), Ok(()));
    }

    #[test]
    fn padding_has_the_room_that_packets_leave_and_can_be_dropped() {
        let mut queue = Queue::default();
        push(&mut queue, &[7; 20]).unwrap();
        for _ in 1..MAX_QUEUED_PACKETS {
            queue.push_padding().unwrap();
        }
        assert_eq!(queue.push_padding(), Err(QueueFull));
        assert_eq!(push(&mut queue, &[8; 20]), Ok(()));
        assert_eq!((queue.items.len(), queue.packets()), (MAX_QUEUED_PACKETS, 2), "in the place of padding");
        queue.drop_padding();
        let items: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(items, [Item::Packet(vec![7; 20]), Item::Packet(vec![8; 20])]);
    }
}
