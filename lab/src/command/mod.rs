//! What the command line asks for: a file for each subcommand, and what several share.

mod attack;
mod convert;
mod delays;
mod engine;
mod masking;
mod network;
mod results;
mod shape;
mod table;
mod traces;
mod validate;

use clap::{Parser, Subcommand};

/// Measures what defenses hide and what they cost: real tunnels and real TCP, in virtual time or between network namespaces, and an
/// observer who learns.
#[derive(Debug, Parser)]
#[command(name = "maybetun-lab", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compares defenses: how often an observer names the site, bytes, upload, load times, a download, a call.
    Table(table::Table),
    /// Has the same loads made in virtual time and in real, and says how far they agree.
    Validate(validate::Validate),
    /// Measures how late the program's actions and reports are, as Maybenot's simulator takes them.
    Delays(delays::Measure),
    /// Has an observer of the throughput name what the user does.
    Shape(shape::Shape),
    /// Has users do one thing for an hour each, and tells the upload ratio with masking and without, and what it costs.
    Masking(masking::Masking),
    /// Writes what the observer sees of loads with a defense, for other programs.
    Traces(traces::Traces),
    /// Attacks traces of a file, whoever made them.
    Attack(attack::Attack),
    /// Writes traces of a file in another format.
    Convert(convert::Convert),
}

impl Cli {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        match &self.command {
            Command::Table(table) => table.run(),
            Command::Validate(validate) => validate.run(),
            Command::Delays(delays) => delays.run(),
            Command::Shape(shape) => shape.run(),
            Command::Masking(masking) => masking.run(),
            Command::Traces(traces) => traces.run(),
            Command::Attack(attack) => attack.run(),
            Command::Convert(convert) => convert.run(),
        }
    }
}
