//! Files from the grammar of the manual pages mean the same to `wg-quick` and to us.
//!
//! `DIFFERENTIAL_FILES` says how many, `DIFFERENTIAL_SEED` which is the first: every file has a seed of its own, the next
//! number.

use std::env;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use maybetun_integration_tests::Differential;

/// Files that are compared unless the environment says otherwise.
const FILES: u64 = 500;

/// Files of earlier searches that differed: they are compared first.
const FOUND: [u64; 2] = [187, 2_920];

/// Pairs of hosts at work at once.
const PAIRS: u64 = 2;

/// Differences after which it is enough.
const ENOUGH: usize = 10;

fn number(variable: &str, usual: u64) -> u64 {
    env::var(variable).map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}")))
}

#[test]
fn files_mean_the_same_as_to_wg_quick() {
    let (files, first) = (number("DIFFERENTIAL_FILES", FILES), number("DIFFERENTIAL_SEED", 1));
    let next = AtomicUsize::new(0);
    let seeds: Vec<_> = FOUND.into_iter().chain(first..first + files).collect();
    let found = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for pair in 0..PAIRS {
            let (next, seeds, found) = (&next, &seeds, &found);
            scope.spawn(move || {
                let mut differential = Differential::new(pair % 2 == 1);
                loop {
                    let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                    if found.lock().expect("no thread panics").len() >= ENOUGH {
                        return;
                    }
                    if let Err(difference) = differential.compare(*seed) {
                        found.lock().expect("no thread panics").push(difference);
                    }
                }
            });
        }
    });
    let found = found.into_inner().expect("no thread panicked");
    assert!(found.is_empty(), "{} of {files} files differ:\n\n{}", found.len(), found.join("\n\n"));
}
