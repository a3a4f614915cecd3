//! Spoilt datagrams and floods disturb neither a running transfer nor the device.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use maybetun_integration_tests::Implementation::Maybetun;
use maybetun_integration_tests::{
    End, Flood, Host, Keys, MEGABYTE, Meddler, Meddling, Network, Pair, PeerConfig, Setup, Stream, Wire, eventually,
    handshake_initiation, status_json,
};
use serde_json::Value;

/// Runs a transfer each way through a meddler, and returns the relay's status afterwards.
fn transfer_through(meddling: Meddling) -> Value {
    let pair = Setup::between(Maybetun, Maybetun).start();
    let middle = Host::new();
    let _up = Wire::between(&middle, &pair.relay.host, Network::Second, 1500);
    // The client reaches the middle through the relay's host, outside the tunnel.
    pair.relay.host.run("sysctl -q net.ipv4.ip_forward=1").success();
    pair.client.host.ip(&format!("route add 198.51.100.0/24 via {}", Network::First.v4(2)));
    middle.ip(&format!("route add 192.0.2.0/24 via {}", Network::Second.v4(2)));
    let at_middle = SocketAddr::new(Network::Second.v4(1), 4000);
    let meddler = Meddler::start(&middle, at_middle, SocketAddr::new(Network::Second.v4(2), 51820), meddling);
    pair.client.wg("set", &format!("peer {} endpoint {at_middle}", pair.relay.public_key)).success();

    pair.client.host.reaches(&pair.relay.v4());
    let up = Stream::start(&pair.client.host, &pair.relay.host, pair.relay.inner(5000));
    let down = Stream::start(&pair.relay.host, &pair.client.host, pair.client.inner(5000));
    up.advance(5 * MEGABYTE);
    down.advance(5 * MEGABYTE);
    up.finish();
    down.finish();
    let added = meddler.finish();
    assert!(added > 100, "only {added} datagrams were added");
    // The spoilt datagrams moved no endpoint and made no peer.
    let status = status_json(&pair.relay.host, pair.relay.daemon.interface());
    assert_eq!(status["peers"].as_array().map(Vec::len), Some(1), "{status}");
    status
}

fn dropped(status: &Value, reason: &str) -> u64 {
    status["peers"][0]["dropped"][reason].as_u64().unwrap_or_else(|| panic!("no count of {reason} in {status}"))
}

#[test]
fn truncated_datagrams() {
    transfer_through(Meddling::Truncated);
}

#[test]
fn oversized_datagrams() {
    let status = transfer_through(Meddling::Oversized);
    // Its counter gives most of them away before their length does.
    assert!(dropped(&status, "replayed") + dropped(&status, "unauthenticated") > 0, "{status}");
}

#[test]
fn replayed_datagrams() {
    let status = transfer_through(Meddling::Replayed);
    assert!(dropped(&status, "replayed") > 0, "{status}");
}

#[test]
fn bit_flipped_datagrams() {
    let status = transfer_through(Meddling::BitFlipped);
    assert!(dropped(&status, "unauthenticated") > 0, "{status}");
}

#[test]
fn random_datagrams() {
    transfer_through(Meddling::Random);
}

#[test]
fn datagrams_from_a_stranger_move_no_endpoint() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    pair.client.host.reaches(&pair.relay.v4());
    let (_stranger, _wire) = {
        let stranger = Host::new();
        let wire = Wire::between(&stranger, &pair.relay.host, Network::Second, 1500);
        stranger.inside(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            for length in 0..300 {
                for kind in 0..=5 {
                    let mut datagram = vec![0; length];
                    datagram.iter_mut().take(1).for_each(|byte| *byte = kind);
                    socket.send_to(&datagram, (Network::Second.v4(2), 51820)).unwrap();
                }
            }
            socket.send_to(&handshake_initiation(&pair.relay.public_key), (Network::Second.v4(2), 51820)).unwrap();
        });
        (stranger, wire)
    };
    pair.relay.host.reaches(&pair.client.v4());
    let status = status_json(&pair.relay.host, pair.relay.daemon.interface());
    assert_eq!(status["peers"][0]["endpoint"], "192.0.2.1:51820", "{status}");
    assert!(status["dropped"]["unknown"].as_u64().unwrap() > 0, "{status}");
}

/// A pair whose relay a third host can flood from many addresses.
fn with_attacker() -> (Pair, Host, Wire) {
    let pair = Setup::between(Maybetun, Maybetun).start();
    let attacker = Host::new();
    let wire = Wire::between(&attacker, &pair.relay.host, Network::Second, 1500);
    pair.relay.host.ip(&format!("route add 198.18.0.0/15 via {}", Network::Second.v4(1)));
    (pair, attacker, wire)
}

fn flooded_port() -> SocketAddr {
    SocketAddr::new(Network::Second.v4(2), 51820)
}

#[test]
fn transfer_goes_on_through_a_handshake_flood() {
    let (pair, attacker, _wire) = with_attacker();
    pair.client.host.reaches(&pair.relay.v4());
    let stream = Stream::start(&pair.client.host, &pair.relay.host, pair.relay.inner(5000));
    let flood = Flood::start(&attacker, flooded_port(), &pair.relay.public_key);
    eventually("the relay asks for cookies", Duration::from_secs(30), || flood.cookies() > 100);
    stream.advance(20 * MEGABYTE);
    let flooded = flood.finish();
    stream.advance(MEGABYTE);
    stream.finish();
    assert_eq!(flooded.others, 0, "a relay answers no stranger's handshake: {flooded:?}");
    let status = status_json(&pair.relay.host, pair.relay.daemon.interface());
    assert!(status["dropped"]["rate_limited"].as_u64().is_some_and(|count| count > 100), "{status}");
}

#[test]
fn newcomer_gets_through_a_handshake_flood() {
    let (pair, attacker, _wire) = with_attacker();
    let flood = Flood::start(&attacker, flooded_port(), &pair.relay.public_key);
    eventually("the relay asks for cookies", Duration::from_secs(30), || flood.cookies() > 100);
    // The client is sent a cookie, and shows it when it tries again.
    pair.client.host.reaches(&pair.relay.v4());
    flood.finish();
}

#[test]
fn flood_on_a_device_without_peers_or_key() {
    let relay = Host::new();
    let attacker = Host::new();
    let _wire = Wire::between(&attacker, &relay, Network::Second, 1500);
    relay.ip(&format!("route add 198.18.0.0/15 via {}", Network::Second.v4(1)));
    let daemon =
        maybetun_integration_tests::Daemon::start(Maybetun, &relay, &maybetun_integration_tests::interface_name());
    daemon.wg(&relay, "set", "listen-port 51820").success();
    relay.ip(&format!("link set {} up", daemon.interface()));
    let flood = Flood::start(&attacker, flooded_port(), &Keys::new().public);
    std::thread::sleep(Duration::from_secs(1));
    let cookies = flood.cookies();
    let flooded = flood.finish();
    assert!(flooded.sent > 0);
    assert_eq!((cookies, flooded.others), (0, 0), "a device without a key answers nothing");
    assert_eq!(daemon.wg(&relay, "show", "listen-port").success().trim(), "51820");
}

/// An end whose peer is someone who holds the right keys, but is not there: its port answers ICMP errors.
#[test]
fn unreachable_peer_does_not_stop_the_device() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    let absent = Keys::new().public;
    let config = PeerConfig {
        public_key: absent,
        preshared_key: None,
        endpoint: Some((Network::First.v4(2), 9).into()),
        allowed_ips: "10.77.0.0/16".to_owned(),
    };
    add_peer(&pair.client, &config);
    add_peer(
        &pair.client,
        &PeerConfig {
            public_key: Keys::new().public,
            // No route leads there.
            endpoint: Some((IpAddr::from([203, 0, 113, 1]), 9).into()),
            allowed_ips: "10.78.0.0/16".to_owned(),
            ..config
        },
    );
    for network in ["10.77.0.0/16", "10.78.0.0/16"] {
        pair.client.host.ip(&format!("route add {network} dev {}", pair.client.daemon.interface()));
    }
    assert_eq!(pair.client.host.count_replies("10.77.0.1", 5), 0);
    assert_eq!(pair.client.host.count_replies("10.78.0.1", 5), 0);
    pair.client.host.reaches(&pair.relay.v4());
}

fn add_peer(end: &End, peer: &PeerConfig) {
    end.daemon.wg_with_input(&end.host, "addconf", "/dev/stdin", &peer.to_string()).success();
}
