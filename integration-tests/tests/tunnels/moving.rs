//! A host that comes to another network begins anew there, at once, and one that does not is not disturbed.

use std::thread;
use std::time::{Duration, Instant};

use maybetun_integration_tests::Implementation::Maybetun;
use maybetun_integration_tests::{
    ClientFile, Daemon, End, Network, Pair, Setup, Star, dump, eventually, maybetun_program, shown_peer, status_json,
};

/// A guard against hanging.
const PATIENCE: Duration = Duration::from_secs(20);

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
