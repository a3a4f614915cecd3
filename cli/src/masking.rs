//! `masking`: changes how the traffic of a running tunnel is masked, and shows how far that got.

use std::io::{self, Write as _};

use anyhow::Context as _;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use maybetun::keys::PublicKey;
use maybetun::settings::{
    DefenseChange, DefenseOptions, DefenseSettings, EphemeralSettings, MaskingMode, MaskingSettings, PeerStatus, Scope,
    Setting, Spelling,
};
use maybetun::uapi::client;

use super::defense::{flag, take};
use super::exit::{Exit, Failure};
use super::status::{self, Paint};
use super::{interface, peer, place};

/// Changes how the traffic of a running tunnel is masked; without a change, shows how far that got.
///
/// Masking is padding that follows your traffic, within a budget. It needs a defense, for its padding has to be as large as
/// packets: `maybetun defense IFACE on ephemeral --tier size` is one without machines. A change takes effect at once, and a
/// relay hears of it from its client; what is not said stays as it was.
#[derive(Debug, clap::Args)]
#[command(after_long_help = status::MASKING_HELP)]
pub(crate) struct MaskingArgs {
    /// The interface.
    #[arg(value_name = "IFACE", value_parser = interface::parse_name)]
    interface: String,

    /// The peer's public key in base64; may be left out where there is only one.
    #[arg(value_name = "PEER", value_parser = parse_word)]
    peer: Option<Word>,

    /// What the traffic is made to look like: what suits what you do, or a profile (`web`, `video`, `voice`, `gaming`,
    /// `download`, `mixed`).
    #[arg(value_name = "off|adaptive|PROFILE", value_parser = parse_mode)]
    mode: Option<MaskingMode>,

    #[command(flatten)]
    others: Others,

    /// Prints one JSON object instead; `--help` has its schema.
    #[arg(long)]
    json: bool,
}

/// What may stand behind the interface.
#[derive(Debug, Clone, Copy)]
enum Word {
    Peer(PublicKey),
    Mode(MaskingMode),
}

/// The settings of masking but for the mode, a flag for each.
#[derive(Debug, Clone, Default)]
struct Others(DefenseOptions);

/// What is set of a peer, and who it is.
struct Asked {
    peer: Option<PublicKey>,
    settings: MaskingSettings,
}

/// Changes or shows.
pub(crate) fn run(args: &MaskingArgs) -> anyhow::Result<()> {
    let name = &args.interface;
    let Asked { peer: key, settings } = args.asked()?;
    let directory = place::of_socket(name)?;
    let status = peer::read(&directory, name)?;
    let output = if settings == MaskingSettings::default() {
        let peers = peer::chosen(name, &status, key)?;
        if args.json {
            status::masking_json(name, &peers).context("cannot write JSON")?
        } else {
            status::masking_text(&peers, Paint::of_stdout())
        }
    } else {
        let peer = peer::only(name, &status, key)?;
        let change = change(name, peer, settings)?;
        peer::answered(name, client::set_in(&directory, name, &peer::update(peer.public_key, change)))?;
        format!("{name}: peer {}: {}\n", peer.public_key, status::masking_said(&settings).unwrap_or_default())
    };
    io::stdout().write_all(output.as_bytes()).context("cannot write to standard output")
}

impl MaskingArgs {
    fn asked(&self) -> anyhow::Result<Asked> {
        let usage = |message: &str| Err(Failure::error(Exit::Usage, message));
        let (peer, mode) = match (self.peer, self.mode) {
            (Some(Word::Peer(peer)), mode) => (Some(peer), mode),
            (Some(Word::Mode(mode)), None) => (None, Some(mode)),
            (Some(Word::Mode(_)), Some(_)) => return usage("expected one mode, and the peer before it"),
            (None, mode) => (None, mode),
        };
        let settings = MaskingSettings { mode, ..self.others.0.masking() };
        if self.json && settings != MaskingSettings::default() {
            return usage("--json shows how far masking got: say it without a change");
        }
        Ok(Asked { peer, settings })
    }
}

/// Returns what becomes of the peer's defense: what it was, masked by these settings where they say something.
fn change(name: &str, peer: &PeerStatus, settings: MaskingSettings) -> anyhow::Result<DefenseChange> {
    if let Some(agreed) = &peer.negotiation {
        let running = &agreed.settings;
        let masking = settings.or(running.masking);
        return Ok(DefenseChange::Ephemeral(EphemeralSettings { masking, ..running.clone() }));
    }
    if let Some(running) = &peer.defense {
        let DefenseSettings { masking, .. } = running.settings;
        return Ok(DefenseChange::On(running.settings.clone().masked(settings.or(masking))));
    }
    let message = format!(
        "the peer has no defense, and masking needs packets of one size: `maybetun defense {name} on ephemeral --tier size` \
         gives it one"
    );
    Err(Failure::error(Exit::Usage, message))
}

/// Returns the setting that is said by a word of its own.
fn is_mode(setting: &Setting) -> bool {
    setting.flag == "masking"
}

fn others() -> impl Iterator<Item = &'static Setting> {
    DefenseOptions::SETTINGS.iter().filter(|setting| setting.scope == Scope::Masking && !is_mode(setting))
}

impl Args for Others {
    fn augment_args(command: Command) -> Command {
        others().fold(command, |command, setting| {
            // What says `masking` elsewhere need not say it here, and may.
            let flag = match setting.flag.strip_prefix("masking-") {
                Some(short) => flag(setting, short).alias(setting.flag),
                None => flag(setting, setting.flag),
            };
            command.arg(flag)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Others {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut others = Self::default();
        others.update_from_arg_matches(matches)?;
        Ok(others)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        take(matches, others(), &mut self.0)
    }
}

fn parse_mode(text: &str) -> Result<MaskingMode, String> {
    let mut options = DefenseOptions::default();
    let setting = DefenseOptions::SETTINGS.iter().find(|setting| is_mode(setting));
    let set = setting.map_or(Ok(()), |setting| setting.set(&mut options, text, Spelling::File));
    set.map_err(|expected| format!("expected {expected}"))?;
    Ok(options.mode.unwrap_or_default())
}

fn parse_word(text: &str) -> Result<Word, String> {
    match PublicKey::from_base64(text) {
        Ok(key) => Ok(Word::Peer(key)),
        Err(_) => parse_mode(text).map(Word::Mode).map_err(|modes| format!("{modes}, or a public key in base64")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use maybetun::settings::{DefenseStatistics, DefenseStatus, Limits, NegotiationStatus, Role, Tier};

    use super::*;
    use crate::exit;
    use crate::peer::tests::peers;

    const KEY: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: MaskingArgs,
    }

    fn asked(line: &str) -> Asked {
        let line = Line::try_parse_from(format!("masking wg0 {line}").split_whitespace());
        line.unwrap().args.asked().unwrap()
    }

    fn adaptive() -> MaskingSettings {
        MaskingSettings { mode: Some(MaskingMode::Adaptive), ..MaskingSettings::default() }
    }

    #[test]
    fn the_mode_stands_behind_the_interface_or_the_peer() {
        assert!(asked("").peer.is_none() && asked(KEY).peer.is_some());
        for line in ["", KEY, "--json"] {
            assert_eq!(asked(line).settings, MaskingSettings::default(), "{line}");
        }
        for line in ["adaptive", &format!("{KEY} adaptive")] {
            assert_eq!(asked(line).settings, adaptive(), "{line}");
        }
        for line in ["adaptive off", "adaptive --json", "--metered on --json"] {
            let line = Line::try_parse_from(format!("masking wg0 {line}").split_whitespace()).unwrap();
            assert_eq!(exit::of(&line.args.asked().err().unwrap()), Exit::Usage);
        }
        let error = Line::try_parse_from(["masking", "wg0", "on"]).unwrap_err().to_string();
        assert!(error.contains("\"adaptive\"") && error.contains("public key"), "{error}");
        assert!(Line::try_parse_from(["masking", "wg0", "off", KEY]).is_err());
    }

    #[test]
    fn each_setting_of_masking_is_said_by_a_flag_or_is_the_mode() {
        for setting in DefenseOptions::SETTINGS.iter().filter(|setting| setting.scope == Scope::Masking) {
            for example in setting.examples {
                let mut options = DefenseOptions::default();
                setting.set(&mut options, example, Spelling::File).unwrap();
                let short = setting.flag.strip_prefix("masking-").unwrap_or(setting.flag);
                let lines = match is_mode(setting) {
                    true => vec![(*example).to_owned()],
                    false => vec![format!("--{}={example}", setting.flag), format!("--{short}={example}")],
                };
                for line in lines {
                    assert_eq!(asked(&line).settings, options.masking(), "{line}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_said_stays_as_it_was_and_so_does_the_defense() {
        let said = MaskingSettings { metered: Some(true), ..MaskingSettings::default() };
        let both = MaskingSettings { metered: Some(true), ..adaptive() };
        let mut peer = peers(1).peers.remove(0);
        let front = DefenseSettings::of(maybetun_machines::find("front").unwrap(), Role::Relay)
            .limited(Limits { max_padding_rate: Some(7), ..Limits::default() })
            .masked(adaptive());
        let running = DefenseStatus { settings: front.clone(), statistics: DefenseStatistics::default() };
        peer.defense = Some(running);
        let on = |masking| DefenseChange::On(front.clone().masked(masking));
        assert_eq!(change("wg0", &peer, said).unwrap(), on(both));
        let off = MaskingSettings { mode: Some(MaskingMode::Off), ..MaskingSettings::default() };
        assert_eq!(change("wg0", &peer, off).unwrap(), on(off));
        let settings = EphemeralSettings {
            role: Some(Role::Client),
            tier: Tier::Size,
            masking: adaptive(),
            ..EphemeralSettings::default()
        };
        peer.negotiation = Some(NegotiationStatus { settings: settings.clone(), epoch: None, renewals: 0 });
        let expected = DefenseChange::Ephemeral(EphemeralSettings { masking: both, ..settings });
        assert_eq!(change("wg0", &peer, said).unwrap(), expected);
    }

    #[test]
    fn a_peer_without_a_defense_is_told_how_to_get_one() {
        let error = change("wg0", &peers(1).peers[0], adaptive()).unwrap_err();
        assert_eq!(exit::of(&error), Exit::Usage);
        assert!(error.to_string().contains("`maybetun defense wg0 on ephemeral --tier size`"), "{error}");
    }
}
