//! A peer's endpoint that is routed into the tunnel itself: the loop ends at once, and tunnels within the tunnel go on.

use std::thread::sleep;
use std::time::Duration;

use maybetun_integration_tests::Implementation::{Maybetun, MaybetunQueued, MaybetunSingly};
use maybetun_integration_tests::{Config, End, Host, Keys, Network, Outer, Pair, PeerConfig, Setup, Wire, status_json};

/// More packets than a ping, its answer, some handshakes and keepalives are.
const FEW: u64 = 40;

fn sent_packets(end: &End) -> u64 {
    let status = status_json(&end.host, end.daemon.interface());
    status["peers"][0]["sent_packets"].as_u64().unwrap_or_else(|| panic!("no such count in {status}"))
}

fn came_back(end: &End) -> u64 {
    let status = status_json(&end.host, end.daemon.interface());
    status["dropped"]["came_back"].as_u64().unwrap_or_else(|| panic!("no such count in {status}"))
}

fn warnings(end: &End) -> usize {
    end.daemon.log().lines().filter(|line| line.contains("a routing loop")).count()
}

/// Routes the relay's endpoint into the client's tunnel; datagrams keep the address that they have.
fn route_endpoint_into_tunnel(pair: &Pair, outer: Outer) {
    let interface = pair.client.daemon.interface();
    pair.client.wg("set", &format!("peer {} allowed-ips 0.0.0.0/0,::/0", pair.relay.public_key)).success();
    let [own, endpoint] = match outer {
        Outer::V4 => [1, 2].map(|host| Network::First.v4(host)),
        Outer::V6 => [1, 2].map(|host| Network::First.v6(host)),
    };
    pair.client.host.ip(&format!("route add {endpoint} dev {interface} src {own}"));
}

fn loop_ends(setup: &Setup, payload: usize) {
    let pair = setup.start();
    pair.client.host.reaches(&pair.relay.v4());
    route_endpoint_into_tunnel(&pair, setup.outer);
    let before = sent_packets(&pair.client);
    let pings = format!("ping -n -q -c 1 -W 1 -s {payload} {}", pair.relay.v4());
    let finished = pair.client.host.run(&pings);
    assert!(finished.stdout.contains(" 0 received"), "{finished:#?}");
    sleep(Duration::from_secs(2));
    let (sent, dropped) = (sent_packets(&pair.client) - before, came_back(&pair.client));
    assert!((1..=FEW).contains(&sent), "{sent} packets for one ping");
    assert!((1..=FEW).contains(&dropped), "{dropped} datagrams came back for one ping");

    // However much is sent, it is said once, and in words that help.
    pair.client.host.run(&format!("ping -n -q -c 20 -i 0.01 -W 1 {}", pair.relay.v4()));
    let log = pair.client.daemon.log();
    assert_eq!(warnings(&pair.client), 1, "{log}");
    let warning = log.lines().find(|line| line.contains("a routing loop")).expect("it was counted");
    for part in [pair.client.daemon.interface(), "AllowedIPs", "FwMark"] {
        assert!(warning.contains(part), "{part}: {warning}");
    }
    // Who keeps logs keeps no addresses of relays.
    assert!(!warning.contains(&setup.relay_endpoint().ip().to_string()), "{warning}");
}

#[test]
fn a_loop_ends_at_once() {
    loop_ends(&Setup::between(Maybetun, Maybetun), 56);
}

#[test]
fn a_loop_over_ipv6_ends_at_once() {
    loop_ends(&Setup { outer: Outer::V6, ..Setup::between(Maybetun, Maybetun) }, 56);
}

/// A datagram that carries a packet as large as the tunnel takes is larger than that, and comes back in fragments.
#[test]
fn a_loop_of_fragments_ends_at_once() {
    loop_ends(&Setup::between(Maybetun, Maybetun), 1_392);
}

#[test]
fn a_loop_of_fragments_over_ipv6_ends_at_once() {
    loop_ends(&Setup { outer: Outer::V6, ..Setup::between(Maybetun, Maybetun) }, 1_392);
}

#[test]
fn a_loop_without_offload_ends_at_once() {
    loop_ends(&Setup::between(MaybetunSingly, Maybetun), 1_392);
}

#[test]
fn a_loop_over_several_queues_ends_at_once() {
    loop_ends(&Setup::between(MaybetunQueued, Maybetun), 1_392);
}

/// A guest behind the client has a tunnel of its own to the same relay, from the same port, within the client's.
#[test]
fn a_tunnel_within_the_tunnel_to_the_same_endpoint_from_the_same_port_goes_on() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    let (client, relay) = (&pair.client.host, &pair.relay.host);
    let guest = Host::new();
    let wire = Wire::between(&guest, client, Network::Second, 1_500);
    let (guest_address, gateway) = (Network::Second.v4(1), Network::Second.v4(2));
    let endpoint = Setup::between(Maybetun, Maybetun).relay_endpoint();

    client.run("sysctl -q net.ipv4.ip_forward=1").success();
    client.ip(&format!("route add {} dev {} table 77", endpoint.ip(), pair.client.daemon.interface()));
    client.ip(&format!("rule add iif {} lookup 77", wire.right));
    pair.client.wg("set", &format!("peer {} allowed-ips 0.0.0.0/0", pair.relay.public_key)).success();
    pair.relay
        .wg("set", &format!("peer {} allowed-ips 10.9.0.1/32,{guest_address}/32", pair.client.public_key))
        .success();
    relay.ip(&format!("route add {guest_address} dev {}", pair.relay.daemon.interface()));
    guest.ip(&format!("route add {} via {gateway}", endpoint.ip()));

    let keys = Keys::new();
    let config = Config {
        private_key: keys.private,
        listen_port: endpoint.port(),
        peers: vec![PeerConfig {
            public_key: pair.relay.public_key.clone(),
            preshared_key: None,
            endpoint: Some(endpoint),
            allowed_ips: "10.9.0.0/24".to_owned(),
        }],
    };
    pair.relay.wg("set", &format!("peer {} allowed-ips 10.9.0.3/32", keys.public)).success();
    let guest = End::start(guest, Maybetun, config, keys.public, 3, 1_300);
    guest.host.reaches(&pair.relay.v4());
    guest.host.ping_sized(&pair.relay.v4(), 1_272);
    let sent = sent_packets(&pair.client);
    assert!(sent >= 3, "the guest's datagrams went through the client's tunnel: {sent} packets");
    assert_eq!((came_back(&pair.client), warnings(&pair.client)), (0, 0));
}
