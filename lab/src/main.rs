//! The lab's command.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use maybetun_lab::study::{Defense, Options, compare};

/// Measures what defenses hide and what they cost: real tunnels and real TCP in virtual time, and an observer who learns.
#[derive(Debug, Parser)]
#[command(name = "maybetun-lab", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compares defenses: how often an observer names the site, bytes, upload, load times.
    Table(Table),
}

#[derive(Debug, clap::Args)]
struct Table {
    /// The defenses: `none`, a name of `maybetun machines list`, or TIER/STRENGTH of one by agreement; by default those of the
    /// documents.
    #[arg(value_name = "DEFENSE", value_parser = Defense::parse)]
    defenses: Vec<Defense>,

    /// Sites.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=1_000))]
    sites: u32,

    /// Visits of each site, at least one for each of ten folds.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    visits: u32,

    /// Seconds for which a page is read before the next load: the trace goes on.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    reading: u64,

    /// Loads of a session: so many sites are loaded one after another through one tunnel, whose defense goes on.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    session: u32,

    /// Tells how well the observer does with fewer loads, too.
    #[arg(long)]
    curve: bool,

    /// What all draws come from.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Writes the results to this file, too, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Table(table) => run(&table),
    }
}

fn run(table: &Table) -> anyhow::Result<()> {
    let usual = Options::default();
    let options = Options {
        sites: table.sites,
        visits: table.visits,
        seed: table.seed,
        session: table.session,
        curve: table.curve,
        reading: Duration::from_secs(table.reading),
        attack: maybetun_lab::attack::Options { seed: table.seed, ..usual.attack },
        ..usual
    };
    let defenses = if table.defenses.is_empty() { Defense::usual()? } else { table.defenses.clone() };
    // What cannot be written is told before the work.
    let json = table.json.as_ref().map(|path| {
        std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display())).map(|file| (path, file))
    });
    let json = json.transpose()?;
    let start = Instant::now();
    let study = compare(&options, &defenses, |row| {
        let accuracy = 100.0 * row.accuracy.mean;
        let _ = writeln!(io::stderr(), "{:>5.0?} s  {}: {accuracy:.1} %", start.elapsed().as_secs_f64(), row.defense);
    })?;
    if let Some((path, mut file)) = json {
        let text = serde_json::to_string_pretty(&study)? + "\n";
        file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    io::stdout().write_all(study.to_string().as_bytes()).context("cannot write to standard output")
}
