//! One tunnel from up to down: what is set up in which order, and undone.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use anyhow::Context as _;
use maybetun::config::{Endpoint, Interface};
use maybetun::keys::PrivateKey;
use maybetun::settings::Update;

use super::baseline::Baseline;
use super::hooks::{Hooks, Moment};
use super::in_force::{Dns, InForce};
use super::kill_switch::KillSwitch;
use super::reload::Running;
use super::resolve::{Host, resolve};
use super::routing::{Routing, There};
use super::save::{self, save};
use super::undo::undo;
use crate::control::Control;
use crate::defense;
use crate::detach;
use crate::exit::{Exit, OrExit as _};
use crate::leftovers::{Journal, Step};
use crate::locate::Source;
use crate::logging::Log;
use crate::network::kill_switch::Addresses;
use crate::network::plan::Plan;
use crate::network::{Network, firewall, mtu, sysctl};
use crate::runtime::StopSignals;
use crate::service::{End, Service};

/// A tunnel that a configuration file describes.
#[derive(Debug)]
pub(super) struct Session {
    /// The file as it was read last, less its keys once the device has them.
    pub(super) source: Source,
    pub(super) hooks: Hooks,
    /// What the host's DNS is to be at first, if the file asks for it.
    dns: Option<Dns>,
}

impl Session {
    /// Looks, before anything is changed, for what would make it fail.
    ///
    /// # Errors
    /// When DNS cannot be set on this host, or the port is taken.
    pub(super) fn prepare(source: Source, hooks: Hooks) -> anyhow::Result<Self> {
        let interface = &source.config.interface;
        let dns = Dns::of(interface)?;
        if interface.private_key.is_none() && !interface.has_hooks() {
            tracing::warn!("there is no PrivateKey: nothing crosses the tunnel until `wg set` gives it one");
        }
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
        control: &mut Control,
        log: &Log,
    ) -> anyhow::Result<End> {
        let name = service.name().to_owned();
        let network = Network::open(&name)?;
        let device = service.device().clone();
        let up = async {
            let up = self.set_up(&name, &device, &network, kill_switch, journal).await?;
            detach::ready(detach::place(), log)?;
            kill_switch.came_up();
            anyhow::Ok(up)
        };
        let up = tokio::select! {
            up = up => up.map(Ok),
            end = service.ended(signals) => end.map(Err),
        };
        let outcome = match up {
            Ok(Ok((mut in_force, mut baseline))) => {
                self.source.forget_keys();
                tracing::info!("{name} is up");
                let tunnel = Running {
                    name: &name,
                    device: &device,
                    network: &network,
                    kill_switch,
                    in_force: &mut in_force,
                    baseline: &mut baseline,
                    journal,
                };
                let end = self.serve(tunnel, service, signals, control).await;
                if matches!(end, Ok(End::Signal(_) | End::SocketRemoved)) {
                    self.save(&device, &network, &baseline).await;
                }
                end
            }
            Ok(Err(end)) => Ok(end),
            Err(error) => Err(error),
        };
        if self.hooks.has(Moment::PreDown) {
            service.answer_again();
        }
        undo(journal, &name, &network, &self.hooks).await;
        outcome
    }

    /// Runs the hooks that are due when the interface is gone.
    pub(super) async fn after_down(&self, name: &str) {
        if let Err(error) = self.hooks.run(Moment::PostDown, name).await {
            tracing::warn!("{error:#}");
        }
    }

    /// Sets everything up, and returns what is in force then, and what the device was set to.
    async fn set_up(
        &self,
        name: &str,
        device: &maybetun::device::Device,
        network: &Network,
        kill_switch: &mut KillSwitch,
        journal: &mut Journal,
    ) -> anyhow::Result<(InForce, Baseline)> {
        let interface = self.interface();
        if self.hooks.has(Moment::PostDown) {
            journal.record([Step::PostDown])?;
        }
        self.hooks.run(Moment::PreUp, name).await?;

        let addresses = self.resolved(kill_switch).await?;
        let mut update = update(&self.source, &addresses)?;
        let Routing { plan, table, .. } =
            Routing::of(&self.source.config, name, network, There::default(), journal).await?;
        let mark = mark(&plan, interface, kill_switch.is_wanted(), network);
        update.fwmark = Some(mark);
        kill_switch.close(mark, &remembered(&addresses)).await?;
        let endpoints = endpoints(&update);
        device.apply(update).context("cannot apply the configuration")?;
        let baseline = Baseline::new(device.status(), interface.addresses.clone());

        for &address in &interface.addresses {
            network.add_address(address).await?;
        }
        let mtu = match interface.mtu {
            Some(mtu) => mtu,
            None => mtu::wide_enough(network.derive_mtu(&endpoints, None).await, &self.source.config),
        };
        network.bring_up(mtu).await?;
        if let Some(dns) = &self.dns {
            journal.record([Step::Dns(dns.manager.clone())])?;
            dns.set(name).await.context("cannot set DNS")?;
        }
        let is_filtered = self.route(name, network, &plan, journal).await?;

        if self.hooks.has(Moment::PreDown) {
            journal.record([Step::PreDown])?;
        }
        self.hooks.run(Moment::PostUp, name).await?;
        let in_force = InForce {
            addresses: interface.addresses.clone(),
            mtu: interface.mtu,
            dns: self.dns.clone(),
            firewall: plan.mark.filter(|_| is_filtered).map(|mark| (interface.addresses.clone(), mark)),
            plan,
            mark,
            own_table: Some(table).filter(|_| !has_mark(interface)),
            endpoints: addresses,
            has_lost_routes: false,
        };
        Ok((in_force, baseline))
    }

    /// Adds routes and rules, and what guards the addresses then; tells whether the packet filter is there.
    async fn route(&self, name: &str, network: &Network, plan: &Plan, journal: &mut Journal) -> anyhow::Result<bool> {
        for route in &plan.routes {
            network.add_route(route).await?;
        }
        let Some(mark) = plan.mark else { return Ok(false) };
        journal.record([Step::Firewall])?;
        let is_filtered = firewall::add(name, &self.interface().addresses, mark).await;
        if !is_filtered {
            journal.strike(&Step::Firewall)?;
        }
        if plan.needs_honoured_marks() {
            sysctl::honour_marks()?;
        }
        for rule in &plan.rules {
            network.add_rule(rule).await?;
        }
        Ok(is_filtered)
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

    /// Saves to the file what changed, if it asks for that.
    async fn save(&self, device: &maybetun::device::Device, network: &Network, baseline: &Baseline) {
        if !self.interface().save_config {
            return;
        }
        let saved = match network.addresses().await {
            Ok(addresses) => save(&self.source.path, baseline, &device.status(), &addresses),
            Err(error) => Err(error),
        };
        if let Err(error) = saved {
            tracing::error!("{error:#}");
        }
    }
}

/// Returns where the peers are that a device is told of. A peer with our own key is none: the device passes it over.
pub(super) fn endpoints(update: &Update) -> Vec<SocketAddr> {
    let own = update.private_key.as_ref().and_then(Option::as_ref).map(PrivateKey::public_key);
    let others = update.peers.iter().filter(|peer| Some(peer.public_key) != own);
    others.filter_map(|peer| peer.endpoint).collect()
}

/// Returns what `source` asks of a device, with the endpoints that are no addresses themselves at `addresses`.
pub(super) fn update(source: &Source, addresses: &HashMap<Host, SocketAddr>) -> anyhow::Result<Update> {
    let resolved = |endpoint: &Endpoint| match endpoint {
        Endpoint::Address(address) => Some(*address),
        Endpoint::Host { .. } => addresses.get(&host(endpoint)?).copied(),
    };
    Ok(source.config.to_update(
        |endpoint| resolved(endpoint).ok_or_else(|| io::ErrorKind::NotFound.into()),
        |defense| defense::load(defense, source.directory()),
    )?)
}

/// Tells whether the file has a mark for the tunnel's datagrams.
pub(super) fn has_mark(interface: &Interface) -> bool {
    interface.fwmark.is_some_and(|mark| mark != 0)
}

/// Returns the mark of the tunnel's datagrams; 0 if they need none. Without a default route only a kill switch, and the
/// file, want one.
pub(super) fn mark(plan: &Plan, interface: &Interface, has_kill_switch: bool, network: &Network) -> u32 {
    let of_file = interface.fwmark.unwrap_or(0);
    match plan.mark {
        Some(mark) => mark,
        None if has_kill_switch && of_file == 0 => network.own_mark(),
        None => of_file,
    }
}

/// Returns what is to be resolved; `None` of an address.
pub(super) fn host(endpoint: &Endpoint) -> Option<Host> {
    match endpoint {
        Endpoint::Address(_) => None,
        Endpoint::Host { name, port } => Some((name.clone(), *port)),
    }
}

/// Tells whether a resolver is asked for it: it is not for an address whose zone is a name (`fe80::1%eth0`).
pub(super) fn is_name((name, _): &Host) -> bool {
    !name.contains(':')
}

/// Returns what a kill switch knows a name by.
fn key((name, port): &Host) -> String {
    format!("{name}:{port}")
}

/// Returns the addresses that a kill switch keeps: those of names.
pub(super) fn remembered(addresses: &HashMap<Host, SocketAddr>) -> Addresses {
    let names = addresses.iter().filter(|(host, _)| is_name(host));
    names.map(|(host, &address)| (key(host), address)).collect()
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
