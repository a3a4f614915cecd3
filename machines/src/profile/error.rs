//! What is wrong with a profile, and where.

use std::fmt;

/// Says what is wrong with a profile: under which key, and what was expected there.
///
/// Displays as `KEY: MESSAGE`; the key of what a state says has its name, as `states.heavy.download.rate[2]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileError {
    key: String,
    message: String,
}

impl ProfileError {
    pub(crate) fn new(key: impl Into<String>, message: impl fmt::Display) -> Self {
        Self { key: key.into(), message: message.to_string() }
    }

    /// Puts the key into a table: `rate` becomes `download.rate`.
    pub(crate) fn under(mut self, table: impl fmt::Display) -> Self {
        self.key = format!("{table}.{}", self.key);
        self
    }

    /// Returns the key; empty if it is the text as a whole that is wrong.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns what was found and what was expected.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ProfileError {}
