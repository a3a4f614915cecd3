//! Other programs: finding them, and running one to its end.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::leash;
use crate::detach;

/// Where administration programs live when `PATH` does not say, as in a bare service.
const SYSTEM_DIRECTORIES: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Returns the file of the program called `name`, if it is installed.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| SYSTEM_DIRECTORIES.into());
    std::env::split_paths(&path)
        .chain(std::env::split_paths(SYSTEM_DIRECTORIES))
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

/// Runs `program` with `arguments`, gives it `input`, and waits for its end. It is killed if the wait is given up.
/// What it prints goes to standard error.
///
/// # Errors
/// When it cannot be started or reports failure.
pub(crate) async fn run_program(program: &str, arguments: &[String], input: &str) -> anyhow::Result<()> {
    let file = find_program(program).with_context(|| format!("{program} is not installed"))?;
    let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
    let mut command = Command::new(file);
    command.args(arguments).env_remove(detach::VARIABLE).stdin(stdin).stdout(std::io::stderr()).kill_on_drop(true);
    let mut child = leash::on(|| command.spawn()).with_context(|| format!("cannot run {program}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input says so by its exit code.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let status = child.wait().await.with_context(|| format!("cannot wait for {program}"))?;
    if !status.success() {
        bail!("`{program} {}` failed ({status})", arguments.join(" "));
    }
    Ok(())
}

/// Runs `program` with `arguments` to its end and returns its standard output. What it says on standard error is told only
/// if it fails, as a part of the error. It is killed if the wait is given up.
///
/// # Errors
/// When it cannot be started or reports failure.
pub(crate) async fn output_of(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let file = find_program(program).with_context(|| format!("{program} is not installed"))?;
    let mut command = Command::new(file);
    command.args(arguments).env_remove(detach::VARIABLE).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = leash::off(|| command.spawn()).with_context(|| format!("cannot run {program}"))?;
    let output = child.wait_with_output().await.with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{program} {}` failed ({}): {}", arguments.join(" "), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_program_is_found_by_its_name() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no-such-program-of-ours").is_none());
    }

    #[tokio::test]
    async fn input_reaches_the_program_and_its_failure_reaches_us() {
        run_program("grep", &words("-q needle"), "hay needle hay\n").await.unwrap();
        let error = run_program("grep", &words("-q needle"), "hay\n").await.unwrap_err();
        assert!(error.to_string().contains("`grep -q needle` failed"), "{error}");
    }

    #[tokio::test]
    async fn what_a_program_prints_is_returned_and_what_it_complains_of_is_the_error() {
        assert_eq!(output_of("sh", &["-c", "echo yes; echo no >&2"]).await.unwrap(), "yes\n");
        let error = output_of("sh", &["-c", "echo why >&2; exit 3"]).await.unwrap_err();
        assert!(error.to_string().ends_with("failed (exit status: 3): why"), "{error}");
    }

    #[tokio::test]
    async fn a_program_that_is_missing_is_named() {
        let error = run_program("no-such-program-of-ours", &[], "").await.unwrap_err();
        assert_eq!(error.to_string(), "no-such-program-of-ours is not installed");
    }
}
