//! Hooks: commands of the configuration file that run when the tunnel comes and goes.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use maybetun::config::{Hook, HookKind};
use tokio::process::Command;

use crate::cli::detach;

/// Whether hooks may run. They run with every right of the tunnel, so a file from elsewhere should not decide it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permission {
    /// They run.
    Allowed,
    /// They are skipped, with a warning.
    Skipped,
}

/// The hooks of one configuration file.
#[derive(Debug)]
pub(super) struct Hooks {
    file: PathBuf,
    hooks: Vec<Hook>,
}

impl Hooks {
    /// Takes the hooks of `file`. If they may not run, warns of each and keeps none.
    pub(super) fn new(file: &Path, hooks: &[Hook], permission: Permission) -> Self {
        let file = file.to_owned();
        match permission {
            Permission::Allowed => Self { file, hooks: hooks.to_vec() },
            Permission::Skipped => {
                for hook in hooks {
                    let (path, line, key) = (file.display(), hook.line, hook.kind);
                    tracing::warn!("{path}:{line}: {key}: skipped; --allow-hooks runs it");
                }
                Self { file, hooks: Vec::new() }
            }
        }
    }

    /// Runs the hooks of one moment, in order, each with `%i` replaced by the interface name.
    ///
    /// # Errors
    /// When one fails; those behind it do not run.
    pub(super) async fn run(&self, moment: HookKind, interface: &str) -> anyhow::Result<()> {
        for hook in self.hooks.iter().filter(|hook| hook.kind == moment) {
            let place = || format!("{}:{}: {moment}", self.file.display(), hook.line);
            tracing::debug!("{}", place());
            let status = Command::new("sh")
                .args(["-c", &hook.command.replace("%i", interface)])
                .env_remove(detach::VARIABLE)
                .stdin(Stdio::null())
                .stdout(std::io::stderr())
                .kill_on_drop(true)
                .status()
                .await
                .with_context(place)?;
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

    fn hook(kind: HookKind, line: usize, command: String) -> Hook {
        Hook { kind, line, command }
    }

    #[tokio::test]
    async fn hooks_of_the_moment_run_in_order_with_the_interface_name() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("log");
        let log = |text: &str| format!("echo {text} >> {}", file.display());
        let hooks = [
            hook(HookKind::PreUp, 3, log("one-%i")),
            hook(HookKind::PostUp, 4, log("other")),
            hook(HookKind::PreUp, 5, log("two-%i-%i")),
        ];
        let hooks = Hooks::new(Path::new("wg0.conf"), &hooks, Permission::Allowed);
        hooks.run(HookKind::PreUp, "wg7").await.unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "one-wg7\ntwo-wg7-wg7\n");
    }

    #[tokio::test]
    async fn a_hook_that_fails_is_named_by_its_line_and_not_by_its_text() {
        let hooks = [hook(HookKind::PreUp, 7, "exit 3 # secret".to_owned())];
        let hooks = Hooks::new(Path::new("/x/wg0.conf"), &hooks, Permission::Allowed);
        let error = hooks.run(HookKind::PreUp, "wg0").await.unwrap_err().to_string();
        assert_eq!(error, "/x/wg0.conf:7: PreUp: failed (exit status: 3)");
    }

    #[tokio::test]
    async fn hooks_that_are_not_allowed_do_not_run() {
        let hooks = [hook(HookKind::PreUp, 7, "exit 3".to_owned())];
        let hooks = Hooks::new(Path::new("wg0.conf"), &hooks, Permission::Skipped);
        hooks.run(HookKind::PreUp, "wg0").await.unwrap();
    }
}
