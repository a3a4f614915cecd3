//! The demonstration: a tunnel between namespaces and what an observer of its wire sees.

/// Shows a tunnel at work, and what an observer of its wire sees.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {}

/// Runs the demonstration; called on the main thread, before any runtime exists.
pub(crate) fn run(_args: DemoArgs) -> anyhow::Result<()> {
    anyhow::bail!("this build has no demonstration")
}
