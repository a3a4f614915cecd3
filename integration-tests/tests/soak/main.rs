//! A tunnel under faults drawn at random: after each a call and a TCP transfer go on within a stated time, and at the end
//! nothing is left.
//!
//! `SOAK_SECONDS` says how long faults come (120), `SOAK_SEED` from what they are drawn; it prints the seed. An hour of it:
//!
//! ```sh
//! SOAK_SECONDS=3600 cargo test --package maybetun-integration-tests --locked --test soak -- --nocapture
//! ```
//!
//! The wall clock is not among what is broken: namespaces have none of their own, and the host's is not the test's to set.
//! `tests/virtual_time` and `src/tunnel/clock.rs` have it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod faults;
mod scene;

use std::collections::BTreeMap;
use std::env;
use std::thread;
use std::time::{Duration, Instant};

use rand_core::{RngCore as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;

use faults::{FAULTS, Fault};
use scene::Scene;

/// How long faults come, unless the environment says otherwise.
const TIME: Duration = Duration::from_secs(120);

/// A guard against hanging, where no fault is.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest pause between two faults.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What a transfer needs beyond the call: its own timer doubles with each loss (RFC 6298), so it tries again when it has stood
/// still for twice as long as there was no way.
fn patience_of_transfer(outage: Duration) -> Duration {
    (2 * outage + Duration::from_secs(5)).min(Duration::from_secs(59))
}

fn from_environment(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Draws one of the faults, the likelier the greater its weight.
fn draw(rng: &mut Xoshiro256PlusPlus) -> &'static Fault {
    let all: u32 = FAULTS.iter().map(|fault| fault.weight).sum();
    let mut drawn = rng.next_u32() % all;
    let found = FAULTS.iter().find(|fault| match drawn.checked_sub(fault.weight) {
        Some(rest) => {
            drawn = rest;
            false
        }
        None => true,
    });
    found.unwrap_or(&FAULTS[0])
}

#[test]
fn each_of_many_faults_is_outlived_within_its_time_and_nothing_is_left() {
    let time = Duration::from_secs(from_environment("SOAK_SECONDS", TIME.as_secs()));
    let seed = from_environment("SOAK_SEED", u64::from(std::process::id()));
    println!("SOAK_SEED={seed}");
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut scene = Scene::start(&mut rng);
    println!("the tunnel takes {}", scene.taken());
    let (call, transfer) = (scene.call(), scene.transfer());
    call.goes_on(PATIENCE);
    transfer.advance(1);

    let start = Instant::now();
    let mut outages: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    while start.elapsed() < time {
        thread::sleep(Duration::from_millis(rng.next_u64() % LONGEST_PAUSE.as_millis() as u64));
        let fault = draw(&mut rng);
        println!("{:7.1?} {}", start.elapsed(), fault.name);
        let broken = Instant::now();
        (fault.cause)(&mut scene, &mut rng);
        let gap = call.goes_on(fault.bound);
        transfer.advance_within(1, patience_of_transfer(broken.elapsed()));
        outages.entry(fault.name).or_default().push(gap);
    }
    println!("{:40} {:>5} {:>8} {:>8} {:>8}", "fault", "times", "median", "longest", "bound");
    for fault in &FAULTS {
        let Some(gaps) = outages.get_mut(fault.name) else { continue };
        gaps.sort();
        let (median, longest) = (gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
        println!("{:40} {:>5} {median:>8.2?} {longest:>8.2?} {:>8.0?}", fault.name, gaps.len(), fault.bound);
    }

    scene.calm();
    call.goes_on(PATIENCE);
    drop(call);
    let bytes = transfer.finish();
    println!("{bytes} bytes arrived, each as it was sent");
    scene.end();
}
