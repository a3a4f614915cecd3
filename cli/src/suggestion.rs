//! Which subcommand a word was meant for that is none: an interface of that name would come as a surprise.

use maybetun::config::resembling;

/// Letters that the name of a subcommand has at least. What resembles a shorter one is a name of its own, as `us` is.
const MIN_LETTERS: usize = 4;

/// Returns the one of `subcommands` that `word` resembles most; `None` if it resembles none, or has anything but letters,
/// as `wg0` has.
pub(crate) fn meant<'a>(word: &str, subcommands: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if !word.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return None;
    }
    resembling(word, subcommands.into_iter().filter(|name| name.len() >= MIN_LETTERS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBCOMMANDS: [&str; 8] = ["up", "down", "status", "genkey", "genpsk", "check", "machines", "man"];

    #[test]
    fn a_word_with_a_slip_is_the_subcommand_that_was_meant() {
        for (word, meant_one) in [
            ("stauts", "status"),
            ("stat", "status"),
            ("Status", "status"),
            ("statsu", "status"),
            ("dwon", "down"),
            ("donw", "down"),
            ("genkye", "genkey"),
            ("genpks", "genpsk"),
            ("machine", "machines"),
            ("chek", "check"),
        ] {
            assert_eq!(meant(word, SUBCOMMANDS), Some(meant_one), "{word}");
        }
    }

    #[test]
    fn names_that_people_give_to_interfaces_are_none() {
        for word in
            ["wg", "wg0", "vpn", "us", "uk", "tun", "home", "work", "office", "mullvad", "relay", "down1", "berlin"]
        {
            assert_eq!(meant(word, SUBCOMMANDS), None, "{word}");
        }
    }
}
