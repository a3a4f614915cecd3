//! Running programs to their end, with what they said in the failure's message.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::thread;

/// What a program that ran to its end left behind.
#[derive(Debug)]
pub struct Finished {
    /// The program and its arguments, for messages.
    pub command: String,
    /// The exit code; `None` if a signal ended the program.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Finished {
    /// Tells whether the program succeeded.
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }

    /// Returns standard output; panics unless the program succeeded.
    #[track_caller]
    pub fn success(self) -> String {
        assert!(self.is_success(), "{self:#?}");
        self.stdout
    }

    /// Returns standard error; panics if the program succeeded.
    #[track_caller]
    pub fn failure(self) -> String {
        assert!(!self.is_success(), "should have failed: {self:#?}");
        self.stderr
    }
}

/// Runs `command` to its end with `input` as its standard input.
#[track_caller]
pub fn run(command: &mut Command, input: &str) -> Finished {
    let line = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {line}: {error}"));
    let mut stdin = child.stdin.take().expect("standard input is piped");
    let output = thread::scope(|scope| {
        // A program may end without having read its input.
        scope.spawn(move || stdin.write_all(input.as_bytes()).ok());
        child.wait_with_output()
    });
    let Output { status, stdout, stderr } = output.unwrap_or_else(|error| panic!("cannot wait for {line}: {error}"));
    Finished {
        command: line,
        code: status.code(),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}
