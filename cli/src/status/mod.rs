//! `status`: the state of running tunnels.

mod block;
mod defense;
mod in_force;
mod json;
mod masking;
mod paint;
#[cfg(test)]
pub(super) mod tests_support;
mod text;

use std::io::{self, Write as _};
use std::time::SystemTime;

use anyhow::Context as _;
use maybetun::settings::Status;
use maybetun::uapi::client::{self, ClientError};

use crate::exit::{self, Exit, Failure, OrExit as _};
use crate::network::kill_switch;
use crate::{interface, place, running, runtime};
pub(super) use defense::{HELP as DEFENSE_HELP, render_json as defense_json, render_text as defense_text};
pub(super) use masking::{
    HELP as MASKING_HELP, render_json as masking_json, render_text as masking_text, said as masking_said,
};
pub(super) use paint::Paint;

/// Shows the state of running tunnels, as `wg show` does, with packet and drop counters. Keys that are secret stay hidden.
#[derive(Debug, clap::Args)]
#[command(after_long_help = json::help())]
pub(crate) struct StatusArgs {
    /// The interface to show; all of them if none is named.
    #[arg(value_name = "IFACE", value_parser = interface::parse_name)]
    interface: Option<String>,

    /// Prints one JSON object instead; `--help` has its schema.
    #[arg(long)]
    json: bool,
}

/// One interface and its state.
#[derive(Debug)]
struct Named {
    name: String,
    status: Status,
    /// Whether the kill switch is closed for it; `None` if that cannot be seen.
    kill_switch: Option<bool>,
}

/// Prints the state.
pub(crate) fn run(args: &StatusArgs) -> anyhow::Result<()> {
    let mut interfaces = match &args.interface {
        Some(name) => vec![read(name)?],
        None => read_all()?,
    };
    if args.interface.is_none() {
        running::dead().iter().for_each(|name| tracing::warn!("{}", died(name)));
    }
    match runtime::run(kill_switch::closed()) {
        Ok(closed) => {
            note_kill_switch(&mut interfaces, &closed);
            if args.interface.is_none() {
                warn_of_leftovers(&interfaces, &closed);
            }
        }
        Err(error) => tracing::debug!("cannot look at the kill switch: {error:#}"),
    }
    let output = if args.json {
        json::render(&interfaces).context("cannot write JSON")?
    } else {
        text::render(&interfaces, SystemTime::now(), Paint::of_stdout())
    };
    io::stdout().write_all(output.as_bytes()).context("cannot write to standard output")
}

/// Says that the process that ran a tunnel is dead, and what to do about it.
pub(super) fn died(name: &str) -> String {
    format!("the process that ran {name} has died: `maybetun down {name}` removes what it left, and `maybetun up` too")
}

/// Returns the names of the tunnels of this network namespace, and of those that other programs run, in order.
fn list_interfaces() -> io::Result<Vec<String>> {
    let mut names = client::list_interfaces_in(&place::directory())?;
    let others = client::list_interfaces()?;
    let (elsewhere, others): (Vec<_>, Vec<_>) = others
        .into_iter()
        .filter(|name| !names.contains(name))
        .partition(|name| !interface::exists(name) && place::is_elsewhere(name));
    names.extend(others);
    if names.is_empty() && !elsewhere.is_empty() {
        tracing::warn!("there are tunnels in other network namespaces only: {}", elsewhere.join(", "));
    }
    names.sort();
    Ok(names)
}

fn read_all() -> anyhow::Result<Vec<Named>> {
    let names = match list_interfaces() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let tuns = interface::tun_names();
            return Err(denied(if tuns.is_empty() { "which tunnels run".to_owned() } else { tuns.join(", ") }));
        }
        names => names.context("cannot list the running tunnels")?,
    };
    let (mut interfaces, mut unseen) = (Vec::new(), Vec::new());
    for name in names {
        match read(&name) {
            Ok(named) => interfaces.push(named),
            Err(error) if exit::of(&error) == Exit::Permission => unseen.push(name),
            // It may have ended meanwhile: the others are still worth showing.
            Err(error) => tracing::warn!("{error:#}"),
        }
    }
    if !unseen.is_empty() {
        let error = denied(unseen.join(", "));
        if interfaces.is_empty() {
            return Err(error);
        }
        tracing::warn!("{error}");
    }
    Ok(interfaces)
}

/// Returns the error of a user who may not see something.
fn denied(what: String) -> anyhow::Error {
    let message = format!("cannot see {what}: run this as root, or as the user who runs the tunnel");
    Failure::error(Exit::Permission, message)
}

fn note_kill_switch(interfaces: &mut [Named], closed: &[String]) {
    for named in interfaces {
        named.kill_switch = Some(closed.contains(&named.name));
    }
}

/// Warns of a switch that a tunnel left closed: the host is off the network, and it does not show why.
fn warn_of_leftovers(interfaces: &[Named], closed: &[String]) {
    for name in closed.iter().filter(|name| interfaces.iter().all(|named| named.name != **name)) {
        tracing::warn!(
            "the kill switch of {name} is closed, and no such tunnel is running: `maybetun down {name}` opens it"
        );
    }
}

fn read(name: &str) -> anyhow::Result<Named> {
    match client::get_in(&place::of_socket(name)?, name) {
        Ok(status) => Ok(Named { name: name.to_owned(), status, kill_switch: None }),
        // Whatever it said in dying.
        Err(_) if running::has_died(name) => Err(Failure::error(Exit::NoInterface, died(name))),
        Err(error @ ClientError::NotRunning(_)) => Err(error).or_exit(Exit::NoInterface, format!("no tunnel {name}")),
        Err(error @ ClientError::Denied(_)) => Err(error).or_exit(Exit::Permission, format!("cannot see {name}")),
        Err(error) => Err(error).with_context(|| format!("cannot read the state of {name}")),
    }
}
