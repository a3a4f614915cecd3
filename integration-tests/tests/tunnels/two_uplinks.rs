//! A host with two uplinks goes on by the other when its default route moves, though the old address stays; and no other
//! change disturbs it.

#![allow(clippy::print_stdout, reason = "what is measured is told")]

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use maybetun_integration_tests::Implementation::{Maybetun, WireguardGo};
use maybetun_integration_tests::{
    Call, End, Multihomed, Network, Outer, Twofold, defense, dump, eventually, shown_peer, status_json,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How often the default route is moved, there and back.
const MOVES: usize = 8;

/// Within which a call goes on after a change of routes: without a notice of it, after 15 s of silence.
const SOON: Duration = Duration::from_secs(3);

/// A guard against hanging.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// Starts a call through the tunnel, and waits until it is under way.
#[track_caller]
fn call(Multihomed { near, far, .. }: &Multihomed) -> Call {
    let call = Call::start([&near.host, &far.host], [near.inner(5004), far.inner(5004)]);
    call.goes_on(PATIENCE);
    call
}

/// Has both ends agree on a defense.
#[track_caller]
fn agree([client, relay]: [&End; 2]) {
    for end in [relay, client] {
        defense(end, "on ephemeral").success();
    }
    for end in [relay, client] {
        eventually("both ends agree", PATIENCE, || shown_peer(end)["protection"] == "protected");
    }
}

/// Moves the default routes there and back, and returns how long each move interrupted the call.
#[track_caller]
fn move_routes(tunnel: &Multihomed, call: &Call, patience: Duration) -> Vec<Duration> {
    let moves = (1..=MOVES).map(|count| {
        tunnel.lead_over(count % 2);
        call.goes_on(patience)
    });
    moves.collect()
}

/// Whether both ends run a defense that they agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defense {
    None,
    Agreed,
}

/// Each move of the default routes interrupts a call for a moment.
#[track_caller]
fn goes_on_by_the_other(twofold: Twofold, outer: Outer, defense: Defense) {
    let tunnel = Multihomed::start(Maybetun, twofold, outer);
    let Multihomed { near, far, .. } = &tunnel;
    if defense == Defense::Agreed {
        agree(if twofold == Twofold::Client { [near, far] } else { [far, near] });
    }
    let call = call(&tunnel);
    let gaps = move_routes(&tunnel, &call, PATIENCE);
    println!("{twofold:?}, {outer:?}, defense {defense:?}: {gaps:?}");
    assert!(gaps.iter().all(|gap| *gap < SOON), "{gaps:?}");
    // Who is far knows by which network.
    tunnel.lead_over(1);
    call.goes_on(SOON);
    let second = if outer == Outer::V4 { Network::Second.v4(1) } else { Network::Second.v6(1) };
    eventually("the second uplink", PATIENCE, || {
        let endpoint: SocketAddr = dump(&far.host, &far.daemon)[0].endpoint.parse().unwrap();
        endpoint.ip() == second
    });
}

#[test]
fn a_client_goes_on_by_the_other_uplink_over_ipv4() {
    goes_on_by_the_other(Twofold::Client, Outer::V4, Defense::None);
}

#[test]
fn a_client_goes_on_by_the_other_uplink_over_ipv6() {
    goes_on_by_the_other(Twofold::Client, Outer::V6, Defense::None);
}

#[test]
fn a_defended_client_goes_on_by_the_other_uplink_over_ipv4() {
    goes_on_by_the_other(Twofold::Client, Outer::V4, Defense::Agreed);
}

#[test]
fn a_defended_client_goes_on_by_the_other_uplink_over_ipv6() {
    goes_on_by_the_other(Twofold::Client, Outer::V6, Defense::Agreed);
}

#[test]
fn a_relay_goes_on_by_the_other_uplink_over_ipv4() {
    goes_on_by_the_other(Twofold::Relay, Outer::V4, Defense::None);
}

#[test]
fn a_relay_goes_on_by_the_other_uplink_over_ipv6() {
    goes_on_by_the_other(Twofold::Relay, Outer::V6, Defense::None);
}

#[test]
fn a_defended_relay_goes_on_by_the_other_uplink_over_ipv4() {
    goes_on_by_the_other(Twofold::Relay, Outer::V4, Defense::Agreed);
}

#[test]
fn a_defended_relay_goes_on_by_the_other_uplink_over_ipv6() {
    goes_on_by_the_other(Twofold::Relay, Outer::V6, Defense::Agreed);
}

/// What is measured says how a move compares, on this machine at this moment.
#[test]
fn a_move_is_measured_beside_wireguard_go() {
    for implementation in [Maybetun, WireguardGo] {
        let tunnel = Multihomed::start(implementation, Twofold::Client, Outer::V4);
        let call = call(&tunnel);
        let gaps = move_routes(&tunnel, &call, PATIENCE);
        println!("{implementation:?}: {gaps:?}");
        assert!(implementation != Maybetun || gaps.iter().all(|gap| *gap < SOON), "{gaps:?}");
    }
}

#[test]
fn a_client_on_another_uplink_has_another_session_and_another_port() {
    let Multihomed { near, far, .. } = &Multihomed::start(Maybetun, Twofold::Client, Outer::V4);
    let [before, first] = [port(near), handshakes(near)];
    near.host.ip(&format!("route replace default via {}", Network::Second.v4(2)));
    let replies = near.host.count_replies(&far.v4(), PINGS);
    assert!(replies >= PINGS - LOST, "{replies} of {PINGS}");
    assert!(handshakes(near) > first);
    assert_ne!(port(near), before);
    assert_eq!(dump(&far.host, &far.daemon)[0].endpoint, format!("{}:{}", Network::Second.v4(1), port(near)));
}

#[test]
fn a_client_goes_on_by_the_second_route_when_the_first_goes_with_its_link() {
    let Multihomed { near, far, wires } = &Multihomed::start(Maybetun, Twofold::Client, Outer::V4);
    near.host.ip(&format!("route add default via {} metric 100", Network::Second.v4(2)));
    let first = handshakes(near);
    near.host.ip(&format!("link set {} down", wires[0].left));
    let replies = near.host.count_replies(&far.v4(), PINGS);
    assert!(replies >= PINGS - LOST, "{replies} of {PINGS}");
    assert!(handshakes(near) > first);
    assert!(dump(&far.host, &far.daemon)[0].endpoint.starts_with(&Network::Second.v4(1).to_string()));
}

/// Each way in which a route to the peer can be made to lead over the second uplink, and back.
#[test]
fn whatever_leads_over_the_other_uplink_is_followed() {
    let tunnel = Multihomed::start(Maybetun, Twofold::Client, Outer::V4);
    let host = &tunnel.near.host;
    let call = call(&tunnel);
    let second = format!("via {} dev {}", Network::Second.v4(2), tunnel.wires[1].left);
    host.ip(&format!("route add default {second} table 77"));
    let ways = [
        (
            "a route of a smaller metric",
            format!("route add default {second} metric 0"),
            format!("route del default {second} metric 0"),
        ),
        ("a route to the peer alone", format!("route add 203.0.113.5 {second}"), "route del 203.0.113.5".to_owned()),
        (
            "a rule",
            "rule add to 203.0.113.0/24 lookup 77".to_owned(),
            "rule del to 203.0.113.0/24 lookup 77".to_owned(),
        ),
    ];
    // Room for a smaller metric.
    let first = format!("via {} dev {}", Network::First.v4(2), tunnel.wires[0].left);
    host.ip(&format!("route add default {first} metric 50"));
    host.ip(&format!("route del default {first} metric 0"));
    for (what, there, back) in ways {
        for command in [there, back] {
            host.ip(&command);
            let gap = call.goes_on(PATIENCE);
            assert!(gap < SOON, "{what}: {gap:?}");
        }
    }
}

#[test]
fn another_gateway_of_the_same_uplink_is_another_network() {
    let Multihomed { near, far, wires } = &Multihomed::start(Maybetun, Twofold::Client, Outer::V4);
    let gateway = Network::First.v4(3);
    far.host.ip(&format!("addr add {gateway}/24 dev {}", wires[0].right));
    let [before, first] = [port(near), handshakes(near)];
    near.host.ip(&format!("route replace default via {gateway}"));
    eventually("another session", PATIENCE, || handshakes(near) > first);
    assert_ne!(port(near), before);
    near.host.reaches(&far.v4());
}

/// Changes that move no way to a peer, as those of containers and of other tunnels are.
#[track_caller]
fn disturbs_nothing(Multihomed { near, far, wires }: &Multihomed) {
    let before = || [near, far].map(|end| (port(end), handshakes(end)));
    let [first, second] = wires;
    let shown = before();
    for metric in 10..20 {
        near.host.ip(&format!("route add default via {} metric {metric}", Network::Second.v4(2)));
        near.host.ip("addr add 172.16.0.1/32 dev lo");
        near.host.ip("addr del 172.16.0.1/32 dev lo");
        near.host.ip(&format!("route add 198.18.{metric}.0/24 dev {}", second.left));
        near.host.ip(&format!("route add default dev {} table {metric}", first.left));
        near.host.ip(&format!("rule add fwmark {metric} lookup {metric}"));
    }
    near.host.ip("link add br0 type bridge");
    near.host.ip("addr add 172.17.0.1/16 dev br0");
    near.host.ip("link set br0 up");
    near.host.ip("link del br0");
    // And the second uplink itself.
    near.host.ip(&format!("link set {} down", second.left));
    near.host.ip(&format!("link set {} up", second.left));
    near.host.reaches(&far.v4());
    far.host.reaches(&near.v4());
    assert_eq!(before(), shown);
}

#[test]
fn what_moves_no_way_to_a_peer_disturbs_no_client() {
    disturbs_nothing(&Multihomed::start(Maybetun, Twofold::Client, Outer::V4));
}

#[test]
fn what_moves_no_way_to_a_peer_disturbs_no_relay() {
    disturbs_nothing(&Multihomed::start(Maybetun, Twofold::Relay, Outer::V4));
}

/// A route over both uplinks at once, which sends each flow over one, by its ports too.
#[test]
fn a_client_whose_flows_are_spread_over_both_uplinks_is_not_disturbed() {
    let Multihomed { near, far, wires } = &Multihomed::start(Maybetun, Twofold::Client, Outer::V4);
    far.host.run("nft delete table inet providers").success();
    near.host.run("sysctl -qw net.ipv4.fib_multipath_hash_policy=1").success();
    let hops = wires.each_ref().map(|wire| format!("nexthop via {} dev {}", wire.network.v4(2), wire.left));
    near.host.ip(&format!("route replace default {}", hops.join(" ")));
    near.host.reaches(&far.v4());
    // What this route itself may cause.
    eventually("the client is where the route leads", PATIENCE, || {
        let before = handshakes(near);
        thread::sleep(Duration::from_millis(500));
        handshakes(near) == before
    });
    let shown = [port(near), handshakes(near)];
    for number in 0..10 {
        near.host.ip(&format!("route add 198.18.{number}.0/24 dev lo"));
        thread::sleep(Duration::from_millis(120));
    }
    near.host.reaches(&far.v4());
    assert_eq!([port(near), handshakes(near)], shown);
}

#[test]
fn a_relay_whose_rules_keep_each_address_on_its_uplink_is_not_disturbed() {
    let tunnel = Multihomed::start(Maybetun, Twofold::Relay, Outer::V4);
    let Multihomed { near, far, wires } = &tunnel;
    for (table, wire) in [71, 72].into_iter().zip(wires) {
        near.host.ip(&format!("route add default via {} dev {} table {table}", wire.network.v4(2), wire.left));
        near.host.ip(&format!("rule add from {} lookup {table}", wire.network.v4(1)));
    }
    far.host.reaches(&near.v4());
    let shown = handshakes(near);
    for uplink in [1, 0, 1] {
        tunnel.lead_over(uplink);
        far.host.reaches(&near.v4());
        near.host.reaches(&far.v4());
    }
    assert_eq!(handshakes(near), shown);
    // Until the rule goes.
    let call = call(&tunnel);
    near.host.ip("rule del lookup 71");
    let gap = call.goes_on(PATIENCE);
    assert!(gap < SOON, "{gap:?}");
}

/// An address that belongs to no uplink, as that of a relay which is announced by several.
#[test]
fn a_relay_goes_on_answering_from_an_address_that_is_on_no_uplink() {
    let Multihomed { near, far, wires } = &Multihomed::start(Maybetun, Twofold::Relay, Outer::V4);
    let own = "203.0.113.9";
    near.host.ip(&format!("addr add {own}/32 dev lo"));
    far.host.run("nft delete table inet providers").success();
    far.host.ip(&format!("route add {own} via {} dev {}", Network::First.v4(1), wires[0].right));
    far.wg("set", &format!("peer {} endpoint {own}:51820", near.public_key)).success();
    far.host.reaches(&near.v4());
    let shown = handshakes(near);
    for uplink in [1, 0, 1] {
        near.host.ip(&format!("route replace default via {} dev {}", wires[uplink].network.v4(2), wires[uplink].left));
        far.host.reaches(&near.v4());
        near.host.reaches(&far.v4());
    }
    assert_eq!(handshakes(near), shown);
    assert_eq!(dump(&far.host, &far.daemon)[0].endpoint, format!("{own}:51820"));
}

/// The kernel drops notices for which there is no room, and says so once.
#[test]
fn a_move_among_more_notices_than_the_kernel_holds_is_followed() {
    let tunnel = Multihomed::start(Maybetun, Twofold::Client, Outer::V4);
    let Multihomed { near, far, .. } = &tunnel;
    let call = call(&tunnel);
    let id = Pid::from_raw(near.daemon.id() as i32);
    kill(id, Signal::SIGSTOP).unwrap();
    let routes: String = (0..20_000).map(|n| format!("route add 198.18.{}.{}/32 dev lo\n", n / 250, n % 250)).collect();
    near.host.run_with_input("ip -batch -", &routes).success();
    tunnel.lead_over(1);
    kill(id, Signal::SIGCONT).unwrap();
    let gap = call.goes_on(PATIENCE);
    assert!(gap < SOON, "{gap:?}");
    let endpoint = &dump(&far.host, &far.daemon)[0].endpoint;
    assert!(endpoint.starts_with(&Network::Second.v4(1).to_string()), "{endpoint}");
}
