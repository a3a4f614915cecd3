//! The lab's command.

mod command;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match command::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With its causes, and without where in the program it came up.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
