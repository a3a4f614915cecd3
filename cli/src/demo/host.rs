//! A host: a process with a network of its own that does what it is told, line by line.

use std::fs;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use ipnet::IpNet;
use maybetun::device::{Device, Options};
use maybetun::keys::{PrivateKey, PublicKey};
use maybetun::settings::{AllowedIpChange, DefenseChange, DefenseSettings, PeerUpdate, Role, Update};
use maybetun_lab::capture::Capture;
use maybetun_lab::namespace;
use maybetun_lab::network::{Address, Network};
use maybetun_lab::observer::Observation;
use maybetun_lab::sighting::{Ends, HEADER_BYTES};
use maybetun_tun::LinuxTun;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{Receiver, channel};

use super::message::{Forwarding, Order, Reply, TunnelOrder};
use super::{browser, http};

/// The TUN interface.
const TUN: &str = "demo0";

/// How long the capture goes on after the page is loaded, for the connections' last packets.
const AFTERMATH: Duration = Duration::from_millis(150);

/// Lives as a host until standard input ends.
///
/// # Errors
/// When nobody is there to take the reply. Any other failure is a reply.
pub(super) fn run() -> anyhow::Result<()> {
    let lived = namespace::isolate().map_err(anyhow::Error::from).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(obey())
    });
    match lived {
        Ok(()) => Ok(()),
        Err(error) => say(&Reply::Failed { message: format!("{error:#}") }),
    }
}

fn say(reply: &Reply) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", serde_json::to_string(reply)?)?;
    Ok(stdout.flush()?)
}

/// Reads orders on a thread of its own: the end of standard input ends the host, whatever it is doing.
fn listen() -> Receiver<String> {
    let (sender, orders) = channel(1);
    std::thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
        std::process::exit(0);
    });
    orders
}

async fn obey() -> anyhow::Result<()> {
    let mut orders = listen();
    let mut host = Host::new().await?;
    say(&Reply::Ready { public_key: host.key.public_key().to_base64() })?;
    while let Some(line) = orders.recv().await {
        let order = serde_json::from_str(&line).context("an order is malformed")?;
        say(&host.carry_out(order).await?)?;
    }
    Ok(())
}

/// What a host has.
struct Host {
    network: Network,
    key: PrivateKey,
    device: Option<Device>,
    capture: Option<(Capture, Ends)>,
}

impl Host {
    async fn new() -> anyhow::Result<Self> {
        let network = Network::open()?;
        network.up("lo").await?;
        Ok(Self { network, key: PrivateKey::generate_from_os(), device: None, capture: None })
    }

    async fn carry_out(&mut self, order: Order) -> anyhow::Result<Reply> {
        match order {
            Order::Wire { link, peer_link, peer } => self.network.add_wire(&link, &peer_link, peer).await?,
            Order::Link { link, address, gateway } => {
                self.network.add_address(&link, address).await?;
                self.network.up(&link).await?;
                if let Some(gateway) = gateway {
                    self.network.add_default_route(IpAddr::V4(gateway)).await?;
                }
            }
            Order::Forward => return Ok(Reply::Forwarding { forwarding: forward()? }),
            Order::Serve { address } => serve(address).await?,
            Order::Tunnel(order) => return Ok(Reply::Listening { port: self.tunnel(order).await? }),
            Order::Observe { link, ends } => {
                self.capture = Some((Capture::start(&link, HEADER_BYTES, |_| true)?, ends));
            }
            Order::Load { server } => return Ok(Reply::Loaded { page: browser::load(server).await? }),
            Order::Report => {
                let (capture, ends) = self.capture.take().context("there is no capture to report")?;
                tokio::time::sleep(AFTERMATH).await;
                let captured = tokio::task::spawn_blocking(|| capture.finish()).await??;
                let observation = Observation::of(&captured, ends);
                return Ok(Reply::Observed { observation });
            }
        }
        Ok(Reply::Done)
    }

    /// Brings up maybetun on a TUN interface and returns the UDP port that it listens on.
    async fn tunnel(&mut self, order: TunnelOrder) -> anyhow::Result<u16> {
        ensure!(self.device.is_none(), "the host has a tunnel already");
        let tun = LinuxTun::create(TUN).with_context(|| format!("cannot make the TUN interface {TUN}"))?;
        for address in &order.addresses {
            self.network.add_address(TUN, *address).await?;
        }
        self.network.up_with_mtu(TUN, order.mtu).await?;
        for route in &order.routes {
            self.network.add_route(TUN, *route).await?;
        }
        let device = Device::start(tun, Options::default());
        device.apply(update(self.key.clone(), &order)?).context("cannot configure the tunnel")?;
        let port = listening(&device).await?;
        self.device = Some(device);
        Ok(port)
    }
}

/// Waits until the device has opened its sockets, which it does once it has noticed that the interface is up. A
/// handshake begun before would be lost, and begun again only seconds later.
async fn listening(device: &Device) -> anyhow::Result<u16> {
    for _ in 0..1_000 {
        let port = device.status().listen_port;
        if port != 0 {
            return Ok(port);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    bail!("the tunnel opened no UDP socket")
}

fn update(key: PrivateKey, order: &TunnelOrder) -> anyhow::Result<Update> {
    let mut peer = PeerUpdate::new(PublicKey::from_base64(&order.peer)?);
    peer.endpoint = order.endpoint;
    let role = if order.endpoint.is_some() { Role::Client } else { Role::Relay };
    peer.defense = order.defense.as_deref().map(|name| defense(name, role)).transpose()?;
    peer.allowed_ips = order.allowed_ips.iter().map(allowed_ip).collect::<Result<_, _>>()?;
    Ok(Update { private_key: Some(Some(key)), listen_port: Some(0), peers: vec![peer], ..Update::default() })
}

fn defense(name: &str, role: Role) -> anyhow::Result<DefenseChange> {
    let defense = maybetun_machines::find(name).with_context(|| format!("there is no defense {name}"))?;
    Ok(DefenseChange::On(DefenseSettings::of(defense, role)))
}

fn allowed_ip(address: &Address) -> anyhow::Result<AllowedIpChange> {
    Ok(AllowedIpChange::Add(IpNet::new(address.ip, address.prefix)?))
}

/// Makes this host pass packets on.
fn forward() -> anyhow::Result<Forwarding> {
    let switch = Path::new("/proc/sys/net/ipv4/ip_forward");
    if fs::write(switch, "1").is_ok() {
        return Ok(Forwarding::On);
    }
    // A new network may have the switch on already.
    let state = fs::read_to_string(switch).context("cannot read net.ipv4.ip_forward: is /proc mounted?")?;
    Ok(if state.trim() == "1" { Forwarding::On } else { Forwarding::Refused })
}

async fn serve(address: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot serve on {address}"))?;
    tokio::spawn(http::serve(listener));
    Ok(())
}
