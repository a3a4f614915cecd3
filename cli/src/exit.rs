//! Exit codes, and how an error comes to have one.

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// What the help says about exit codes.
pub(crate) const HELP: &str = "\
Exit codes:
  0  success, or a stop that was asked for
  1  any other failure
  2  wrong usage of the command line
  3  the configuration file cannot be read or is wrong
  4  not permitted: making interfaces needs CAP_NET_ADMIN
  5  the interface or the UDP port is in use
  6  no such interface
  7  the TUN device failed, or was deleted under `up`";

/// Every exit code of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// All went well, or a stop was asked for.
    Success = 0,
    /// A failure that has no code of its own.
    Failure = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The configuration file cannot be read or is wrong.
    Config = 3,
    /// The process lacks a permission, most likely `CAP_NET_ADMIN`.
    Permission = 4,
    /// The interface or the port is taken.
    InUse = 5,
    /// The named interface does not exist.
    NoInterface = 6,
    /// The TUN device failed, or was deleted under `up`; a backend takes its deletion for the end, as `wg-quick down` means it.
    Tun = 7,
}

impl Exit {
    const ALL: [Self; 8] = [
        Self::Success,
        Self::Failure,
        Self::Usage,
        Self::Config,
        Self::Permission,
        Self::InUse,
        Self::NoInterface,
        Self::Tun,
    ];

    /// Returns the exit code that is this number.
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|exit| *exit as u8 == code)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A message that carries the exit code of the failure that it tells of.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    /// Returns an error without a cause.
    pub(crate) fn error(exit: Exit, message: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Self::because(exit, message))
    }

    /// Returns the context for an error that is the cause.
    pub(crate) fn because(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Adds a message and an exit code to an error.
pub(crate) trait OrExit<T> {
    /// Turns an error into one that exits with `exit` and begins with `message`.
    fn or_exit(self, exit: Exit, message: impl Into<String>) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit, message: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| error.into().context(Failure::because(exit, message)))
    }
}

/// Returns the exit code of `error`: its own if it has one, else what the operating system's error says.
pub(crate) fn of(error: &anyhow::Error) -> Exit {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return failure.exit;
    }
    let Some(io) = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>()) else { return Exit::Failure };
    of_io(io)
}

/// Returns the exit code that an error of the operating system stands for.
#[allow(clippy::wildcard_enum_match_arm, reason = "ErrorKind grows")]
pub(crate) fn of_io(error: &io::Error) -> Exit {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::Permission,
        io::ErrorKind::AddrInUse => Exit::InUse,
        _ => Exit::Failure,
    }
}

/// Writes `error` with its causes to standard error.
pub(crate) fn report(error: &anyhow::Error) {
    // Nothing is left to tell when standard error itself is closed.
    let _ = writeln!(io::stderr(), "maybetun: {}", chain(error));
}

/// Joins an error and its causes; a cause that its parent already spells out is left away.
pub(crate) fn chain(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |mut text, cause| {
        if text.is_empty() {
            return cause;
        }
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn codes_are_those_of_the_help() {
        let codes = [
            Exit::Success,
            Exit::Failure,
            Exit::Usage,
            Exit::Config,
            Exit::Permission,
            Exit::InUse,
            Exit::NoInterface,
            Exit::Tun,
        ];
        for (line, exit) in HELP.lines().skip(1).zip(codes) {
            assert!(line.starts_with(&format!("  {}  ", exit as u8)), "{line}");
        }
        assert_eq!(HELP.lines().count(), 1 + codes.len());
    }

    #[test]
    fn a_code_survives_the_context_around_it() {
        let error = Failure::error(Exit::NoInterface, "no interface wg0").context("cannot stop").context("outer");
        assert_eq!(of(&error), Exit::NoInterface);
        assert_eq!(chain(&error), "outer: cannot stop: no interface wg0");
    }

    #[test]
    fn the_code_nearest_to_the_user_counts() {
        let inner: anyhow::Result<()> = Err(Failure::error(Exit::Failure, "inner"));
        assert_eq!(of(&inner.or_exit(Exit::Config, "outer").unwrap_err()), Exit::Config);
    }

    #[test]
    fn an_error_of_the_operating_system_has_its_code() {
        let error = |kind| anyhow::Error::new(io::Error::from(kind)).context("outer");
        assert_eq!(of(&error(io::ErrorKind::PermissionDenied)), Exit::Permission);
        assert_eq!(of(&error(io::ErrorKind::AddrInUse)), Exit::InUse);
        assert_eq!(of(&error(io::ErrorKind::NotFound)), Exit::Failure);
        assert_eq!(of(&anyhow::anyhow!("plain")), Exit::Failure);
    }

    #[test]
    fn a_cause_is_not_told_twice() {
        let io = io::Error::other("disk on fire");
        let error = Err::<(), _>(io).context("cannot read: disk on fire").unwrap_err();
        assert_eq!(chain(&error), "cannot read: disk on fire");
    }
}
