//! Which routes and rules a tunnel needs, as plain data.

use std::collections::BTreeSet;
use std::fmt;

use ipnet::IpNet;
use maybetun::config::Table;

/// `RT_TABLE_MAIN` of Linux: where ordinary routes are.
pub(crate) const MAIN_TABLE: u32 = 254;

/// The first table tried for a default route: WireGuard's port, as wg-quick has it.
const FIRST_OWN_TABLE: u32 = 51_820;

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

/// A routing policy rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) family: Family,
    pub(crate) kind: RuleKind,
}

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RuleKind {
    /// What is not the tunnel's own, so does not have `mark`, is routed by `table`.
    Unmarked { mark: u32, table: u32 },
    /// The main table's routes come first, but for its default route.
    MainWithoutDefault,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            RuleKind::Unmarked { mark, table } => write!(f, "not fwmark {mark:#x} lookup {table}"),
            RuleKind::MainWithoutDefault => write!(f, "lookup main suppress_prefixlength 0"),
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
        let family = Family::of(&destination);
        self.mark = Some(own_table);
        self.routes.push(Route { destination, table: own_table });
        self.rules.push(Rule { family, kind: RuleKind::Unmarked { mark: own_table, table: own_table } });
        self.rules.push(Rule { family, kind: RuleKind::MainWithoutDefault });
    }
}

/// Tells whether the kernel makes a route that covers `destination` when the interface gets its addresses.
fn is_connected(addresses: &[IpNet], destination: &IpNet) -> bool {
    addresses
        .iter()
        .any(|address| address.prefix_len() < address.max_prefix_len() && address.trunc().contains(destination))
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
        let addresses = nets(&["10.9.0.1/24", "fd00:9::1/64", "10.8.0.1/32"]);
        let allowed = nets(&["10.9.0.2/32", "10.9.0.0/24", "10.9.0.0/23", "fd00:9::2/128", "10.8.0.1/32"]);
        let plan = Plan::new(Table::Auto, &addresses, allowed, 51_820);
        assert_eq!(routes(&plan), [route("10.8.0.1/32", MAIN_TABLE), route("10.9.0.0/23", MAIN_TABLE)]);
    }

    #[test]
    fn a_default_route_has_its_own_table_and_two_rules_for_its_family() {
        let plan = Plan::new(Table::Auto, &[], nets(&["0.0.0.0/0", "10.0.0.0/8"]), 51_820);
        assert_eq!(routes(&plan), [route("10.0.0.0/8", MAIN_TABLE), route("0.0.0.0/0", 51_820)]);
        assert_eq!(plan.mark, Some(51_820));
        let rules: Vec<_> = plan.rules.iter().map(|rule| (rule.family, rule.to_string())).collect();
        assert_eq!(
            rules,
            [
                (Family::V4, "not fwmark 0xca6c lookup 51820".to_owned()),
                (Family::V4, "lookup main suppress_prefixlength 0".to_owned()),
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
