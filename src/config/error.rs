//! What is wrong with a configuration file, and where.

use std::fmt;

use super::suggestion;
use super::value::Invalid;

/// Values longer than this, in characters, are not repeated whole.
const LONGEST_VALUE_SHOWN: usize = 64;

/// Runs of this many characters that keys are made of are not repeated. A key in base64 has 44 of them.
const SHORTEST_KEY_HIDDEN: usize = 32;

/// Explains what is wrong with a configuration file: where, and what was expected there.
///
/// It never repeats a key: neither the values of the keys that hold one, nor anything that looks like one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The line, counted from 1. For something that is missing: where the section starts that it is missing from.
    pub line: usize,
    /// The key, as the documentation spells it, if one is at fault.
    pub key: Option<&'static str>,
    /// What is wrong.
    pub message: String,
}

impl ConfigError {
    pub(super) fn new(line: usize, message: impl Into<String>) -> Self {
        Self { line, key: None, message: message.into() }
    }

    pub(super) fn on_key(line: usize, key: &'static str, message: impl Into<String>) -> Self {
        Self { line, key: Some(key), message: message.into() }
    }

    pub(super) fn invalid(line: usize, key: &'static str, invalid: Invalid<'_>) -> Self {
        Self::invalid_among(line, key, invalid, &[])
    }

    /// Does the same of a value that may have been meant for one of `names`.
    pub(super) fn invalid_among(line: usize, key: &'static str, invalid: Invalid<'_>, names: &[&str]) -> Self {
        let message = match invalid {
            Invalid::Secret { expected } => format!("expected {expected}"),
            Invalid::Plain { expected, found } => {
                // What may be a word of its own stands in quotes.
                let words = expected.split('"').skip(1).step_by(2);
                let words: Vec<&str> = words.chain(names.iter().copied()).collect();
                let meant = suggestion::meant(found, &words).map(|word| format!("{word:?}"));
                ask(format!("expected {expected}, found {}", shown_value(found)), meant)
            }
        };
        Self::on_key(line, key, message)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if let Some(key) = self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

/// Returns `message`, and asks whether something was meant if there is anything that may have been.
pub(super) fn ask(message: String, meant: Option<impl fmt::Display>) -> String {
    match meant {
        Some(meant) => format!("{message}: did you mean {meant}?"),
        None => message,
    }
}

/// Returns `value` as a message may repeat it.
fn shown_value(value: &str) -> String {
    if value.is_empty() {
        return "nothing".to_owned();
    }
    // A key can be pasted anywhere, beside anything, and not quite whole.
    let is_key_character = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
    if value.split(|c| !is_key_character(c)).any(|run| run.len() >= SHORTEST_KEY_HIDDEN) {
        return "what looks like a key (not shown)".to_owned();
    }
    match value.char_indices().nth(LONGEST_VALUE_SHOWN) {
        Some((end, _)) => format!("{:?} and more", &value[..end]),
        None => format!("{value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::PublicKey;

    #[test]
    fn it_says_where_and_what() {
        let invalid = Invalid::Plain { expected: "an IP address", found: "foo" };
        let error = ConfigError::invalid(7, "Address", invalid);
        assert_eq!(error.to_string(), "line 7: Address: expected an IP address, found \"foo\"");
        assert_eq!(ConfigError::new(1, "no [Interface] section").to_string(), "line 1: no [Interface] section");
    }

    #[test]
    fn values_are_shown_unless_they_look_like_keys() {
        let key = PublicKey::from_bytes(&[9; 32]).unwrap();
        assert_eq!(shown_value(""), "nothing");
        assert_eq!(shown_value("a\tb"), "\"a\\tb\"");
        assert_eq!(shown_value(&"é".repeat(65)), format!("\"{}\" and more", "é".repeat(64)));
        for text in
            [key.to_base64(), key.to_base64()[..40].to_owned(), key.to_hex(), format!("10.0.0.1, {}", key.to_base64())]
        {
            assert_eq!(shown_value(&text), "what looks like a key (not shown)");
        }
    }
}
