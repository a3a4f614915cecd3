use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::virtual_network::{Host as _, Link, Network, Node, Outbox, Packet, Trace};

const MS: Duration = Duration::from_millis(1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PORT: u16 = 443;

/// Sends so many bytes on each of so many connections, and ends them; or counts what it is sent.
#[derive(Debug, Default)]
struct Sender {
    is_server: bool,
    connections: usize,
    bytes: usize,
    open: Vec<(Connection, usize)>,
    received: usize,
    ended: usize,
    refused: Option<SocketError>,
}

impl Sender {
    fn client(connections: usize, bytes: usize) -> Self {
        Self { connections, bytes, ..Self::default() }
    }

    fn server() -> Self {
        Self { is_server: true, ..Self::default() }
    }
}

impl Application for Sender {
    fn act(&mut self, _: Instant, sockets: &mut dyn Sockets) {
        let to = SocketAddr::new(SERVER.into(), PORT);
        for _ in 0..std::mem::take(&mut self.connections) {
            match sockets.connect(to) {
                Ok(connection) => self.open.push((connection, self.bytes)),
                Err(refusal) => self.refused = Some(refusal),
            }
        }
        if std::mem::take(&mut self.is_server) {
            sockets.listen(PORT).unwrap();
        }
        while let Some(connection) = sockets.accept() {
            self.open.push((connection, 0));
        }
        let Self { open, received, ended, bytes, .. } = self;
        let is_client = *bytes > 0;
        open.retain_mut(|(connection, left)| {
            sockets.receive(*connection, &mut |bytes| *received += bytes.len());
            *left -= sockets.send(*connection, &vec![7; (*left).min(1 << 16)]);
            let is_over = if is_client { *left == 0 } else { !sockets.may_receive(*connection) };
            if is_over {
                sockets.close(*connection);
                *ended += 1;
            }
            !is_over
        });
    }

    fn next_timeout(&self) -> Option<Instant> {
        None
    }
}

type Hosts = Network<TcpHost<Sender>, Trace>;

fn hosts(seed: u64, link: &Link, settings: &Settings, client: Sender) -> (Hosts, Node, Node) {
    let mut network = Network::new(seed, Trace::default());
    let client = network.add(CLIENT.into(), TcpHost::new(CLIENT, seed, settings, client));
    let server = network.add(SERVER.into(), TcpHost::new(SERVER, seed + 1, settings, Sender::server()));
    network.link_both(client, server, link);
    network.act(server, |host, now, out| host.wake(now, out));
    network.act(client, |host, now, out| host.wake(now, out));
    (network, client, server)
}

/// A link of IP packets, which have their headers in their bytes.
fn link(delay: Duration) -> Link {
    Link { headers: 0, ..Link::with_delay(delay) }
}

#[test]
fn what_is_sent_on_many_connections_arrives_and_they_end() {
    let (mut network, client, server) = hosts(1, &link(10 * MS), &Settings::default(), Sender::client(20, 100_000));
    network.run_for(Duration::from_secs(30));
    let application = &network.host(server).application;
    assert_eq!((application.received, application.ended), (2_000_000, 20));
    assert_eq!(network.host(client).application.ended, 20);
}

#[test]
fn what_is_lost_and_reordered_arrives_all_the_same() {
    let faults = Link { loss: 0.02, reordering: 0.05, lateness: 5 * MS, repetition: 0.01, ..link(10 * MS) };
    let (mut network, _, server) = hosts(2, &faults, &Settings::default(), Sender::client(3, 300_000));
    network.run_for(Duration::from_secs(300));
    assert_eq!(network.host(server).application.received, 900_000);
}

#[test]
fn the_same_seed_gives_the_same_packets() {
    let run = |seed| {
        let faults = Link { loss: 0.01, jitter: 3 * MS, ..link(10 * MS) };
        let (mut network, ..) = hosts(seed, &faults, &Settings::default(), Sender::client(3, 100_000));
        network.run_for(Duration::from_secs(60));
        std::mem::take(&mut network.tap.passed)
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

#[test]
fn no_packet_is_larger_than_the_mtu_and_full_ones_are_as_large() {
    let settings = Settings { mtu: 1_280, ..Settings::default() };
    let (mut network, client, _) = hosts(5, &link(MS), &settings, Sender::client(1, 100_000));
    network.run_for(Duration::from_secs(5));
    let largest = network.tap.passed.iter().filter(|passed| passed.from == client).map(|passed| passed.size).max();
    assert_eq!(largest, Some(1_280));
}

#[test]
fn a_sender_finds_the_rate_of_its_link() {
    // 10 Mbit/s, and a queue of 50 ms.
    let slow = Link { rate: Some(1_250_000), queue: 62_500, ..link(10 * MS) };
    let (mut network, _, server) = hosts(6, &slow, &Settings::default(), Sender::client(1, 5_000_000));
    let is_sent =
        network.run_while(Duration::from_secs(60), |network| network.host(server).application.received < 5_000_000);
    assert!(is_sent);
    // Four seconds and headers, if the link is always full.
    let took = network.now();
    assert!((Duration::from_secs(4)..Duration::from_secs(8)).contains(&took), "{took:?}");
}

#[test]
fn there_are_no_more_connections_than_are_allowed() {
    let settings = Settings { max_connections: 3, ..Settings::default() };
    let (network, client, _) = hosts(7, &link(MS), &settings, Sender::client(4, 1_000));
    assert_eq!(network.host(client).application.refused, Some(SocketError::TooManyConnections(3)));
}

#[test]
fn a_connection_that_has_ended_makes_room_for_another() {
    let settings = Settings { max_connections: 2, ..Settings::default() };
    let (mut network, client, server) = hosts(8, &link(MS), &settings, Sender::client(1, 1_000));
    for round in 1..=5 {
        // Those that end wait for ten seconds (TIME-WAIT).
        network.run_for(Duration::from_secs(30));
        assert_eq!(network.host(server).application.ended, round);
        network.act(client, |host, now, out| {
            host.application.connections = 1;
            host.wake(now, out);
        });
        assert_eq!(network.host(client).application.refused, None);
    }
}

#[test]
fn an_address_that_no_connection_can_have_is_refused_by_name() {
    let mut stack = Stack::new(CLIENT, 1, &Settings::default());
    for address in ["10.0.0.1:0", "0.0.0.0:80", "[::1]:80"] {
        let address = address.parse().unwrap();
        assert_eq!(stack.connect(address), Err(SocketError::Unusable(address)));
    }
}

/// Takes datagrams, and sends each back.
struct Echo {
    port: Option<Datagrams>,
    to: Option<SocketAddr>,
    received: Vec<Vec<u8>>,
}

impl Application for Echo {
    fn act(&mut self, _: Instant, sockets: &mut dyn Sockets) {
        let port = *self.port.get_or_insert_with(|| sockets.bind(53).unwrap());
        if let Some(to) = self.to.take() {
            assert!(sockets.send_to(port, to, b"who"));
            assert!(!sockets.send_to(port, to, &[0; 1_420]), "it is larger than the MTU");
        }
        let mut bytes = Vec::new();
        while let Some(from) = sockets.receive_from(port, &mut |received| bytes = received.to_vec()) {
            if self.received.is_empty() {
                sockets.send_to(port, from, &bytes);
            }
            self.received.push(std::mem::take(&mut bytes));
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        None
    }
}

#[test]
fn datagrams_go_and_come_back() {
    let mut network = Network::new(1, ());
    let to = Some(SocketAddr::new(SERVER.into(), 53));
    let nodes = [(CLIENT, to), (SERVER, None)].map(|(address, to)| {
        let echo = Echo { port: None, to, received: Vec::new() };
        network.add(address.into(), TcpHost::new(address, 1, &Settings::default(), echo))
    });
    network.link_both(nodes[0], nodes[1], &link(MS));
    nodes.into_iter().rev().for_each(|node| network.act(node, |host, now, out| host.wake(now, out)));
    network.run_for(Duration::from_secs(1));
    nodes.iter().for_each(|node| assert_eq!(network.host(*node).application.received[0], b"who"));
}

proptest! {
    /// Packets of a real exchange with bytes changed and cut, and bytes that are no packet.
    #[test]
    fn nothing_that_arrives_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..80_usize), 1..60),
        noise in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..20),
        seed in 0..1_000_u64,
    ) {
        let (mut network, client, server) = hosts(seed, &link(MS), &Settings::default(), Sender::client(2, 20_000));
        let mut host = TcpHost::new(CLIENT, seed, &Settings::default(), Sender::client(2, 20_000));
        let (now, mut out) = (network.instant(), Outbox::default());
        host.wake(now, &mut out);
        let mut packets: Vec<_> = out.drain().map(|packet| packet.payload).collect();
        prop_assert!(!packets.is_empty());
        for (at, value, length) in changes {
            let mut packet = packets[at.index(packets.len())].clone();
            let place = at.index(packet.len());
            packet[place] = value;
            packet.truncate(length.max(1));
            packets.push(packet);
        }
        packets.extend(noise);
        for payload in packets {
            let [from, to] = [CLIENT, SERVER].map(|address| SocketAddr::new(address.into(), 0));
            network.send(client, Packet { from, to, payload: payload.clone() });
            network.send(server, Packet { from: to, to: from, payload: payload.clone() });
            host.receive(Packet { from: to, to: from, payload }, now, &mut out);
        }
        network.run_for(Duration::from_secs(5));
    }
}

#[test]
fn who_comes_to_it_later_takes_all_that_has_arrived_and_acknowledges_once() {
    let link = Link { rate: Some(12_500_000), ..link(10 * MS) };
    let run = |wakeup, seed| {
        let settings = Settings { wakeup, ..Settings::default() };
        let (mut network, client, server) = hosts(seed, &link, &settings, Sender::client(1, 2_000_000));
        network.run_for(Duration::from_secs(10));
        let application = &network.host(server).application;
        assert_eq!((application.received, application.ended), (2_000_000, 1));
        let passed = &network.tap.passed;
        let acknowledgements = passed.iter().filter(|passed| passed.from == server).count();
        let end = passed.iter().rfind(|passed| passed.from == client).unwrap().at;
        (acknowledgements, end, passed.clone())
    };
    let [at_once, soon, late] = [Duration::ZERO, MS / 5, MS].map(|wakeup| run(wakeup, 1));
    assert!(at_once.0 > soon.0 && soon.0 > late.0 && late.0 > 50, "{} {} {}", at_once.0, soon.0, late.0);
    assert!(at_once.1 < late.1 && late.1 < at_once.1 * 2);
    assert_eq!(run(MS, 1).2, late.2);
    assert_ne!(run(MS, 2).2, late.2);
}
