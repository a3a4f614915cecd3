//! The defenses that come with maybetun, built into the program.

use std::sync::OnceLock;

use crate::Defense;

/// A defense of the catalogue; parsed when it is first asked for.
#[derive(Debug)]
pub struct Entry {
    name: &'static str,
    text: &'static str,
    defense: OnceLock<Defense>,
}

impl Entry {
    const fn new(name: &'static str, text: &'static str) -> Self {
        Self { name, text, defense: OnceLock::new() }
    }

    /// Returns the name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the text form, as it is in the repository.
    pub fn text(&self) -> &'static str {
        self.text
    }

    /// Returns the defense.
    pub fn defense(&self) -> &Defense {
        self.defense.get_or_init(|| Defense::parse(self.text).expect("a test parses every entry"))
    }
}

/// Makes an entry of each name, with the text of its file.
macro_rules! entries {
    ($($name:literal),+ $(,)?) => {
        [$(Entry::new($name, include_str!(concat!("../catalogue/", $name, ".toml")))),+]
    };
}

static CATALOGUE: [Entry; 12] = entries![
    "break-pad",
    "constant-rate",
    "constant-size",
    "front",
    "interspace",
    "metronome",
    "netflow",
    "regulator",
    "regulator-light",
    "scrambler",
    "tamaraw",
    "tamaraw-fast",
];

/// Returns all defenses of the catalogue, in the order of their names.
pub fn catalogue() -> &'static [Entry] {
    &CATALOGUE
}

/// Returns the defense of the catalogue with this name.
pub fn find(name: &str) -> Option<&'static Defense> {
    let index = CATALOGUE.binary_search_by(|entry| entry.name.cmp(name)).ok()?;
    Some(CATALOGUE[index].defense())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_valid_and_found_by_its_name() {
        for entry in catalogue() {
            let defense = Defense::parse(entry.text()).unwrap();
            assert_eq!(defense.name(), entry.name());
            assert_eq!(find(entry.name()), Some(&defense));
            assert!(!defense.description().is_empty() && !defense.source().is_empty(), "{}", entry.name());
            assert!(defense.overhead().is_some(), "{}", entry.name());
        }
        assert!(catalogue().is_sorted_by(|one, next| one.name() < next.name()));
    }

    #[test]
    fn a_name_that_is_not_there_finds_nothing() {
        for name in ["", "off", "Front", "front ", "zzz"] {
            assert_eq!(find(name), None);
        }
    }
}
