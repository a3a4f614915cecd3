//! Virtual time, or real.

use std::path::PathBuf;

use anyhow::Context as _;
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
    #[command(flatten)]
    program: Program,

    /// Clients at once, in networks of their own.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=500), help_heading = "Real time")]
    clients: u16,

    /// A browser that loads the pages, in place of the lab's own: Chromium.
    #[arg(long, value_name = "PATH", help_heading = "Real time")]
    chromium: Option<PathBuf>,
}

/// The program that is measured.
#[derive(Debug, clap::Args)]
pub(super) struct Program {
    /// The program at both ends of a tunnel.
    #[arg(long, value_name = "PATH", default_value = "target/release/maybetun", help_heading = "Real time")]
    maybetun: PathBuf,
}

impl Time {
    /// Returns the engine.
    ///
    /// # Errors
    /// When its program is not there.
    pub(super) fn engine(&self) -> anyhow::Result<Engine> {
        anyhow::ensure!(
            self.real || self.engine.chromium.is_none(),
            "--chromium: it loads pages in real time only, with --real"
        );
        if self.real { self.engine.engine() } else { Ok(Engine::Virtual) }
    }
}

impl Real {
    /// Returns the engine.
    ///
    /// # Errors
    /// When its program is not there.
    pub(super) fn engine(&self) -> anyhow::Result<Engine> {
        let chromium = self
            .chromium
            .as_deref()
            .map(|path| path.canonicalize().with_context(|| format!("--chromium {}: it is not there", path.display())));
        Ok(Engine::Real {
            program: self.program.path()?,
            clients: self.clients.into(),
            chromium: chromium.transpose()?,
        })
    }
}

impl Program {
    /// Returns where it is.
    ///
    /// # Errors
    /// When it is not there.
    pub(super) fn path(&self) -> anyhow::Result<PathBuf> {
        let path = self.maybetun.canonicalize();
        path.with_context(|| format!("--maybetun {}: build it with `cargo build --release`", self.maybetun.display()))
    }
}
