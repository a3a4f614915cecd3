//! The defenses that a study compares.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use maybetun::settings::{DefenseChange, DefenseSettings, EphemeralSettings, NegotiationPolicy, Role, Strength, Tier};

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

    /// Finds a defense: `none`, the name of one in the catalogue, `TIER/STRENGTH` for one by agreement, or the path of a file,
    /// which ends with `.toml`.
    ///
    /// # Errors
    /// When it is none of them, or the file is wrong.
    pub fn parse(text: &str) -> Result<Self, UnknownDefense> {
        if text == "none" {
            return Ok(Self::None);
        }
        if let Some((tier, strength)) = text.split_once('/')
            && let (Ok(tier), Ok(strength)) = (tier.parse(), strength.parse())
        {
            return Ok(Self::Ephemeral(tier, strength));
        }
        if text.ends_with(".toml") {
            return Self::read(Path::new(text));
        }
        let found = maybetun_machines::find(text).ok_or_else(|| UnknownDefense::Name(text.to_owned()))?;
        Ok(Self::Named(Box::new(found.clone())))
    }

    fn read(path: &Path) -> Result<Self, UnknownDefense> {
        let wrong = |reason: String| UnknownDefense::File { path: path.to_owned(), reason };
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text));
        read.map_err(|error| wrong(error.to_string()))?;
        let defense = maybetun_machines::Defense::parse(&text).map_err(|error| wrong(error.to_string()))?;
        Ok(Self::Named(Box::new(defense)))
    }

    /// Returns its name in a table, which [`parse`](Self::parse) takes.
    pub fn name(&self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::Named(defense) => defense.name().to_owned(),
            Self::Ephemeral(tier, strength) => format!("{tier}/{strength}"),
        }
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
        }
    }

    /// Returns what the client and the relay are told to run.
    pub fn both(&self) -> Option<[DefenseChange; 2]> {
        Some([self.change(Role::Client)?, self.change(Role::Relay)?])
    }

    /// Tells whether each load has a draw of its own.
    pub fn is_drawn(&self) -> bool {
        matches!(self, Self::Ephemeral(..))
    }
}

/// Why there is no such defense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownDefense {
    /// Nothing is called so.
    #[error(
        "no defense {0:?}: expected none, TIER/STRENGTH as in padding/medium, a name of `maybetun machines list`, or a file that \
         ends with .toml"
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
        for name in ["", "fornt", "padding/most", "padding"] {
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
    fn each_end_runs_its_own_side() {
        let front = Defense::parse("front").unwrap();
        let [client, relay] = [Role::Client, Role::Relay].map(|role| front.change(role).unwrap());
        assert!(client != relay && Defense::None.change(Role::Client).is_none());
        assert!(!front.is_drawn() && Defense::parse("blocking/high").unwrap().is_drawn());
    }
}
