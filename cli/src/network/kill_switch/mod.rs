//! The kill switch: while it is closed, nothing leaves the machine but tunnels' datagrams, DHCP, neighbour discovery,
//! loopback, and what the user excepts.
//!
//! It is a table of nftables, so it is the kernel's: it stays closed when the process is killed or the interface deleted,
//! until it is opened. The rules are in `ruleset.rs`.

mod notices;
mod remembered;
mod ruleset;

use std::time::Duration;

use anyhow::Context as _;
use ipnet::IpNet;

use super::{lock, nft};
use crate::exit::{Exit, Failure};
use crate::place;
pub(crate) use remembered::Addresses;

/// Pause before the switch is closed anew after the kernel refused it.
const RETRY: Duration = Duration::from_secs(1);

/// What the switch is closed for, and for whom it is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The tunnel's interface.
    pub(crate) interface: String,
    /// The mark of its datagrams.
    pub(crate) mark: u32,
    /// The networks that are let through.
    pub(crate) allowed: Vec<IpNet>,
    /// The addresses of endpoints, which are remembered while the switch is closed.
    pub(crate) endpoints: Addresses,
}

/// Makes sure that the switch can be closed on this host.
///
/// # Errors
/// When `nft` is not installed.
pub(crate) fn check() -> anyhow::Result<()> {
    if nft::is_installed() {
        return Ok(());
    }
    let message = "the kill switch needs nft, which is not installed: install nftables, or do without KillSwitch";
    Err(Failure::error(Exit::Failure, message))
}

/// Returns the interfaces that the switch is closed for; none on a host without `nft`.
///
/// # Errors
/// When `nft` may not look.
pub(crate) async fn closed() -> anyhow::Result<Vec<String>> {
    if !nft::is_installed() {
        return Ok(Vec::new());
    }
    Ok(ruleset::closed_in(&nft::list_chains().await?))
}

/// Closes the switch. If it is closed for the interface already, the rules are replaced without a moment of openness.
///
/// Once begun it is done to its end, also if the wait is given up.
///
/// # Errors
/// When the kernel refuses the rules. Then nothing has changed.
pub(crate) async fn close(settings: &Settings) -> anyhow::Result<()> {
    let directory = place::directory();
    let lock = lock::lock(&directory).await?;
    let Settings { interface, mark, allowed, endpoints } = settings.clone();
    let closing = tokio::spawn(async move {
        let _lock = lock;
        remembered::write(&directory, &interface, &endpoints)?;
        let closed = closed().await?;
        nft::load(&ruleset::closing(&interface, mark, &allowed, &closed)).await
    });
    closing.await.context("closing the kill switch ended badly")?.context("cannot close the kill switch")
}

/// Keeps the switch closed: whenever somebody takes its table away, as `nft flush ruleset` does, it is closed again. Runs
/// until it is dropped.
pub(crate) async fn keep(settings: Settings) {
    if let Err(error) = keep_by_notices(&settings).await {
        tracing::warn!("the kill switch is closed, but nobody will notice if it is taken away: {error:#}");
    }
}

async fn keep_by_notices(settings: &Settings) -> anyhow::Result<()> {
    let mut notices = notices::Notices::open().context("the kernel does not tell of its rules")?;
    loop {
        // Something may have gone before there was anyone to tell.
        while let Err(error) = close_if_open(settings).await {
            tracing::error!("{error:#}");
            tokio::time::sleep(RETRY).await;
        }
        notices.something_gone().await.context("the kernel tells no more of its rules")?;
    }
}

async fn close_if_open(settings: &Settings) -> anyhow::Result<()> {
    if closed().await?.contains(&settings.interface) {
        return Ok(());
    }
    tracing::warn!("somebody took the kill switch away: closing it again");
    close(settings).await
}

/// Opens the switch as far as `interface` closed it, and tells whether it had. It stays closed for others.
///
/// # Errors
/// When the kernel refuses.
pub(crate) async fn open(interface: &str) -> anyhow::Result<bool> {
    let directory = place::directory();
    let _lock = lock::lock(&directory).await?;
    let closed = closed().await?;
    let is_ours = closed.iter().any(|other| other == interface);
    if is_ours {
        nft::load(&ruleset::opening(interface, &closed)).await.context("cannot open the kill switch")?;
    }
    remembered::forget(&directory, interface);
    Ok(is_ours)
}

/// Returns the addresses that the endpoints of `interface` had when it closed the switch.
pub(crate) fn endpoints(interface: &str) -> Addresses {
    remembered::read(&place::directory(), interface)
}

/// Forgets the addresses of endpoints that were about to be remembered when the process died, unless the switch is closed
/// for `interface`.
pub(crate) async fn forget_unless_closed(interface: &str) -> anyhow::Result<()> {
    let directory = place::directory();
    if remembered::is_there(&directory, interface) && !closed().await?.iter().any(|other| other == interface) {
        remembered::forget(&directory, interface);
    }
    Ok(())
}
