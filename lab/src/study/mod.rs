//! What a defense is worth: what an observer makes of loads with it, and what it costs.
//!
//! Sites are drawn from a seed, each visit of one differs, and each is loaded through a tunnel of its own in virtual time, with the
//! defense at both ends. The observer has labelled loads with the same defense, and names the sites of others ([`attack`]).
//! A trace lasts to the next load: it goes on for [`Options::reading`] when the page is there.

mod activities;
mod costs;
mod engine;
mod loads;
mod masking;
mod table;
#[cfg(test)]
mod tests;
mod validation;

use std::time::Duration;

use crate::attack::{self, Accuracy, AttackError, Point, closed_world, learning_curve};
use crate::defense::Defense;
use crate::report::{Costs, Example, Outcome, Report, Times};
use crate::trace::{Labelled, Trace, TraceError};
use crate::workload::{Access, Load, Plan, Protocol, Site};
pub use activities::{ACTIVITIES, activities};
pub use engine::Engine;
use loads::Visit;
pub use masking::{LEAST, Masked, MaskingOptions, Scenario, WINDOW, masked};
pub use validation::{Measured, Validation, validate};

/// What is compared, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Sites, at least 2.
    pub sites: u32,
    /// Pages to load in place of drawn ones: the first so many as there are sites. Further sites are drawn.
    pub pages: Vec<Plan>,
    /// How requests share connections; without, as each page has it.
    pub protocol: Option<Protocol>,
    /// Windows of a minute of each activity in which the observer of the throughput names it; 0 is not at all.
    pub windows: u32,
    /// Visits of each.
    pub visits: u32,
    /// Visits of each on the network where the link is full.
    pub bottleneck_visits: u32,
    /// What runs the loads.
    pub engine: Engine,
    /// What all draws come from.
    pub seed: u64,
    /// How long a page is read: the trace goes on for so long.
    pub reading: Duration,
    /// The network on which the observer looks.
    pub access: Access,
    /// One whose link a page fills.
    pub bottleneck: Access,
    /// Loads of a session: so many sites are loaded one after another through one tunnel, whose defense goes on. 1 is a tunnel for
    /// each load.
    pub session: u32,
    /// How he attacks.
    pub attack: attack::Options,
    /// Whether to tell how well he does with fewer loads.
    pub curve: bool,
}

impl Default for Options {
    /// Returns 20 sites, 60 visits and 10 s of reading, on 100 Mbit/s with a round trip of 30 ms; and five visits on 5 Mbit/s down,
    /// 1 up, with a round trip of 60 ms.
    fn default() -> Self {
        let bottleneck =
            Access { down: 5_000_000, up: 1_000_000, round_trip: Duration::from_millis(60), ..Access::default() };
        Self {
            sites: 20,
            pages: Vec::new(),
            protocol: None,
            windows: 0,
            visits: 60,
            bottleneck_visits: 5,
            engine: Engine::Virtual,
            seed: 1,
            reading: Duration::from_secs(10),
            access: Access::default(),
            bottleneck,
            session: 1,
            attack: attack::Options::default(),
            curve: false,
        }
    }
}

impl Options {
    /// Makes sure that there is something to compare.
    fn check(&self) -> Result<(), StudyError> {
        let Self { sites, visits, bottleneck_visits, session, .. } = *self;
        if sites < 2 || visits < 1 || bottleneck_visits < 1 || session < 1 {
            return Err(StudyError::TooFew { sites, visits, bottleneck_visits, session });
        }
        Ok(())
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Study {
    /// Sites.
    pub sites: u32,
    /// Visits of each.
    pub visits: u32,
    /// What all was drawn from.
    pub seed: u64,
    /// In which time.
    pub engine: &'static str,
    /// A row for each defense.
    pub rows: Vec<Row>,
}

/// What a defense hides, and costs.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its name.
    pub defense: String,
    /// How often the observer names the site.
    pub accuracy: Accuracy,
    /// The same with fewer loads, if that was asked for.
    pub curve: Vec<Point>,
    /// How often the observer of the throughput names the activity, if that was asked for.
    pub activity: Option<Accuracy>,
    /// What it costs. Loads that have not ended after ten minutes are unfinished; the download is of the first ten seconds, the
    /// mean over ten runs.
    pub costs: Costs,
    /// A load of the first site, as the observer has it.
    pub example: Trace,
}

impl Study {
    /// Returns it as a report.
    pub fn report(&self) -> Report {
        let base = self.rows.iter().find(|row| row.defense == "none").or(self.rows.first());
        let total = |row: &Row| row.costs.up_bytes + row.costs.down_bytes;
        let outcomes = self.rows.iter().map(|row| Outcome {
            defense: row.defense.clone(),
            accuracy: row.accuracy.clone(),
            curve: row.curve.clone(),
            activity: row.activity.clone(),
            overhead: base.map_or(0.0, |base| total(row) / total(base) - 1.0),
            upload_ratio: row.costs.up_bytes / row.costs.down_bytes,
            load_seconds: row.costs.times.median.zip(row.costs.times.p95).map(|(median, p95)| [median, p95]),
            costs: Some(row.costs),
        });
        let examples = self.rows.iter().map(|row| {
            // Some 300 steps, however long it took.
            let step = (row.example.duration().as_millis() / 300).max(50);
            Example::of(row.defense.clone(), &row.example, u32::try_from(step).unwrap_or(u32::MAX))
        });
        let Self { sites, visits, seed, engine, .. } = self;
        Report {
            title: "What defenses hide, and cost".to_owned(),
            about: format!("{sites} sites, {visits} visits each, seed {seed}, {engine}."),
            outcomes: outcomes.collect(),
            examples: examples.collect(),
        }
    }
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
    /// Loads in real time failed.
    #[cfg(feature = "real")]
    #[error(transparent)]
    Real(#[from] crate::real::RealError),
    /// There is nothing to compare.
    #[error(
        "{sites} sites, {visits} visits, {bottleneck_visits} where the link is full and {session} in a session: expected at least 2, 1, 1 and 1"
    )]
    TooFew {
        /// Sites that were asked for.
        sites: u32,
        /// Visits of each.
        visits: u32,
        /// Visits of each where the link is full.
        bottleneck_visits: u32,
        /// Loads of a session.
        session: u32,
    },
}

/// Compares defenses. `told` hears of each when its row is there.
///
/// # Errors
/// When there is too little to compare, or to learn from.
pub fn compare(options: &Options, defenses: &[Defense], mut told: impl FnMut(&Row)) -> Result<Study, StudyError> {
    options.check()?;
    let Options { sites, visits, seed, .. } = *options;
    let drawn = loads::sites(options);
    let mut rows = Vec::new();
    for defense in defenses {
        let row = row_of(options, &drawn, defense)?;
        told(&row);
        rows.push(row);
    }
    Ok(Study { sites, visits, seed, engine: options.engine.name(), rows })
}

fn row_of(options: &Options, sites: &[Site], defense: &Defense) -> Result<Row, StudyError> {
    let loads = loads::load(options, sites, defense, &options.access, options.visits)?;
    let narrow = loads::load(options, sites, defense, &options.bottleneck, options.bottleneck_visits)?;
    let labelled = loads::labelled(&loads, defense)?;
    let sum = |of: fn(&Load) -> f64| loads.iter().map(|one| of(&one.load)).sum::<f64>();
    let mean = |of| sum(of) / loads.len() as f64;
    let accuracy = closed_world(&labelled, &options.attack)?;
    Ok(Row {
        defense: defense.name(),
        curve: if options.curve { curve(options, &labelled, &accuracy)? } else { Vec::new() },
        accuracy,
        activity: activity(options, defense)?,
        costs: Costs {
            up_bytes: mean(|load| load.up as f64),
            down_bytes: mean(|load| load.down as f64),
            times: times(&loads),
            bottleneck: times(&narrow),
            wakeups: sum(|load| load.effort.wakeups as f64) / sum(|load| load.lasted.as_secs_f64()),
            cpu: cpu(&loads),
            bulk: costs::bulk(options, defense)?,
        },
        example: labelled.into_iter().next().map(|load| load.trace).unwrap_or_default(),
    })
}

/// Has the observer of the throughput name what the user does, if that was asked for.
fn activity(options: &Options, defense: &Defense) -> Result<Option<Accuracy>, StudyError> {
    let windows = options.windows;
    (windows > 0).then(|| activities(options, defense, windows, Duration::from_secs(60))).transpose()
}

/// Tells how well he does with an eighth of the loads, a quarter, a half, and with all that a fold leaves.
fn curve(options: &Options, loads: &[Labelled], all: &Accuracy) -> Result<Vec<Point>, AttackError> {
    let learnt = options.visits as usize * (options.attack.folds - 1) / options.attack.folds;
    let points: Vec<_> = [8, 4, 2].into_iter().map(|part| learnt / part).filter(|loads| *loads > 0).collect();
    let mut curve = learning_curve(loads, &points, &options.attack)?;
    curve.push(Point { loads: learnt, accuracy: all.clone() });
    Ok(curve)
}

/// Returns the traces of a defense with their labels, as [`compare`] gives them to the observer.
///
/// # Errors
/// When a load is too long to be a trace, or the engine fails.
pub fn traces(options: &Options, defense: &Defense) -> Result<Vec<Labelled>, StudyError> {
    let loads = loads::load(options, &loads::sites(options), defense, &options.access, options.visits)?;
    Ok(loads::labelled(&loads, defense)?)
}

/// Returns the part of a processor that the client's tunnels took, if that is known.
fn cpu(visits: &[Visit]) -> Option<f64> {
    let times = visits.iter().map(|visit| Some(visit.load.effort.cpu?.as_secs_f64()));
    let lasted: f64 = visits.iter().map(|visit| visit.load.lasted.as_secs_f64()).sum();
    Some(times.sum::<Option<f64>>()? / lasted)
}

fn times(visits: &[Visit]) -> Times {
    let mut times: Vec<f64> =
        visits.iter().filter_map(|visit| visit.load.time).map(|time| time.as_secs_f64()).collect();
    times.sort_unstable_by(f64::total_cmp);
    Times { median: at(&times, 0.5), p95: at(&times, 0.95), unfinished: visits.len() - times.len() }
}

/// Returns what such a share of sorted numbers does not exceed.
fn at(sorted: &[f64], share: f64) -> Option<f64> {
    let place = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied()
}
