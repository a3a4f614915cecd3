//! Going to the background: the command starts itself again in a session of its own and waits until that is ready.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::logging::{Choice, Log};
use crate::notify;

/// Environment variable that tells the process in the background that standard output is its readiness pipe.
pub(crate) const VARIABLE: &str = "MAYBETUN_READY_PIPE";

/// What the process in the background writes when it is ready.
const READY: &str = "ready\n";

/// Where this process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Stays in the foreground.
    Foreground,
    /// Was started by [`to_background`].
    Background,
}

/// Returns where the environment says that this process runs.
pub(crate) fn place() -> Place {
    if std::env::var_os(VARIABLE).is_some() { Place::Background } else { Place::Foreground }
}

/// Starts this very command line again in the background, waits until it is ready or has failed, and exits as it did.
/// Its errors appear on this process' standard error.
///
/// # Errors
/// When the process cannot be started.
pub(crate) fn to_background() -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut child = Command::new(program)
        .args(std::env::args_os().skip(1))
        .env(VARIABLE, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the process in the background")?;
    let mut line = String::new();
    if let Some(pipe) = child.stdout.take() {
        BufReader::new(pipe).read_line(&mut line).context("cannot hear from the process in the background")?;
    }
    if line == READY {
        return Ok(());
    }
    let status = child.wait().context("cannot wait for the process in the background")?;
    let Some(code) = status.code().filter(|&code| code != 0) else {
        anyhow::bail!("the process in the background ended before it was ready ({status})");
    };
    std::process::exit(code)
}

/// Leaves the starter's session, so that closing its terminal does not end this process.
///
/// # Errors
/// When the operating system refuses the session.
pub(crate) fn enter_background() -> anyhow::Result<()> {
    nix::unistd::setsid().context("cannot start a session")?;
    Ok(())
}

/// Tells whoever waits that the tunnel is up: systemd, and the starter of a process in the background.
/// The latter then lets go of everything the starter holds: its pipe, its directory and, unless logs were asked for,
/// its standard error.
///
/// # Errors
/// When the starter is gone, or its descriptors cannot be replaced.
pub(crate) fn ready(role: Place, log: &Log) -> anyhow::Result<()> {
    notify::ready();
    if role == Place::Foreground {
        return Ok(());
    }
    let mut pipe = std::io::stdout();
    pipe.write_all(READY.as_bytes()).and_then(|()| pipe.flush()).context("cannot report readiness")?;
    let null = File::options().read(true).write(true).open("/dev/null").context("cannot open /dev/null")?;
    nix::unistd::dup2_stdout(&null).context("cannot close standard output")?;
    if log.choice() == Choice::Default {
        nix::unistd::dup2_stderr(&null).context("cannot close standard error")?;
    }
    std::env::set_current_dir("/").context("cannot leave the working directory")
}
