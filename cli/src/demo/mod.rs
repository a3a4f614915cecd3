//! `maybetun demo`: a client, a relay, a web server and an observer of the wire, all on this computer; once without a
//! defense and once with one.
//!
//! Every host is a process of this program in a network namespace of its own, so nothing is left when the processes are
//! gone: no interface, no named namespace, no route.

mod browser;
mod chart;
mod figures;
mod host;
mod html;
mod http;
mod json;
mod message;
mod process;
mod run;
mod site;
mod table;
mod tun;

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use maybetun_lab::namespace;

use self::process::Part;
use self::run::{Label, Run};

/// Show what an observer of the network sees of a page load through the tunnel
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,

    /// Also write a self-contained web page with plots to FILE
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Be one of the hosts of a running demo
    #[arg(long, value_enum, hide = true)]
    part: Option<Part>,
}

/// Runs the demo, or one host of it.
///
/// Call it on the main thread, before any other thread exists: it enters namespaces.
///
/// # Errors
/// When the computer lacks what the demo needs (the message names it), a host fails, or the results cannot be written.
pub(crate) fn run(args: DemoArgs) -> anyhow::Result<()> {
    if args.part.is_some() {
        return host::run();
    }
    tun::check()?;
    namespace::gain_capabilities()?;
    let runs = [Run::perform(Label::Plain)?, Run::perform(Label::Defended)?];

    if let Some(path) = &args.html {
        fs::write(path, html::page(&runs)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let text = if args.json { json::report(&runs)? } else { table::report(&runs) };
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").context("cannot write the results")?;
    if let (Some(path), false) = (&args.html, args.json) {
        writeln!(stdout, "\nPlots: {}", path.display()).context("cannot write the results")?;
    }
    Ok(())
}
