//! What a defense is worth: what an observer makes of loads with it, and what it costs.
//!
//! Sites are drawn from a seed, each visit of one differs, and each is loaded through a tunnel of its own in virtual time, with the
//! defense at both ends. The observer has labelled loads with the same defense, and names the sites of others ([`attack`]).
//! A trace lasts to the next load: it goes on for [`Options::reading`] when the page is there.

mod defense;
mod table;
#[cfg(test)]
mod tests;

use std::time::Duration;

use maybetun::settings::{DefenseChange, Role};
use serde::Serialize;

use crate::attack::{self, Accuracy, AttackError, closed_world};
use crate::on_all_cores;
use crate::trace::{Direction, Labelled, Passage, Trace, TraceError};
use crate::tunnels::client;
use crate::workload::{Access, Load, Run, Site, run};
pub use defense::{Defense, UnknownDefense};

/// What is compared, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Sites, at least 2.
    pub sites: u32,
    /// Visits of each.
    pub visits: u32,
    /// Visits of each on the network where the link is full.
    pub bottleneck_visits: u32,
    /// What all draws come from.
    pub seed: u64,
    /// How long a page is read: the trace goes on for so long.
    pub reading: Duration,
    /// The network on which the observer looks.
    pub access: Access,
    /// One whose link a page fills.
    pub bottleneck: Access,
    /// How he attacks.
    pub attack: attack::Options,
}

impl Default for Options {
    /// Returns 20 sites, 60 visits and 10 s of reading, on 100 Mbit/s with a round trip of 30 ms; and five visits on 5 Mbit/s down,
    /// 1 up, with a round trip of 60 ms.
    fn default() -> Self {
        let bottleneck =
            Access { down: 5_000_000, up: 1_000_000, round_trip: Duration::from_millis(60), ..Access::default() };
        Self {
            sites: 20,
            visits: 60,
            bottleneck_visits: 5,
            seed: 1,
            reading: Duration::from_secs(10),
            access: Access::default(),
            bottleneck,
            attack: attack::Options::default(),
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Study {
    /// Sites.
    pub sites: u32,
    /// Visits of each.
    pub visits: u32,
    /// What all was drawn from.
    pub seed: u64,
    /// A row for each defense.
    pub rows: Vec<Row>,
}

/// What a defense hides, and costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Its name.
    pub defense: String,
    /// How often the observer names the site.
    pub accuracy: Accuracy,
    /// Bytes of a load from the client, the mean, with IP and UDP headers.
    pub up_bytes: f64,
    /// Bytes of a load to the client, alike.
    pub down_bytes: f64,
    /// Times of loads.
    pub times: Times,
    /// Times of loads where the link is full.
    pub bottleneck: Times,
}

/// How long loads took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Times {
    /// Seconds that half of those did not exceed that came to an end; `None` if none did.
    pub median: Option<f64>,
    /// Seconds that 95 in 100 of them did not exceed.
    pub p95: Option<f64>,
    /// How many did not come to an end within ten minutes.
    pub unfinished: usize,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// The observer has nothing to learn from.
    #[error(transparent)]
    Attack(#[from] AttackError),
    /// A load was too long to be a trace.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// There is nothing to compare.
    #[error(
        "{sites} sites, {visits} visits and {bottleneck_visits} where the link is full: expected at least 2, 1 and 1"
    )]
    TooFew {
        /// Sites that were asked for.
        sites: u32,
        /// Visits of each.
        visits: u32,
        /// Visits of each where the link is full.
        bottleneck_visits: u32,
    },
}

/// Compares defenses. `told` hears of each when its row is there.
///
/// # Errors
/// When there is too little to compare, or to learn from.
pub fn compare(options: &Options, defenses: &[Defense], mut told: impl FnMut(&Row)) -> Result<Study, StudyError> {
    let Options { sites, visits, bottleneck_visits, seed, .. } = *options;
    if sites < 2 || visits < 1 || bottleneck_visits < 1 {
        return Err(StudyError::TooFew { sites, visits, bottleneck_visits });
    }
    let drawn: Vec<Site> = (0..sites).map(|site| Site::generate(seed.wrapping_add(site.into()))).collect();
    let mut rows = Vec::new();
    for defense in defenses {
        let row = row_of(options, &drawn, defense)?;
        told(&row);
        rows.push(row);
    }
    Ok(Study { sites, visits, seed, rows })
}

fn row_of(options: &Options, sites: &[Site], defense: &Defense) -> Result<Row, StudyError> {
    let loads = loads(options, sites, defense, &options.access, options.visits);
    let narrow = self::loads(options, sites, defense, &options.bottleneck, options.bottleneck_visits);
    let labelled = loads.iter().map(|load| load.labelled(defense)).collect::<Result<Vec<_>, _>>()?;
    let mean = |of: fn(&Load) -> u64| loads.iter().map(|one| of(&one.load) as f64).sum::<f64>() / loads.len() as f64;
    Ok(Row {
        defense: defense.name(),
        accuracy: closed_world(&labelled, &options.attack)?,
        up_bytes: mean(|load| load.up),
        down_bytes: mean(|load| load.down),
        times: Times::of(&loads),
        bottleneck: Times::of(&narrow),
    })
}

/// A load, and of what.
struct Visit {
    site: u32,
    visit: u32,
    seed: u64,
    load: Load,
}

impl Visit {
    fn labelled(&self, defense: &Defense) -> Result<Labelled, TraceError> {
        let mut trace = Trace::new();
        for passed in &self.load.trace {
            let direction = if passed.from == client(0) { Direction::Upload } else { Direction::Download };
            let size = u16::try_from(passed.size).unwrap_or(u16::MAX);
            trace.push(Passage { at: passed.at, direction, size })?;
        }
        let draw = defense.is_drawn().then_some(self.seed);
        Ok(Labelled { label: self.site, visit: self.visit, draw, trace })
    }
}

/// Loads each site so often, on all cores.
fn loads(options: &Options, sites: &[Site], defense: &Defense, access: &Access, visits: u32) -> Vec<Visit> {
    let defense = both(defense);
    on_all_cores(sites.len() * visits as usize, |number| {
        let (site, visit) = (number / visits as usize, (number % visits as usize) as u32);
        let seed = seed_of(options.seed, number as u64);
        let run = Run { after: options.reading, defense: defense.clone(), ..Run::new(access, None, seed) };
        let load = self::run(sites[site].visit(visit.into()), &run);
        Visit { site: site as u32, visit, seed, load }
    })
}

/// Returns what the client and the relay are told to run.
fn both(defense: &Defense) -> Option<[DefenseChange; 2]> {
    Some([defense.change(Role::Client)?, defense.change(Role::Relay)?])
}

/// Returns what a load is drawn from: another for each.
fn seed_of(seed: u64, number: u64) -> u64 {
    seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number).wrapping_add(1)
}

impl Times {
    fn of(visits: &[Visit]) -> Self {
        let mut times: Vec<f64> =
            visits.iter().filter_map(|visit| visit.load.time).map(|time| time.as_secs_f64()).collect();
        times.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| {
            let place = (share * times.len() as f64).ceil() as usize;
            times.get(place.saturating_sub(1)).copied()
        };
        Self { median: at(0.5), p95: at(0.95), unfinished: visits.len() - times.len() }
    }
}
