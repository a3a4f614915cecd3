//! Work that is many alike and independent pieces, on all processors.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Does `work` for each number below `count`, on all processors, and returns what came of it in order: the same on any number of
/// them.
///
/// # Panics
/// Panics if `work` does.
pub fn on_all_cores<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    on_threads(thread::available_parallelism().map_or(1, Into::into), count, work)
}

/// Does the same on so many threads, at least one.
///
/// # Panics
/// Panics if `work` does.
pub(crate) fn on_threads<T: Send>(threads: usize, count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return done;
            }
            done.push((number, work(number)));
        }
    };
    let threads = threads.min(count.max(1));
    let mut all: Vec<_> = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(take)).collect();
        let own = take();
        let others = others.into_iter().flat_map(|other| other.join().expect("the work panicked in another thread"));
        others.chain(own).collect()
    });
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, done)| done).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_piece_is_done_once_and_all_are_in_order() {
        for count in [0, 1, 2, 1_000] {
            let squares: Vec<_> = (0..count).map(|n| n * n).collect();
            assert_eq!(on_all_cores(count, |number| number * number), squares);
            for threads in [0, 1, 7] {
                assert_eq!(on_threads(threads, count, |number| number * number), squares);
            }
        }
    }
}
