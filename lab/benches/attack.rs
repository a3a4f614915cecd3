//! How long the attack takes at the size that the lab works at: 20 sites of 60 visits, ten folds.
//!
//! `cargo bench --package maybetun-lab --no-default-features --features attack --bench attack`. The loads are of 1,000 to 2,500 datagrams
//! at random times in 60 s, which tell little: trees grow deep on them.

use std::error::Error;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use maybetun_lab::attack::{self, Options};
use maybetun_lab::trace::{Direction, Labelled, Passage, Trace};
use rand_core::{RngCore as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;

fn main() -> Result<(), Box<dyn Error>> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let mut loads = Vec::new();
    for (label, visit) in (0..20).flat_map(|label| (0..60).map(move |visit| (label, visit))) {
        let count = 1_000 + 60 * u64::from(label) + rng.next_u64() % 300;
        let passages = (0..count).map(|_| {
            let (direction, size) =
                if rng.next_u64().is_multiple_of(4) { (Direction::Upload, 100) } else { (Direction::Download, 1_400) };
            Passage { at: Duration::from_millis(rng.next_u64() % 60_000), direction, size }
        });
        loads.push(Labelled { label, visit, draw: None, trace: Trace::sorted(passages.collect())? });
    }
    let begin = Instant::now();
    let accuracy = attack::closed_world(&loads, &Options::default())?;
    let [low, high] = accuracy.interval;
    writeln!(io::stdout(), "{:.1?}; accuracy {:.3} ({low:.3} to {high:.3})", begin.elapsed(), accuracy.mean)?;
    Ok(())
}
