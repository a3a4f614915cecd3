//! `shape`: what the throughput tells of the user's activity.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use maybetun_lab::attack;
use maybetun_lab::defense::Defense;
use maybetun_lab::report::VERSION;
use maybetun_lab::study::{ACTIVITIES, Options, activities};

use super::engine::Time;
use super::network::Network;
use super::results::Output;

#[derive(Debug, clap::Args)]
pub(super) struct Shape {
    /// The defenses, as `table` has them; `none` by default.
    #[arg(value_name = "DEFENSE", value_parser = Defense::parse, default_value = "none")]
    defenses: Vec<Defense>,

    /// Windows of each activity, at least one for each of ten folds.
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    windows: u32,

    /// Seconds of a window.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,

    /// Writes the results to this file, too, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// What all draws come from.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    #[command(flatten)]
    network: Network,

    #[command(flatten)]
    time: Time,
}

impl Shape {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let json = self.json.as_deref().map(Output::open).transpose()?;
        let usual = Options::default();
        let attack = attack::Options { seed: self.seed, ..usual.attack };
        let engine = self.time.engine()?;
        let options = Options { engine, seed: self.seed, access: self.network.access()?, attack, ..usual };
        let mut text = format!(
            "{} windows of {} s of each, seed {}.\n\n| defense | named (95 %) | {} |\n|---|---|{}\n",
            self.windows,
            self.seconds,
            self.seed,
            ACTIVITIES.join(" | "),
            "---|".repeat(ACTIVITIES.len())
        );
        let mut chance = 0.0;
        let mut results = Vec::new();
        for defense in &self.defenses {
            let accuracy = activities(&options, defense, self.windows, Duration::from_secs(self.seconds))?;
            let _ = writeln!(io::stderr(), "{}: {:.1} %", defense.name(), 100.0 * accuracy.mean);
            let [low, high] = accuracy.interval.map(|end| 100.0 * end);
            let right = (0..ACTIVITIES.len()).map(|class| {
                let row = &accuracy.confusion[class];
                format!("{:.0} %", 100.0 * f64::from(row[class]) / f64::from(row.iter().sum::<u32>().max(1)))
            });
            let right: Vec<_> = right.collect();
            let (name, mean) = (defense.name(), 100.0 * accuracy.mean);
            text += &format!("| {name} | {mean:.1} % ({low:.1}–{high:.1}) | {} |\n", right.join(" | "));
            chance = accuracy.chance;
            results.push(serde_json::json!({"defense": name, "accuracy": accuracy}));
        }
        text += &format!("| *random guess* | {:.1} % |{}\n", 100.0 * chance, " |".repeat(ACTIVITIES.len()));
        if let Some(json) = json {
            let results = serde_json::json!({"version": VERSION, "activities": ACTIVITIES, "outcomes": results});
            json.write(&format!("{results}\n"))?;
        }
        io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
    }
}
