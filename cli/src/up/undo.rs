//! What a tunnel must undo before it ends, whatever ends it.

use super::hooks::{Hooks, Moment};
use crate::network::dns::Manager;
use crate::network::plan::Rule;
use crate::network::{Network, firewall};

/// One thing that was set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The PostUp hooks were begun: the PreDown hooks are due.
    PreDown,
    /// The host's DNS servers were set.
    Dns(Manager),
    /// The packet filter was added.
    Firewall,
    /// A routing rule was added.
    Rule(Rule),
}

/// What was set up beside the interface, in order. Addresses and routes are not here: they vanish with the interface.
///
/// A step is recorded *before* it is taken, so that one that is cut short is undone too; undoing what is not there is no
/// failure.
#[derive(Debug, Default)]
pub(super) struct Undo {
    steps: Vec<Step>,
}

impl Undo {
    /// Records a step that is about to be taken.
    pub(super) fn record(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// Forgets the latest step: it turned out to be somebody else's.
    pub(super) fn forget_latest(&mut self) {
        self.steps.pop();
    }

    /// Undoes every step, the latest first. A step that cannot be undone is warned of, and the others follow.
    pub(super) async fn run(&mut self, interface: &str, network: &Network, hooks: &Hooks) {
        while let Some(step) = self.steps.pop() {
            let undone = match step {
                Step::PreDown => hooks.run(Moment::PreDown, interface).await,
                Step::Dns(manager) => manager.unset(interface).await,
                Step::Firewall => {
                    firewall::remove(interface).await;
                    Ok(())
                }
                Step::Rule(rule) => network.delete_rule(&rule).await,
            };
            if let Err(error) = undone {
                tracing::warn!("{error:#}");
            }
        }
    }
}
