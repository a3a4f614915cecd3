//! Attacks of an observer who has loads of each site himself, and is to name the site of another load.
//!
//! The world is closed: the load is of one of the sites. He knows the defense and all but its seed, and learns anew for each: he
//! is given loads with it. What he learns from and what he is tested on never share a draw of an ephemeral defense, or he
//! would know the draw instead of the site.
//!
//! [`closed_world`] says how often he is right, [`learning_curve`] what more loads would give him, [`shape`] what the
//! throughput alone tells of the user's activity. All are the same for the same seed, on every machine with the same
//! arithmetic, whatever its number of processors.

use rand_core::SeedableRng as _;
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::trace::Labelled;

pub mod features;
mod folds;
mod forest;
pub mod shape;
pub(crate) mod statistics;
#[cfg(test)]
mod tests;

pub use features::Features;
#[cfg(feature = "study")]
pub(crate) use folds::shuffle;
use forest::{Forest, Lesson, Table};

/// How the attack is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// What he makes of a load.
    pub features: Features,
    /// Parts of the loads, each of which is tested once with what was learnt from the others; at least 2.
    pub folds: usize,
    /// Trees of the forest, at least 1.
    pub trees: usize,
    /// What all draws come from.
    pub seed: u64,
}

impl Default for Options {
    /// Ten folds, a hundred trees, all features.
    fn default() -> Self {
        Self { features: Features::default(), folds: 10, trees: 100, seed: 1 }
    }
}

/// How often the attack names the right label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// The mean over the folds, 0 to 1.
    pub mean: f64,
    /// Where it lies with a confidence of 95 %, by Student's distribution over the folds: narrower than it should be, as folds
    /// share what they learn from (Bengio and Grandvalet, "No Unbiased Estimator of the Variance of K-Fold
    /// Cross-Validation", JMLR 5, 2004).
    pub interval: [f64; 2],
    /// What the best guess without looking has: the share of the most frequent label, 1 / n where all are alike.
    pub chance: f64,
    /// That of each fold.
    pub folds: Vec<f64>,
    /// The labels, in order.
    pub labels: Vec<u32>,
    /// How many loads of a label (outer, as in `labels`) were given which name (inner).
    pub confusion: Vec<Vec<u32>>,
}

/// How good the attack is with so many loads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Loads of each label that were learnt from.
    pub loads: usize,
    /// How often it was right.
    pub accuracy: Accuracy,
}

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AttackError {
    /// There is nothing to tell apart.
    #[error("the traces have {labels} labels: expected at least 2")]
    TooFewLabels {
        /// How many labels there are.
        labels: usize,
    },
    /// The options cannot be.
    #[error("{folds} folds and {trees} trees: expected at least 2 folds and 1 tree")]
    Options {
        /// Folds that were asked for.
        folds: usize,
        /// Trees that were asked for.
        trees: usize,
    },
    /// A label would be tested that was not learnt.
    #[error("label {label} has loads of {draws} draws: expected at least one for each of {folds} folds")]
    TooFewDraws {
        /// Which label.
        label: u32,
        /// Draws that have loads of it; loads without a draw are draws of their own.
        draws: usize,
        /// Folds that were asked for.
        folds: usize,
    },
    /// Draws are so large that a fold has nothing.
    #[error("a fold of {folds} has no loads: expected more draws, or fewer folds")]
    EmptyFold {
        /// Folds that were asked for.
        folds: usize,
    },
    /// A point of the learning curve needs more loads than can be learnt from.
    #[error("label {label} leaves {left} loads to learn from in some fold: expected {loads}")]
    TooFewLoads {
        /// Which label.
        label: u32,
        /// Its loads outside of the fold.
        left: usize,
        /// The loads that were asked for.
        loads: usize,
    },
}

/// Attacks loads of sites: cross-validation in folds where every site has its share.
///
/// # Errors
/// If there are fewer than two labels, or one of them has loads of fewer draws than there are folds.
pub fn closed_world(loads: &[Labelled], options: &Options) -> Result<Accuracy, AttackError> {
    Trial::new(loads, options, |load| options.features.row(&load.trace))?.run(None)
}

/// Attacks with only so many loads of each site to learn from, for each of `points`; it is tested on all, as ever.
///
/// # Errors
/// As [`closed_world`], and if a point is 0 or more than can be learnt from.
pub fn learning_curve(loads: &[Labelled], points: &[usize], options: &Options) -> Result<Vec<Point>, AttackError> {
    let trial = Trial::new(loads, options, |load| options.features.row(&load.trace))?;
    points.iter().map(|&loads| Ok(Point { loads, accuracy: trial.run(Some(loads))? })).collect()
}

/// Loads as numbers, in folds.
struct Trial<'a> {
    options: &'a Options,
    table: Table,
    /// In order; a class is a place among them.
    labels: Vec<u32>,
    classes: Vec<usize>,
    folds: Vec<usize>,
}

impl<'a> Trial<'a> {
    fn new(loads: &[Labelled], options: &'a Options, row: impl Fn(&Labelled) -> Vec<f32>) -> Result<Self, AttackError> {
        let Options { folds, trees, seed, .. } = *options;
        if folds < 2 || trees < 1 {
            return Err(AttackError::Options { folds, trees });
        }
        let mut labels: Vec<u32> = loads.iter().map(|load| load.label).collect();
        labels.sort_unstable();
        labels.dedup();
        if labels.len() < 2 {
            return Err(AttackError::TooFewLabels { labels: labels.len() });
        }
        let classes: Vec<usize> =
            loads.iter().map(|load| labels.partition_point(|label| *label < load.label)).collect();
        let draws: Vec<_> = loads.iter().map(|load| load.draw).collect();
        let folds = folds::assign(&classes, &labels, &draws, folds, seed)?;
        let rows: Vec<_> = loads.iter().map(row).collect();
        Ok(Self { options, table: Table::new(&rows), labels, classes, folds })
    }

    /// Learns and tests each fold, from at most `limit` loads of each label.
    fn run(&self, limit: Option<usize>) -> Result<Accuracy, AttackError> {
        let count = self.labels.len();
        let mut confusion = vec![vec![0u32; count]; count];
        let mut folds = Vec::new();
        for fold in 0..self.options.folds {
            let rows = self.learnt(fold, limit)?;
            let lesson = Lesson { table: &self.table, classes: &self.classes, count, rows };
            let forest = Forest::grow(&lesson, self.options.trees, self.options.seed.wrapping_add(fold as u64 + 1));
            let tested: Vec<usize> = (0..self.table.rows()).filter(|&load| self.folds[load] == fold).collect();
            let mut right = 0u32;
            for &load in &tested {
                let name = forest.name(&self.table, load);
                confusion[self.classes[load]][name] += 1;
                right += u32::from(name == self.classes[load]);
            }
            folds.push(f64::from(right) / tested.len() as f64);
        }
        let most =
            (0..count).map(|class| self.classes.iter().filter(|other| **other == class).count()).max().unwrap_or(0);
        Ok(Accuracy {
            mean: statistics::mean(&folds),
            interval: statistics::interval(&folds).map(|end| end.clamp(0.0, 1.0)),
            chance: most as f64 / self.classes.len() as f64,
            folds,
            labels: self.labels.clone(),
            confusion,
        })
    }

    /// Returns what is learnt from when `fold` is tested: all the rest, or a draw of `limit` loads of each label.
    fn learnt(&self, fold: usize, limit: Option<usize>) -> Result<Vec<usize>, AttackError> {
        let mut rest: Vec<usize> = (0..self.table.rows()).filter(|&load| self.folds[load] != fold).collect();
        let Some(limit) = limit else { return Ok(rest) };
        // The same order at each point of a curve: more loads are the same ones and others.
        folds::shuffle(&mut rest, &mut Xoshiro256PlusPlus::seed_from_u64(self.options.seed ^ fold as u64));
        let mut taken = vec![0; self.labels.len()];
        rest.retain(|&load| {
            let taken = &mut taken[self.classes[load]];
            *taken += 1;
            *taken <= limit
        });
        match taken.iter().position(|&left| left < limit.max(1) || limit == 0) {
            Some(class) => {
                Err(AttackError::TooFewLoads { label: self.labels[class], left: taken[class], loads: limit })
            }
            None => Ok(rest),
        }
    }
}
