//! Virtual time, or real.

use std::path::PathBuf;

use maybetun_lab::study::Engine;

/// In which time loads are made.
#[derive(Debug, clap::Args)]
pub(super) struct Time {
    /// Makes loads in real time: between network namespaces, by the program itself and the kernel's TCP. It needs root.
    #[arg(long, help_heading = "Real time")]
    real: bool,

    #[command(flatten)]
    engine: Real,
}

/// How loads are made in real time.
#[derive(Debug, clap::Args)]
pub(super) struct Real {
    /// The program at both ends of a tunnel.
    #[arg(long, value_name = "PATH", default_value = "target/release/maybetun", help_heading = "Real time")]
    maybetun: PathBuf,

    /// Clients at once, in networks of their own.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=500), help_heading = "Real time")]
    clients: u16,
}

impl Time {
    pub(super) fn engine(&self) -> anyhow::Result<Engine> {
        if self.real { self.engine.engine() } else { Ok(Engine::Virtual) }
    }
}

impl Real {
    /// Returns it.
    ///
    /// # Errors
    /// When the program is not there.
    pub(super) fn engine(&self) -> anyhow::Result<Engine> {
        let program = self.maybetun.canonicalize();
        let program = anyhow::Context::with_context(program, || {
            format!("--maybetun {}: build it with `cargo build --release`", self.maybetun.display())
        })?;
        Ok(Engine::Real { program, clients: self.clients.into() })
    }
}
