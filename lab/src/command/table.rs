//! `table`: defenses compared.

use std::io::{self, Write as _};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use maybetun_lab::defense::Defense;
use maybetun_lab::study::{Options, compare};

use super::engine::Time;
use super::network::Loads;
use super::results::Files;

#[derive(Debug, clap::Args)]
pub(super) struct Table {
    /// The defenses: `none`, a name of `maybetun machines list`, TIER/STRENGTH of one by agreement, or a file (.toml, or .machines with
    /// one of Maybenot's in each line); by default those of the
    /// documents.
    #[arg(value_name = "DEFENSE", value_parser = Defense::parse)]
    defenses: Vec<Defense>,

    #[command(flatten)]
    loads: Loads,

    #[command(flatten)]
    time: Time,

    /// Tells how well the observer does with fewer loads, too.
    #[arg(long)]
    curve: bool,

    /// Has the observer of the throughput name what the user does, too, in so many windows of a minute of each activity: see `shape`.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    windows: u32,

    #[command(flatten)]
    files: Files,
}

impl Table {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let options =
            Options { curve: self.curve, windows: self.windows, ..self.loads.options_to_attack(self.time.engine()?)? };
        let folds = options.attack.folds;
        let windows = self.windows;
        ensure!(windows == 0 || windows as usize >= folds, "--windows {windows}: expected 0, or at least {folds}");
        let defenses = if self.defenses.is_empty() { Defense::usual()? } else { self.defenses.clone() };
        let results = self.files.open()?;
        let start = Instant::now();
        let study = compare(&options, &defenses, |row| {
            let accuracy = 100.0 * row.accuracy.mean;
            let _ =
                writeln!(io::stderr(), "{:>5.0?} s  {}: {accuracy:.1} %", start.elapsed().as_secs_f64(), row.defense);
        })?;
        results.write(&study.report())?;
        io::stdout().write_all(study.to_string().as_bytes()).context("cannot write to standard output")
    }
}
