//! From what a file or a command line says to a defense.

use std::io;
use std::path::Path;

use maybetun::config::Defense;

use crate::machines;

/// Returns the defense that is named: from the catalogue, or from a file whose path is relative to `directory`.
///
/// # Errors
/// When it is not there, or not valid; the message names file and key.
pub(crate) fn load(defense: &Defense, directory: &Path) -> io::Result<maybetun_machines::Defense> {
    match defense {
        Defense::File(path) => {
            machines::read(&directory.join(path)).map_err(|error| io::Error::other(format!("{error:#}")))
        }
        Defense::Off | Defense::Named(_) | Defense::Ephemeral => defense.in_catalogue(),
    }
}

/// Makes sure that a defense of a configuration file in `directory` is there and valid.
///
/// # Errors
/// What is wrong, if it is not.
pub(crate) fn check(defense: &Defense, directory: &Path) -> Result<(), String> {
    match defense {
        Defense::Off | Defense::Ephemeral => Ok(()),
        Defense::Named(_) | Defense::File(_) => load(defense, directory).map(drop).map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use crate::exit::{self, Exit};
    use crate::locate::Source;

    const PEER: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

    #[test]
    fn the_defenses_of_a_file_are_looked_for_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("wg0.conf");
        let checked = |defense: &str| {
            let text = format!(
                "[Interface]\nPrivateKey = dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=\n[Peer]\nPublicKey = {PEER}\nDefense = {defense}\n"
            );
            std::fs::write(&path, text).unwrap();
            Source::read(&path).map(drop)
        };
        std::fs::write(directory.path().join("mine.toml"), "name = \"mine\"\n").unwrap();
        std::fs::write(directory.path().join("bad.toml"), "name = \"Mine\"\n").unwrap();
        for good in ["off", "ephemeral", "front", "mine.toml", "./mine.toml"] {
            checked(good).unwrap();
        }
        for (bad, message) in [
            ("fornt", "no defense \"fornt\" in the catalogue: did you mean \"front\"?"),
            ("bad.toml", "bad.toml: name: "),
            ("no.toml", "no.toml"),
        ] {
            let error = checked(bad).unwrap_err();
            assert_eq!(exit::of(&error), Exit::Config);
            let text = error.to_string();
            assert!(text.starts_with(&format!("{}:5: Defense: ", path.display())), "{text}");
            assert!(text.contains(message), "{text}");
        }
    }
}
