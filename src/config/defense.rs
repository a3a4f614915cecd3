//! The defense of a peer, as the file says it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use maybetun_machines::EPHEMERAL;

use super::error::ask;
use super::suggestion::resembling;
use crate::settings::is_defense_name;

/// How the name of a file that holds a defense ends.
const EXTENSION: &str = ".toml";

/// Which defense a peer's tunnel runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Defense {
    /// None: `off`.
    Off,
    /// The one of this name in the catalogue.
    Named(String),
    /// The one in this file: what has a `/` or ends in `.toml`.
    File(PathBuf),
    /// One that both ends draw by agreement: `ephemeral`.
    Ephemeral,
}

impl Defense {
    /// Reads `off` (in any case), `ephemeral`, a name or a path; `None` if the text is none of them.
    pub fn from_text(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("off") {
            return Some(Self::Off);
        }
        if text == EPHEMERAL {
            return Some(Self::Ephemeral);
        }
        if text.contains('/') || text.ends_with(EXTENSION) {
            return Some(Self::File(PathBuf::from(text)));
        }
        is_defense_name(text).then(|| Self::Named(text.to_owned()))
    }

    /// Returns the defense if it is in the catalogue.
    ///
    /// # Errors
    /// When the catalogue has none of this name, or it is not asked for one.
    pub fn in_catalogue(&self) -> io::Result<maybetun_machines::Defense> {
        match self {
            Self::Named(name) => maybetun_machines::find(name).cloned().ok_or_else(|| {
                let names = maybetun_machines::catalogue().iter().map(maybetun_machines::Entry::name);
                let meant = resembling(name, names.chain(["off", EPHEMERAL])).map(|name| format!("{name:?}"));
                let message = ask(format!("no defense {name:?} in the catalogue"), meant);
                io::Error::new(io::ErrorKind::NotFound, message)
            }),
            Self::Off | Self::File(_) | Self::Ephemeral => {
                let message = format!("{self}: expected the name of a defense in the catalogue");
                Err(io::Error::new(io::ErrorKind::Unsupported, message))
            }
        }
    }
}

impl fmt::Display for Defense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Named(name) => f.write_str(name),
            Self::File(path) => path.display().fmt(f),
            Self::Ephemeral => f.write_str(EPHEMERAL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_defense_is_off_a_name_or_a_path() {
        for (text, defense) in [
            ("OFF", Defense::Off),
            ("ephemeral", Defense::Ephemeral),
            ("front", Defense::Named("front".to_owned())),
            ("./front", Defense::File("./front".into())),
            ("mine.toml", Defense::File("mine.toml".into())),
        ] {
            assert_eq!(Defense::from_text(text), Some(defense.clone()), "{text}");
            assert_eq!(Defense::from_text(&defense.to_string()), Some(defense));
        }
        for text in ["", "Front", "two words", "front.tom", "-é"] {
            assert_eq!(Defense::from_text(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_mistyped_name_is_recognized() {
        let error = |name: &str| Defense::Named(name.to_owned()).in_catalogue().unwrap_err().to_string();
        assert_eq!(error("fornt"), "no defense \"fornt\" in the catalogue: did you mean \"front\"?");
        assert_eq!(error("ephemral"), "no defense \"ephemral\" in the catalogue: did you mean \"ephemeral\"?");
        assert_eq!(error("unheard-of"), "no defense \"unheard-of\" in the catalogue");
    }

    #[test]
    fn the_catalogue_is_asked_for_names_only() {
        assert_eq!(Defense::Named("front".to_owned()).in_catalogue().unwrap().name(), "front");
        for defense in
            [Defense::Named("fornt".to_owned()), Defense::File("front.toml".into()), Defense::Ephemeral, Defense::Off]
        {
            assert!(defense.in_catalogue().is_err(), "{defense}");
        }
    }
}
