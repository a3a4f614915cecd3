//! `delays`: how late the program's actions and reports are.

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use maybetun_lab::real::Delays;

use super::engine::Program;

#[derive(Debug, clap::Args)]
pub(super) struct Measure {
    /// Seconds for which each is measured.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=100))]
    seconds: u64,

    #[command(flatten)]
    program: Program,
}

impl Measure {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let delays = Delays::measure(&self.program.path()?, Duration::from_secs(self.seconds))?;
        for (what, times) in [("actions", &delays.actions), ("reactions", &delays.reactions)] {
            let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len().saturating_sub(1)));
            let _ = writeln!(
                io::stderr(),
                "{} {what}: p50 {:.0?}, p99 {:.0?}",
                times.len(),
                at(50).copied().unwrap_or_default(),
                at(99).copied().unwrap_or_default()
            );
        }
        writeln!(io::stdout(), "{:#}", delays.integration()).context("cannot write to standard output")
    }
}
