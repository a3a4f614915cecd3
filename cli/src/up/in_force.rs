//! What of a file is in force beside the device, and how that becomes what another file asks for.
//!
//! New comes before old goes: while both are there, what the tunnel carries goes on to go by it. Whatever fails is told, and
//! keeps nothing else from being done; what is in force is then known, so that the next reload begins from there.

use std::collections::HashMap;
use std::net::SocketAddr;

use ipnet::IpNet;
use maybetun::config::{DnsServer, Interface};

use super::resolve::Host;
use super::routing::Routing;
use crate::leftovers::{Journal, Step};
use crate::network::dns::Manager;
use crate::network::plan::{Plan, Rule};
use crate::network::{Network, firewall, sysctl};

/// What is set up.
#[derive(Debug, Default)]
pub(super) struct InForce {
    pub(super) addresses: Vec<IpNet>,
    /// `MTU` of the file; `None` if it was derived.
    pub(super) mtu: Option<u16>,
    pub(super) dns: Option<Dns>,
    pub(super) plan: Plan,
    /// The addresses and the mark that the packet filter has, if it is there.
    pub(super) firewall: Option<(Vec<IpNet>, u32)>,
    /// The mark of the tunnel's datagrams; 0 if they have none.
    pub(super) mark: u32,
    /// The table for a default route that no file named.
    pub(super) own_table: Option<u32>,
    /// Where the endpoints are that are no addresses themselves.
    pub(super) endpoints: HashMap<Host, SocketAddr>,
    /// Whether an address went with which the kernel may have taken routes.
    pub(super) has_lost_routes: bool,
}

/// What the host's DNS is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dns {
    pub(super) manager: Manager,
    servers: Vec<DnsServer>,
    search: Vec<String>,
}

impl Dns {
    /// Returns what the file asks for, if it does. Search domains without a server ask for nothing, which is warned of.
    ///
    /// # Errors
    /// When nobody on this host can set it.
    pub(super) fn of(interface: &Interface) -> anyhow::Result<Option<Self>> {
        let Interface { dns_servers: servers, dns_search: search, .. } = interface;
        if servers.is_empty() {
            if !search.is_empty() {
                tracing::warn!("DNS has search domains but no server: they are passed over, as wg-quick does");
            }
            return Ok(None);
        }
        Ok(Some(Self { manager: Manager::find()?, servers: servers.clone(), search: search.clone() }))
    }

    /// Makes it the host's.
    ///
    /// # Errors
    /// When the program for it fails.
    pub(super) async fn set(&self, name: &str) -> anyhow::Result<()> {
        self.manager.set(name, &self.servers, &self.search).await
    }
}

/// What another file asks for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) addresses: Vec<IpNet>,
    pub(super) dns: Option<Dns>,
    pub(super) plan: Plan,
    /// The MTU to be set, in bytes; `None` leaves the one there is.
    pub(super) mtu: Option<u16>,
}

/// Where it is done, and what went wrong.
pub(super) struct Place<'a> {
    pub(super) name: &'a str,
    pub(super) network: &'a Network,
    pub(super) journal: &'a mut Journal,
    pub(super) errors: Vec<anyhow::Error>,
}

impl Place<'_> {
    /// Notes what went wrong, if anything did; tells whether nothing did.
    fn check(&mut self, result: anyhow::Result<()>) -> bool {
        let is_done = result.is_ok();
        self.errors.extend(result.err());
        is_done
    }

    /// Writes a step down that is about to be taken; tells whether it may be.
    fn record(&mut self, step: Step) -> bool {
        let recorded = self.journal.record([step]);
        self.check(recorded)
    }

    /// Strikes out a step that is undone.
    fn strike(&mut self, step: &Step) {
        let struck = self.journal.strike(step);
        self.check(struck);
    }

    /// Writes down whether hooks are due at the end.
    pub(super) fn set_due(&mut self, hooks: Step, is_due: bool) {
        if is_due {
            self.record(hooks);
        } else {
            self.strike(&hooks);
        }
    }

    /// Adds a rule; tells whether it is there.
    async fn add_rule(&mut self, rule: &Rule) -> bool {
        if !self.record(Step::Rule(*rule)) {
            return false;
        }
        let added = self.network.add_rule(rule).await;
        self.check(added)
    }

    /// Removes a rule; tells whether it is gone.
    async fn delete_rule(&mut self, rule: &Rule) -> bool {
        let deleted = self.network.delete_rule(rule).await;
        let is_gone = self.check(deleted);
        if is_gone {
            self.strike(&Step::Rule(*rule));
        }
        is_gone
    }
}

impl InForce {
    /// Makes the network what `wanted` says.
    pub(super) async fn change(&mut self, wanted: &Wanted, place: &mut Place<'_>) {
        let now = place.network.mtu().await.unwrap_or(0);
        let is_larger = wanted.mtu.filter(|mtu| *mtu > now);
        if let Some(mtu) = is_larger {
            // IPv6 wants one of 1280 before there are addresses.
            let set = place.network.set_mtu(mtu).await;
            place.check(set);
        }
        self.add_addresses(wanted, place).await;
        self.filter(wanted, place).await;
        self.add_routes(wanted, place).await;
        self.add_rules(wanted, place).await;
        self.change_dns(wanted, place).await;
        self.remove_rules(wanted, place).await;
        self.remove_routes(wanted, place).await;
        self.remove_addresses(wanted, place).await;
        if let Some(mtu) = wanted.mtu.filter(|mtu| is_larger.is_none() && *mtu != now) {
            let set = place.network.set_mtu(mtu).await;
            place.check(set);
        }
    }

    /// Keeps what has `mark` out of the tunnel, as far as rules lead into it what has not the mark that there is: for
    /// datagrams of the tunnel's that have another from now on. Returns the rules, which are to be
    /// [removed](Self::close_ways).
    pub(super) async fn open_ways(&self, mark: u32, routing: &Routing, place: &mut Place<'_>) -> Vec<Rule> {
        if mark == self.mark {
            return Vec::new();
        }
        let ways = routing.ways(mark, &self.plan.rules);
        for way in &ways {
            place.add_rule(way).await;
        }
        ways
    }

    /// Removes the rules that [`open_ways`](Self::open_ways) added.
    pub(super) async fn close_ways(&self, ways: Vec<Rule>, place: &mut Place<'_>) {
        for way in ways {
            place.delete_rule(&way).await;
        }
    }

    async fn add_addresses(&mut self, wanted: &Wanted, place: &mut Place<'_>) {
        for address in &wanted.addresses {
            if self.addresses.contains(address) {
                continue;
            }
            self.remove_same_of_other_length(*address, place).await;
            let added = place.network.add_address(*address).await;
            if place.check(added) {
                self.addresses.push(*address);
            }
        }
    }

    /// Removes the address if it is there with a prefix of another length: of IPv6, the kernel has each only once. Routes may go with
    /// it.
    async fn remove_same_of_other_length(&mut self, address: IpNet, place: &mut Place<'_>) {
        let is_same = |other: &&IpNet| matches!(other, IpNet::V6(_)) && other.addr() == address.addr();
        let Some(other) = self.addresses.iter().find(is_same).copied() else { return };
        let deleted = place.network.delete_address(other).await;
        if place.check(deleted) {
            self.addresses.retain(|address| *address != other);
            self.has_lost_routes = true;
        }
    }

    /// Has the packet filter guard the addresses. It is replaced in one transaction.
    async fn filter(&mut self, wanted: &Wanted, place: &mut Place<'_>) {
        let asked = wanted.plan.mark.map(|mark| (wanted.addresses.clone(), mark));
        let Some((addresses, mark)) = asked.filter(|asked| self.firewall.as_ref() != Some(asked)) else { return };
        if !place.record(Step::Firewall) {
            return;
        }
        if firewall::add(place.name, &addresses, mark).await {
            self.firewall = Some((addresses, mark));
        } else if self.firewall.is_none() {
            place.strike(&Step::Firewall);
        }
    }

    async fn add_routes(&mut self, wanted: &Wanted, place: &mut Place<'_>) {
        let leaving: Vec<_> = self.addresses.iter().filter(|address| !wanted.addresses.contains(address)).collect();
        for route in &wanted.plan.routes {
            if self.plan.routes.contains(route) {
                continue;
            }
            // The kernel's own route to the network of an address is in the way, and goes with it.
            let is_in_the_way = matches!(route.destination, IpNet::V4(_))
                && leaving.iter().any(|address| address.trunc() == route.destination);
            let added = if is_in_the_way {
                place.network.replace_route(route).await
            } else {
                place.network.add_route(route).await
            };
            if place.check(added) {
                self.plan.routes.push(*route);
            }
        }
    }

    async fn add_rules(&mut self, wanted: &Wanted, place: &mut Place<'_>) {
        for rule in &wanted.plan.rules {
            if !self.plan.rules.contains(rule) && place.add_rule(rule).await {
                self.plan.rules.push(*rule);
            }
        }
    }

    async fn change_dns(&mut self, wanted: &Wanted, place: &mut Place<'_>) {
        if self.dns == wanted.dns {
            return;
        }
        let has_none_left = wanted.dns.as_ref().is_none_or(|dns| dns.servers.is_empty());
        if let Some(before) = self
            .dns
            .as_ref()
            .filter(|before| has_none_left || wanted.dns.as_ref().is_some_and(|dns| dns.manager != before.manager))
        {
            let manager = before.manager.clone();
            let unset = manager.unset(place.name).await;
            if place.check(unset) {
                place.strike(&Step::Dns(manager));
                self.dns = None;
            }
        }
        if let Some(dns) = &wanted.dns {
            if !place.record(Step::Dns(dns.manager.clone())) {
                return;
            }
            let set = dns.set(place.name).await;
            if place.check(set) {
                self.dns = Some(dns.clone());
            }
        }
    }

    async fn remove_rules(&mut self, wanted: &Wanted, place: &mut Place<'_>) {
        let gone: Vec<_> =
            self.plan.rules.iter().rev().filter(|rule| !wanted.plan.rules.contains(rule)).copied().collect();
        for rule in gone {
            if place.delete_rule(&rule).await {
                self.plan.rules.retain(|other| *other != rule);
            }
        }
    }

    async fn remove_routes(&mut self, wanted: &Wanted, place: &mut Place<'_>) {
        let gone: Vec<_> =
            self.plan.routes.iter().filter(|route| !wanted.plan.routes.contains(route)).copied().collect();
        for route in gone {
            let deleted = place.network.delete_route(&route).await;
            if place.check(deleted) {
                self.plan.routes.retain(|other| *other != route);
            }
        }
        self.plan.mark = wanted.plan.mark;
        if wanted.plan.mark.is_none() && self.firewall.is_some() {
            let removed = firewall::remove(place.name).await;
            if place.check(removed) {
                self.firewall = None;
                place.strike(&Step::Firewall);
            }
        }
    }

    async fn remove_addresses(&mut self, wanted: &Wanted, place: &mut Place<'_>) {
        let gone: Vec<_> =
            self.addresses.iter().filter(|address| !wanted.addresses.contains(address)).copied().collect();
        if gone.is_empty() && !std::mem::take(&mut self.has_lost_routes) {
            return;
        }
        sysctl::keep_other_addresses(place.name);
        for address in gone {
            let deleted = place.network.delete_address(address).await;
            if place.check(deleted) {
                self.addresses.retain(|other| *other != address);
            }
        }
        let restored = self.restore(place.network).await;
        place.check(restored);
    }

    /// Adds anew what the kernel took along with an address, as it does with those of IPv4 only.
    async fn restore(&self, network: &Network) -> anyhow::Result<()> {
        let there = network.addresses().await?;
        let is_gone = |address: &&IpNet| matches!(address, IpNet::V4(_)) && !there.contains(address);
        for address in self.addresses.iter().filter(is_gone) {
            network.add_address(*address).await?;
        }
        for route in &self.plan.routes {
            network.ensure_route(route).await?;
        }
        Ok(())
    }
}
