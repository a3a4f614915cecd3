//! `defense`: switches the defense of a running tunnel on and off, and shows it.

mod flags;
mod load;

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use maybetun::config;
use maybetun::keys::PublicKey;
use maybetun::negotiation::RenewError;
use maybetun::settings::{DefenseChange, DefenseSettings, EphemeralSettings, PeerStatus, Role};
use maybetun::uapi::client::{self, ClientError};
use maybetun::uapi::{ResponseError, renew_errno};

use super::exit::{Exit, Failure, OrExit as _};
use super::status::{self, Paint};
use super::{interface, peer, place};
use flags::Flags;
pub(crate) use flags::{flag, take};
pub(crate) use load::{check, load};

/// Switches the defense of a running tunnel on and off, and shows it.
///
/// The session, the endpoint and every connection inside survive. It takes effect from the next packet on.
#[derive(Debug, clap::Args)]
#[command(after_long_help = super::exit::HELP)]
pub(crate) struct DefenseArgs {
    /// The interface.
    #[arg(value_name = "IFACE", value_parser = interface::parse_name)]
    interface: String,

    /// The peer's public key in base64; may be left out where there is only one.
    #[arg(value_name = "PEER", value_parser = PublicKey::from_base64)]
    peer: Option<PublicKey>,

    #[command(subcommand)]
    command: DefenseCommand,
}

#[derive(Debug, clap::Subcommand)]
enum DefenseCommand {
    /// Runs a defense, in the place of the one that runs.
    On(Box<OnArgs>),
    /// Runs none.
    Off,
    /// Agrees with the peer on a new ephemeral defense, now; a relay asks the client to.
    Renew,
    /// Shows the defense and what it has counted; of every peer, if none is named.
    #[command(after_long_help = status::DEFENSE_HELP)]
    Status {
        /// Prints one JSON object instead; `--help` has its schema.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
struct OnArgs {
    /// `ephemeral`, a defense of the catalogue, as `maybetun machines list` has it, or the path of a file: what has a / or
    /// ends in .toml.
    ///
    /// With `ephemeral` both ends draw a defense of their own from a seed that only they know.
    #[arg(value_name = "NAME|FILE", value_parser = parse_defense)]
    defense: config::Defense,

    #[command(flatten)]
    flags: Flags,
}

fn parse_defense(text: &str) -> Result<config::Defense, &'static str> {
    let defense = config::Defense::from_text(text).filter(|defense| *defense != config::Defense::Off);
    defense.ok_or("expected the name of a defense (a-z, 0-9 and -), or a path with a / in it")
}

/// Switches or shows.
pub(crate) fn run(args: &DefenseArgs) -> anyhow::Result<()> {
    let name = &args.interface;
    // A defense that is not there is told before a tunnel that is not.
    let found = match &args.command {
        DefenseCommand::On(on) if on.defense == config::Defense::Ephemeral => None,
        DefenseCommand::On(on) => {
            on.check_static()?;
            Some(load(&on.defense, Path::new("")).or_exit(Exit::Config, "cannot run the defense")?)
        }
        DefenseCommand::Off | DefenseCommand::Renew | DefenseCommand::Status { .. } => None,
    };
    let directory = place::of_socket(name)?;
    let status = peer::read(&directory, name)?;
    let output = match (&args.command, found) {
        (DefenseCommand::Status { json }, _) => {
            let peers = peer::chosen(name, &status, args.peer)?;
            if *json {
                status::defense_json(name, &peers).context("cannot write JSON")?
            } else {
                status::defense_text(&peers, Paint::of_stdout())
            }
        }
        (command, found) => {
            let peer = peer::only(name, &status, args.peer)?;
            let change = change(command, found.as_ref(), peer)?;
            let told = match &change {
                DefenseChange::Off => "off".to_owned(),
                DefenseChange::Renew => "renewed".to_owned(),
                DefenseChange::On(settings) => as_role(&settings.name, settings.role),
                DefenseChange::Ephemeral(settings) => as_role(maybetun_machines::EPHEMERAL, settings.role),
            };
            let answer = client::set_in(&directory, name, &peer::update(peer.public_key, change));
            if let Some(error) = why_not_renewed(&answer) {
                return Err(error).or_exit(Exit::Failure, "not renewed");
            }
            peer::answered(name, answer)?;
            format!("{name}: peer {}: {told}\n", peer.public_key)
        }
    };
    io::stdout().write_all(output.as_bytes()).context("cannot write to standard output")
}

impl OnArgs {
    /// Makes sure that nothing is said that only an ephemeral defense knows.
    fn check_static(&self) -> anyhow::Result<()> {
        let said = self.flags.of_ephemeral();
        if !said.is_empty() {
            let message = format!("only the defense `ephemeral` knows {}", said.join(", "));
            return Err(Failure::error(Exit::Usage, message));
        }
        Ok(())
    }

    fn ephemeral(&self, role: Role) -> EphemeralSettings {
        EphemeralSettings { role: Some(role), ..self.flags.0.ephemeral() }
    }
}

fn as_role(name: &str, role: Option<Role>) -> String {
    let role = role.map(|role| format!(", as {role}")).unwrap_or_default();
    format!("{name}{role}")
}

/// Returns what becomes of the peer's defense.
fn change(
    command: &DefenseCommand,
    found: Option<&maybetun_machines::Defense>,
    peer: &PeerStatus,
) -> anyhow::Result<DefenseChange> {
    match (command, found) {
        (DefenseCommand::Renew, _) if peer.negotiation.is_none() => {
            let message = "the peer's defense is not ephemeral: there is nothing to agree on anew";
            Err(Failure::error(Exit::Usage, message))
        }
        (DefenseCommand::Renew, _) => Ok(DefenseChange::Renew),
        (DefenseCommand::On(on), None) => Ok(DefenseChange::Ephemeral(on.ephemeral(role(on, peer)?))),
        (DefenseCommand::On(on), Some(found)) => Ok(DefenseChange::On(settings(on, found, peer)?)),
        (DefenseCommand::Off | DefenseCommand::Status { .. }, _) => Ok(DefenseChange::Off),
    }
}

/// Returns which end we are.
fn role(on: &OnArgs, peer: &PeerStatus) -> anyhow::Result<Role> {
    let running = peer.defense.as_ref().and_then(|defense| defense.settings.role);
    let message = "the tunnel does not say which end it is: say --role client or --role relay";
    on.flags.0.role.or(running).or(peer.role).ok_or_else(|| Failure::error(Exit::Usage, message))
}

/// Returns what our end is to run.
fn settings(on: &OnArgs, found: &maybetun_machines::Defense, peer: &PeerStatus) -> anyhow::Result<DefenseSettings> {
    let options = &on.flags.0;
    Ok(DefenseSettings::of(found, role(on, peer)?).limited(options.limits()).masked(options.masking()))
}

/// Returns why a tunnel does not agree anew, if that is its answer.
fn why_not_renewed(answer: &Result<(), ClientError>) -> Option<RenewError> {
    let Err(ClientError::Response { source: ResponseError::Refused(errno), .. }) = answer else { return None };
    RenewError::ALL.into_iter().find(|error| renew_errno(*error) == *errno)
}

#[cfg(test)]
mod tests {
    use maybetun::settings::{DefenseOptions, Fraction, Limits};

    use super::*;
    use crate::exit;
    use crate::peer::tests::peers;

    #[test]
    fn the_role_is_that_of_the_command_line_then_of_the_defense_then_of_the_peer() {
        let front = maybetun_machines::find("front").unwrap();
        let on = |role| OnArgs {
            defense: config::Defense::Named("front".to_owned()),
            flags: Flags(DefenseOptions {
                role,
                max_padding_frac: Fraction::new(0.5),
                max_padding_rate: Some(65_536),
                ..DefenseOptions::default()
            }),
        };
        let mut peer = peers(1).peers.remove(0);
        assert_eq!(exit::of(&settings(&on(None), front, &peer).unwrap_err()), Exit::Usage);
        peer.role = Some(Role::Client);
        let of_peer = settings(&on(None), front, &peer).unwrap();
        let limits =
            Limits { max_padding_frac: Fraction::new(0.5), max_padding_rate: Some(65_536), ..Limits::default() };
        assert_eq!(of_peer, DefenseSettings::of(front, Role::Client).limited(limits));
        assert_eq!(on(None).ephemeral(Role::Client).limits, limits);
        let running = DefenseSettings::of(front, Role::Relay);
        peer.defense = Some(maybetun::settings::DefenseStatus { settings: running, statistics: Default::default() });
        assert_eq!(settings(&on(None), front, &peer).unwrap().role, Some(Role::Relay));
        assert_eq!(settings(&on(Some(Role::Client)), front, &peer).unwrap().role, Some(Role::Client));
    }

    #[test]
    fn off_is_no_defense_to_switch_on() {
        assert!(parse_defense("off").is_err() && parse_defense("Front").is_err());
        assert!(parse_defense("front").is_ok() && parse_defense("./x").is_ok());
    }
}
