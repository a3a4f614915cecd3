//! Which routes and rules a tunnel is to have, beside those of other tunnels.

use ipnet::IpNet;
use maybetun::config::Config;

use crate::leftovers::{Journal, Step, Taken};
use crate::network::plan::{self, Family, Plan, Rule, RuleKind};
use crate::network::{Network, lock};
use crate::place;

/// What a tunnel has already.
#[derive(Debug, Default)]
pub(super) struct There<'a> {
    pub(super) rules: &'a [Rule],
    /// The table for a default route that no file named.
    pub(super) own_table: Option<u32>,
}

/// What it is to have.
#[derive(Debug)]
pub(super) struct Routing {
    pub(super) plan: Plan,
    /// The table for a default route, which is the mark of the tunnel's datagrams then.
    pub(super) table: u32,
    /// Priorities for rules that are only there while the mark changes.
    spare: Vec<(Family, u32)>,
    /// What was written down, and was not before.
    reserved: Vec<Rule>,
}

impl Routing {
    /// Plans what `config` asks for, for the tunnel called `name`. Its rules are written down: from then on they are this
    /// tunnel's, and no other takes them. Those that are there already stay as they are.
    ///
    /// # Errors
    /// When the network cannot be looked at, no priority is left, or the journal cannot be written.
    pub(super) async fn of(
        config: &Config,
        name: &str,
        network: &Network,
        there: There<'_>,
        journal: &mut Journal,
    ) -> anyhow::Result<Self> {
        let interface = &config.interface;
        let directory = place::directory();
        let _lock = lock::lock(&directory).await?;
        let taken = Taken::by_others(&directory, name);
        let table = match there.own_table.filter(|_| interface.fwmark.unwrap_or(0) == 0) {
            Some(table) => table,
            None => {
                let mut in_use = network.tables_in_use().await?;
                in_use.extend(taken.tables());
                plan::own_table(interface.fwmark.unwrap_or(0), &in_use)
            }
        };
        let mut plan = Plan::new(interface.table, &interface.addresses, allowed_ips(config), table);
        let mut spare = Vec::new();
        for family in [Family::V4, Family::V6] {
            let has_rules = |rules: &[Rule]| rules.iter().any(|rule| rule.family == family);
            if !has_rules(&plan.rules) && !has_rules(there.rules) {
                continue;
            }
            let others = taken.rules.iter().filter(|rule| rule.family == family).map(|rule| rule.priority);
            let first = others.fold(network.first_priority(family).await?, u32::min);
            let is_there = plan.keep(family, there.rules);
            anyhow::ensure!(
                is_there || plan.rank(family, first),
                "no priority is left for the rules of a default route: that of another tunnel is {first}, expected 3 or more"
            );
            let planned = plan.rules.iter().filter(|rule| rule.family == family).map(|rule| rule.priority);
            // 0 is the local table's.
            let before = planned.fold(first, u32::min).checked_sub(1).filter(|&priority| priority > 0);
            spare.extend(before.map(|priority| (family, priority)));
        }
        let reserved: Vec<_> = plan.rules.iter().filter(|rule| !there.rules.contains(rule)).copied().collect();
        if !reserved.is_empty() {
            journal.record(reserved.iter().copied().map(Step::Rule))?;
        }
        Ok(Self { plan, table, spare, reserved })
    }

    /// Returns rules that keep what has `mark` out of the tunnel, as far as `rules` lead into it what has not the mark that
    /// there is.
    pub(super) fn ways(&self, mark: u32, rules: &[Rule]) -> Vec<Rule> {
        let leads = |family| rules.iter().any(|rule| rule.family == family && matches!(rule.kind, RuleKind::Table(_)));
        let spare = self.spare.iter().filter(|(family, _)| leads(*family));
        spare.map(|&(family, priority)| Rule { family, priority, mark, kind: RuleKind::Marked }).collect()
    }

    /// Gives back what was written down for it: it does not come about.
    pub(super) fn give_back(&self, journal: &mut Journal) {
        for rule in &self.reserved {
            if let Err(error) = journal.strike(&Step::Rule(*rule)) {
                tracing::warn!("{error:#}");
            }
        }
    }
}

/// Returns what is to be routed to the peers.
fn allowed_ips(config: &Config) -> impl Iterator<Item = IpNet> {
    config.others().flat_map(|peer| peer.allowed_ips.iter().copied())
}

#[cfg(test)]
mod tests {
    use maybetun::keys::PrivateKey;

    use super::*;

    #[test]
    fn nothing_is_routed_to_a_peer_with_our_own_key() {
        let key = PrivateKey::from_bytes(&[7; 32]).unwrap();
        let text = format!(
            "[Interface]\nPrivateKey = {}\n[Peer]\nPublicKey = {}\nAllowedIPs = 10.0.0.0/8\n[Peer]\n\
             PublicKey = AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\nAllowedIPs = fd00::/8\n",
            *zeroize::Zeroizing::new(key.to_base64()),
            key.public_key().to_base64()
        );
        let routed: Vec<_> = allowed_ips(&maybetun::config::parse(text).unwrap()).map(|net| net.to_string()).collect();
        assert_eq!(routed, ["fd00::/8"]);
    }
}
