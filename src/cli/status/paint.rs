//! Colour on a terminal.

use std::fmt::Display;

/// Whether the output has colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    /// Text only.
    Plain,
    /// ANSI escape sequences.
    Ansi,
}

impl Paint {
    /// Renders an interface and its label.
    pub(super) fn interface(self, text: impl Display) -> String {
        self.with("1;32", text)
    }

    /// Renders a peer and its label.
    pub(super) fn peer(self, text: impl Display) -> String {
        self.with("1;33", text)
    }

    /// Renders the name of a property.
    pub(super) fn label(self, text: impl Display) -> String {
        self.with("1", text)
    }

    fn with(self, style: &str, text: impl Display) -> String {
        match self {
            Self::Plain => text.to_string(),
            Self::Ansi => format!("\x1b[{style}m{text}\x1b[0m"),
        }
    }
}
