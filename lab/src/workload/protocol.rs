//! How requests share connections.

use std::fmt;
use std::str::FromStr;

/// How requests share connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// One connection for each origin, on which answers take turns, 16 KiB each.
    #[default]
    Http2,
    /// Up to six connections for each origin, each with one request at a time.
    Http1,
    /// One connection for each origin, over QUIC, with a stream for each request: up to 100 at once, which take turns.
    Http3,
}

impl Protocol {
    /// All of them, in the order of their versions.
    pub const ALL: [Self; 3] = [Self::Http1, Self::Http2, Self::Http3];

    /// Reads a version of HTTP as browsers write it: `http/1.1`, `HTTP/2.0`, `h2`, `h3`, `h3-29`, `http/3`.
    pub(super) fn of_version(version: &str) -> Option<Self> {
        let version = version.to_ascii_lowercase();
        let number = version.strip_prefix("http/").or_else(|| version.strip_prefix('h'))?;
        match number.bytes().next()? {
            b'0' | b'1' => Some(Self::Http1),
            b'2' => Some(Self::Http2),
            b'3' => Some(Self::Http3),
            _ => None,
        }
    }
}

/// `h1`, `h2`, `h3`.
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Http1 => "h1",
            Self::Http2 => "h2",
            Self::Http3 => "h3",
        })
    }
}

/// A word that names no protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?}, expected h1, h2 or h3")]
pub struct UnknownProtocol(String);

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    /// Reads what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, UnknownProtocol> {
        let found = Self::ALL.into_iter().find(|protocol| protocol.to_string() == text);
        found.ok_or_else(|| UnknownProtocol(text.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_is_read_as_it_is_written_and_nothing_else_is() {
        for protocol in Protocol::ALL {
            assert_eq!(protocol.to_string().parse(), Ok(protocol));
        }
        for wrong in ["", "h4", "H3", "http/3"] {
            let error = wrong.parse::<Protocol>().unwrap_err().to_string();
            assert_eq!(error, format!("{wrong:?}, expected h1, h2 or h3"));
        }
    }
}
