//! `completions`: what a shell needs to complete this command's words.

use std::io::{self, Write as _};

use anyhow::Context as _;
use clap::CommandFactory as _;

use crate::Cli;

/// Prints a completion script.
///
/// For bash: maybetun completions bash > /usr/share/bash-completion/completions/maybetun
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell to print the script for.
    shell: clap_complete::Shell,
}

/// Prints the script.
pub(crate) fn run(args: &CompletionsArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "maybetun", &mut script);
    io::stdout().write_all(&script).context("cannot write to standard output")
}
