//! The deadlines of all peers, soonest first.

use std::collections::BTreeSet;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// One deadline a peer at most: peers come late rather than often, as their own timers know what is due.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    deadlines: Mutex<BTreeSet<(Instant, u32)>>,
    /// Wakes the task that sleeps until the first deadline, when an earlier one was set.
    earlier: Notify,
}

impl Schedule {
    /// Sets the deadline of a peer, instead of the one it had.
    pub(super) fn set(&self, peer: u32, before: Option<Instant>, deadline: Instant) {
        let mut deadlines = self.deadlines.lock();
        if let Some(before) = before {
            deadlines.remove(&(before, peer));
        }
        let is_first = deadlines.first().is_none_or(|(first, _)| deadline < *first);
        deadlines.insert((deadline, peer));
        if is_first {
            self.earlier.notify_one();
        }
    }

    /// Takes every deadline away.
    pub(super) fn clear(&self) {
        self.deadlines.lock().clear();
    }

    /// Takes the deadline of a peer away.
    pub(super) fn cancel(&self, peer: u32, deadline: Instant) {
        self.deadlines.lock().remove(&(deadline, peer));
    }

    /// Waits until a deadline has come, and returns the peer it is of.
    pub(super) async fn next_due(&self) -> u32 {
        loop {
            let first = self.deadlines.lock().first().copied();
            let Some((deadline, peer)) = first else {
                self.earlier.notified().await;
                continue;
            };
            if deadline <= Instant::now() {
                if self.deadlines.lock().remove(&(deadline, peer)) {
                    return peer;
                }
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep_until(deadline.into()) => {}
                () = self.earlier.notified() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn peers_come_in_the_order_of_their_deadlines() {
        let schedule = Schedule::default();
        let now = Instant::now();
        schedule.set(1, None, now + Duration::from_millis(30));
        schedule.set(2, None, now + Duration::from_millis(20));
        schedule.set(3, None, now);
        schedule.set(1, Some(now + Duration::from_millis(30)), now + Duration::from_millis(10));
        assert_eq!([schedule.next_due().await, schedule.next_due().await, schedule.next_due().await], [3, 1, 2]);
        assert!(Instant::now() >= now + Duration::from_millis(20));
    }

    #[tokio::test]
    async fn an_earlier_deadline_wakes_the_sleeper() {
        let schedule = Schedule::default();
        schedule.set(1, None, Instant::now() + Duration::from_secs(3_600));
        let (due, ()) = tokio::join!(schedule.next_due(), async {
            tokio::task::yield_now().await;
            schedule.set(2, None, Instant::now());
        });
        assert_eq!(due, 2);
    }
}
