//! Prints how fast ephemeral defenses pad, what share of all packets that is, and how long it goes on: what limits of a
//! user must leave alone.

mod load;
mod rates;

use std::io::{self, Write as _};

use maybetun_machines::{Strength, Tier, draw};
use rand_xoshiro::Xoshiro256StarStar;
use rand_xoshiro::rand_core::SeedableRng as _;

use load::Load;
use rates::{Direction, Run, percentiles};

/// Draws of each tier and strength, each under one page load; and under a transfer.
const PAGE_DRAWS: u64 = 280;
const TRANSFER_DRAWS: u64 = 20;

/// What is shown of a run in one direction.
type Column = (&'static str, fn(&Run, Direction) -> f64);

const COLUMNS: [Column; 9] = [
    ("most padding in 100 ms", |run, direction| run.peak(direction, 100)),
    ("most padding in 1 s", |run, direction| run.peak(direction, 1_000)),
    ("most padding in 10 s", |run, direction| run.peak(direction, 10_000)),
    ("% of packets in the load", |run, direction| 100.0 * run.share(direction, false)),
    ("% with 10 min after it", |run, direction| 100.0 * run.share(direction, true)),
    ("padding after the load", |run, direction| run.after(direction).packets),
    ("most of that in 1 s", |run, direction| run.after(direction).peak),
    ("seconds to the last", |run, direction| run.after(direction).seconds),
    ("padding 60 s after and later", |run, direction| run.after(direction).late),
];

fn main() -> io::Result<()> {
    let pages = Load::pages();
    let transfer = [Load::transfer()];
    for (what, loads, draws) in [("page loads", &pages[..], PAGE_DRAWS), ("a transfer", &transfer[..], TRANSFER_DRAWS)]
    {
        for tier in [Tier::Padding, Tier::Blocking] {
            for strength in Strength::ALL {
                show(what, loads, draws, tier, strength)?;
            }
        }
    }
    Ok(())
}

fn show(what: &str, loads: &[Load], draws: u64, tier: Tier, strength: Strength) -> io::Result<()> {
    let mut out = io::stdout();
    let runs = (0..draws).zip(loads.iter().cycle()).map(|(seed, load)| {
        let defense = draw(&mut Xoshiro256StarStar::seed_from_u64(seed), tier, strength);
        load.run(&defense, 2 * seed)
    });
    let runs = runs.collect::<Vec<_>>();
    let cut = runs.iter().filter(|run| run.is_cut).count();
    writeln!(out, "\n## {what}, {tier}, {strength}: {draws} draws, {cut} cut short\n")?;
    writeln!(out, "| p50 / p99 / most | up | down |\n|---|---|---|")?;
    for (name, value) in COLUMNS {
        let cell = |direction| percentiles(runs.iter().map(|run| value(run, direction)).collect());
        writeln!(out, "| {name} | {} | {} |", cell(Direction::Up), cell(Direction::Down))?;
    }
    Ok(())
}
