//! Prints what ephemeral defenses cost, and how far apart they are: the tables of README.md.

#[path = "../generate-catalogue/generate/measure.rs"]
mod measure;
mod spread;

use std::io::{self, Write as _};
use std::time::Instant;

use maybetun_machines::{Overhead, Strength, Tier, draw, find};
use rand_xoshiro::Xoshiro256StarStar;
use rand_xoshiro::rand_core::SeedableRng as _;

/// Draws whose costs are averaged.
const DRAWS: u32 = 50;

/// Runs whose spread is compared.
const RUNS: u64 = 200;

fn main() -> io::Result<()> {
    let mut out = io::stdout();
    let mut rng = Xoshiro256StarStar::seed_from_u64(1);
    let start = Instant::now();
    (0..1_000).for_each(|_| drop(draw(&mut rng, Tier::Blocking, Strength::High)));
    writeln!(out, "a draw of the most machines: {:.0} us", start.elapsed().as_secs_f64() * 1_000.0)?;

    writeln!(out, "\n| tier | strength | pairs | padding up | padding down | delay |\n|---|---|---|---|---|---|")?;
    let traces = measure::Traces::load();
    for tier in [Tier::Padding, Tier::Blocking] {
        for strength in [Strength::Low, Strength::Medium, Strength::High] {
            let (mut sum, mut pairs) = (Overhead { upload: 0.0, download: 0.0, delay: 0.0 }, 0);
            for _ in 0..DRAWS {
                let defense = draw(&mut rng, tier, strength);
                pairs = defense.client().machines.len();
                let Overhead { upload, download, delay } = traces.overhead(&defense);
                sum = Overhead {
                    upload: sum.upload + upload,
                    download: sum.download + download,
                    delay: sum.delay + delay,
                };
            }
            let [upload, download, delay] = [sum.upload, sum.download, sum.delay].map(|sum| sum / f64::from(DRAWS));
            let delay = delay * 100.0;
            writeln!(out, "| {tier} | {strength} | {pairs} | {upload:.2} | {download:.2} | {delay:.0} % |")?;
        }
    }

    writeln!(out, "\n| | packets | bursts | padding in the first 50 | first 50 that differ |\n|---|---|---|---|---|")?;
    let page = spread::Page::load();
    let front = find("front").expect("the catalogue has it");
    writeln!(out, "| `front` | {} |", page.spread(RUNS, |_| front.clone()))?;
    for tier in [Tier::Padding, Tier::Blocking] {
        let drawn =
            page.spread(RUNS, |run| draw(&mut Xoshiro256StarStar::seed_from_u64(1_000 + run), tier, Strength::Medium));
        writeln!(out, "| ephemeral, {tier}, medium | {drawn} |")?;
    }
    Ok(())
}
