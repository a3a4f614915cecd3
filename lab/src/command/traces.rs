//! `traces`: what the observer sees, as a file.

use std::path::PathBuf;

use anyhow::Context as _;
use maybetun_lab::defense::Defense;
use maybetun_lab::study::traces;
use maybetun_lab::trace::file;

use super::engine::Time;
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

    #[command(flatten)]
    time: Time,
}

impl Traces {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let options = self.loads.options(self.time.engine()?)?;
        // What cannot be written is told before the work.
        file::write(&self.file, &[]).context("cannot write the traces")?;
        let loads = traces(&options, &self.defense)?;
        file::write(&self.file, &loads).context("cannot write the traces")
    }
}
