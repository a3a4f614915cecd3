//! `convert`: traces in another format.

use std::path::PathBuf;

use anyhow::Context as _;
use maybetun_lab::trace::file;

#[derive(Debug, clap::Args)]
pub(super) struct Convert {
    /// The file to read: its name ends with .npz, .csv, .pcapng or .trace (the simulator's lines).
    #[arg(value_name = "FROM")]
    from: PathBuf,

    /// The file to write, alike. A .pcapng or .trace holds one trace.
    #[arg(value_name = "TO")]
    to: PathBuf,

    /// Takes only the trace at this place, from 0 on.
    #[arg(long, value_name = "N")]
    only: Option<usize>,
}

impl Convert {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let mut loads = file::read(&self.from).context("cannot read the traces")?;
        if let Some(place) = self.only {
            let count = loads.len();
            let load = loads.into_iter().nth(place);
            loads = vec![load.with_context(|| format!("--only {place}: the file has {count} traces"))?];
        }
        file::write(&self.to, &loads).context("cannot write the traces")
    }
}
