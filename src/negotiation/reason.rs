//! Why nothing is agreed on, as a number between the ends and a word for the user.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Makes the enum of what stands for a number between the ends and for a word of the configuration socket: a row each.
macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident = $number:literal $word:literal,)*) => {
        /// Why an epoch is not run. A reason that a later version adds reads as [`Other`](Self::Other).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(from = "u8", into = "u8")]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $reason,)*
        }

        /// Each with its number and its word.
        const ROWS: &[(Reason, u8, &str)] = &[$((Reason::$reason, $number, $word)),*];

        impl From<Reason> for u8 {
            fn from(reason: Reason) -> Self {
                match reason {
                    $(Reason::$reason => $number,)*
                }
            }
        }

        /// One word, as in the protocol of the configuration socket.
        impl fmt::Display for Reason {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$reason => $word,)*
                })
            }
        }
    };
}

reasons! {
    /// The ends have no version in common.
    Version = 1 "version",
    /// The relay does not offer what the client asks for.
    Choice = 2 "choice",
    /// The ends derived different seeds, or drew different defenses, and one may run only what both drew.
    Mismatch = 3 "mismatch",
    /// The peer knows nothing of the epoch: it was started again since.
    Unknown = 4 "unknown",
    /// The peer does not answer: it is plain WireGuard, or out of reach.
    Unanswered = 5 "unanswered",
    /// An end wants no defense any more.
    Requested = 6 "requested",
    /// The relay sent machines that may do more than a draw may.
    Bounds = 7 "bounds",
    /// A reason of a later version.
    Other = 0 "other",
}

impl From<u8> for Reason {
    fn from(number: u8) -> Self {
        ROWS.iter().find(|(_, of, _)| *of == number).map_or(Self::Other, |(reason, ..)| *reason)
    }
}

/// Says that a text is not the word of a [`Reason`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected the word of a reason")]
pub struct UnknownReason;

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, UnknownReason> {
        ROWS.iter().find(|(.., word)| *word == text).map(|(reason, ..)| *reason).ok_or(UnknownReason)
    }
}
