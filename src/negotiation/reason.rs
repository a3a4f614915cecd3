//! Why nothing is agreed on, as a number between the ends and a word for the user.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why an epoch is not run. A reason that a later version adds reads as [`Other`](Self::Other).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "u8", into = "u8")]
#[non_exhaustive]
pub enum Reason {
    /// The ends have no version in common.
    Version,
    /// The relay does not offer what the client asks for.
    Choice,
    /// The ends derived different seeds, or drew different defenses, and one may run only what both drew.
    Mismatch,
    /// The peer knows nothing of the epoch: it was started again since.
    Unknown,
    /// The peer does not answer: it is plain WireGuard, or out of reach.
    Unanswered,
    /// An end wants no defense any more.
    Requested,
    /// The relay sent machines that may do more than a draw may.
    Bounds,
    /// A reason of a later version.
    Other,
}

impl Reason {
    const ALL: [Self; 8] = [
        Self::Version,
        Self::Choice,
        Self::Mismatch,
        Self::Unknown,
        Self::Unanswered,
        Self::Requested,
        Self::Bounds,
        Self::Other,
    ];
}

/// One word, as in the protocol of the configuration socket.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "version",
            Self::Choice => "choice",
            Self::Mismatch => "mismatch",
            Self::Unknown => "unknown",
            Self::Unanswered => "unanswered",
            Self::Requested => "requested",
            Self::Bounds => "bounds",
            Self::Other => "other",
        })
    }
}

/// Says that a text is not the word of a [`Reason`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected the word of a reason")]
pub struct UnknownReason;

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, UnknownReason> {
        Self::ALL.into_iter().find(|reason| reason.to_string() == text).ok_or(UnknownReason)
    }
}

impl From<u8> for Reason {
    fn from(number: u8) -> Self {
        match number {
            1 => Self::Version,
            2 => Self::Choice,
            3 => Self::Mismatch,
            4 => Self::Unknown,
            5 => Self::Unanswered,
            6 => Self::Requested,
            7 => Self::Bounds,
            _ => Self::Other,
        }
    }
}

impl From<Reason> for u8 {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Other => 0,
            Reason::Version => 1,
            Reason::Choice => 2,
            Reason::Mismatch => 3,
            Reason::Unknown => 4,
            Reason::Unanswered => 5,
            Reason::Requested => 6,
            Reason::Bounds => 7,
        }
    }
}
