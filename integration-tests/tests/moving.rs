//! A host that comes to another network begins anew there, at once, and one that does not is not disturbed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::thread;
use std::time::{Duration, Instant};

use maybetun_integration_tests::Implementation::Maybetun;
use maybetun_integration_tests::{
    ClientFile, Config, Daemon, End, Host, Keys, Network, Pair, PeerConfig, Setup, Star, Wire, dump, eventually,
    maybetun_program, shown_peer, status_json,
};

/// A guard against hanging.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the relay is, whichever wire leads there.
const RELAY: &str = "203.0.113.5";

/// How many of 30 pings, ten a second, may be lost over a change: those of one second.
const PINGS: usize = 30;
const LOST: usize = 10;

fn handshakes(end: &End) -> u64 {
    let peer = shown_peer(end);
    peer["handshakes"].as_u64().unwrap_or_else(|| panic!("no handshakes in {peer}"))
}

fn port(end: &End) -> u64 {
    let status = status_json(&end.host, end.daemon.interface());
    status["listen_port"].as_u64().unwrap_or_else(|| panic!("no port in {status}"))
}

/// Where the relay last heard its client.
fn heard_at(relay: &End) -> String {
    dump(&relay.host, &relay.daemon)[0].endpoint.clone()
}

/// Waits until the client has another session, and sees that traffic goes on.
#[track_caller]
fn begins_anew(client: &End, relay: &End, before: u64) {
    eventually("another session", PATIENCE, || handshakes(client) > before);
    client.host.reaches(&relay.v4());
    relay.host.reaches(&client.v4());
}

/// A pair whose client's port is drawn.
#[track_caller]
fn drawn_port() -> Pair {
    let pair = Setup::between(Maybetun, Maybetun).start();
    pair.client.wg("set", "listen-port 0").success();
    pair.client.host.reaches(&pair.relay.v4());
    pair
}

/// A client with two wires to a relay that is behind both; the default route leads over the first.
struct Multihomed {
    client: End,
    relay: End,
    wires: [Wire; 2],
}

impl Multihomed {
    #[track_caller]
    fn start() -> Self {
        let (client, relay) = (Host::new(), Host::new());
        let wires = [Network::First, Network::Second].map(|network| Wire::between(&client, &relay, network, 1_500));
        relay.ip(&format!("addr add {RELAY}/32 dev lo"));
        client.ip(&format!("route add default via {}", Network::First.v4(2)));
        // As behind two providers: neither takes what has the other's address.
        let rules = wires.iter().map(|wire| {
            let network = wire.network.v4(0);
            format!("iifname {} ip saddr != {network}/24 drop;", wire.right)
        });
        let rules = rules.collect::<String>();
        let table = format!("table inet providers {{ chain input {{ type filter hook input priority 0; {rules} }}; }}");
        relay.run_with_input("nft -f -", &table).success();

        let [client_keys, relay_keys] = [Keys::new(), Keys::new()];
        let peer = |public_key: &str, endpoint: Option<&str>, allowed_ips: &str| PeerConfig {
            public_key: public_key.to_owned(),
            preshared_key: None,
            endpoint: endpoint.map(|address| format!("{address}:51820").parse().expect("an address")),
            allowed_ips: allowed_ips.to_owned(),
        };
        let config = |keys: &Keys, listen_port, peer| Config {
            private_key: keys.private.clone(),
            listen_port,
            peers: vec![peer],
        };
        let at_relay = config(&relay_keys, 51820, peer(&client_keys.public, None, "10.9.0.1/32, fd09::1/128"));
        let at_client = config(&client_keys, 0, peer(&relay_keys.public, Some(RELAY), "10.9.0.0/24, fd09::/64"));
        let relay = End::start(relay, Maybetun, at_relay, relay_keys.public, 2, 1_420);
        let client = End::start(client, Maybetun, at_client, client_keys.public, 1, 1_420);
        client.host.reaches(&relay.v4());
        Self { client, relay, wires }
    }
}

#[test]
fn traffic_goes_on_within_a_second_when_the_default_route_moves_and_the_old_address_stays() {
    let Multihomed { client, relay, wires } = Multihomed::start();
    let [before, first] = [port(&client), handshakes(&client)];
    client.host.ip(&format!("route replace default via {}", Network::Second.v4(2)));
    let replies = client.host.count_replies(&relay.v4(), PINGS);
    assert!(replies >= PINGS - LOST, "{replies} of {PINGS}");
    assert!(handshakes(&client) > first);
    assert_ne!(port(&client), before);
    assert_eq!(heard_at(&relay), format!("{}:{}", Network::Second.v4(1), port(&client)));
    drop(wires);
}

#[test]
fn traffic_goes_on_within_a_second_when_the_first_network_is_gone() {
    let Multihomed { client, relay, wires } = Multihomed::start();
    // A second default route, which takes over when the first goes with its link.
    client.host.ip(&format!("route add default via {} metric 100", Network::Second.v4(2)));
    let first = handshakes(&client);
    client.host.ip(&format!("link set {} down", wires[0].left));
    let replies = client.host.count_replies(&relay.v4(), PINGS);
    assert!(replies >= PINGS - LOST, "{replies} of {PINGS}");
    assert!(handshakes(&client) > first);
    assert!(heard_at(&relay).starts_with(&Network::Second.v4(1).to_string()));
}

#[test]
fn a_route_that_leads_where_it_led_disturbs_nothing() {
    let Multihomed { client, relay, .. } = Multihomed::start();
    let before = [port(&client), handshakes(&client)];
    for metric in 10..20 {
        client.host.ip(&format!("route add default via {} metric {metric}", Network::Second.v4(2)));
        client.host.ip("addr add 172.16.0.1/32 dev lo");
        client.host.ip("addr del 172.16.0.1/32 dev lo");
    }
    client.host.reaches(&relay.v4());
    assert_eq!([port(&client), handshakes(&client)], before);
}

#[test]
fn with_another_address_a_port_that_was_drawn_is_another() {
    let pair = drawn_port();
    let mut ports = vec![port(&pair.client)];
    for number in [9, 10, 11] {
        let before = handshakes(&pair.client);
        pair.wire.renumber_left(&pair.client.host, number);
        begins_anew(&pair.client, &pair.relay, before);
        let now = port(&pair.client);
        assert!(!ports.contains(&now), "{now} after {ports:?}");
        assert_eq!(heard_at(&pair.relay), format!("{}:{now}", Network::First.v4(number)));
        ports.push(now);
    }
}

#[test]
fn with_another_address_a_port_that_was_fixed_stays_and_the_session_is_another() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    pair.client.host.reaches(&pair.relay.v4());
    let before = handshakes(&pair.client);
    pair.wire.renumber_left(&pair.client.host, 9);
    begins_anew(&pair.client, &pair.relay, before);
    assert_eq!(heard_at(&pair.relay), format!("{}:51820", Network::First.v4(9)));
}

#[test]
fn a_link_that_was_down_may_be_of_another_network() {
    let pair = drawn_port();
    let (before, first) = (port(&pair.client), handshakes(&pair.client));
    pair.client.host.ip(&format!("link set {} down", pair.wire.left));
    thread::sleep(Duration::from_millis(300));
    pair.client.host.ip(&format!("link set {} up", pair.wire.left));
    let since = Instant::now();
    begins_anew(&pair.client, &pair.relay, first);
    // Long before the tunnel would notice by itself.
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    assert_ne!(port(&pair.client), before);
}

#[test]
fn an_interface_of_the_tunnel_that_goes_down_and_up_keeps_its_session() {
    let pair = drawn_port();
    let before = [port(&pair.client), handshakes(&pair.client)];
    let interface = pair.client.daemon.interface();
    pair.client.host.ip(&format!("link set {interface} down"));
    pair.client.host.ip(&format!("link set {interface} up"));
    pair.client.host.reaches(&pair.relay.v4());
    assert_eq!([port(&pair.client), handshakes(&pair.client)], before);
}

#[test]
fn what_happens_to_the_way_to_one_client_of_a_relay_disturbs_no_other() {
    let Star { relay, clients, .. } = Star::start(Maybetun, 2);
    for client in &clients {
        client.host.reaches(&relay.v4());
    }
    let shown = || clients.iter().map(handshakes).collect::<Vec<_>>();
    let before = shown();
    let lost = clients[0].host.ip("-o link show type veth");
    let number: u32 = lost.split("@if").nth(1).and_then(|rest| rest.split(':').next()).unwrap().parse().unwrap();
    let links = relay.host.ip("-o link show type veth");
    let link = links.lines().find(|line| line.starts_with(&format!("{number}:"))).unwrap();
    let link = link.split([':', '@']).nth(1).unwrap().trim();
    for _ in 0..5 {
        relay.host.ip(&format!("link set {link} down"));
        thread::sleep(Duration::from_millis(50));
        relay.host.ip(&format!("link set {link} up"));
        relay.host.ip("addr add 172.16.0.1/32 dev lo");
        relay.host.ip("addr del 172.16.0.1/32 dev lo");
    }
    clients[1].host.reaches(&relay.v4());
    assert_eq!(shown()[1], before[1]);
    assert_eq!(port(&relay), 51820);
    clients[0].host.reaches(&relay.v4());
}

#[test]
fn a_relay_whose_address_changes_is_heard_from_the_other() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    pair.client.host.reaches(&pair.relay.v4());
    let before = handshakes(&pair.relay);
    pair.relay.host.ip(&format!("addr del {}/24 dev {}", Network::First.v4(2), pair.wire.right));
    pair.relay.host.ip(&format!("addr add {}/24 dev {}", Network::First.v4(7), pair.wire.right));
    // The relay calls: its client cannot know where it is.
    eventually("another session", PATIENCE, || handshakes(&pair.relay) > before);
    pair.relay.host.reaches(&pair.client.v4());
    let endpoint = dump(&pair.client.host, &pair.client.daemon)[0].endpoint.clone();
    assert_eq!(endpoint, format!("{}:51820", Network::First.v4(7)));
}

#[test]
fn a_tunnel_that_takes_all_traffic_does_not_take_itself_for_another_network() {
    let file = ClientFile::new("0.0.0.0/0, ::/0", "");
    let mut command = file.client.command(maybetun_program());
    command.arg("up").arg(file.path());
    let mut up = Daemon::spawn(&mut command, &file.interface);
    file.assert_up();
    let shown = || status_json(&file.client, &file.interface);
    let of = |status: &serde_json::Value| (status["listen_port"].clone(), status["peers"][0]["handshakes"].clone());
    let before = of(&shown());
    thread::sleep(Duration::from_secs(1));
    assert_eq!(of(&shown()), before);

    // And it notices one that is.
    file.wire.renumber_left(&file.client, 9);
    eventually("another session", PATIENCE, || of(&shown()).1 != before.1);
    file.client.reaches(&file.relay.v4());
    assert_ne!(of(&shown()).0, before.0);
    up.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(up.wait_for_exit().success(), "{}", up.log());
    file.assert_gone();
}
