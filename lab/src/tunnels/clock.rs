//! The clocks that handshakes read by themselves, which are the network's.

use std::time::Duration;

use mock_instant::MockClock;

/// The clocks of this thread: one that counts, and the wall clock. Each tunnel is told the time beside.
///
/// Only with the feature `virtual-time` do handshakes read them; otherwise they read the system's, and a session does not age with
/// the network. Whoever acts on a tunnel sets them before, so several networks may take turns in one thread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clocks {
    /// How long the system has slept: both clocks count on, the time that tunnels are told does not.
    pub slept: Duration,
    /// How far the wall clock is behind the other.
    pub behind: Duration,
}

impl Clocks {
    /// Sets both to what they show when `passed` has passed since the network began.
    ///
    /// # Panics
    /// Panics if the wall clock would be before the network's beginning.
    pub fn set(self, passed: Duration) {
        let counted = passed + self.slept;
        MockClock::set_time(counted);
        MockClock::set_system_time(counted - self.behind);
    }
}
