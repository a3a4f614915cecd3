//! `reload`: has a running tunnel take its file as that is now.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use super::control;
use super::exit::{self, Exit, Failure};
use super::interface;
use super::running::{Process, has_died};
use super::{locate, place, status};

/// How long a tunnel that did not answer may take to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// Has a tunnel that `maybetun up` serves take its configuration file as that is now, and tells what it changed.
///
/// The whole file is read first: one that is wrong is refused, with file, line and key, and nothing changes. Then only what
/// differs is applied, as by `wg syncconf`, with addresses, DNS, MTU, routes, kill switch and defenses. Peers that the file
/// says the same of keep session, endpoint, counters and defense. PreUp and PostUp are not run; PreDown and PostDown are, by
/// `down`, as the file has them now. MaxPaddingRate and HandshakesPerSecond stay as they are until the next `up`, with a warning.
///
/// SIGHUP asks a tunnel that has no terminal the same; what came of it is in its log.
#[derive(Debug, clap::Args)]
#[command(after_long_help = exit::HELP)]
pub(crate) struct ReloadArgs {
    /// The interface of the tunnel; or the file that it was started from: what has a / or ends in .conf.
    #[arg(value_name = "IFACE|FILE", value_parser = parse_target)]
    target: Target,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Interface(String),
    File(PathBuf),
}

fn parse_target(text: &str) -> Result<Target, String> {
    if text.contains('/') || text.ends_with(".conf") {
        return Ok(Target::File(text.into()));
    }
    interface::parse_name(text).map(Target::Interface)
}

/// Asks the tunnel, and waits for what comes of it.
pub(crate) fn run(args: &ReloadArgs) -> anyhow::Result<()> {
    let (name, file) = match &args.target {
        Target::Interface(name) => (name.clone(), None),
        Target::File(file) => {
            let file = std::path::absolute(file).with_context(|| format!("cannot find {}", file.display()))?;
            (locate::interface_of(&file)?, Some(file))
        }
    };
    ask(&name, file.as_deref())
}

fn ask(name: &str, file: Option<&Path>) -> anyhow::Result<()> {
    let process = Process::of(name).with_context(|| format!("cannot see who runs {name}"))?;
    if process.as_ref().is_some_and(Process::is_ancestor) {
        // It waits for the hook to end, and the hook would wait for it.
        return Err(Failure::error(Exit::Failure, format!("this is a hook of {name}, which cannot reload meanwhile")));
    }
    let answer = match control::ask(name, file) {
        Err(error) if is_nobody(&error) => {
            place::of_socket(name)?;
            return Err(nobody(name, process.is_some()));
        }
        // It was about to die, and its socket with it.
        Err(_)
            if process.is_none_or(|process| process.has_ended_within(PATIENCE).unwrap_or(false)) && has_died(name) =>
        {
            return Err(nobody(name, false));
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let message = format!("cannot ask {name}: run as root, or as the user who runs the tunnel");
            return Err(anyhow::Error::new(error).context(Failure::because(Exit::Permission, message)));
        }
        answer => answer.with_context(|| format!("cannot reload {name}"))?,
    };
    let mut errors = io::stderr();
    for warning in &answer.warnings {
        // Nothing is left to tell when standard error itself is closed.
        let _ = writeln!(errors, "maybetun: {warning}");
    }
    if let Some(failure) = answer.failure() {
        return Err(failure);
    }
    let changes = if answer.changes.is_empty() { vec!["nothing to change".to_owned()] } else { answer.changes };
    let text: String = changes.iter().map(|change| format!("{name}: {change}\n")).collect();
    io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
}

fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn nobody(name: &str, is_running: bool) -> anyhow::Error {
    if has_died(name) {
        return Failure::error(Exit::NoInterface, status::died(name));
    }
    if is_running || interface::exists(name) {
        let message = format!("{name} has no file to reload: `maybetun up` did not start it; `wg syncconf` changes it");
        return Failure::error(Exit::Failure, message);
    }
    Failure::error(Exit::NoInterface, format!("no tunnel called {name} is running"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_told_from_an_interface() {
        assert_eq!(parse_target("wg0"), Ok(Target::Interface("wg0".to_owned())));
        assert_eq!(parse_target("./wg0"), Ok(Target::File("./wg0".into())));
        assert_eq!(parse_target("wg0.conf"), Ok(Target::File("wg0.conf".into())));
        assert!(parse_target("sixteen-letters-").is_err());
    }

    #[test]
    fn a_tunnel_that_is_not_there_has_its_own_exit_code() {
        assert_eq!(exit::of(&ask("no-such-tunnel", None).unwrap_err()), Exit::NoInterface);
        let error = ask("lo", None).unwrap_err();
        assert_eq!(exit::of(&error), Exit::Failure);
        assert!(error.to_string().contains("wg syncconf"), "{error}");
    }
}
