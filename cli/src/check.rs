//! `check`: is a configuration file right?

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;

use super::locate::{Source, locate};

/// Reads a configuration file and says whether it is right; changes nothing.
///
/// A file that is right gives `CONF: ok`; one that is not, `CONF:LINE: KEY: message` and exit code 3. A defense that it
/// names must be in the catalogue, or in a valid file.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// A path, or a name for /etc/wireguard/NAME.conf.
    #[arg(value_name = "CONF")]
    config: PathBuf,
}

/// Checks the file.
pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<()> {
    Source::read(&args.config)?;
    writeln!(io::stdout(), "{}: ok", locate(&args.config).display()).context("cannot write to standard output")
}
