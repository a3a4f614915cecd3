//! Two networks that a client was on cannot be linked by what its tunnel showed on each.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use maybetun_integration_tests::Implementation::Maybetun;
use maybetun_integration_tests::raw::RawSender;
use maybetun_integration_tests::{
    Capture, Config, Datagram, End, Host, Keys, Network, PeerConfig, Wire, defense, eventually, shown_peer,
};

/// The relay's address behind both networks (RFC 5737).
const RELAY: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));

/// How long after a change of routes a datagram may still go by the new one: the system tells of it afterwards.
const NOTICE: Duration = Duration::from_millis(20);

/// Bytes of Ethernet's header.
const ETHERNET: usize = 14;

/// How long there is traffic on each network.
const STAY: Duration = Duration::from_secs(3);

/// A datagram and its payload.
type Seen = (Datagram, Vec<u8>);

/// Whether the user fixed the client's UDP port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Port {
    Free,
    Fixed,
}

/// A client with a wire to the relay on each of two networks, and a defense that both ends agreed on.
struct Traveller {
    client: End,
    relay: End,
    first: Wire,
    second: Wire,
}

impl Traveller {
    /// Brings the tunnel up on the first network. The client finds the relay at `endpoint`.
    fn start(endpoint: IpAddr, port: Port) -> Self {
        let (client, relay) = (Host::new(), Host::new());
        let first = Wire::between(&client, &relay, Network::First, 1500);
        let second = Wire::between(&client, &relay, Network::Second, 1500);
        for wire in [&first, &second] {
            wire.split_segments(&client, &relay);
        }
        relay.ip(&format!("addr add {RELAY}/32 dev lo"));
        client.ip(&format!("route add default via {} dev {}", Network::First.v4(2), first.left));
        let (client_keys, relay_keys) = (Keys::new(), Keys::new());
        let peer = |public_key: &str, endpoint, allowed_ips: &str| PeerConfig {
            public_key: public_key.to_owned(),
            preshared_key: None,
            endpoint,
            allowed_ips: allowed_ips.to_owned(),
        };
        let relay_config = Config {
            private_key: relay_keys.private,
            listen_port: 51820,
            peers: vec![peer(&client_keys.public, None, "10.9.0.1/32, fd09::1/128")],
        };
        let client_config = Config {
            private_key: client_keys.private,
            listen_port: if port == Port::Fixed { 51821 } else { 0 },
            peers: vec![peer(&relay_keys.public, Some(SocketAddr::new(endpoint, 51820)), "10.9.0.0/24, fd09::/64")],
        };
        let relay = End::start(relay, Maybetun, relay_config, relay_keys.public, 2, 1420);
        let client = End::start(client, Maybetun, client_config, client_keys.public, 1, 1420);
        for end in [&relay, &client] {
            defense(end, "on ephemeral").success();
        }
        let traveller = Self { client, relay, first, second };
        for end in [&traveller.client, &traveller.relay] {
            eventually("both ends agree", Duration::from_secs(30), || shown_peer(end)["protection"] == "protected");
        }
        traveller
    }

    /// Returns the client's UDP port.
    fn port(&self) -> u16 {
        self.client.wg("show", "listen-port").success().trim().parse().unwrap()
    }

    /// Lets packets go both ways, on and on, while `work` goes on.
    fn during_traffic<T>(&self, work: impl FnOnce() -> T) -> T {
        let pings = [(&self.client, &self.relay), (&self.relay, &self.client)].map(|(from, to)| {
            let mut command = from.host.command("ping");
            command.args(["-n", "-q", "-i", "0.05", &to.v4()]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        });
        let result = work();
        for mut ping in pings {
            ping.kill().unwrap();
            ping.wait().unwrap();
        }
        result
    }
}

/// Returns a datagram of the relay's to where the client was on the first network, at `port`. Some are always under way when
/// a client moves.
fn datagram_under_way(port: u16) -> Vec<u8> {
    let (payload, relay_port) =
        ([[4, 0, 0, 0], *b"abcd", [1, 0, 0, 0], [0; 4], [9; 4], [9; 4], [9; 4], [9; 4]], 51820_u16);
    let mut packet = vec![0x45, 0, 0, 60, 0, 0, 0x40, 0, 64, 17, 0, 0, 203, 0, 113, 1, 192, 0, 2, 1];
    packet.extend([relay_port.to_be_bytes(), port.to_be_bytes(), 40_u16.to_be_bytes(), [0, 0]].concat());
    packet.extend(payload.concat());
    packet
}

/// Since 1970, as in captures.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// Asserts that nothing of `first` is in `second` that an observer could link them by.
fn nothing_links(first: &[Seen], second: &[Seen], relay: IpAddr, port: Port) {
    for (name, seen) in [("first", first), ("second", second)] {
        for is_up in [true, false] {
            let count = seen.iter().filter(|(one, _)| one.is_data() && (one.destination == relay) == is_up).count();
            assert!(count > 20, "{count} datagrams, upload {is_up}, on the {name} network");
        }
    }
    let opening = second[0].0;
    let is_call = opening.message.kind == 1 && opening.destination == relay;
    assert!(is_call, "no handshake of the client's came first: {opening:?}");

    let indices = |seen: &[Seen]| -> HashSet<u32> {
        seen.iter().flat_map(|(datagram, _)| [datagram.message.sender, datagram.message.receiver]).flatten().collect()
    };
    let shared: Vec<_> = indices(first).intersection(&indices(second)).copied().collect();
    assert!(shared.is_empty(), "session indices on both networks: {shared:08x?}");
    let introduced: HashSet<_> = second.iter().filter_map(|(datagram, _)| datagram.message.sender).collect();
    let is_stray =
        |datagram: &Datagram| datagram.is_data() && !introduced.contains(&datagram.message.receiver.unwrap());
    let strays: Vec<_> = second.iter().map(|(datagram, _)| datagram).filter(|datagram| is_stray(datagram)).collect();
    assert!(strays.is_empty(), "{} datagrams of no session of this network: {:?}", strays.len(), strays[0]);

    let ports = |seen: &[Seen]| -> HashSet<u16> {
        seen.iter().filter(|(one, _)| one.destination == relay).map(|(one, _)| one.ports[0]).collect()
    };
    assert!(port == Port::Fixed || ports(first).is_disjoint(&ports(second)), "{:?}: the port stayed", ports(second));

    // IPv4 has none, and 0 is none.
    let flow_labels = |seen: &[Seen]| -> HashSet<u32> {
        seen.iter().map(|(datagram, _)| datagram.ip.flow_label).filter(|&label| label != 0).collect()
    };
    assert!(
        flow_labels(first).is_disjoint(&flow_labels(second)),
        "{:05x?}: the flow label stayed",
        flow_labels(second)
    );

    let clear = shared_strings::<4>(first, second, clear_fields);
    assert!(clear.is_empty(), "in clear fields of both networks: {clear:02x?}");
    // Strings of four bytes recur by chance among so many of ciphertext.
    let anywhere = shared_strings::<8>(first, second, |payload| match payload[0] {
        4 => vec![payload.get(16..).unwrap_or_default()],
        _ => clear_fields(payload),
    });
    assert!(anywhere.is_empty(), "in payloads of both networks: {anywhere:02x?}");
}

/// Returns what a message says in clear but for what WireGuard fixes (whitepaper, section 5.4): the type, its reserved
/// bytes, a mac2 of zeros. Counters count, on every network.
fn clear_fields(payload: &[u8]) -> Vec<&[u8]> {
    let without_zeros = |end: usize| {
        let (message, mac2) = payload.split_at(end);
        if mac2.iter().all(|&byte| byte == 0) { &message[4..] } else { &payload[4..] }
    };
    match (payload[0], payload.len()) {
        (1, 148) => vec![without_zeros(132)],
        (2, 92) => vec![without_zeros(76)],
        (4, 32..) => vec![&payload[4..8]],
        _ => vec![&payload[4..]],
    }
}

/// Returns the strings of `N` bytes that are in a part of a payload on both networks.
fn shared_strings<const N: usize>(
    first: &[Seen],
    second: &[Seen],
    parts: impl Fn(&[u8]) -> Vec<&[u8]>,
) -> Vec<[u8; N]> {
    let strings = |seen: &[Seen]| -> HashSet<[u8; N]> {
        let parts = seen.iter().flat_map(|(_, payload)| parts(payload));
        parts.flat_map(|part| part.array_windows().copied().collect::<Vec<_>>()).collect()
    };
    let second = strings(second);
    strings(first).into_iter().filter(|string| second.contains(string)).collect()
}

/// The address of the client changes, and no more: it lost one lease and got another.
fn address_changes(outer: fn(Network, u8) -> IpAddr, port: Port) {
    let relay = outer(Network::First, 2);
    let traveller = Traveller::start(relay, port);
    let capture = Capture::start_payloads(&traveller.client.host, &traveller.first.left);
    traveller.during_traffic(|| {
        thread::sleep(STAY);
        traveller.first.renumber_left(&traveller.client.host, 9);
        traveller.client.host.reaches(&traveller.relay.v4());
        thread::sleep(STAY);
    });
    let old = outer(Network::First, 1);
    let seen = capture.payloads();
    let (first, second): (Vec<_>, Vec<_>) =
        seen.into_iter().partition(|(datagram, _)| [datagram.source, datagram.destination].contains(&old));
    nothing_links(&first, &second, relay, port);
}

#[test]
fn another_address_shows_nothing_of_the_one_before() {
    address_changes(Network::v4, Port::Free);
}

#[test]
fn another_ipv6_address_shows_nothing_of_the_one_before() {
    address_changes(Network::v6, Port::Free);
}

#[test]
fn another_address_shows_nothing_but_the_port_that_the_user_fixed() {
    address_changes(Network::v4, Port::Fixed);
}

/// The default route goes to another interface, while the old one keeps its address.
fn route_changes(port: Port) {
    let traveller = Traveller::start(RELAY, port);
    let host = &traveller.client.host;
    let captures = [&traveller.first, &traveller.second].map(|wire| Capture::start_payloads(host, &wire.left));
    let errors = Capture::start_errors(host, &traveller.second.left);
    let (late, old_port) = (RawSender::new(&traveller.relay.host), traveller.port());
    let moved = traveller.during_traffic(|| {
        thread::sleep(STAY);
        let (relay, interface) = (Network::Second.v4(2), &traveller.second.left);
        host.ip(&format!("route replace default via {relay} dev {interface}"));
        let moved = now();
        host.reaches(&traveller.relay.v4());
        (0..3).for_each(|_| late.send(&datagram_under_way(old_port)));
        thread::sleep(STAY);
        moved
    });
    let [first, mut second] = captures.map(Capture::payloads);
    second.retain(|(datagram, _)| datagram.at > moved + NOTICE || !datagram.is_data());
    nothing_links(&first, &second, RELAY, port);
    // Were the port closed, what the relay still sends to where the client was would be quoted.
    let errors = errors.packets(ETHERNET);
    assert!(errors.is_empty(), "{} ICMP messages on the second network: {:02x?}", errors.len(), errors[0]);
}

#[test]
fn another_default_route_shows_nothing_of_the_one_before() {
    route_changes(Port::Free);
}

#[test]
fn another_default_route_shows_nothing_but_the_port_that_the_user_fixed() {
    route_changes(Port::Fixed);
}
