//! What a word was meant for that is not one of those it may be.

use strsim::osa_distance;

/// Letters of a word in which a second mistake still leaves it recognizable.
const LETTERS_FOR_TWO: usize = 5;

/// Letters that a word has at least of which a longer one is made.
const LETTERS_OF_PART: usize = 4;

/// Returns the one of `words` that `word` resembles most, in any case: by one letter added, lost, replaced or swapped with
/// its neighbour, by two in a longer word. `None` if it resembles none.
pub fn resembling<'a>(word: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let near = words.into_iter().filter_map(|name| {
        let mistakes = osa_distance(&word, &name.to_ascii_lowercase());
        let allowed = if name.len() < LETTERS_FOR_TWO { 1 } else { 2 };
        (mistakes <= allowed).then_some((mistakes, name))
    });
    near.min_by_key(|(mistakes, _)| *mistakes).map(|(_, name)| name)
}

/// Returns the one of `words` that `word` resembles, or that it is a part of, as `Keepalive` is of `PersistentKeepalive`.
pub(super) fn meant<'a>(word: &str, words: &[&'a str]) -> Option<&'a str> {
    let is_part =
        |name: &&str| word.len() >= LETTERS_OF_PART && name.to_ascii_lowercase().contains(&word.to_ascii_lowercase());
    resembling(word, words.iter().copied()).or_else(|| words.iter().copied().find(is_part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_with_a_slip_is_the_one_that_was_meant() {
        let words = ["DNS", "MTU", "Address", "AllowedIPs", "PersistentKeepalive"];
        for (word, meant_one) in [
            ("DNSS", Some("DNS")),
            ("mut", Some("MTU")),
            ("Adress", Some("Address")),
            ("allowedip", Some("AllowedIPs")),
            ("KeepAlive", Some("PersistentKeepalive")),
            ("Comment", None),
            ("ip", None),
            ("", None),
        ] {
            assert_eq!(meant(word, &words), meant_one, "{word}");
        }
        assert_eq!(resembling("KeepAlive", words), None);
    }
}
