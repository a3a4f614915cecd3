//! `traces`: what the observer sees, as a file.

use std::path::PathBuf;

use anyhow::Context as _;
use maybetun_lab::study::{Defense, traces};
use maybetun_lab::trace::file;

use super::network::Loads;

#[derive(Debug, clap::Args)]
pub(super) struct Traces {
    /// The defense, as `table` has it.
    #[arg(value_name = "DEFENSE", value_parser = Defense::parse)]
    defense: Defense,

    /// Where to: a file whose name ends with .npz (WFlib) or .csv.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    loads: Loads,
}

impl Traces {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        // What cannot be written is told before the work.
        file::write(&self.file, &[]).context("cannot write the traces")?;
        let loads = traces(&self.loads.options()?, &self.defense)?;
        file::write(&self.file, &loads).context("cannot write the traces")
    }
}
