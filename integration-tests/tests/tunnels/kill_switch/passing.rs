//! What leaves behind a closed switch, and what does not.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};

use maybetun_integration_tests::{Capture, Host, Leaving, Left, Network, Wire};

use super::{EVERYTHING, INSIDE, ON, OUTSIDE, assert_open, client, down, probing, route_outside, ruleset, up};

#[test]
fn nothing_but_the_tunnel_leaves_while_it_is_up() {
    let file = client(INSIDE, ON);
    assert_open(&file);
    let before = ruleset(&file.client);
    let daemon = up(&file);
    let leaving = Leaving::start(&file.client, &file.wire.left);
    probing(&file, || {
        file.client.reaches(&file.relay.v4());
        file.client.reaches(&file.relay.v6());
    });
    assert!(leaving.only_tunnel() >= 2, "the pings' datagrams left");
    down(&file);
    drop(daemon);
    file.assert_gone();
    assert_eq!(ruleset(&file.client), before);
    assert_open(&file);
}

#[test]
fn nothing_but_the_tunnel_leaves_beside_a_default_route_over_ipv6() {
    let file = client(EVERYTHING, ON);
    file.write(&file.read().replace("192.0.2.2:51820", "[2001:db8:1::2]:51820"));
    let daemon = up(&file);
    let leaving = Leaving::start(&file.client, &file.wire.left);
    probing(&file, || OUTSIDE.iter().for_each(|address| file.client.reaches(address)));
    assert!(leaving.only_tunnel() > 100, "what is probed for goes through the tunnel");
    daemon.terminate();
    file.assert_gone();
}

#[test]
fn nothing_leaves_while_the_default_route_changes() {
    let file = client(EVERYTHING, ON);
    file.write(&file.read().replace("192.0.2.2:51820", "203.0.113.5:51820"));
    let second = Wire::between(&file.client, &file.relay.host, Network::Second, 1500);
    let daemon = up(&file);
    let captures = [&file.wire, &second].map(|wire| Leaving::start(&file.client, &wire.left));
    probing(&file, || {
        route_outside(&file.client, &second);
        file.client.reaches(&file.relay.v4());
        for family in ["-4", "-6"] {
            file.client.ip(&format!("{family} route del default"));
        }
        route_outside(&file.client, &file.wire);
        file.client.reaches(&file.relay.v4());
        file.client.ip(&format!("link set {} down", file.wire.left));
        route_outside(&file.client, &second);
        file.client.reaches(&file.relay.v4());
    });
    for capture in captures {
        assert!(capture.only_tunnel() > 0, "the tunnel was on both networks");
    }
    daemon.terminate();
    file.assert_gone();
}

#[test]
fn flows_from_before_are_cut() {
    let file = client(INSIDE, ON);
    // Conntrack knows the flows.
    file.client.run_with_input(
        "nft -f -",
        "table inet theirs { chain o { type filter hook output priority 0; ct state new; }; }",
    );
    let outwards = file.relay.host.inside(|| TcpListener::bind("203.0.113.5:5000").unwrap());
    let inwards = file.client.inside(|| TcpListener::bind("192.0.2.1:5001").unwrap());
    let ours = file.client.inside(|| TcpStream::connect("203.0.113.5:5000").unwrap());
    let theirs = file.relay.host.inside(|| TcpStream::connect("192.0.2.1:5001").unwrap());
    let (mut far, mut near) = (outwards.accept().unwrap().0, inwards.accept().unwrap().0);
    let datagrams = file.client.inside(|| UdpSocket::bind("192.0.2.1:0").unwrap());
    datagrams.connect("203.0.113.5:5002").unwrap();
    let mut byte = [0];
    (&ours).write_all(b"a").unwrap();
    far.read_exact(&mut byte).unwrap();
    (&theirs).write_all(b"a").unwrap();
    near.read_exact(&mut byte).unwrap();
    datagrams.send(b"a").unwrap();

    let daemon = up(&file);
    let leaving = Leaving::start(&file.client, &file.wire.left);
    (&ours).write_all(b"b").unwrap();
    near.write_all(b"b").unwrap();
    // This one asks for an acknowledgement.
    (&theirs).write_all(b"b").unwrap();
    assert!(datagrams.send(b"b").is_err(), "the sender is told");
    file.client.reaches(&file.relay.v4());
    leaving.only_tunnel();
    daemon.terminate();
}

#[test]
fn excepted_networks_dhcp_and_discovery_pass() {
    let file = client(
        INSIDE,
        "KillSwitch = on\nKillSwitchAllow = 203.0.113.0/24, 203.0.113.0/25\nKillSwitchAllow = 2001:db8:5::/48\n",
    );
    file.relay.host.ip("addr add 203.0.112.9/32 dev lo");
    file.client.reaches("203.0.112.9");
    let daemon = up(&file);
    OUTSIDE.iter().for_each(|address| file.client.reaches(address));
    file.client.ip(&format!("neigh flush dev {}", file.wire.left));
    let leaving = Leaving::start(&file.client, &file.wire.left);
    OUTSIDE.iter().for_each(|address| file.client.reaches(address));
    assert!(!file.client.run("ping -n -q -c 2 -W 1 203.0.112.9").is_success());
    file.client.inside(|| {
        let v4 = UdpSocket::bind("0.0.0.0:68").unwrap();
        v4.set_broadcast(true).unwrap();
        v4.send_to(&[1; 240], "192.0.2.2:67").unwrap();
        let index = nix::net::if_::if_nametoindex(file.wire.left.as_str()).unwrap();
        let v6 = UdpSocket::bind("[::]:546").unwrap();
        v6.send_to(&[1; 40], format!("[ff02::1:2%{index}]:547")).unwrap();
        assert!(v6.send_to(&[1; 40], "[2001:db8:1::2]:547").is_err(), "a server elsewhere");
    });
    let left = leaving.finish();
    assert_eq!(left.iter().filter(|left| **left == Left::Dhcp).count(), 2, "{left:?}");
    assert!(left.contains(&Left::Discovery), "{left:?}");
    let others: BTreeSet<_> = left.iter().filter(|left| matches!(left, Left::Other(..))).collect();
    let [v4, v6]: [IpAddr; 2] = OUTSIDE.map(|address| address.parse().unwrap());
    assert_eq!(others, BTreeSet::from([&Left::Other(4, 1, v4), &Left::Other(6, 58, v6)]));
    daemon.terminate();
}

#[test]
fn what_is_forwarded_leaves_by_the_tunnel_or_to_an_excepted_network() {
    let file = client(INSIDE, "KillSwitch = on\nKillSwitchAllow = 198.51.100.0/24\n");
    let neighbour = Host::new();
    let wire = Wire::between(&neighbour, &file.client, Network::Second, 1500);
    file.client.run("sysctl -qw net.ipv4.ip_forward=1").success();
    neighbour.ip(&format!("route add default via {}", Network::Second.v4(2)));
    let route = format!("route add 198.51.100.0/24 via {}", Network::First.v4(1));
    file.relay.host.ip(&route);
    neighbour.reaches("203.0.113.5");

    let daemon = up(&file);
    let inner = Capture::start_whole(&file.client, &file.interface);
    let leaving = Leaving::start(&file.client, &file.wire.left);
    assert!(!neighbour.run("ping -n -q -c 2 -W 1 203.0.113.5").is_success());
    neighbour.run("ping -n -q -c 2 -W 1 10.9.0.2");
    leaving.only_tunnel();
    let source = |packet: &Vec<u8>| packet[12..16] == [198, 51, 100, 1];
    assert!(inner.packets(0).iter().any(source), "the neighbour's packets entered the tunnel");
    // What comes from outside to the excepted network passes; the answer does not.
    let arriving = Capture::start_whole(&neighbour, &wire.left);
    let leaving = Leaving::start(&file.client, &file.wire.left);
    assert!(!file.relay.host.run("ping -n -q -c 2 -W 1 198.51.100.1").is_success());
    leaving.only_tunnel();
    assert!(arriving.packets(14).iter().any(|packet| packet[12..16] == [192, 0, 2, 2]));
    daemon.terminate();
    drop(wire);
}
