//! One run: fresh hosts, wires between them, a tunnel, a page load, and what the observer saw.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use maybetun_lab::network::Address;
use maybetun_lab::observer::{Observation, Summary};
use maybetun_lab::sighting::Ends;

use super::browser::PageLoad;
use super::message::{Forwarding, Order, Reply, TunnelOrder};
use super::process::{HostProcess, Part};

/// How long a run may take before it fails.
const LIMIT: Duration = Duration::from_secs(15);

/// The interface names, each on both of its ends.
const WIRE: &str = "wire0";
const LAN: &str = "lan0";

/// The wire between client and relay (RFC 5737, TEST-NET-1): what the observer sees.
const ENDS: Ends = Ends { client: Ipv4Addr::new(192, 0, 2, 2), relay: Ipv4Addr::new(192, 0, 2, 1) };

/// The network of the web server behind the relay (RFC 5737, TEST-NET-2).
const LAN_NETWORK: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 0);
const LAN_RELAY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const LAN_SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

/// Inside the tunnel: networks, then the addresses of both ends.
const INNER_NETWORK: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 0);
const INNER_RELAY: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);
const INNER_CLIENT: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 2);
const INNER_NETWORK_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0);
const INNER_RELAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const INNER_CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

/// WireGuard's usual MTU: 1500 less its overhead over IPv6.
const INNER_MTU: u16 = 1_420;

/// What the defended run shows: padding at random times, nothing delayed, and packets of one size.
pub(super) const DEFENSE: &str = "front";

/// What sets one run apart from another: the column of the table and the key of the JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    /// WireGuard as it is.
    Plain,
    /// With a defense at both ends.
    Defended,
}

impl Label {
    /// Returns the label as one word.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Defended => "defended",
        }
    }

    /// Returns the defense that both ends run, by its name in the catalogue.
    pub(super) fn defense(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Defended => Some(DEFENSE),
        }
    }
}

/// Where the web server was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServerPlace {
    /// A host of its own, behind the relay.
    BehindRelay,
    /// The relay itself, which could not be made to forward.
    OnRelay,
}

/// What one run gave.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) label: Label,
    pub(super) server_place: ServerPlace,
    pub(super) observation: Observation,
    pub(super) summary: Summary,
    /// What the client got, which the observer does not see.
    pub(super) page: PageLoad,
}

impl Run {
    /// Performs a run on hosts of its own, which are gone when it returns.
    ///
    /// # Errors
    /// When a host fails, or the run takes longer than 15 seconds.
    pub(super) fn perform(label: Label) -> anyhow::Result<Self> {
        let deadline = Instant::now() + LIMIT;
        let mut client = HostProcess::spawn(Part::Client, deadline)?;
        let mut relay = HostProcess::spawn(Part::Relay, deadline)?;
        let mut server = HostProcess::spawn(Part::Server, deadline)?;
        let client_key = client.ready()?;
        let relay_key = relay.ready()?;
        server.ready()?;

        relay.tell(&wire(WIRE, &client))?;
        relay.tell(&wire(LAN, &server))?;
        relay.tell(&link(WIRE, Address::new(ENDS.relay, 24), None))?;
        client.tell(&link(WIRE, Address::new(ENDS.client, 24), None))?;
        let server_place = place_server(&mut relay, &mut server)?;

        client.tell(&Order::Observe { link: WIRE.to_owned(), ends: ENDS })?;
        let port = start_tunnel(&mut relay, relay_tunnel(client_key, label.defense()))?;
        start_tunnel(&mut client, client_tunnel(relay_key, port, label.defense()))?;

        let reply = client.ask(&Order::Load { server: SocketAddr::from((LAN_SERVER, 80)) })?;
        let Reply::Loaded { page } = reply else { return Err(client.unexpected(&reply)) };
        let reply = client.ask(&Order::Report)?;
        let Reply::Observed { observation } = reply else { return Err(client.unexpected(&reply)) };

        let summary = Summary::new(&observation);
        Ok(Self { label, server_place, observation, summary, page })
    }
}

/// Puts the web server behind the relay; or on it, where the relay cannot be made to forward.
fn place_server(relay: &mut HostProcess, server: &mut HostProcess) -> anyhow::Result<ServerPlace> {
    let serve = Order::Serve { address: SocketAddr::from((LAN_SERVER, 80)) };
    let reply = relay.ask(&Order::Forward)?;
    let Reply::Forwarding { forwarding } = reply else { return Err(relay.unexpected(&reply)) };
    match forwarding {
        Forwarding::On => {
            relay.tell(&link(LAN, Address::new(LAN_RELAY, 24), None))?;
            server.tell(&link(LAN, Address::new(LAN_SERVER, 24), Some(LAN_RELAY)))?;
            server.tell(&serve)?;
            Ok(ServerPlace::BehindRelay)
        }
        Forwarding::Refused => {
            relay.tell(&link("lo", Address::new(LAN_SERVER, 32), None))?;
            relay.tell(&serve)?;
            Ok(ServerPlace::OnRelay)
        }
    }
}

fn wire(link: &str, peer: &HostProcess) -> Order {
    Order::Wire { link: link.to_owned(), peer_link: link.to_owned(), peer: peer.id() }
}

fn link(link: &str, address: Address, gateway: Option<Ipv4Addr>) -> Order {
    Order::Link { link: link.to_owned(), address, gateway }
}

/// Brings up one end of the tunnel and returns the UDP port that it listens on.
fn start_tunnel(host: &mut HostProcess, order: TunnelOrder) -> anyhow::Result<u16> {
    let reply = host.ask(&Order::Tunnel(order))?;
    let Reply::Listening { port } = reply else { return Err(host.unexpected(&reply)) };
    Ok(port)
}

fn relay_tunnel(client_key: String, defense: Option<&str>) -> TunnelOrder {
    TunnelOrder {
        addresses: vec![Address::new(INNER_RELAY, 24), Address::new(INNER_RELAY_V6, 64)],
        mtu: INNER_MTU,
        peer: client_key,
        endpoint: None,
        allowed_ips: vec![Address::new(INNER_CLIENT, 32), Address::new(INNER_CLIENT_V6, 128)],
        routes: Vec::new(),
        defense: defense.map(str::to_owned),
    }
}

fn client_tunnel(relay_key: String, relay_port: u16, defense: Option<&str>) -> TunnelOrder {
    let network = Address::new(LAN_NETWORK, 24);
    TunnelOrder {
        addresses: vec![Address::new(INNER_CLIENT, 24), Address::new(INNER_CLIENT_V6, 64)],
        mtu: INNER_MTU,
        peer: relay_key,
        endpoint: Some(SocketAddr::from((ENDS.relay, relay_port))),
        allowed_ips: vec![Address::new(INNER_NETWORK, 24), Address::new(INNER_NETWORK_V6, 64), network],
        routes: vec![network],
        defense: defense.map(str::to_owned),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use maybetun_lab::observer::Packet;
    use maybetun_lab::sighting::{Direction, Kind, Sighting};

    use super::*;

    /// A run of four packets: a handshake, a request and an answer.
    pub(in super::super) fn example() -> Run {
        let packet = |at_us, direction, bytes, message| Packet {
            at_us,
            datagram: Sighting { direction, bytes, ip_bytes: bytes + 28, message },
        };
        let observation = Observation {
            packets: vec![
                packet(1_000, Direction::Upload, 148, Kind::Initiation),
                packet(1_500, Direction::Download, 92, Kind::Response),
                packet(2_000, Direction::Upload, 96, Kind::Data),
                packet(41_000, Direction::Download, 1_452, Kind::Data),
            ],
            other_frames: 3,
            missed_frames: 0,
        };
        let summary = Summary::new(&observation);
        let page = PageLoad { objects: 1, bytes: 1_300, ms: 39.5 };
        Run { label: Label::Plain, server_place: ServerPlace::BehindRelay, observation, summary, page }
    }

    #[test]
    fn the_client_may_send_to_the_server_and_the_relay_takes_only_the_clients_addresses() {
        let (client, relay) = (client_tunnel(String::new(), 4_242, None), relay_tunnel(String::new(), None));
        assert!(client.routes.iter().all(|route| client.allowed_ips.contains(route)));
        let own: Vec<_> = client.addresses.iter().map(|address| address.ip).collect();
        assert_eq!(relay.allowed_ips.iter().map(|address| address.ip).collect::<Vec<_>>(), own);
        assert_eq!(client.endpoint, Some("192.0.2.1:4242".parse().unwrap()));
        assert_eq!(relay.endpoint, None);
    }
}
