//! `validate`: virtual time against real.

use std::io::{self, Write as _};

use anyhow::Context as _;
use maybetun_lab::defense::Defense;
use maybetun_lab::study::{Engine, Options, Validation, validate};

use super::engine::Real;
use super::network::Loads;

#[derive(Debug, clap::Args)]
pub(super) struct Validate {
    /// The defenses, as `table` has them; `none` by default.
    #[arg(value_name = "DEFENSE", value_parser = Defense::parse, default_value = "none")]
    defenses: Vec<Defense>,

    #[command(flatten)]
    loads: Loads,

    #[command(flatten)]
    engine: Real,
}

impl Validate {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let options = self.loads.options_to_attack(Engine::Virtual)?;
        let Options { sites, visits, seed, .. } = options;
        let mut text = format!("{sites} sites, {visits} visits each, seed {seed}.\n\n{}", Validation::head());
        let rows = validate(&options, [&Engine::Virtual, &self.engine.engine()?], &self.defenses, |row| {
            let _ = write!(io::stderr(), "{row}");
        })?;
        rows.iter().for_each(|row| text += &row.to_string());
        io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
    }
}
