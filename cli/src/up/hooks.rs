//! Hooks: commands of the configuration file that run when the tunnel comes and goes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use maybetun::config::{Hook, Interface};
use tokio::process::Command;

use crate::detach;
use crate::network::{find_program, leash};

/// Whether hooks may run. They run with every right of the tunnel, so a file from elsewhere should not decide it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permission {
    /// They run.
    Allowed,
    /// They are skipped, with a warning.
    Skipped,
}

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// The interface is there, but not set up.
    PreUp,
    /// Everything is set up.
    PostUp,
    /// Everything is still set up.
    PreDown,
    /// The interface is gone.
    PostDown,
}

impl Moment {
    const ALL: [Self; 4] = [Self::PreUp, Self::PostUp, Self::PreDown, Self::PostDown];

    fn hooks_of(self, interface: &Interface) -> &[Hook] {
        match self {
            Self::PreUp => &interface.pre_up,
            Self::PostUp => &interface.post_up,
            Self::PreDown => &interface.pre_down,
            Self::PostDown => &interface.post_down,
        }
    }
}

impl fmt::Display for Moment {
    /// Writes the key of the configuration file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PreUp => "PreUp",
            Self::PostUp => "PostUp",
            Self::PreDown => "PreDown",
            Self::PostDown => "PostDown",
        })
    }
}

/// How `wg-quick` has bash run hooks: the first command that fails ends the hook, also within a pipe, and patterns are
/// extended.
const BASH: [&str; 6] = ["-e", "-o", "pipefail", "-O", "extglob", "-c"];

/// What comes nearest with the shell that every host has.
const SH: [&str; 2] = ["-e", "-c"];

/// Returns a command that runs `script` in bash, or in `sh` where there is none.
fn shell(script: &str) -> Command {
    let mut command = match find_program("bash") {
        Some(bash) => {
            let mut command = Command::new(bash);
            command.args(BASH);
            command
        }
        None => {
            let mut command = Command::new("sh");
            command.args(SH);
            command
        }
    };
    command.arg(script).env("LC_ALL", "C");
    command
}

/// The hooks of one configuration file.
#[derive(Debug)]
pub(super) struct Hooks {
    file: PathBuf,
    permission: Permission,
    hooks: Vec<(Moment, Hook)>,
}

impl Hooks {
    /// Takes the hooks of `file`. If they may not run, warns of each and keeps none.
    pub(super) fn new(file: &Path, interface: &Interface, permission: Permission) -> Self {
        let of = |moment: Moment| moment.hooks_of(interface).iter().map(move |hook| (moment, hook.clone()));
        let mut hooks: Vec<(Moment, Hook)> = Moment::ALL.into_iter().flat_map(of).collect();
        if permission == Permission::Skipped {
            hooks.sort_by_key(|(_, hook)| hook.line);
            for (moment, hook) in hooks.drain(..) {
                tracing::warn!("{}:{}: {moment}: skipped; --allow-hooks runs it", file.display(), hook.line);
            }
        }
        Self { file: file.to_owned(), permission, hooks }
    }

    /// Returns those of the file as it is now.
    pub(super) fn renewed(&self, interface: &Interface) -> Self {
        Self::new(&self.file, interface, self.permission)
    }

    /// Tells whether there are hooks of one moment.
    pub(super) fn has(&self, moment: Moment) -> bool {
        self.hooks.iter().any(|(when, _)| *when == moment)
    }

    /// Runs the hooks of one moment, in order, each with `%i` replaced by the interface name.
    ///
    /// # Errors
    /// When one fails; those behind it do not run.
    pub(super) async fn run(&self, moment: Moment, interface: &str) -> anyhow::Result<()> {
        for (_, hook) in self.hooks.iter().filter(|(when, _)| *when == moment) {
            let place = || format!("{}:{}: {moment}", self.file.display(), hook.line);
            tracing::debug!("{}", place());
            let mut command = shell(&hook.command.replace("%i", interface));
            command.env_remove(detach::VARIABLE);
            command.stdin(Stdio::null()).stdout(std::io::stderr()).kill_on_drop(true);
            let mut child = leash::off(|| command.spawn()).with_context(place)?;
            let status = child.wait().await.with_context(place)?;
            if !status.success() {
                bail!("{}: failed ({status})", place());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use maybetun::keys::PrivateKey;

    fn hook(line: usize, command: &str) -> Hook {
        Hook { line, command: command.to_owned() }
    }

    fn pre_up(hooks: Vec<Hook>) -> Interface {
        Interface { pre_up: hooks, ..Interface::new(PrivateKey::from_bytes(&[7; 32]).unwrap()) }
    }

    #[tokio::test]
    async fn hooks_of_the_moment_run_in_order_with_the_interface_name() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("log");
        let log = |line, text: &str| hook(line, &format!("echo {text} >> {}", file.display()));
        let mut interface = pre_up(vec![log(3, "one-%i"), log(5, "two-%i-%i")]);
        interface.post_up = vec![log(4, "other")];
        let hooks = Hooks::new(Path::new("wg0.conf"), &interface, Permission::Allowed);
        hooks.run(Moment::PreUp, "wg7").await.unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "one-wg7\ntwo-wg7-wg7\n");
    }

    #[tokio::test]
    async fn a_hook_that_fails_is_named_by_its_line_and_not_by_its_text() {
        let interface = pre_up(vec![hook(7, "exit 3 # secret")]);
        let hooks = Hooks::new(Path::new("/x/wg0.conf"), &interface, Permission::Allowed);
        let error = hooks.run(Moment::PreUp, "wg0").await.unwrap_err().to_string();
        assert_eq!(error, "/x/wg0.conf:7: PreUp: failed (exit status: 3)");
    }

    #[tokio::test]
    async fn hooks_run_in_bash_as_wg_quick_runs_them() {
        let run = async |command: &str| {
            let hooks = Hooks::new(Path::new("wg0.conf"), &pre_up(vec![hook(7, command)]), Permission::Allowed);
            hooks.run(Moment::PreUp, "wg0").await.is_ok()
        };
        for command in [
            "[[ $(cat <(echo %i)) == wg0 ]]",
            "x=wg0; [[ ${x/+([a-z])/} == 0 ]]",
            "false || true",
            "[[ $LC_ALL == C ]]",
            "! read -r line",
        ] {
            assert!(run(command).await, "{command}");
        }
        for command in ["false; true", "false | true", "if"] {
            assert!(!run(command).await, "{command}");
        }
    }

    #[tokio::test]
    async fn hooks_that_are_not_allowed_do_not_run() {
        let hooks = Hooks::new(Path::new("wg0.conf"), &pre_up(vec![hook(7, "exit 3")]), Permission::Skipped);
        hooks.run(Moment::PreUp, "wg0").await.unwrap();
    }
}
