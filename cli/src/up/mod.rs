//! `up`: everything that a wg-quick file asks for.

mod baseline;
mod changes;
mod difference;
mod hooks;
mod in_force;
mod kill_switch;
mod lookups;
mod reload;
mod replace;
mod resolve;
mod routing;
mod save;
mod saved_defense;
mod session;
mod undo;

use std::path::PathBuf;

use anyhow::Context as _;

use super::control::Control;
use super::detach::{self, Place};
use super::exit::{Exit, Failure};
use super::interface;
use super::leftovers;
use super::locate::Source;
use super::logging::Log;
use super::running::Claim;
use super::runtime::{self, Hangup, ReloadSignal, StopSignals};
use super::service::{Cost, End, Service, Speed};
use hooks::{Hooks, Permission};
use kill_switch::{KillSwitch, KillSwitchArgs};
use session::Session;

/// Brings a tunnel up from a wg-quick file, and serves it until it is told to stop.
///
/// Sets up the interface, its addresses, MTU, routes and DNS, as wg-quick does, and undoes all of it on `maybetun down`,
/// Ctrl-C or failure. `wg` works on it meanwhile, and `maybetun reload` has it take its file as that is then.
///
/// Signals: SIGINT and SIGTERM stop it; SIGQUIT too, and leaves a kill switch closed. SIGHUP is a reload, but in the foreground
/// of a terminal the terminal's end: a stop that leaves a kill switch closed. Under `nohup` it is nothing.
#[derive(Debug, clap::Args)]
#[command(after_long_help = super::exit::HELP)]
pub(crate) struct UpArgs {
    /// A path, or a name for /etc/wireguard/NAME.conf.
    #[arg(value_name = "CONF")]
    pub(crate) config: PathBuf,

    /// The interface to make; by default the file's name without .conf.
    #[arg(long, value_name = "IFACE", value_parser = interface::parse_name)]
    pub(crate) name: Option<String>,

    /// Goes to the background once the tunnel is up.
    #[arg(short, long)]
    pub(crate) detach: bool,

    /// Runs the file's PreUp, PostUp, PreDown and PostDown commands, with bash, or with `sh` where there is none.
    #[arg(long)]
    pub(crate) allow_hooks: bool,

    #[command(flatten)]
    kill_switch: KillSwitchArgs,

    #[command(flatten)]
    pub(crate) cost: Cost,
}

/// Brings the tunnel up and serves it.
pub(crate) fn run(args: UpArgs, speed: Speed, log: &Log) -> anyhow::Result<()> {
    match detach::place() {
        Place::Foreground if args.detach => return detach::to_background(),
        Place::Foreground => {}
        Place::Background => detach::enter_background()?,
    }
    let source = Source::read(&args.config)?;
    let name = match args.name {
        Some(name) => name,
        None => source.interface()?,
    };
    let permission = if args.allow_hooks { Permission::Allowed } else { Permission::Skipped };
    let cost = args.cost.or_file(&source.config.interface);
    let hooks = Hooks::new(&source.path, &source.config.interface, permission);
    let claim = Claim::new(&name)?;
    runtime::run(serve(&claim, speed, cost, source, hooks, &args.kill_switch, log))
}

async fn serve(
    claim: &Claim,
    speed: Speed,
    cost: Cost,
    source: Source,
    hooks: Hooks,
    kill_switch: &KillSwitchArgs,
    log: &Log,
) -> anyhow::Result<()> {
    let name = claim.name();
    let hangup = Hangup::of_this_process();
    let mut signals = StopSignals::new(hangup).context("cannot watch for signals")?;
    let reload = ReloadSignal::new(hangup).context("cannot watch for signals")?;
    let mut session = Session::prepare(source, hooks)?;
    let mut kill_switch = KillSwitch::find(name, kill_switch, session.interface()).await?;
    let mut journal = leftovers::adopt(claim).await?;
    let mut service = Service::start(name, speed, cost)?;
    tracing::info!("interface {name} is there");
    let mut control = Control::new(claim, reload)?;
    let outcome = session.run(&mut service, &mut journal, &mut kill_switch, &mut signals, &mut control, log).await;
    service.stop().await;
    session.after_down(name).await;
    kill_switch.finish(&outcome).await;
    match outcome? {
        End::Signal(_) | End::SocketRemoved => Ok(()),
        End::InterfaceDeleted => Err(Failure::error(Exit::Tun, format!("interface {name} was deleted"))),
    }
}
