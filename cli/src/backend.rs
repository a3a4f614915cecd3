//! `maybetun IFACE`: a userspace backend for `wg` and `wg-quick`, started as wireguard-go is.

use anyhow::Context as _;

use super::detach::{self, Place};
use super::exit::{Exit, Failure};
use super::interface;
use super::leftovers;
use super::logging::Log;
use super::running::Claim;
use super::runtime::{self, Hangup, StopSignals};
use super::service::{Cost, Service, Speed};

/// wireguard-go's environment variable that keeps it in the foreground when it is `1`.
const FOREGROUND_VARIABLE: &str = "WG_PROCESS_FOREGROUND";

#[derive(Debug, clap::Args)]
pub(crate) struct BackendArgs {
    /// Stays in the foreground, as WG_PROCESS_FOREGROUND=1 in the environment does.
    #[arg(short, long)]
    pub(crate) foreground: bool,

    /// The interface to make, for `wg` and `wg-quick` to configure.
    #[arg(value_name = "IFACE", value_parser = interface::parse_name)]
    pub(crate) interface: Option<String>,

    #[command(flatten)]
    cost: Cost,
}

impl BackendArgs {
    /// Tells whether any of them was on the command line.
    pub(crate) fn is_given(&self) -> bool {
        self.foreground || self.interface.is_some()
    }
}

/// Serves the interface until it is told to stop; in the background unless told otherwise.
pub(crate) fn run(args: BackendArgs, speed: Speed, log: &Log) -> anyhow::Result<()> {
    let Some(name) = args.interface else {
        return Err(Failure::error(Exit::Usage, "expected an interface"));
    };
    let stay = args.foreground || std::env::var_os(FOREGROUND_VARIABLE).is_some_and(|value| value == "1");
    match detach::place() {
        Place::Foreground if !stay => return detach::to_background(),
        Place::Foreground => {}
        Place::Background => detach::enter_background()?,
    }
    let claim = Claim::new(&name)?;
    runtime::run(serve(&claim, speed, args.cost, log))
}

async fn serve(claim: &Claim, speed: Speed, cost: Cost, log: &Log) -> anyhow::Result<()> {
    let name = claim.name();
    let mut signals = StopSignals::new(Hangup::without_reload()).context("cannot watch for signals")?;
    leftovers::adopt(claim).await?;
    let mut service = Service::start(name, speed, cost)?;
    tracing::info!("interface {name} is there: `wg` configures it, and `maybetun down {name}` takes it away");
    let result = match detach::ready(detach::place(), log) {
        Ok(()) => service.ended(&mut signals).await.map(drop),
        Err(error) => Err(error),
    };
    service.stop().await;
    result
}
