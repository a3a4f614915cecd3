//! What a tunnel must undo before it ends, whatever ends it.

use super::hooks::{Hooks, Moment};
use crate::leftovers::{Journal, Step};
use crate::network::{Network, firewall};

/// Undoes every step of the journal, the latest first. A step that cannot be undone is warned of, and the others follow; it
/// stays in the journal, for the `down` that waits.
pub(super) async fn undo(journal: &mut Journal, interface: &str, network: &Network, hooks: &Hooks) {
    let mut left = Vec::new();
    for step in journal.steps().iter().rev() {
        let undone = match step {
            // It is due when the interface is gone.
            Step::PostDown => Ok(()),
            // A hook that fails has run all the same.
            Step::PreDown => {
                hooks.run(Moment::PreDown, interface).await.unwrap_or_else(|error| tracing::warn!("{error:#}"));
                Ok(())
            }
            Step::Dns(manager) => manager.unset(interface).await,
            Step::Firewall => firewall::remove(interface).await,
            Step::Rule(rule) => network.delete_rule(rule).await,
        };
        if let Err(error) = undone {
            tracing::warn!("{error:#}");
            left.insert(0, step.clone());
        }
    }
    if let Err(error) = journal.finish(left) {
        tracing::warn!("{error:#}");
    }
}
