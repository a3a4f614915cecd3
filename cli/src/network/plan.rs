//! Which routes and rules a tunnel needs, as plain data.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv6Addr;

use ipnet::{IpNet, Ipv6Net};
use maybetun::config::Table;
use serde::{Deserialize, Serialize};

/// `RT_TABLE_MAIN` of Linux: where ordinary routes are.
pub(crate) const MAIN_TABLE: u32 = 254;

/// The first table tried for a default route: WireGuard's port, as wg-quick has it.
const FIRST_OWN_TABLE: u32 = 51_820;

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    fn of(prefix: &IpNet) -> Self {
        match prefix {
            IpNet::V4(_) => Self::V4,
            IpNet::V6(_) => Self::V6,
        }
    }
}

/// A route through the tunnel's interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) destination: IpNet,
    pub(crate) table: u32,
}

/// A routing policy rule. No two tunnels of a network namespace have the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rule {
    pub(crate) family: Family,
    /// Rules of a lower priority come first.
    pub(crate) priority: u32,
    /// What is the tunnel's own has this mark, and the rule is not for it, but for one of its [kind](RuleKind::Marked).
    pub(crate) mark: u32,
    pub(crate) kind: RuleKind,
}

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RuleKind {
    /// All is routed by this table.
    Table(u32),
    /// The main table's routes come first, but for its default route.
    MainWithoutDefault,
    /// The other way round: what has the mark is routed by the main table. It is the tunnel's own while its mark changes.
    Marked,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.priority)?;
        match self.kind {
            RuleKind::Table(table) => write!(f, "not fwmark {:#x} lookup {table}", self.mark),
            RuleKind::MainWithoutDefault => {
                write!(f, "not fwmark {:#x} lookup main suppress_prefixlength 0", self.mark)
            }
            RuleKind::Marked => write!(f, "fwmark {:#x} lookup main", self.mark),
        }
    }
}

/// The routing that a tunnel needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The mark that the tunnel's own datagrams must carry, so that they are not routed into the tunnel.
    pub(crate) mark: Option<u32>,
    /// In the order to be added: the longest prefixes first, default routes last.
    pub(crate) routes: Vec<Route>,
    /// In the order to be added; each goes before the last.
    pub(crate) rules: Vec<Rule>,
}

impl Plan {
    /// Plans the routing of a tunnel with the given addresses and allowed IPs. `own_table` is the table, and the mark,
    /// for a default route under [`Table::Auto`].
    pub(crate) fn new(
        table: Table,
        addresses: &[IpNet],
        allowed_ips: impl IntoIterator<Item = IpNet>,
        own_table: u32,
    ) -> Self {
        let table = match table {
            Table::Off => return Self::default(),
            Table::Number(number) => Some(number),
            Table::Auto => None,
        };
        let mut destinations: Vec<IpNet> = allowed_ips.into_iter().map(|prefix| prefix.trunc()).collect();
        destinations.sort_by_key(|prefix| (std::cmp::Reverse(prefix.prefix_len()), *prefix));
        destinations.dedup();

        let mut plan = Self::default();
        for destination in destinations {
            match table {
                Some(table) => plan.routes.push(Route { destination, table }),
                None if destination.prefix_len() == 0 => plan.add_default(destination, own_table),
                None if is_connected(addresses, &destination) => {}
                None => plan.routes.push(Route { destination, table: MAIN_TABLE }),
            }
        }
        plan
    }

    /// Tells whether a default route of IPv4 is among the routes that have rules: its reverse-path filter must then honour
    /// marks. That of IPv6 is the packet filter's business.
    pub(crate) fn needs_honoured_marks(&self) -> bool {
        self.rules.iter().any(|rule| rule.family == Family::V4)
    }

    fn add_default(&mut self, destination: IpNet, own_table: u32) {
        let (family, mark, priority) = (Family::of(&destination), own_table, 0);
        self.mark = Some(mark);
        self.routes.push(Route { destination, table: own_table });
        self.rules.push(Rule { family, priority, mark, kind: RuleKind::Table(own_table) });
        self.rules.push(Rule { family, priority, mark, kind: RuleKind::MainWithoutDefault });
    }

    /// Gives the rules of a family the priorities that the same ones have in `there`. Returns false, with nothing done, if
    /// not all are there.
    pub(crate) fn keep(&mut self, family: Family, there: &[Rule]) -> bool {
        let wanted: Vec<_> = self.rules.iter().filter(|rule| rule.family == family).copied().collect();
        let same =
            |wanted: &Rule| there.iter().copied().find(|rule| Rule { priority: wanted.priority, ..*rule } == *wanted);
        let Some(same) = wanted.iter().map(same).collect::<Option<Vec<_>>>() else { return false };
        self.rules.iter_mut().filter(|rule| rule.family == family).zip(same).for_each(|(rule, same)| *rule = same);
        true
    }

    /// Gives each rule a priority of its own, before all that there are: `first` is the lowest of those of a family.
    /// Returns false if there is none left.
    pub(crate) fn rank(&mut self, family: Family, mut first: u32) -> bool {
        for rule in self.rules.iter_mut().filter(|rule| rule.family == family) {
            // 0 is the local table's.
            let Some(priority) = first.checked_sub(1).filter(|&priority| priority > 0) else { return false };
            (rule.priority, first) = (priority, priority);
        }
        true
    }
}

/// What the kernel itself routes through every interface that has IPv6.
const LINK_LOCAL: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 64);

/// Tells whether the kernel makes a route that covers `destination` when the interface gets its addresses and comes up.
fn is_connected(addresses: &[IpNet], destination: &IpNet) -> bool {
    // Of an IPv4 address alone, or in 0.0.0.0/8, it makes none.
    let has_route = |address: &IpNet| match address {
        IpNet::V4(address) => address.prefix_len() < 32 && address.network().octets()[0] != 0,
        IpNet::V6(_) => true,
    };
    IpNet::V6(LINK_LOCAL).contains(destination)
        || addresses.iter().any(|address| has_route(address) && address.trunc().contains(destination))
}

/// Returns the table for a default route: the configured mark, or the first one that is free.
pub(crate) fn own_table(configured_mark: u32, in_use: &BTreeSet<u32>) -> u32 {
    if configured_mark != 0 {
        return configured_mark;
    }
    let mut table = FIRST_OWN_TABLE;
    while in_use.contains(&table) {
        table += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn routes(plan: &Plan) -> Vec<(String, u32)> {
        plan.routes.iter().map(|route| (route.destination.to_string(), route.table)).collect()
    }

    fn route(destination: &str, table: u32) -> (String, u32) {
        (destination.to_owned(), table)
    }

    #[test]
    fn prefixes_are_routed_through_the_main_table_longest_first_and_once() {
        let allowed = nets(&["10.0.0.0/8", "fd00::/64", "10.1.2.3/16", "10.0.0.0/8", "192.0.2.7/32"]);
        let plan = Plan::new(Table::Auto, &[], allowed, 51_820);
        let expected =
            ["fd00::/64", "192.0.2.7/32", "10.1.0.0/16", "10.0.0.0/8"].map(|prefix| route(prefix, MAIN_TABLE));
        assert_eq!(routes(&plan), expected);
        assert_eq!((plan.mark, plan.rules), (None, vec![]));
    }

    #[test]
    fn what_an_address_connects_needs_no_route() {
        let addresses = nets(&["10.9.0.1/24", "fd00:9::1/64", "10.8.0.1/32", "fd00:7::1/128", "10.7.0.1/0"]);
        let covered =
            nets(&["10.9.0.2/32", "10.9.0.0/24", "fd00:9::2/128", "fd00:7::1/128", "fe80::/64", "fe80::7/128"]);
        let allowed = nets(&["10.9.0.0/23", "10.8.0.1/32"]).into_iter().chain(covered);
        let plan = Plan::new(Table::Auto, &addresses, allowed, 51_820);
        assert_eq!(routes(&plan), [route("10.8.0.1/32", MAIN_TABLE), route("10.9.0.0/23", MAIN_TABLE)]);
    }

    #[test]
    fn a_default_route_has_its_own_table_and_two_rules_for_its_family() {
        let mut plan = Plan::new(Table::Auto, &[], nets(&["0.0.0.0/0", "10.0.0.0/8"]), 51_820);
        assert!(plan.rank(Family::V4, 32_766));
        assert_eq!(routes(&plan), [route("10.0.0.0/8", MAIN_TABLE), route("0.0.0.0/0", 51_820)]);
        assert_eq!(plan.mark, Some(51_820));
        let rules: Vec<_> = plan.rules.iter().map(|rule| (rule.family, rule.to_string())).collect();
        assert_eq!(
            rules,
            [
                (Family::V4, "32765: not fwmark 0xca6c lookup 51820".to_owned()),
                (Family::V4, "32764: not fwmark 0xca6c lookup main suppress_prefixlength 0".to_owned()),
            ]
        );
    }

    #[test]
    fn both_families_share_the_table_and_the_mark() {
        let plan = Plan::new(Table::Auto, &nets(&["10.0.0.2/24"]), nets(&["0.0.0.0/0", "::/0"]), 7);
        assert_eq!(routes(&plan), [route("0.0.0.0/0", 7), route("::/0", 7)]);
        let families: Vec<_> = plan.rules.iter().map(|rule| rule.family).collect();
        assert_eq!(families, [Family::V4, Family::V4, Family::V6, Family::V6]);
    }

    #[test]
    fn rules_have_priorities_of_their_own_for_each_family_while_there_are_any() {
        let mut plan = Plan::new(Table::Auto, &[], nets(&["0.0.0.0/0", "::/0"]), 7);
        assert!(plan.rank(Family::V4, 100) && plan.rank(Family::V6, 3));
        let priorities: Vec<_> = plan.rules.iter().map(|rule| rule.priority).collect();
        assert_eq!(priorities, [99, 98, 2, 1]);
        assert!(!plan.rank(Family::V4, 2) && !plan.rank(Family::V6, 0));
    }

    #[test]
    fn rules_that_are_there_keep_their_priorities_all_or_none() {
        let planned = |mark| Plan::new(Table::Auto, &[], nets(&["0.0.0.0/0", "::/0"]), mark);
        let mut there = planned(7);
        assert!(there.rank(Family::V4, 100) && there.rank(Family::V6, 200));
        let mut same = planned(7);
        assert!(same.keep(Family::V4, &there.rules) && same.keep(Family::V6, &there.rules));
        assert_eq!(same, there);
        let mut other = planned(8);
        assert!(!other.keep(Family::V4, &there.rules));
        assert!(!planned(7).keep(Family::V6, &there.rules[..3]));
        assert!(other.rules.iter().all(|rule| rule.priority == 0));
    }

    #[test]
    fn only_a_default_route_of_ipv4_needs_marks_that_are_honoured() {
        let needs = |table, allowed: &[&str]| Plan::new(table, &[], nets(allowed), 7).needs_honoured_marks();
        assert!(needs(Table::Auto, &["0.0.0.0/0"]) && needs(Table::Auto, &["0.0.0.0/0", "::/0"]));
        assert!(!needs(Table::Auto, &["::/0", "10.0.0.0/8"]));
        assert!(!needs(Table::Number(77), &["0.0.0.0/0"]));
    }

    #[test]
    fn a_numbered_table_gets_every_route_and_no_rule() {
        let plan = Plan::new(Table::Number(77), &nets(&["10.0.0.1/8"]), nets(&["0.0.0.0/0", "10.0.0.0/8"]), 51_820);
        assert_eq!(routes(&plan), [route("10.0.0.0/8", 77), route("0.0.0.0/0", 77)]);
        assert_eq!((plan.mark, plan.rules), (None, vec![]));
    }

    #[test]
    fn routes_that_are_off_stay_off() {
        assert_eq!(Plan::new(Table::Off, &[], nets(&["0.0.0.0/0", "10.0.0.0/8"]), 51_820), Plan::default());
    }

    #[test]
    fn the_own_table_is_the_configured_mark_or_the_first_free_one() {
        let in_use = BTreeSet::from([254, 255, 51_820, 51_821]);
        assert_eq!(own_table(0x1234, &in_use), 0x1234);
        assert_eq!(own_table(0, &in_use), 51_822);
        assert_eq!(own_table(0, &BTreeSet::new()), 51_820);
    }
}
