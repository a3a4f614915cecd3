//! The deadlines of all peers, soonest first.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// One deadline a peer at most: peers come late rather than often, as their own timers know what is due.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    state: Mutex<State>,
    /// Wakes whoever waits for the first deadline, when there is an earlier one or no more to wait for.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    deadlines: BTreeSet<(Instant, u32)>,
    is_closed: bool,
}

impl Schedule {
    /// Sets the deadline of a peer, instead of the one it had.
    pub(super) fn set(&self, peer: u32, before: Option<Instant>, deadline: Instant) {
        let mut state = self.state.lock();
        if let Some(before) = before {
            state.deadlines.remove(&(before, peer));
        }
        let is_first = state.deadlines.first().is_none_or(|(first, _)| deadline < *first);
        state.deadlines.insert((deadline, peer));
        if is_first {
            self.changed.notify_one();
        }
    }

    /// Takes every deadline away.
    pub(super) fn clear(&self) {
        self.state.lock().deadlines.clear();
    }

    /// Takes the deadline of a peer away.
    pub(super) fn cancel(&self, peer: u32, deadline: Instant) {
        self.state.lock().deadlines.remove(&(deadline, peer));
    }

    /// Ends all waiting, for good.
    pub(super) fn close(&self) {
        self.state.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Waits, on the calling thread, until a deadline has come, and returns the peer it is of; `None` once closed.
    ///
    /// It wakes up to `slack` late, so that deadlines close to each other cost one wakeup.
    pub(super) fn wait(&self, slack: Duration) -> Option<u32> {
        let mut state = self.state.lock();
        // Whether the slack of the deadlines now due was waited for.
        let mut has_slept = false;
        loop {
            if state.is_closed {
                return None;
            }
            let Some(&(deadline, peer)) = state.deadlines.first() else {
                self.changed.wait(&mut state);
                continue;
            };
            let now = Instant::now();
            if deadline + slack <= now || (has_slept && deadline <= now) {
                state.deadlines.remove(&(deadline, peer));
                return Some(peer);
            }
            has_slept = self.changed.wait_until(&mut state, deadline + slack).timed_out();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn peers_come_in_the_order_of_their_deadlines() {
        let schedule = Schedule::default();
        let now = Instant::now();
        schedule.set(1, None, now + Duration::from_millis(30));
        schedule.set(2, None, now + Duration::from_millis(20));
        schedule.set(3, None, now);
        schedule.set(1, Some(now + Duration::from_millis(30)), now + Duration::from_millis(10));
        let order: Vec<_> = (0..3).map(|_| schedule.wait(Duration::ZERO)).collect();
        assert_eq!(order, [Some(3), Some(1), Some(2)]);
        assert!(Instant::now() >= now + Duration::from_millis(20));
    }

    #[test]
    fn an_earlier_deadline_wakes_the_sleeper_and_closing_ends_it() {
        let schedule = Arc::new(Schedule::default());
        schedule.set(1, None, Instant::now() + Duration::from_secs(3_600));
        let sleeper = Arc::clone(&schedule);
        let sleeper = std::thread::spawn(move || (sleeper.wait(Duration::ZERO), sleeper.wait(Duration::ZERO)));
        schedule.set(2, None, Instant::now());
        while schedule.state.lock().deadlines.len() > 1 {
            std::thread::yield_now();
        }
        schedule.close();
        assert_eq!(sleeper.join().unwrap(), (Some(2), None));
    }

    #[test]
    fn slack_gathers_deadlines() {
        let schedule = Schedule::default();
        let now = Instant::now();
        schedule.set(1, None, now + Duration::from_millis(1));
        schedule.set(2, None, now + Duration::from_millis(5));
        assert_eq!(schedule.wait(Duration::from_millis(20)), Some(1));
        assert!(Instant::now() >= now + Duration::from_millis(21));
    }
}
