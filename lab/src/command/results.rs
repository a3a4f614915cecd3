//! Where results go beside the text: JSON and a page. What cannot be written is told before the work.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use maybetun_lab::report::Report;

/// Which files.
#[derive(Debug, clap::Args)]
pub(super) struct Files {
    /// Writes the results to this file, too, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Writes them to this file, too, as a web page with plots that needs nothing else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// The files, open.
pub(super) struct Results<'a> {
    json: Option<Output<'a>>,
    html: Option<Output<'a>>,
}

/// A file to write to.
pub(super) struct Output<'a> {
    path: &'a Path,
    file: File,
}

impl Files {
    /// Opens them.
    ///
    /// # Errors
    /// When one cannot be written.
    pub(super) fn open(&self) -> anyhow::Result<Results<'_>> {
        Ok(Results {
            json: self.json.as_deref().map(Output::open).transpose()?,
            html: self.html.as_deref().map(Output::open).transpose()?,
        })
    }
}

impl Results<'_> {
    /// Writes a report to them.
    ///
    /// # Errors
    /// When one cannot be written.
    pub(super) fn write(self, report: &Report) -> anyhow::Result<()> {
        if let Some(json) = self.json {
            json.write(&(report.json()? + "\n"))?;
        }
        self.html.map_or(Ok(()), |html| html.write(&report.page()))
    }
}

impl<'a> Output<'a> {
    /// Opens it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn open(path: &'a Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path, file })
    }

    /// Writes all that is in it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(mut self, text: &str) -> anyhow::Result<()> {
        self.file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", self.path.display()))
    }
}
