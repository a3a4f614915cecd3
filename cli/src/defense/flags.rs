//! The settings of a defense as flags.

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use maybetun::settings::{DefenseOptions, Scope, Setting, Spelling};

/// What is said of a defense beside which it is, a flag for each setting.
#[derive(Debug, Clone, Default)]
pub(super) struct Flags(pub(super) DefenseOptions);

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let (limits, others): (Vec<_>, Vec<_>) =
            DefenseOptions::SETTINGS.iter().partition(|setting| setting.scope == Scope::Limit);
        others.into_iter().chain(limits).fold(command, |command, setting| command.arg(flag(setting, setting.flag)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        take(matches, DefenseOptions::SETTINGS, &mut self.0)
    }
}

impl Flags {
    /// Returns the flags that are said and only an ephemeral defense knows.
    pub(super) fn of_ephemeral(&self) -> Vec<String> {
        let settings = DefenseOptions::SETTINGS.iter().filter(|setting| setting.scope == Scope::Ephemeral);
        settings.filter(|setting| setting.get(&self.0).is_some()).map(|setting| format!("--{}", setting.flag)).collect()
    }
}

/// Takes what is said of these settings by their [flags](flag) into `options`.
///
/// # Errors
/// What a setting takes instead.
pub(crate) fn take(
    matches: &ArgMatches,
    settings: impl IntoIterator<Item = &'static Setting>,
    options: &mut DefenseOptions,
) -> Result<(), clap::Error> {
    for setting in settings {
        if let Some(text) = matches.get_one::<String>(setting.flag) {
            let set = setting.set(options, text, Spelling::File);
            set.map_err(|expected| clap::Error::raw(clap::error::ErrorKind::ValueValidation, expected))?;
        }
    }
    Ok(())
}

/// Returns the flag of a setting, by this name; its id is the setting's own.
pub(crate) fn flag(setting: &'static Setting, name: &'static str) -> Arg {
    let of = if setting.scope == Scope::Ephemeral { "with `ephemeral`: " } else { "" };
    let help = format!("{of}{}; by default {}", setting.about, setting.without);
    let long_help =
        format!("{}.{}", capital(&help), setting.more.map(|more| format!("\n\n{more}")).unwrap_or_default());
    let read = |text: &str| {
        let set = setting.set(&mut DefenseOptions::default(), text, Spelling::File);
        set.map(|()| text.to_owned()).map_err(|expected| format!("expected {expected}"))
    };
    Arg::new(setting.flag)
        .long(name)
        .value_name(setting.values)
        .value_parser(read)
        .help(capital(&help))
        .long_help(long_help)
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_flag_that_takes_its_examples() {
        let command = || Flags::augment_args(Command::new("on"));
        command().debug_assert();
        for setting in DefenseOptions::SETTINGS {
            for example in setting.examples {
                let matches = command().try_get_matches_from(["on", &format!("--{}={example}", setting.flag)]).unwrap();
                let Flags(options) = Flags::from_arg_matches(&matches).unwrap();
                let said = DefenseOptions::SETTINGS.iter().filter(|setting| setting.get(&options).is_some());
                assert_eq!(said.map(|setting| setting.key).collect::<Vec<_>>(), [setting.key]);
            }
            let error = command().try_get_matches_from(["on", &format!("--{}=unheard of", setting.flag)]).unwrap_err();
            assert!(error.to_string().contains(&format!("expected {}", setting.expected)), "{error}");
        }
    }
}
