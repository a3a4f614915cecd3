//! `man`: the manual pages, generated from the grammar of the command line.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::CommandFactory as _;

use crate::Cli;

/// Prints the manual page, or writes one for the command and each subcommand.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// An existing directory for maybetun.1, maybetun-up.1 and so on; without it maybetun.1 goes to standard output.
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Prints or writes the pages.
pub(crate) fn run(args: &ManArgs) -> anyhow::Result<()> {
    if let Some(directory) = &args.directory {
        return clap_mangen::generate_to(Cli::command(), directory)
            .with_context(|| format!("cannot write manual pages to {}", directory.display()));
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page).context("cannot make the manual page")?;
    io::stdout().write_all(&page).context("cannot write to standard output")
}
