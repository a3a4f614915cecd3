//! What a tunnel must undo before it ends, whatever ends it.

use super::hooks::{Hooks, Moment};
use crate::cli::network::dns::Manager;
use crate::cli::network::plan::Rule;
use crate::cli::network::{Network, firewall};

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
    /// Records a step that is about to be taken, unless it is there. The PreDown hooks stay the first to be due: all that
    /// is set up is there for them.
    pub(super) fn record(&mut self, step: Step) {
        if self.has(step) {
            return;
        }
        let is_before_hooks = self.steps.last() == Some(&Step::PreDown);
        self.steps.insert(self.steps.len() - usize::from(is_before_hooks), step);
    }

    /// Forgets a step: it turned out to be somebody else's, or was undone.
    pub(super) fn forget(&mut self, step: Step) {
        self.steps.retain(|other| *other != step);
    }

    /// Tells whether a step was taken.
    pub(super) fn has(&self, step: Step) -> bool {
        self.steps.contains(&step)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_come_first_whatever_is_set_up_later() {
        let mut undo = Undo::default();
        let dns = Step::Dns(Manager::Resolvectl);
        for step in [dns, Step::PreDown, Step::Firewall, Step::Firewall] {
            undo.record(step);
        }
        assert_eq!(undo.steps, [dns, Step::Firewall, Step::PreDown]);
        undo.forget(dns);
        assert!(!undo.has(dns) && undo.has(Step::Firewall));
    }
}
