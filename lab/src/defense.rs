//! The defenses that a study compares.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use maybetun::settings::{
    DefenseChange, DefenseSettings, EphemeralSettings, MaskingSettings, NegotiationPolicy, Role, Strength, Tier,
};
use maybetun_machines::{Limits, Side};

/// The most bytes of a file: one that is longer is refused by what reads it.
const MAX_FILE: u64 = 2 << 20;

/// What both ends of a tunnel run.
#[derive(Debug, Clone, PartialEq)]
pub enum Defense {
    /// Nothing.
    None,
    /// A defense with machines, the same in each load.
    Named(Box<maybetun_machines::Defense>),
    /// One that both ends draw anew for each load.
    Ephemeral(Tier, Strength),
    /// One of these, and masking beside it: the client's relay does as it asks where they agree, and each end its part where they do
    /// not.
    Masked(Box<Self>, MaskingSettings),
}

impl Defense {
    /// The defenses of the table in the documents.
    ///
    /// # Errors
    /// Never, as long as the catalogue has them.
    pub fn usual() -> Result<Vec<Self>, UnknownDefense> {
        let named = [
            "constant-size",
            "front",
            "break-pad",
            "interspace",
            "regulator-light",
            "tamaraw",
            "tamaraw-fast",
            "constant-rate",
        ];
        let named = named.iter().map(|name| Self::parse(name));
        let tiers = [Tier::Padding, Tier::Blocking];
        let drawn =
            tiers.into_iter().flat_map(|tier| Strength::ALL.map(|strength| Ok(Self::Ephemeral(tier, strength))));
        std::iter::once(Ok(Self::None)).chain(named).chain(drawn).collect()
    }

    /// Finds a defense: `none`, the name of one in the catalogue, `TIER/STRENGTH` for one by agreement, or the path of a file: a
    /// defense's, which ends with `.toml`, or one of machines as Maybenot writes them, which ends with `.machines`. That has a
    /// machine in each line, behind `client` or `relay` and a space if only that end runs it. A `+` and the mode of masking may stand
    /// behind it: `+adaptive`, or a profile.
    ///
    /// # Errors
    /// When it is none of them, or the file is wrong.
    pub fn parse(text: &str) -> Result<Self, UnknownDefense> {
        if text == "none" {
            return Ok(Self::None);
        }
        if let Some((defense, mode)) = text.rsplit_once('+')
            && let Ok(mode) = mode.parse()
        {
            let masking = MaskingSettings { mode: Some(mode), ..MaskingSettings::default() };
            return Ok(Self::parse(defense)?.masked(masking));
        }
        if let Some((tier, strength)) = text.split_once('/')
            && let (Ok(tier), Ok(strength)) = (tier.parse(), strength.parse())
        {
            return Ok(Self::Ephemeral(tier, strength));
        }
        if text.ends_with(".toml") {
            return Self::read(Path::new(text), |text| {
                maybetun_machines::Defense::parse(text).map_err(|error| error.to_string())
            });
        }
        if text.ends_with(".machines") {
            return Self::read(Path::new(text), machines);
        }
        let found = maybetun_machines::find(text).ok_or_else(|| UnknownDefense::Name(text.to_owned()))?;
        Ok(Self::Named(Box::new(found.clone())))
    }

    fn read(
        path: &Path,
        parse: impl Fn(&str) -> Result<maybetun_machines::Defense, String>,
    ) -> Result<Self, UnknownDefense> {
        let wrong = |reason: String| UnknownDefense::File { path: path.to_owned(), reason };
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text));
        read.map_err(|error| wrong(error.to_string()))?;
        Ok(Self::Named(Box::new(parse(&text).map_err(wrong)?)))
    }

    /// Returns its name in a table, which [`parse`](Self::parse) takes.
    pub fn name(&self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::Named(defense) => defense.name().to_owned(),
            Self::Ephemeral(tier, strength) => format!("{tier}/{strength}"),
            Self::Masked(defense, masking) => format!("{}+{}", defense.name(), masking.mode.unwrap_or_default()),
        }
    }

    /// Returns the same with masking beside it: nothing beside nothing.
    #[must_use]
    pub fn masked(self, masking: MaskingSettings) -> Self {
        match self {
            Self::None => Self::None,
            Self::Masked(defense, _) => Self::Masked(defense, masking),
            Self::Named(_) | Self::Ephemeral(..) => Self::Masked(Box::new(self), masking),
        }
    }

    /// Returns how the traffic is masked by an end; a relay that its client asks allows as much as that.
    pub fn masking(&self, role: Role) -> Option<MaskingSettings> {
        let Self::Masked(defense, masking) = self else { return None };
        let is_asked = role == Role::Relay && !matches!(**defense, Self::Named(_));
        let MaskingSettings { masking_budget, padding_budget, .. } = *masking;
        let allowed = MaskingSettings { masking_budget, padding_budget, ..MaskingSettings::default() };
        Some(if is_asked { allowed } else { *masking })
    }

    /// Returns what an end is told to run; `None` is nothing.
    pub fn change(&self, role: Role) -> Option<DefenseChange> {
        match self {
            Self::None => None,
            Self::Named(defense) => Some(DefenseChange::On(DefenseSettings::of(defense, role))),
            Self::Ephemeral(tier, strength) => Some(DefenseChange::Ephemeral(EphemeralSettings {
                tier: *tier,
                strength: *strength,
                negotiation: NegotiationPolicy::Require,
                ..EphemeralSettings::default()
            })),
            Self::Masked(defense, _) => {
                let masking = self.masking(role).unwrap_or_default();
                defense.change(role).map(|change| match change {
                    DefenseChange::On(settings) => DefenseChange::On(settings.masked(masking)),
                    DefenseChange::Ephemeral(settings) => {
                        DefenseChange::Ephemeral(EphemeralSettings { masking, ..settings })
                    }
                    DefenseChange::Off | DefenseChange::Renew => change,
                })
            }
        }
    }

    /// Returns what the client and the relay are told to run.
    pub fn both(&self) -> Option<[DefenseChange; 2]> {
        Some([self.change(Role::Client)?, self.change(Role::Relay)?])
    }

    /// Tells whether each load has a draw of its own.
    pub fn is_drawn(&self) -> bool {
        match self {
            Self::None | Self::Named(_) => false,
            Self::Ephemeral(..) => true,
            Self::Masked(defense, _) => defense.is_drawn(),
        }
    }
}

/// Reads machines, one in each line.
fn machines(text: &str) -> Result<maybetun_machines::Defense, String> {
    let mut sides = [Vec::new(), Vec::new()];
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let (ends, machine) = match line.trim().split_once(' ') {
            None => (&[0, 1][..], line.trim()),
            Some(("client", machine)) => (&[0][..], machine),
            Some(("relay", machine)) => (&[1][..], machine),
            Some((other, _)) => {
                return Err(format!("line {}: {other:?}, expected client, relay, or a machine alone", number + 1));
            }
        };
        let machine = machine.trim().to_owned();
        Side::parse(&[&machine], Limits::default()).map_err(|error| format!("line {}: {error}", number + 1))?;
        ends.iter().for_each(|end| sides[*end].push(machine.clone()));
    }
    let [client, relay] = sides.map(|machines| Side::parse(&machines, Limits::default()));
    let side = |side: Result<Side, _>| side.map_err(|error: maybetun_machines::DefenseError| error.to_string());
    maybetun_machines::Defense::from_machines("machines", side(client)?, side(relay)?)
        .map_err(|error| error.to_string())
}

/// Why there is no such defense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownDefense {
    /// Nothing is called so.
    #[error(
        "no defense {0:?}: expected none, TIER/STRENGTH as in padding/medium, a name of `maybetun machines list`, or a file that \
         ends with .toml or .machines"
    )]
    Name(String),
    /// A file cannot be read, or is wrong.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong, and where in it.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let usual = Defense::usual().unwrap();
        assert_eq!(usual.len(), 15);
        for defense in usual {
            assert_eq!(Defense::parse(&defense.name()), Ok(defense));
        }
        for name in ["padding/medium+adaptive", "front+video"] {
            let masked = Defense::parse(name).unwrap();
            assert_eq!(masked.name(), name);
            assert_eq!(masked.masking(Role::Relay).unwrap().mode.is_some(), name.starts_with("front"));
        }
        for name in ["", "fornt", "padding/most", "padding", "front+vdieo", "+adaptive"] {
            assert!(Defense::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_file_is_read_and_what_is_wrong_with_it_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mine.toml");
        let text = path.to_str().unwrap();
        std::fs::write(&path, "name = \"mine\"\n").unwrap();
        assert_eq!(Defense::parse(text).unwrap().name(), "mine");
        for wrong in [
            "name = 7\n".to_owned(),
            "# ".repeat(2 << 20),
            "name = \"mine\"\n[client]\nmachines = [\"02\"]\n".to_owned(),
        ] {
            std::fs::write(&path, wrong).unwrap();
            assert!(Defense::parse(text).unwrap_err().to_string().starts_with(text));
        }
        assert!(Defense::parse("/nowhere/mine.toml").unwrap_err().to_string().starts_with("/nowhere/mine.toml: "));
    }

    #[test]
    fn machines_are_read_as_maybenot_writes_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mine.machines");
        let text = path.to_str().unwrap();
        let front = maybetun_machines::find("front").unwrap();
        let machine = front.client().texts().remove(0);
        std::fs::write(&path, format!("{machine}\n\n  client {machine}\n")).unwrap();
        let Defense::Named(defense) = Defense::parse(text).unwrap() else { panic!("it has machines") };
        assert_eq!((defense.client().machines.len(), defense.relay().machines.len()), (2, 1));
        for (wrong, expected) in [
            (format!("{machine}\nserver {machine}"), "line 2: \"server\", expected client, relay"),
            (format!("\n{}", &machine[..20]), "line 2: "),
            ("02\n".to_owned(), "line 1: "),
        ] {
            std::fs::write(&path, wrong).unwrap();
            let error = Defense::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(text) && error.contains(expected), "{error}");
        }
    }

    #[test]
    fn each_end_runs_its_own_side() {
        let front = Defense::parse("front").unwrap();
        let [client, relay] = [Role::Client, Role::Relay].map(|role| front.change(role).unwrap());
        assert!(client != relay && Defense::None.change(Role::Client).is_none());
        assert!(!front.is_drawn() && Defense::parse("blocking/high").unwrap().is_drawn());
    }
}
