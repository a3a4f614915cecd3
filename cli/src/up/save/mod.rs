//! SaveConfig: what changed while a tunnel was up, written to its configuration file.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context as _;
use ipnet::IpNet;
use maybetun::config::{self, Names};
use maybetun::settings::Status;
use nix::unistd::{AccessFlags, access};

use super::baseline::Baseline;
use super::changes::Changes;
use super::replace::{create, replace};
use crate::locate::read_bounded;
use crate::network::tables;

/// Warns if the file at `path` cannot be replaced when the tunnel stops: later is too late to do anything about it.
pub(super) fn warn_unless_possible(path: &Path) {
    if let Err(error) = is_possible(path) {
        tracing::warn!(
            "SaveConfig will not save {}: its directory cannot be written to ({error}); under maybetun@.service that needs \
             the drop-in save-config.conf",
            path.display()
        );
    }
}

fn is_possible(path: &Path) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    Ok(access(path.parent().unwrap_or(Path::new("/")), AccessFlags::W_OK)?)
}

/// Changes the file at `path` where the tunnel is set to something else than when it came up; a file of which nothing
/// changed is not touched. What was changed in the file itself meanwhile stays.
///
/// # Errors
/// When the file is gone or wrong, or cannot be replaced; it is as it was then.
pub(super) fn save(path: &Path, baseline: &Baseline, status: &Status, addresses: &[IpNet]) -> anyhow::Result<()> {
    save_changes(path, baseline, status, addresses).with_context(|| format!("cannot save {}", path.display()))
}

fn save_changes(path: &Path, baseline: &Baseline, status: &Status, addresses: &[IpNet]) -> anyhow::Result<()> {
    let (text, tables) = (read_bounded(path)?, tables::of_host());
    let mut changes =
        Changes::new(path, config::parse_with(&*text, Names { tables: &tables, check_defense: &|_| Ok(()) })?);
    changes.find(baseline, status, addresses);
    let edited = config::edit(&text, &changes.config, &tables)?;
    if *edited == *text {
        return Ok(());
    }
    for (path, content) in &changes.defenses {
        create(path, content.as_bytes()).with_context(|| format!("cannot make {}", path.display()))?;
    }
    replace(path, &edited)
}

#[cfg(test)]
mod tests;
