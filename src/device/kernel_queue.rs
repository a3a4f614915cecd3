//! How much the kernel may hold unsent of what one socket was given: about a millisecond of what it gets rid of.
//!
//! What the kernel holds leaves whatever a defense says: in the middle of blocking, and before padding that is due. So
//! while a peer is defended the socket's send buffer is kept small. Linux charges each datagram to its socket until it
//! has left the machine, by the memory that it takes ([`charge`]). A buffer set to `v` bytes (`SO_SNDBUF`, socket(7)) is
//! in truth twice that: the socket is writable (poll(2)) while less than `v` is charged, and takes datagrams until `2 v`
//! are. Normal packets are sent while it is writable, padding and handshakes as long as it takes them: they wait behind
//! no more than `2 v`.
//!
//! The rate is that of what the socket took in the last [`WINDOW`]: while it is kept full, it takes what it gets rid of.

use std::time::{Duration, Instant};

/// How much of the rate the kernel may hold for normal packets; padding may add as much.
const HOLD: Duration = Duration::from_millis(1);

/// Over which the rate is measured. What a token bucket lets through at once counts in it, so it is not short.
const WINDOW: Duration = Duration::from_millis(20);

/// The least that may be charged, in bytes: one datagram of Ethernet size, which is also the least that Linux lets a buffer
/// be set to.
const LEAST: usize = 2_304;

/// A socket that is full for so long may hold what does not leave, for a host that does not answer: others must not wait.
const PATIENCE: Duration = Duration::from_millis(20);

/// By which part of what the socket takes the allowance for stuck datagrams shrinks: some of them may have left.
const STUCK_DECAY: usize = 16;

/// Returns the bytes of memory that a datagram of `length` bytes of payload is charged with: its buffer, with room for
/// headers and the kernel's own records, as large as its allocator makes it.
pub(super) fn charge(length: usize) -> usize {
    (length + 400).next_power_of_two() + 256
}

/// The bookkeeping of one socket's send buffer.
#[derive(Debug)]
pub(super) struct KernelQueue {
    /// What may be charged, in bytes; at most `most`.
    limit: usize,
    most: usize,
    window: Window,
    full: Option<Full>,
    /// Bytes that are charged and do not leave.
    stuck: usize,
}

/// What the socket took lately.
#[derive(Debug, Default)]
struct Window {
    started: Option<Instant>,
    accepted: usize,
    was_full: bool,
}

/// A time for which the socket was not writable.
#[derive(Debug, Clone, Copy)]
struct Full {
    since: Instant,
    /// What was charged then, if it was measured.
    charged: Option<usize>,
}

/// What is to be done about a socket that is not writable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Advice {
    /// Wait until it is.
    Wait,
    /// Measure what is charged, and say so with [`KernelQueue::measured`].
    Measure,
}

impl KernelQueue {
    /// Returns the books of a socket whose rate is not known yet. At most `most` bytes are charged to it.
    pub(super) fn new(most: usize) -> Self {
        Self { limit: LEAST, most: most.max(LEAST), window: Window::default(), full: None, stuck: 0 }
    }

    /// Returns what the send buffer is to be set to, in bytes.
    pub(super) fn allowance(&self) -> usize {
        (self.limit + self.stuck).min(self.most)
    }

    /// Returns how many datagrams of `length` bytes a writable socket may be given at once, at least one.
    pub(super) fn room(&self, length: usize) -> usize {
        (self.limit / charge(length)).max(1)
    }

    /// Notes that the socket was given datagrams, charged with `bytes` together, at `now`.
    pub(super) fn accept(&mut self, bytes: usize, now: Instant) {
        self.turn(now);
        self.window.accepted += bytes;
        self.stuck = self.stuck.saturating_sub(bytes / STUCK_DECAY);
        // It rises at once.
        self.limit = self.limit.max(self.measured_limit());
    }

    /// Notes that the socket was found writable.
    pub(super) fn found_writable(&mut self, now: Instant) {
        self.turn(now);
        self.full = None;
    }

    /// Notes that the socket was not found writable.
    pub(super) fn found_full(&mut self, now: Instant) -> Advice {
        self.turn(now);
        self.window.was_full = true;
        let full = self.full.get_or_insert(Full { since: now, charged: None });
        let is_due = now.saturating_duration_since(full.since) >= PATIENCE / 2;
        if is_due { Advice::Measure } else { Advice::Wait }
    }

    /// Notes what is charged, in bytes. If as much was before, it is stuck, and may stay on top of the limit.
    pub(super) fn measured(&mut self, charged: usize, now: Instant) {
        if self.full.and_then(|full| full.charged).is_some_and(|before| charged >= before) {
            self.stuck = charged;
        }
        self.full = Some(Full { since: now, charged: Some(charged) });
    }

    /// Ends a window that is over: the limit falls to what was measured in it, by half at most, if that was all that the
    /// socket got rid of. After a pause, and beside what is stuck, it stays what it was.
    fn turn(&mut self, now: Instant) {
        let started = *self.window.started.get_or_insert(now);
        if now.saturating_duration_since(started) < WINDOW {
            return;
        }
        if self.window.was_full && self.stuck == 0 {
            self.limit = self.measured_limit().max(self.limit / 2);
        }
        self.window = Window { started: Some(now), ..Window::default() };
    }

    fn measured_limit(&self) -> usize {
        let share = WINDOW.as_micros() / HOLD.as_micros();
        (self.window.accepted / share as usize).clamp(LEAST, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 4 << 20;
    const DATAGRAM: usize = 1_452;

    /// A link in virtual time, and a sender that always has something for it.
    struct Link {
        queue: KernelQueue,
        now: Instant,
        charged: usize,
        /// Charged bytes that leave in a millisecond; none of them while the link is dead.
        rate: usize,
        fraction: usize,
        /// What stays for ever.
        dead: usize,
    }

    impl Link {
        /// `rate` is in datagrams a second.
        fn new(rate: usize) -> Self {
            let rate = rate * charge(DATAGRAM) / 1_000;
            Self { queue: KernelQueue::new(MOST), now: Instant::now(), charged: 0, rate, fraction: 0, dead: 0 }
        }

        /// Lets time pass in steps of 100 µs, filling the socket as far as it goes, and returns how many datagrams it took.
        fn flood(&mut self, time: Duration) -> usize {
            let mut taken = 0;
            for _ in 0..time.as_micros() / 100 {
                self.now += Duration::from_micros(100);
                self.drain();
                while self.has_room() {
                    let count = self.queue.room(DATAGRAM);
                    self.charged += count * charge(DATAGRAM);
                    self.queue.accept(count * charge(DATAGRAM), self.now);
                    taken += count;
                }
            }
            taken
        }

        fn drain(&mut self) {
            self.fraction += self.rate;
            let whole = self.fraction / 10 / charge(DATAGRAM) * charge(DATAGRAM);
            self.fraction -= whole * 10;
            self.charged = self.charged.saturating_sub(whole);
        }

        fn has_room(&mut self) -> bool {
            let charged = self.charged + self.dead;
            if charged < self.queue.allowance() {
                self.queue.found_writable(self.now);
                return true;
            }
            if self.queue.found_full(self.now) == Advice::Measure {
                self.queue.measured(charged, self.now);
            }
            charged < self.queue.allowance()
        }
    }

    #[test]
    fn a_datagram_of_ethernet_size_is_charged_as_linux_does() {
        assert_eq!([1_452, 1_472, 148].map(charge), [2_304, 2_304, 1_280]);
    }

    #[test]
    fn a_slow_link_holds_one_datagram() {
        let mut link = Link::new(418);
        let taken = link.flood(Duration::from_secs(2));
        assert_eq!(link.queue.allowance(), LEAST);
        assert!((820..=840).contains(&taken), "{taken}: all that the link carries");
    }

    #[test]
    fn a_fast_link_holds_a_millisecond_and_is_used_whole() {
        let mut link = Link::new(80_000);
        link.flood(Duration::from_millis(200));
        let taken = link.flood(Duration::from_secs(1));
        assert!((79_000..=81_000).contains(&taken), "{taken}");
        let held = link.queue.allowance() / charge(DATAGRAM);
        assert!((70..=90).contains(&held), "{held}");
    }

    #[test]
    fn the_limit_falls_with_the_rate_and_stays_after_a_pause() {
        let mut link = Link::new(80_000);
        link.flood(Duration::from_millis(300));
        let fast = link.queue.allowance();
        link.now += Duration::from_secs(10);
        link.charged = 0;
        link.flood(Duration::from_millis(1));
        assert_eq!(link.queue.allowance(), fast);
        link.rate = Link::new(418).rate;
        link.flood(Duration::from_millis(500));
        assert_eq!(link.queue.allowance(), LEAST);
    }

    #[test]
    fn a_bucket_of_tokens_does_not_raise_the_limit_for_long() {
        let mut link = Link::new(418);
        for _ in 0..5 {
            link.flood(Duration::from_millis(200));
            // A pause, after which 32 KiB pass at once.
            link.now += Duration::from_millis(200);
            for _ in 0..22 {
                link.queue.accept(charge(DATAGRAM), link.now);
            }
            assert!(link.queue.allowance() <= 2 * LEAST, "{}", link.queue.allowance());
        }
        link.flood(Duration::from_millis(100));
        assert_eq!(link.queue.allowance(), LEAST);
    }

    #[test]
    fn what_does_not_leave_stalls_the_others_for_a_moment_only() {
        let mut link = Link::new(8_000);
        link.flood(Duration::from_millis(200));
        link.dead = 40 * LEAST;
        let taken = link.flood(Duration::from_secs(1));
        assert!(taken > 3_000, "{taken} of 8,000");
        link.dead = 0;
        link.flood(Duration::from_secs(3));
        assert!(link.queue.allowance() <= 10 * LEAST, "{}", link.queue.allowance());
    }

    #[test]
    fn what_was_held_before_is_left_to_drain() {
        let mut link = Link::new(418);
        link.charged = 1_000 * LEAST;
        assert_eq!(link.flood(Duration::from_secs(2)), 0);
        link.flood(Duration::from_secs(1));
        assert_eq!(link.queue.allowance(), LEAST);
    }
}
