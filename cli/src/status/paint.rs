//! Colour on a terminal.

use std::fmt::Display;
use std::io::{self, IsTerminal as _};

/// Whether the output has colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    /// Text only.
    Plain,
    /// ANSI escape sequences.
    Ansi,
}

impl Paint {
    /// Returns what suits standard output.
    pub(crate) fn of_stdout() -> Self {
        let is_plain = !io::stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some();
        if is_plain { Self::Plain } else { Self::Ansi }
    }

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
