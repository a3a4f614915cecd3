//! What is logged, and where to.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

use crate::exit::{Exit, OrExit as _};

/// Environment variable that holds the filter when `--log` does not.
pub(crate) const VARIABLE: &str = "MAYBETUN_LOG";

/// wireguard-go's environment variable: `verbose`, `debug`, `info`, `error` or `silent`.
const FALLBACK_VARIABLE: &str = "LOG_LEVEL";

/// The filter when nothing else is said. boringtun reports as errors what any stranger's datagram can cause.
const DEFAULT: &str = "info,boringtun=off";

/// Who chose what is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Nobody: a process in the background logs nothing.
    Default,
    /// The user: a process in the background keeps standard error.
    User,
}

/// What is logged.
#[derive(Debug)]
pub(crate) struct Log {
    filter: String,
    choice: Choice,
}

impl Log {
    /// Takes the filter from the command line or its environment variable, else from `LOG_LEVEL`, else the default.
    ///
    /// # Errors
    /// When `filter` is not a tracing filter.
    pub(crate) fn new(filter: Option<String>) -> anyhow::Result<Self> {
        let (filter, choice) = choose(filter, std::env::var(FALLBACK_VARIABLE).ok().as_deref());
        EnvFilter::try_new(&filter).or_exit(Exit::Usage, format!("`{filter}` is not a log filter"))?;
        Ok(Self { filter, choice })
    }

    /// Starts logging to standard error, in colour only on a terminal.
    pub(crate) fn start(&self) {
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(&self.filter))
            .with_writer(io::stderr)
            // That a line cannot be written would be told on standard error again, and panic: its terminal may be closed.
            .log_internal_errors(false)
            .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
            .init();
    }

    /// Tells who chose the filter.
    pub(crate) fn choice(&self) -> Choice {
        self.choice
    }
}

fn choose(filter: Option<String>, level: Option<&str>) -> (String, Choice) {
    if let Some(filter) = filter.filter(|filter| !filter.is_empty()) {
        return (filter, Choice::User);
    }
    let of_level = match level {
        Some("verbose" | "debug") => "debug,boringtun=off",
        Some("info") => DEFAULT,
        Some("error") => "error,boringtun=off",
        Some("silent") => return ("off".to_owned(), Choice::Default),
        _ => return (DEFAULT.to_owned(), Choice::Default),
    };
    (of_level.to_owned(), Choice::User)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_wins_over_wireguard_gos_variable_which_wins_over_the_default() {
        let chosen = |filter: Option<&str>, level| choose(filter.map(str::to_owned), level);
        assert_eq!(chosen(Some("trace"), Some("error")), ("trace".to_owned(), Choice::User));
        assert_eq!(chosen(None, Some("verbose")), ("debug,boringtun=off".to_owned(), Choice::User));
        assert_eq!(chosen(None, Some("silent")), ("off".to_owned(), Choice::Default));
        assert_eq!(chosen(None, Some("loud")), (DEFAULT.to_owned(), Choice::Default));
        assert_eq!(chosen(Some(""), None), (DEFAULT.to_owned(), Choice::Default));
    }

    #[test]
    fn a_wrong_filter_is_wrong_usage() {
        let error = Log::new(Some("maybetun=loud".to_owned())).unwrap_err();
        assert_eq!(crate::exit::of(&error), Exit::Usage);
    }
}
