//! A tunnel that is up: it takes its file as that is now when it is asked to, and calls peers that moved.
//!
//! The whole file is read, and all that can be known beforehand is looked at, before anything is changed. Then the kill
//! switch closes as far as it is to, the device takes all that is its own in one update, the network follows, and last the
//! switch opens as far as it is to.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use maybetun::config::{Config, Endpoint, Peer};
use maybetun::device::Device;
use maybetun::keys::PublicKey;
use maybetun::settings::{PeerAction, PeerUpdate, Update};

use super::baseline::{Baseline, Said};
use super::difference::{self, Difference};
use super::hooks::Moment;
use super::in_force::{Dns, InForce, Place, Wanted};
use super::kill_switch::KillSwitch;
use super::lookups::{Found, Lookups};
use super::resolve::{Host, resolve};
use super::routing::{Routing, There};
use super::save;
use super::session::{self, Session};
use crate::control::{Answer, Control, Request};
use crate::exit::{self, Exit, Failure};
use crate::leftovers::{Journal, Step};
use crate::locate::Source;
use crate::network::{Network, mtu, sysctl};
use crate::notify;
use crate::runtime::StopSignals;
use crate::service::{End, Service};

/// A tunnel that is up.
pub(super) struct Running<'a> {
    pub(super) name: &'a str,
    pub(super) device: &'a Device,
    pub(super) network: &'a Network,
    pub(super) kill_switch: &'a mut KillSwitch,
    pub(super) in_force: &'a mut InForce,
    pub(super) baseline: &'a mut Baseline,
    pub(super) journal: &'a mut Journal,
}

/// What was changed, and what whoever asked should know.
#[derive(Debug, Default)]
struct Report {
    changes: Vec<String>,
    warnings: Vec<String>,
}

/// Another file, and what it asks for.
struct Prepared {
    source: Source,
    /// What it asks of a device that knows nothing, but for the mark.
    update: Update,
    endpoints: HashMap<Host, SocketAddr>,
    wanted: Wanted,
    routing: Routing,
    mark: u32,
    /// The networks that a kill switch lets through, if one is asked for.
    kill_switch: Option<Vec<ipnet::IpNet>>,
}

impl Session {
    /// Serves the tunnel to its end.
    ///
    /// # Errors
    /// When the tunnel fails.
    pub(super) async fn serve(
        &mut self,
        mut tunnel: Running<'_>,
        service: &mut Service,
        signals: &mut StopSignals,
        control: &mut Control,
    ) -> anyhow::Result<End> {
        let device = tunnel.device;
        let mut lookups = Lookups::new(device, names(&self.source.config));
        let mut path = mtu::Follower::new(device);
        loop {
            tokio::select! {
                end = service.ended(signals) => return end,
                never = path.follow(device, tunnel.network, &self.source.config) => match never {},
                request = control.next() => {
                    let answer = tokio::select! {
                        end = service.ended(signals) => return end,
                        answer = self.answer(&request, &mut tunnel) => answer,
                    };
                    request.answer(answer);
                    lookups.watch(names(&self.source.config));
                }
                found = lookups.next(|peer| endpoint(device, peer)) => follow(&mut tunnel, found).await,
            }
        }
    }

    async fn answer(&mut self, request: &Request, tunnel: &mut Running<'_>) -> Answer {
        notify::reloading();
        let report = match check_file(request.file.as_deref(), &self.source.path) {
            Ok(()) => self.reload(tunnel).await,
            Err(error) => Err(error),
        };
        notify::ready();
        let name = tunnel.name;
        match report {
            Ok(Report { changes, warnings }) => {
                warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                tracing::info!("{name} is reloaded: {} change(s)", changes.len());
                changes.iter().for_each(|change| tracing::debug!("{change}"));
                Answer::done(changes, warnings)
            }
            Err(error) => {
                // Whoever asked is told why. The log is kept: only what is wrong in the file itself stands there for all.
                if exit::of(&error) == Exit::Config {
                    tracing::error!("{name} is not reloaded: {}", exit::chain(&error));
                } else {
                    tracing::error!("{name} is not reloaded, or not wholly: `maybetun reload` says why");
                    tracing::debug!("{}", exit::chain(&error));
                }
                Answer::failed(&error)
            }
        }
    }

    /// Takes the file as it is now.
    ///
    /// # Errors
    /// When the file, or what it asks for, is wrong: then nothing has changed. Or when the network did not take all of it.
    async fn reload(&mut self, tunnel: &mut Running<'_>) -> anyhow::Result<Report> {
        let Prepared { mut source, mut update, endpoints, wanted, routing, mark, kill_switch } =
            self.prepare_reload(tunnel).await?;
        // Until the network has followed, rules may lead what has no mark into the tunnel: its own datagrams keep theirs.
        let passing = if mark == 0 { tunnel.in_force.mark } else { mark };
        update.fwmark = Some(passing);
        let before = &self.source;
        let Difference { update, told } =
            difference::difference(&before.config, &before.gave, &source.config, update, &tunnel.device.status());
        let asked = kill_switch.as_ref();

        let switch = match tunnel.kill_switch.tighten(asked, passing, session::remembered(&endpoints)).await {
            Ok(switch) => switch,
            Err(error) => {
                routing.give_back(tunnel.journal);
                return Err(error);
            }
        };
        let Running { name, network, .. } = *tunnel;
        let mut place = Place { name, network, journal: tunnel.journal, errors: Vec::new() };
        let ways = tunnel.in_force.open_ways(passing, &routing, &mut place).await;
        let said = Said::of(&update);
        if let Err(error) = tunnel.device.apply(update) {
            tunnel.in_force.close_ways(ways, &mut place).await;
            routing.give_back(tunnel.journal);
            tunnel.kill_switch.back(switch).await;
            return Err(error).context("cannot apply the configuration: nothing is changed");
        }
        let (old, new) = (&self.source.config.interface, &source.config.interface);
        let mut changes: Vec<_> = difference::changed_keys(old, new).into_iter().map(str::to_owned).collect();
        for told in told {
            // The device and its file may have had other marks.
            if !changes.contains(&told) {
                changes.push(told);
            }
        }
        let warnings = difference::kept(old, new).into_iter().collect();
        self.hooks = self.hooks.renewed(new);
        source.forget_keys();
        self.source = source;
        tunnel.in_force.endpoints = endpoints;
        tunnel.in_force.own_table = Some(routing.table).filter(|_| !session::has_mark(self.interface()));

        for (moment, step) in [(Moment::PostDown, Step::PostDown), (Moment::PreDown, Step::PreDown)] {
            place.set_due(step, self.hooks.has(moment));
        }
        if let Some(mtu) = wanted.mtu {
            // It may be what the path has the interface have at present.
            tunnel.device.own_mtu(mtu);
        }
        tunnel.in_force.change(&wanted, &mut place).await;
        tunnel.in_force.close_ways(ways, &mut place).await;
        let mut errors = place.errors;
        tunnel.in_force.mark = passing;
        // What is in the way of a switch that is to open keeps it closed, and its datagrams marked.
        if errors.is_empty() {
            tunnel.in_force.mtu = self.source.config.interface.mtu;
            errors.extend(tunnel.kill_switch.loosen(asked).await.err());
        }
        if errors.is_empty() && passing != mark {
            tunnel.device.apply(Update { fwmark: Some(mark), ..Update::default() })?;
            tunnel.in_force.mark = mark;
        }
        tunnel.baseline.renew(tunnel.device.status(), tunnel.in_force.addresses.clone(), &said);
        match all(errors) {
            None => Ok(Report { changes, warnings }),
            Some(error) => Err(error),
        }
    }

    /// Looks, before anything is changed, for what would make a reload fail, and what it is to do.
    async fn prepare_reload(&self, tunnel: &mut Running<'_>) -> anyhow::Result<Prepared> {
        let source = Source::read(&self.source.path)?;
        let interface = &source.config.interface;
        let kill_switch = tunnel.kill_switch.asked(interface)?;
        let dns = Dns::of(interface)?;
        if interface.save_config && !self.interface().save_config {
            save::warn_unless_possible(&source.path);
        }
        let endpoints = self.endpoints(&source.config, tunnel.in_force).await?;
        let update = session::update(&source, &endpoints)?;

        let mtu = self.mtu(&source.config, &update, tunnel).await;
        let in_force = &tunnel.in_force;
        let there = There { rules: &in_force.plan.rules, own_table: in_force.own_table };
        let routing = Routing::of(&source.config, tunnel.name, tunnel.network, there, tunnel.journal).await?;
        let plan = routing.plan.clone();
        if plan.needs_honoured_marks()
            && let Err(error) = sysctl::honour_marks()
        {
            routing.give_back(tunnel.journal);
            return Err(error);
        }
        let mark = session::mark(&plan, interface, kill_switch.is_some(), tunnel.network);
        Ok(Prepared {
            update,
            endpoints,
            routing,
            mark,
            kill_switch,
            wanted: Wanted { addresses: interface.addresses.clone(), dns, plan, mtu },
            source,
        })
    }

    /// Returns where endpoints are that are no addresses themselves. Of those that the file had before, that is known.
    async fn endpoints(&self, config: &Config, in_force: &InForce) -> anyhow::Result<HashMap<Host, SocketAddr>> {
        let is_new = |peer: &Peer| difference::is_endpoint_new(self.peer(peer.public_key), peer);
        let host_of = |peer: &Peer| session::host(peer.endpoint.as_ref()?);
        let (new, old): (Vec<_>, Vec<_>) = config.peers.iter().partition(|peer| is_new(peer));
        let mut known = HashMap::new();
        let mut unknown: Vec<_> = new.into_iter().filter_map(host_of).collect();
        for host in old.into_iter().filter_map(host_of) {
            match in_force.endpoints.get(&host) {
                Some(address) => drop(known.insert(host, *address)),
                None => unknown.push(host),
            }
        }
        known.extend(resolve(unknown).await?);
        Ok(known)
    }

    fn peer(&self, key: PublicKey) -> Option<&Peer> {
        self.source.config.peers.iter().find(|peer| peer.public_key == key)
    }

    /// Returns the MTU to be set. One that is derived stays as long as the peers are where they were.
    async fn mtu(&self, config: &Config, update: &Update, tunnel: &Running<'_>) -> Option<u16> {
        let before = tunnel.in_force.mtu;
        if let Some(mtu) = config.interface.mtu {
            return Some(mtu).filter(|mtu| before != Some(*mtu));
        }
        let has_moved = config.peers.iter().any(|peer| difference::is_endpoint_new(self.peer(peer.public_key), peer));
        if before.is_some() || has_moved {
            let endpoints = session::endpoints(update);
            let mark = Some(tunnel.in_force.mark).filter(|mark| *mark != 0);
            return Some(mtu::wide_enough(tunnel.network.derive_mtu(&endpoints, mark).await, config));
        }
        let now = tunnel.network.mtu().await.ok()?;
        Some(mtu::wide_enough(now, config)).filter(|mtu| *mtu != now)
    }
}

/// Makes sure that whoever asks means this tunnel's file.
fn check_file(asked: Option<&Path>, path: &Path) -> anyhow::Result<()> {
    let Some(asked) = asked else { return Ok(()) };
    let is_same = asked == path
        || fs::canonicalize(asked).is_ok_and(|asked| fs::canonicalize(path).is_ok_and(|path| asked == path));
    if is_same {
        return Ok(());
    }
    let message = format!("the tunnel was started from {}, not from {}", path.display(), asked.display());
    Err(Failure::error(Exit::Usage, message))
}

/// Joins what went wrong into one error; `None` if nothing did.
fn all(errors: Vec<anyhow::Error>) -> Option<anyhow::Error> {
    let first = errors.first()?;
    let texts: Vec<_> = errors.iter().map(exit::chain).collect();
    let message = format!("not all was applied, the rest is in force: {}", texts.join("; "));
    Some(Failure::error(exit::of(first), message))
}

/// Returns the peers whose endpoints are no addresses, and what they are.
fn names(config: &Config) -> impl Iterator<Item = (PublicKey, Host)> {
    config.peers.iter().filter_map(|peer| Some((peer.public_key, session::host(peer.endpoint.as_ref()?)?)))
}

/// Returns where a peer is called.
fn endpoint(device: &Device, peer: PublicKey) -> Option<SocketAddr> {
    device.status().peers.into_iter().find(|status| status.public_key == peer)?.endpoint
}

/// Calls a peer where its name says that it is.
async fn follow(tunnel: &mut Running<'_>, Found { peer, host, address }: Found) {
    tracing::info!("peer {peer} does not answer: it is called at another address of its name");
    tracing::debug!("{peer}: {} is at {address}", Endpoint::Host { name: host.0.clone(), port: host.1 });
    let update = PeerUpdate { action: PeerAction::UpdateOnly, endpoint: Some(address), ..PeerUpdate::new(peer) };
    if let Err(error) = tunnel.device.apply(Update { peers: vec![update], ..Update::default() }) {
        tracing::warn!("{error}");
        return;
    }
    tunnel.baseline.follow(peer, address);
    tunnel.in_force.endpoints.insert(host, address);
    tunnel.kill_switch.remember(session::remembered(&tunnel.in_force.endpoints)).await;
}
