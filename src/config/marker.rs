//! `#maybetun:`, in whose comments a file may say what only we read.

use super::error::ConfigError;
use super::key::{Key, Reader};
use super::suggestion;
use crate::text;

/// How a line begins that says a key of ours in a comment, as we write it.
pub(super) const MARKER: &str = "#maybetun:";

/// Returns what follows the marker, if the line begins with it: in any case, with or without spaces around its parts.
pub(super) fn marked(line: &[u8]) -> Option<&[u8]> {
    let word = line.trim_ascii_start().strip_prefix(b"#")?.trim_ascii_start();
    let (name, rest) = word.split_at_checked(MARKER.len() - 2)?;
    let is_name = name.eq_ignore_ascii_case(&MARKER.as_bytes()[1..=name.len()]);
    rest.trim_ascii_start().strip_prefix(b":").filter(|_| is_name)
}

/// Makes sure that `text`, which follows the marker, is a key of ours with a value.
///
/// # Errors
/// When it is not: nothing that is meant for us is to be passed over as a comment.
pub(super) fn check(line: usize, text: &str) -> Result<(), ConfigError> {
    let name = match text.split_once('=') {
        Some((name, _)) if !text.starts_with('[') => name.trim(),
        Some(_) | None => return Err(ConfigError::new(line, format!("expected KEY = VALUE after {MARKER:?}"))),
    };
    match Key::find(name).map(Key::about) {
        Some(key) if key.reader == Reader::Ours => Ok(()),
        Some(key) => {
            let message = format!("expected without {MARKER:?}, as wg or wg-quick reads it");
            Err(ConfigError::on_key(line, key.name, message))
        }
        None => {
            let meant = suggestion::meant(name, &ours().collect::<Vec<_>>());
            let question = meant.map(|key| format!(": did you mean {key}?")).unwrap_or_default();
            let message = format!("unknown key {} after {MARKER:?}{question}", text::shown_name(name));
            Err(ConfigError::new(line, message))
        }
    }
}

/// Tells whether neither `wg` nor `wg-quick` knows the key of this name.
pub(super) fn is_ours(key: &str) -> bool {
    ours().any(|ours| ours == key)
}

fn ours() -> impl Iterator<Item = &'static str> {
    Key::all().map(Key::about).filter(|key| key.reader == Reader::Ours).map(|key| key.name)
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Defense, format, parse};
    use super::*;
    use crate::settings::DefenseOptions;

    const FILE: &str = "[Interface]\nPrivateKey = CAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEA=\n\
                        [Peer]\nPublicKey = AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n";

    fn with(line: &str) -> Result<Config, String> {
        parse(format!("{FILE}{line}\n")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_key_of_ours_says_the_same_in_a_comment() {
        for line in [
            "#maybetun: Defense = front",
            "  # MayBeTun :defense=front  # why\r",
            "#maybetun:\tDEFENSE = front",
            "Defense = front",
        ] {
            assert_eq!(with(line).unwrap().peers[0].defense, Some(Defense::Named("front".to_owned())), "{line}");
        }
        let in_interface = FILE.replace("[Peer]", "#maybetun: KillSwitch = on\n[Peer]");
        assert!(parse(in_interface).unwrap().interface.kill_switch);
    }

    #[test]
    fn every_key_of_ours_can_be_said_so_and_no_other() {
        let text = "[Interface]\nPrivateKey = CAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEA=\nMaxPaddingRate = 1\n\
                    HandshakesPerSecond = 2\nKillSwitch = on\nKillSwitchAllow = 192.168.0.0/16\n\n[Peer]\n\
                    PublicKey = AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\nDefense = ephemeral\n";
        let settings =
            DefenseOptions::SETTINGS.iter().map(|setting| format!("{} = {}\n", setting.key, setting.examples[0]));
        let text = format!("{text}{}", settings.collect::<String>());
        let said = |line: &str| line.split_once(" = ").is_some_and(|(key, _)| is_ours(key));
        let in_comments: String = text
            .split_inclusive('\n')
            .map(|line| if said(line) { format!("{MARKER}{line}") } else { line.to_owned() })
            .collect();
        assert_eq!(in_comments.matches(MARKER).count(), ours().count());
        assert_eq!(*format(&parse(in_comments).unwrap()), text);
    }

    #[test]
    fn what_stands_there_and_is_no_key_of_ours_is_an_error() {
        for (line, message) in [
            (
                "#maybetun: Endpoint = a:1",
                "line 5: Endpoint: expected without \"#maybetun:\", as wg or wg-quick reads it",
            ),
            (
                "#maybetun: Address = ::1",
                "line 5: Address: expected without \"#maybetun:\", as wg or wg-quick reads it",
            ),
            ("#maybetun: Defence = off", "line 5: unknown key Defence after \"#maybetun:\": did you mean Defense?"),
            ("#maybetun: KillSwitch = on", "line 5: KillSwitch: belongs into a [Interface] section, this is [Peer]"),
            ("#maybetun: Defense", "line 5: expected KEY = VALUE after \"#maybetun:\""),
            ("# maybetun:", "line 5: expected KEY = VALUE after \"#maybetun:\""),
            ("#maybetun: [Peer]", "line 5: expected KEY = VALUE after \"#maybetun:\""),
            ("#maybetun: Defense = # off", "line 5: Defense: expected \"off\""),
        ] {
            let error = with(line).unwrap_err();
            assert!(error.starts_with(message), "{line}: {error}");
        }
        assert!(with("#maybetun: Defense = off\nDefense = off").unwrap_err().contains("repeated"));
    }

    #[test]
    fn another_comment_is_a_comment() {
        for line in
            ["# maybetun", "#maybetunnel: x", "## maybetun: x", "AllowedIPs = # maybetun: Defense = off", "#mybetun: x"]
        {
            assert_eq!(with(line).unwrap().peers[0].defense, None, "{line}");
        }
    }

    #[test]
    fn a_comment_may_be_any_bytes_and_nothing_else() {
        assert!(parse([FILE.as_bytes(), b"# caf\xe9\n"].concat()).is_ok());
        let error = parse([FILE.as_bytes(), b"Endpoint = caf\xe9:1\n"].concat()).unwrap_err();
        assert_eq!(error.to_string(), "line 5: expected UTF-8 text before the comment");
    }
}
