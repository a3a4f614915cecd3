//! A limit on tests that want the machine for themselves, across processes.

use std::fs::File;

/// Held by a test that moves much data; see [`alone`].
#[derive(Debug)]
pub struct Heavy(#[expect(dead_code, reason = "held for its lock")] File);

/// Waits until no other heavy test runs. The lock ends with the value, or with the process.
pub fn alone() -> Heavy {
    let path = std::env::temp_dir().join("maybetun-integration-tests.lock");
    let file = File::create(&path).unwrap_or_else(|error| panic!("cannot create {}: {error}", path.display()));
    file.lock().unwrap_or_else(|error| panic!("cannot lock {}: {error}", path.display()));
    Heavy(file)
}
