//! `strip`: what `wg setconf` takes of a configuration file.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use maybetun::config;

use super::locate::Source;

/// Prints a configuration file without what `wg` does not read, for `wg setconf` or `wg syncconf`.
///
/// What is left out is what wg-quick reads, as by `wg-quick strip`, and the keys that only maybetun has, also those that
/// stand in comments after `#maybetun:`. The file must be right.
#[derive(Debug, clap::Args)]
pub(crate) struct StripArgs {
    /// A path, or a name for /etc/wireguard/NAME.conf.
    #[arg(value_name = "CONF")]
    config: PathBuf,
}

/// Prints the file.
pub(crate) fn run(args: &StripArgs) -> anyhow::Result<()> {
    let (_, text) = Source::read_text(&args.config)?;
    io::stdout().write_all(&config::strip(&text)).context("cannot write to standard output")
}
