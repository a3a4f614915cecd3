//! What is wrong with a defense, and where.

use std::fmt;

/// Says what is wrong with a defense: in which file, under which key, and what was expected there.
///
/// Displays as `FILE: KEY: MESSAGE`, without the parts that are not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefenseError {
    file: Option<String>,
    key: String,
    message: String,
}

impl DefenseError {
    pub(crate) fn new(key: impl Into<String>, message: impl fmt::Display) -> Self {
        Self { file: None, key: key.into(), message: message.to_string() }
    }

    /// Names the file that the defense was read from.
    #[must_use]
    pub fn in_file(mut self, file: impl Into<String>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// Puts the key into a table: `limits` becomes `client.limits`.
    pub(crate) fn under(mut self, table: &str) -> Self {
        self.key = format!("{table}.{}", self.key);
        self
    }

    /// Returns the file, if it was named.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// Returns the key, as `client.machines[0]`; empty if it is the text as a whole that is wrong.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns what was found and what was expected.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for DefenseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for DefenseError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_comes_before_the_message() {
        let error = DefenseError::new("limits", "expected less").under("relay");
        assert_eq!(error.to_string(), "relay.limits: expected less");
        assert_eq!(error.in_file("a.toml").to_string(), "a.toml: relay.limits: expected less");
        assert_eq!(DefenseError::new("", "too long").in_file("a.toml").to_string(), "a.toml: too long");
    }
}
