//! Waiting for something to become true.

use std::thread;
use std::time::{Duration, Instant};

/// Waits until `holds` returns true; panics with `what` when it has not within `guard`.
///
/// The guard is there for the test that hangs: it says nothing of how fast the thing should be.
#[track_caller]
pub fn eventually(what: &str, guard: Duration, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < guard, "waited {guard:?} in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
