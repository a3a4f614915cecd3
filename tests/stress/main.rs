//! Two devices under traffic whose every setting changes at random: nothing hangs, nothing panics, and nothing is left.
//!
//! It is the only test of its program, as it counts what the process has. `STRESS_SECONDS` says how long it goes on (60),
//! `STRESS_SEED` from what it draws; it prints the seed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod changes;
mod ends;

use std::env;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::broadcast::error::RecvError;

use changes::Changes;
use ends::Ends;

/// How long settings change, unless the environment says otherwise.
const TIME: Duration = Duration::from_secs(60);

/// How long one change may take before it is taken to hang. It bounds a deadlock, not how fast a change should be.
const STANDSTILL: Duration = Duration::from_secs(30);

/// How long packets may take to pass once the settings have settled: two handshakes that get no answer, whose next attempt
/// comes after 5 s each, and half as much again.
const SETTLED: Duration = Duration::from_secs(15);

/// How long both devices may take to stop.
const STOP: Duration = Duration::from_secs(1);

/// Panics of any thread since the start.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// What the process has of the system.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    threads: usize,
    descriptors: usize,
}

impl Held {
    fn now() -> Self {
        let count = |path| fs::read_dir(path).unwrap().count();
        Self { threads: count("/proc/self/task"), descriptors: count("/proc/self/fd") }
    }
}

fn from_environment(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn two_devices_survive_every_change_under_traffic_and_leave_nothing() {
    let time = Duration::from_secs(from_environment("STRESS_SECONDS", TIME.as_secs()));
    let seed = from_environment("STRESS_SEED", u64::from(std::process::id()));
    println!("STRESS_SEED={seed}");
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        hook(panic);
    }));

    // Threads that waited for a device to end are not kept for the next one.
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).thread_keep_alive(Duration::from_millis(10)).enable_all().build().unwrap();
    let (before, tasks) = (Held::now(), runtime.metrics().num_alive_tasks());

    let ends = runtime.block_on(Ends::start());
    let (changed, passed) = change_for(time, &runtime, &ends, seed);
    runtime.block_on(ends.settle());
    let settled = Instant::now();
    runtime.block_on(async {
        let exchange = tokio::time::timeout(SETTLED, ends.exchange());
        exchange.await.unwrap_or_else(|_| panic!("seed {seed}: no packet passes {SETTLED:?} after settings settled"));
    });
    println!("{changed} changes, {passed:?} packets meanwhile; packets passed {:?} after the last", settled.elapsed());

    let mut events = ends.events();
    let stopping = Instant::now();
    runtime.block_on(ends.stop());
    let stopped = stopping.elapsed();
    assert!(stopped <= STOP, "seed {seed}: both stopped after {stopped:?}");
    drop(ends);
    for events in &mut events {
        // Its sender is a part of what the device's tasks share, so it is gone when that is.
        let closed = runtime.block_on(async {
            let last = async { while events.recv().await != Err(RecvError::Closed) {} };
            tokio::time::timeout(STANDSTILL, last).await
        });
        closed.expect("something still holds what the device's tasks shared");
    }
    assert_eq!(PANICS.load(Ordering::Relaxed), 0, "seed {seed}: a thread panicked");

    // Threads that have ended are counted until the system has put them away.
    let until = Instant::now() + STANDSTILL;
    while (Held::now() != before || runtime.metrics().num_alive_tasks() != tasks) && Instant::now() < until {
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!((Held::now(), runtime.metrics().num_alive_tasks()), (before, tasks), "seed {seed}: something is left");
}

/// Changes settings in a thread for `time`, watches that it goes on, and returns how many changes were made and how many
/// packets passed each way meanwhile.
#[track_caller]
fn change_for(time: Duration, runtime: &Runtime, ends: &Ends, seed: u64) -> (u64, [u64; 2]) {
    let traffic = ends.traffic(runtime);
    let stop = Arc::new(AtomicBool::new(false));
    let (progress, steps) = mpsc::channel();
    let thread = {
        let (handle, stop) = (runtime.handle().clone(), Arc::clone(&stop));
        let mut changes = Changes::new(ends, handle.clone(), ChaCha20Rng::seed_from_u64(seed));
        thread::spawn(move || {
            let _inside = handle.enter();
            while !stop.load(Ordering::Relaxed) {
                let change = changes.draw();
                // Nobody listens any more once the test has failed.
                let _ = progress.send(change);
                changes.make(change);
            }
        })
    };
    let (began, mut changed, mut last) = (Instant::now(), 0, None);
    while began.elapsed() < time {
        match steps.recv_timeout(STANDSTILL) {
            Ok(change) => {
                last = Some(change);
                changed += 1;
            }
            Err(RecvTimeoutError::Timeout) => panic!("seed {seed}: change {changed} hangs: {last:?}"),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    stop.store(true, Ordering::Relaxed);
    let until = Instant::now() + STANDSTILL;
    while !thread.is_finished() {
        assert!(Instant::now() < until, "seed {seed}: the last change hangs: {last:?}");
        thread::sleep(Duration::from_millis(10));
    }
    if let Err(payload) = thread.join() {
        panic!("seed {seed}: change {changed} ({last:?}) failed: {:?}", payload.downcast_ref::<String>());
    }
    let passed = runtime.block_on(traffic.end());
    assert!(passed.iter().all(|&packets| packets > 0), "seed {seed}: packets passed each way: {passed:?}");
    (changed, passed)
}
