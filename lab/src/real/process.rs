//! Programs that end with the thread that started them, however that ends.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::unistd::Pid;

use super::RealError;

/// Returns what starts a program in the network namespace of this thread, and for as long as this thread lives. It reads and says nothing.
pub(super) fn tied(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Starts it.
///
/// # Errors
/// When it cannot be started.
pub(super) fn start(program: &Path, command: &mut Command) -> Result<Child, RealError> {
    command.spawn().map_err(|source| RealError::Start { program: program.to_owned(), source })
}

/// Returns by what the system knows a program that was started.
pub(super) fn id(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}
