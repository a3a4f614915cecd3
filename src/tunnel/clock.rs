//! The clocks that boringtun reads by itself: the wall clock when an engine is made, and from then on one that only counts.
//!
//! The timestamp of an initiation is the sum. A peer refuses one that is not later than the last, so an engine whose sum is
//! behind the wall clock is made anew, and one whose sum is ahead goes on.

use std::time::Duration;
#[cfg(not(feature = "virtual-time"))]
use std::time::SystemTime;

use boringtun::noise::Tunn;
#[cfg(feature = "virtual-time")]
use mock_instant::MockClock;

/// Reads the wall clock: the time since 1970; none before.
#[cfg(not(feature = "virtual-time"))]
pub(super) fn wall() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Reads the wall clock of a test: the time since the test's beginning.
#[cfg(feature = "virtual-time")]
pub(super) fn wall() -> Duration {
    MockClock::system_time()
}

/// Makes an engine, and says how old it takes itself to be.
#[cfg(not(feature = "virtual-time"))]
pub(super) fn start(make: impl FnOnce() -> Tunn) -> (Tunn, Duration) {
    (make(), Duration::ZERO)
}

/// Does the same by the clocks of a test. boringtun reads the system's wall clock all the same, which stands still for a
/// test; so what the test's has counted is made up for by the other.
#[cfg(feature = "virtual-time")]
pub(super) fn start(make: impl FnOnce() -> Tunn) -> (Tunn, Duration) {
    let now = MockClock::time();
    let age = wall().min(now);
    MockClock::set_time(now - age);
    let engine = make();
    MockClock::set_time(now);
    (engine, age)
}
