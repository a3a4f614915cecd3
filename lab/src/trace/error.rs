//! What is wrong with a file of traces, and where.

use std::fmt::Display;
use std::io;

use thiserror::Error;

/// Why traces were not read, or not written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FormatError {
    /// What is there cannot be. Says what it is, and what was expected.
    #[error("{place}: {problem}")]
    Invalid {
        /// Where: a line, a byte, or an array and its row.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl FormatError {
    pub(super) fn at(place: impl Display, problem: impl Display) -> Self {
        Self::Invalid { place: place.to_string(), problem: problem.to_string() }
    }
}
