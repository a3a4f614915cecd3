//! One tunnel from up to down: what is set up in which order, and undone.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use anyhow::Context as _;
use ipnet::IpNet;
use maybetun::config::{Config, Endpoint, Interface};
use maybetun::settings::Update;

use super::hooks::{Hooks, Moment};
use super::kill_switch::KillSwitch;
use super::resolve::{Host, resolve};
use super::save::{self, Snapshot, save};
use super::undo::undo;
use crate::defense;
use crate::detach;
use crate::exit::{Exit, OrExit as _};
use crate::leftovers::{Journal, Step, Taken};
use crate::locate::Source;
use crate::logging::Log;
use crate::network::dns::Manager;
use crate::network::kill_switch::Addresses;
use crate::network::plan::{self, Family, Plan};
use crate::network::{Network, firewall, lock, mtu, sysctl};
use crate::place;
use crate::runtime::StopSignals;
use crate::service::{End, Service};

/// A tunnel that a configuration file describes.
#[derive(Debug)]
pub(super) struct Session<'a> {
    /// The file, less its keys once the device has them.
    source: Source,
    hooks: &'a Hooks,
    /// Who sets DNS, if the file asks for it.
    dns: Option<Manager>,
}

impl<'a> Session<'a> {
    /// Looks, before anything is changed, for what would make it fail.
    ///
    /// # Errors
    /// When DNS cannot be set on this host, the port is taken, or a defense is not there or not valid.
    pub(super) fn prepare(source: Source, hooks: &'a Hooks) -> anyhow::Result<Self> {
        defense::check(&source)?;
        let interface = &source.config.interface;
        let has_dns = !interface.dns_servers.is_empty() || !interface.dns_search.is_empty();
        let dns = if has_dns { Some(Manager::find()?) } else { None };
        if let Some(port) = interface.listen_port.filter(|&port| port != 0) {
            probe_port(port)?;
        }
        if interface.save_config {
            save::warn_unless_possible(&source.path);
        }
        Ok(Self { source, hooks, dns })
    }

    /// Returns what the file says of the interface.
    pub(super) fn interface(&self) -> &Interface {
        &self.source.config.interface
    }

    /// Sets everything up, waits for the end, and undoes everything but the interface itself.
    ///
    /// # Errors
    /// When something cannot be set up, or the tunnel fails later. All is undone then too.
    pub(super) async fn run(
        &mut self,
        service: &mut Service,
        journal: &mut Journal,
        kill_switch: &mut KillSwitch,
        signals: &mut StopSignals,
        log: &Log,
    ) -> anyhow::Result<End> {
        let name = service.name().to_owned();
        let network = Network::open(&name)?;
        let device = service.device().clone();
        let up = async {
            let marked = self.set_up(&name, &device, &network, kill_switch, journal).await?;
            detach::ready(detach::role(), log)?;
            kill_switch.came_up();
            anyhow::Ok(marked)
        };
        let up = tokio::select! {
            up = up => up.map(Ok),
            end = service.ended(signals) => end.map(Err),
        };
        let outcome = match up {
            Ok(Ok(own_mark)) => {
                self.source.forget_keys();
                tracing::info!("{name} is up");
                let end = service.ended(signals).await;
                if matches!(end, Ok(End::Signal(_) | End::SocketRemoved)) {
                    self.save(&device, &network, own_mark).await;
                }
                end
            }
            Ok(Err(end)) => Ok(end),
            Err(error) => Err(error),
        };
        undo(journal, &name, &network, self.hooks).await;
        outcome
    }

    /// Runs the hooks that are due when the interface is gone.
    pub(super) async fn after_down(&self, name: &str) {
        if let Err(error) = self.hooks.run(Moment::PostDown, name).await {
            tracing::warn!("{error:#}");
        }
    }

    /// Sets everything up, and returns the mark of the tunnel's datagrams if it is none of the file's.
    async fn set_up(
        &self,
        name: &str,
        device: &maybetun::device::Device,
        network: &Network,
        kill_switch: &mut KillSwitch,
        journal: &mut Journal,
    ) -> anyhow::Result<Option<u32>> {
        let interface = self.interface();
        if self.hooks.has(Moment::PostDown) {
            journal.record([Step::PostDown])?;
        }
        self.hooks.run(Moment::PreUp, name).await?;

        let addresses = self.resolved(kill_switch).await?;
        let mut update = self.update(&addresses)?;
        let plan = self.plan(name, network, journal).await?;
        let mark = match plan.mark {
            // Without a default route only the kill switch wants one.
            None if kill_switch.is_wanted() => {
                Some(interface.fwmark.filter(|&mark| mark != 0).unwrap_or(network.own_mark()))
            }
            mark => mark,
        };
        if let Some(mark) = mark {
            update.fwmark = Some(mark);
            kill_switch.close(mark, &remembered(&addresses)).await?;
        }
        let endpoints: Vec<SocketAddr> = update.peers.iter().filter_map(|peer| peer.endpoint).collect();
        device.apply(update).context("cannot apply the configuration")?;

        for &address in &interface.addresses {
            network.add_address(address).await?;
        }
        let mtu = match interface.mtu {
            Some(mtu) => mtu,
            None => mtu::wide_enough(network.derive_mtu(&endpoints).await, &self.source.config),
        };
        network.bring_up(mtu).await?;
        if let Some(manager) = self.dns {
            journal.record([Step::Dns(manager)])?;
            manager.set(name, &interface.dns_servers, &interface.dns_search).await.context("cannot set DNS")?;
        }
        self.route(name, network, &plan, journal).await?;

        if self.hooks.has(Moment::PreDown) {
            journal.record([Step::PreDown])?;
        }
        self.hooks.run(Moment::PostUp, name).await?;
        Ok(mark.filter(|_| matches!(interface.fwmark, None | Some(0))))
    }

    /// Plans the routing. Table, mark and rules are written down: from then on they are this tunnel's, and no other takes them.
    async fn plan(&self, name: &str, network: &Network, journal: &mut Journal) -> anyhow::Result<Plan> {
        let interface = self.interface();
        let directory = place::directory();
        let _lock = lock::lock(&directory).await?;
        let taken = Taken::by_others(&directory, name);
        let mut in_use = network.tables_in_use().await?;
        in_use.extend(taken.tables());
        let own_table = plan::own_table(interface.fwmark.unwrap_or(0), &in_use);
        let mut plan = Plan::new(interface.table, &interface.addresses, allowed_ips(&self.source.config), own_table);
        for family in [Family::V4, Family::V6] {
            if plan.rules.iter().any(|rule| rule.family == family) {
                let others = taken.rules.iter().filter(|rule| rule.family == family).map(|rule| rule.priority);
                let first = others.fold(network.first_priority(family).await?, u32::min);
                anyhow::ensure!(
                    plan.rank(family, first),
                    "no priority is left for the rules of a default route: that of another tunnel is {first}, expected 3 or \
                     more"
                );
            }
        }
        if !plan.rules.is_empty() {
            journal.record(plan.rules.iter().copied().map(Step::Rule))?;
        }
        Ok(plan)
    }

    async fn route(&self, name: &str, network: &Network, plan: &Plan, journal: &mut Journal) -> anyhow::Result<()> {
        for route in &plan.routes {
            network.add_route(route).await?;
        }
        let Some(mark) = plan.mark else { return Ok(()) };
        journal.record([Step::Firewall])?;
        if !firewall::add(name, &self.interface().addresses, mark).await {
            journal.strike_latest()?;
        }
        if plan.needs_honoured_marks() {
            sysctl::honour_marks()?;
        }
        for rule in &plan.rules {
            network.add_rule(rule).await?;
        }
        Ok(())
    }

    /// Returns the address of every endpoint that is none itself. What the kill switch remembers is not looked up.
    async fn resolved(&self, kill_switch: &KillSwitch) -> anyhow::Result<HashMap<Host, SocketAddr>> {
        let remembered = kill_switch.remembered();
        let hosts = self.source.config.peers.iter().filter_map(|peer| host(peer.endpoint.as_ref()?));
        let (known, unknown): (Vec<_>, Vec<_>) = hosts.partition(|host| remembered.contains_key(&key(host)));
        kill_switch.warn_of_lookups(unknown.iter().filter(|host| is_name(host)).count());
        let mut addresses = resolve(unknown).await?;
        for host in known {
            let address = remembered[&key(&host)];
            addresses.insert(host, address);
        }
        Ok(addresses)
    }

    /// Returns the configuration with the endpoints that are none themselves at `addresses`.
    fn update(&self, addresses: &HashMap<Host, SocketAddr>) -> anyhow::Result<Update> {
        let config = &self.source.config;
        let resolved = |endpoint: &Endpoint| match endpoint {
            Endpoint::Address(address) => Some(*address),
            Endpoint::Host { .. } => addresses.get(&host(endpoint)?).copied(),
        };
        Ok(config.to_update(
            |endpoint| resolved(endpoint).ok_or_else(|| io::ErrorKind::NotFound.into()),
            |defense| defense::load(defense, self.source.directory()),
        )?)
    }

    /// Writes the state back to the file, if it asks for that.
    async fn save(&self, device: &maybetun::device::Device, network: &Network, own_mark: Option<u32>) {
        if !self.interface().save_config {
            return;
        }
        let saved = match network.addresses().await {
            Ok(addresses) => {
                let snapshot = Snapshot { source: &self.source, status: &device.status(), addresses, own_mark };
                save(&self.source.path, &snapshot)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = saved {
            tracing::error!("{error:#}");
        }
    }
}

/// Returns what is to be resolved; `None` of an address.
fn host(endpoint: &Endpoint) -> Option<Host> {
    match endpoint {
        Endpoint::Address(_) => None,
        Endpoint::Host { name, port } => Some((name.clone(), *port)),
    }
}

/// Tells whether a resolver is asked for it: it is not for an address whose zone is a name (`fe80::1%eth0`).
fn is_name((name, _): &Host) -> bool {
    !name.contains(':')
}

/// Returns what a kill switch knows a name by.
fn key((name, port): &Host) -> String {
    format!("{name}:{port}")
}

/// Returns the addresses that a kill switch keeps: those of names.
fn remembered(addresses: &HashMap<Host, SocketAddr>) -> Addresses {
    let names = addresses.iter().filter(|(host, _)| is_name(host));
    names.map(|(host, &address)| (key(host), address)).collect()
}

fn allowed_ips(config: &Config) -> impl Iterator<Item = IpNet> {
    config.peers.iter().flat_map(|peer| peer.allowed_ips.iter().copied())
}

/// Makes sure that the UDP port is free. The device opens it only when the interface is up, where a failure is too late
/// for a clear message.
fn probe_port(port: u16) -> anyhow::Result<()> {
    for address in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
        match UdpSocket::bind(SocketAddr::new(address, port)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                return Err(error).or_exit(Exit::InUse, format!("cannot listen on UDP port {port}"));
            }
            // The device says what else is wrong, in its own words.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}
