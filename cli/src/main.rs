//! The `maybetun` command line: its grammar, and which subcommand does what.

mod backend;
mod check;
mod completions;
mod control;
mod defense;
mod demo;
mod detach;
mod down;
mod exit;
mod interface;
mod keys;
mod leftovers;
mod locate;
mod logging;
mod machines;
mod man;
mod masking;
mod memory;
mod network;
mod notify;
mod peer;
mod place;
mod profile;
mod reload;
mod running;
mod runtime;
mod service;
mod status;
mod strip;
mod suggestion;
mod up;

use std::alloc::System;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use zeroizing_alloc::ZeroAlloc;

use exit::Exit;

/// Wipes whatever is freed: what the crates below hold of keys, and of the sessions that come of them, they do not all wipe.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

/// A userspace WireGuard tunnel that defends its traffic against traffic analysis.
///
/// `maybetun IFACE` is a userspace backend, started as wireguard-go is: it makes the interface and its configuration
/// socket, then leaves the rest to `wg` and `wg-quick`. `maybetun up CONF` does everything that a wg-quick file asks for.
#[derive(Debug, Parser)]
#[command(
    name = "maybetun",
    version,
    override_usage = "maybetun [OPTIONS] [-f] <IFACE>\n       maybetun [OPTIONS] <COMMAND>",
    after_long_help = exit::HELP,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    backend: backend::BackendArgs,

    /// What to log to standard error, as a tracing filter: `debug`, or `info,maybetun::tunnel=trace`.
    #[arg(long, global = true, value_name = "FILTER", env = logging::VARIABLE, hide_env_values = true)]
    log: Option<String>,

    #[command(flatten)]
    speed: service::Speed,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::UpArgs),
    Down(down::DownArgs),
    Reload(reload::ReloadArgs),
    Status(status::StatusArgs),
    /// Draws a private key and prints it in base64.
    Genkey,
    /// Reads a private key in base64 from standard input and prints its public key.
    Pubkey,
    /// Draws a preshared key and prints it in base64.
    Genpsk,
    Check(check::CheckArgs),
    Strip(strip::StripArgs),
    Defense(defense::DefenseArgs),
    Masking(masking::MaskingArgs),
    Machines(machines::MachinesArgs),
    Profile(profile::ProfileArgs),
    Demo(demo::DemoArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

impl Cli {
    /// Parses a command line. A first word that names a subcommand is that subcommand: an interface cannot have the name
    /// of one. Clap's own `args_conflicts_with_subcommands` would refuse `--log` before a subcommand too.
    fn parse_from(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        let matches = command.try_get_matches_from_mut(arguments)?;
        let cli = Self::from_arg_matches(&matches)?;
        // The environment may say what a subcommand has no use for.
        let is_said = |argument| matches.value_source(argument) == Some(ValueSource::CommandLine);
        let has_cost = service::Cost::ARGUMENTS.into_iter().any(is_said);
        if cli.command.is_some() && (cli.backend.is_given() || has_cost) {
            let message =
                "a subcommand takes neither an interface nor --foreground nor what a tunnel may cost before it";
            return Err(command.error(ErrorKind::ArgumentConflict, message));
        }
        match (&cli.command, &cli.backend.interface) {
            (None, None) => {
                Err(command.error(ErrorKind::MissingRequiredArgument, "expected an interface or a subcommand"))
            }
            (None, Some(word)) if !cli.backend.foreground => {
                let subcommands = command.get_subcommands().map(clap::Command::get_name);
                let Some(meant) = suggestion::meant(word, subcommands) else { return Ok(cli) };
                let message = format!(
                    "there is no subcommand '{word}': did you mean '{meant}'? `maybetun -f {word}` makes an interface of that \
                     name"
                );
                Err(command.error(ErrorKind::InvalidSubcommand, message))
            }
            (Some(_) | None, Some(_) | None) => Ok(cli),
        }
    }
}

/// Runs the command line of this process and returns its exit code.
fn main() -> ExitCode {
    let cli = match Cli::parse_from(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to tell when standard error itself is closed.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Success.into() };
        }
    };
    match run(cli) {
        Ok(()) => Exit::Success.into(),
        Err(error) => {
            exit::report(&error);
            exit::of(&error).into()
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let log = logging::Log::new(cli.log)?;
    log.start();
    // The demo's keys are drawn, and nobody's; and it may have to enter a user namespace.
    if !matches!(cli.command, Some(Command::Demo(_))) {
        memory::keep_private()?;
    }
    match cli.command {
        None => backend::run(cli.backend, cli.speed, &log),
        Some(Command::Up(args)) => up::run(args, cli.speed, &log),
        Some(Command::Down(args)) => down::run(&args),
        Some(Command::Reload(args)) => reload::run(&args),
        Some(Command::Status(args)) => status::run(&args),
        Some(Command::Genkey) => keys::genkey(),
        Some(Command::Pubkey) => keys::pubkey(),
        Some(Command::Genpsk) => keys::genpsk(),
        Some(Command::Check(args)) => check::run(&args),
        Some(Command::Strip(args)) => strip::run(&args),
        Some(Command::Defense(args)) => defense::run(&args),
        Some(Command::Masking(args)) => masking::run(&args),
        Some(Command::Machines(args)) => machines::run(&args),
        Some(Command::Profile(args)) => profile::run(&args),
        Some(Command::Demo(args)) => demo::run(args),
        Some(Command::Completions(args)) => completions::run(&args),
        Some(Command::Man(args)) => man::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, ErrorKind> {
        let words = std::iter::once("maybetun").chain(line.split_whitespace());
        Cli::parse_from(words.map(Into::into)).map_err(|error| error.kind())
    }

    #[test]
    fn the_grammar_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_lone_word_is_the_interface_of_a_backend() {
        let cli = parse("wg0").unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.backend.interface.as_deref(), Some("wg0"));
        assert!(!cli.backend.foreground);
        for line in ["-f wg0", "--foreground wg0", "wg0 -f"] {
            assert!(parse(line).unwrap().backend.foreground, "{line}");
        }
    }

    #[test]
    fn a_word_that_names_a_subcommand_is_the_subcommand() {
        let cli = parse("up office -d --name wg7 --allow-hooks").unwrap();
        let Some(Command::Up(up)) = cli.command else { panic!("not `up`") };
        assert_eq!(up.config, std::path::Path::new("office"));
        assert_eq!(up.name.as_deref(), Some("wg7"));
        assert!(up.detach && up.allow_hooks);
        assert!(matches!(parse("down wg0").unwrap().command, Some(Command::Down(_))));
        assert!(matches!(parse("reload wg0").unwrap().command, Some(Command::Reload(_))));
        assert!(matches!(parse("reload ./wg0.conf").unwrap().command, Some(Command::Reload(_))));
        assert!(matches!(parse("status --json").unwrap().command, Some(Command::Status(_))));
        assert!(matches!(parse("genkey").unwrap().command, Some(Command::Genkey)));
    }

    #[test]
    fn a_word_that_resembles_a_subcommand_makes_no_interface_unless_it_is_said_to_be_one() {
        for line in ["stauts", "dwon", "genkye", "--log debug defence"] {
            assert_eq!(parse(line).unwrap_err(), ErrorKind::InvalidSubcommand, "{line}");
        }
        assert_eq!(parse("-f stauts").unwrap().backend.interface.as_deref(), Some("stauts"));
    }

    #[test]
    fn a_defense_is_switched_with_and_without_a_peer() {
        let key = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
        for line in [
            "defense wg0 on front".to_owned(),
            format!("defense wg0 {key} on ./front.toml --role relay --max-padding-frac 0.5 --max-blocking-frac 0"),
            "defense wg0 on ephemeral --max-padding-frac 0.5 --max-blocking-frac 1 --max-padding-rate 65536".to_owned(),
            format!("defense wg0 {key} off"),
            "defense wg0 status --json".to_owned(),
        ] {
            assert!(matches!(parse(&line).unwrap().command, Some(Command::Defense(_))), "{line}");
        }
        for line in [
            "defense wg0 on off",
            "defense wg0 on front --max-padding-frac 2",
            "defense wg0 on front --max-padding-rate 4M",
            "defense wg0 nobody off",
            "defense wg0 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= off",
        ] {
            assert_eq!(parse(line).unwrap_err(), ErrorKind::ValueValidation, "{line}");
        }
        assert!(parse("defense wg0").is_err() && parse("defense wg0 on").is_err());
    }

    #[test]
    fn masking_is_changed_and_shown_with_and_without_a_peer() {
        let key = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
        for line in [
            "masking wg0".to_owned(),
            format!("masking wg0 {key} --json"),
            "masking wg0 adaptive --upload-ratio 3-8% --budget 30%,200MB/d --padding-budget off".to_owned(),
            format!("masking wg0 {key} video --metered on --battery-saver off"),
            format!("masking wg0 {key} off"),
        ] {
            assert!(matches!(parse(&line).unwrap().command, Some(Command::Masking(_))), "{line}");
        }
        for line in [
            "masking wg0 nobody",
            "masking wg0 adaptive --upload-ratio 8-3%",
            "masking wg0 adaptive --budget 5",
            "masking wg0 --metered yes",
            &format!("masking wg0 {key} {key}"),
        ] {
            assert_eq!(parse(line).unwrap_err(), ErrorKind::ValueValidation, "{line}");
        }
        assert!(parse("masking").is_err());
    }

    #[test]
    fn the_default_limits_on_padding_are_told_as_they_are() {
        use maybetun::device::DEFAULT_DEVICE_PADDING_RATE;
        use maybetun::settings::DEFAULT_MAX_PADDING_RATE;

        let help = |line: &str| {
            let words = std::iter::once("maybetun").chain(line.split_whitespace());
            Cli::parse_from(words.map(Into::into)).unwrap_err().to_string()
        };
        let [of_peer, of_device] = [DEFAULT_MAX_PADDING_RATE, DEFAULT_DEVICE_PADDING_RATE].map(|rate| rate.to_string());
        for (text, rate) in [
            (help("defense wg0 on --help").as_str(), &of_peer),
            (&help("up --help"), &of_device),
            (include_str!("../../docs/configuration.md"), &of_peer),
            (include_str!("../../docs/configuration.md"), &of_device),
        ] {
            assert!(text.contains(rate), "{rate} in {text:.200}");
        }
    }

    #[test]
    fn what_a_tunnel_may_cost_is_an_interfaces_or_that_of_up() {
        for limit in ["--max-padding-rate", "--handshakes-per-second"] {
            for line in [format!("wg0 {limit} 0"), format!("{limit} 65536 -f wg0"), format!("up x {limit} 1")] {
                assert!(parse(&line).is_ok(), "{line}");
            }
            assert_eq!(parse(&format!("up x {limit} 4M")).unwrap_err(), ErrorKind::ValueValidation);
            assert_eq!(parse(&format!("status {limit} 1")).unwrap_err(), ErrorKind::UnknownArgument);
        }
    }

    #[test]
    fn the_log_filter_is_taken_before_and_after_a_subcommand() {
        for line in ["--log debug up x", "up x --log debug", "--log debug wg0", "-f wg0 --log debug"] {
            assert_eq!(parse(line).unwrap().log.as_deref(), Some("debug"), "{line}");
        }
    }

    #[test]
    fn an_interface_and_a_subcommand_exclude_each_other() {
        assert_eq!(parse("wg0 up x").unwrap_err(), ErrorKind::ArgumentConflict);
        assert_eq!(parse("-f up x").unwrap_err(), ErrorKind::ArgumentConflict);
        assert_eq!(parse("--max-padding-rate 7 up x").unwrap_err(), ErrorKind::ArgumentConflict);
        assert_eq!(parse("--handshakes-per-second 7 up x").unwrap_err(), ErrorKind::ArgumentConflict);
        assert_eq!(parse("-f").unwrap_err(), ErrorKind::MissingRequiredArgument);
        assert_eq!(parse("").unwrap_err(), ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand);
        assert_eq!(parse("wg0 wg1").unwrap_err(), ErrorKind::UnknownArgument);
    }

    #[test]
    fn a_kill_switch_takes_networks_with_commas_between_them_or_one_by_one() {
        for line in [
            "up x --kill-switch",
            "up x --kill-switch --kill-switch-allow 10.0.0.0/8,fd00::/8 --kill-switch-allow 192.0.2.1",
        ] {
            assert!(matches!(parse(line).unwrap().command, Some(Command::Up(_))), "{line}");
        }
        for line in ["up x --kill-switch-allow 0.0.0.0/0", "up x --kill-switch-allow lan"] {
            assert_eq!(parse(line).unwrap_err(), ErrorKind::ValueValidation, "{line}");
        }
    }

    #[test]
    fn an_interface_name_that_linux_would_refuse_is_a_usage_error() {
        for line in ["wg/0", "sixteen-letters-", "up x --name wg%d", "down .."] {
            assert_eq!(parse(line).unwrap_err(), ErrorKind::ValueValidation, "{line}");
        }
    }
}
