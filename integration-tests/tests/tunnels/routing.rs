//! Cryptokey routing: packets go to the peer that their address belongs to, and come only from there.

use maybetun_integration_tests::Implementation::{Gotatun, Maybetun, WireguardGo};
use maybetun_integration_tests::{
    Config, End, Implementation, Keys, MEGABYTE, Network, Pair, PeerConfig, Setup, Stream, Wire, eventually,
    status_json,
};
use std::time::Duration;

/// A relay with two clients: the pair's, and another with the inner addresses 10.9.0.3 and fd09::3.
fn with_second_client(setup: &Setup) -> (Pair, End, Wire) {
    let pair = setup.start();
    let host = maybetun_integration_tests::Host::new();
    let wire = Wire::between(&host, &pair.relay.host, Network::Second, 1500);
    let keys = Keys::new();
    let config = Config {
        private_key: keys.private,
        listen_port: 51821,
        peers: vec![PeerConfig {
            public_key: pair.relay.public_key.clone(),
            preshared_key: None,
            endpoint: Some((Network::Second.v4(2), 51820).into()),
            allowed_ips: "10.9.0.0/24, fd09::/64".to_owned(),
        }],
    };
    let second = End::start(host, setup.client, config, keys.public.clone(), 3, setup.mtu);
    pair.relay.wg("set", &format!("peer {} allowed-ips 10.9.0.3/32,fd09::3/128", keys.public)).success();
    (pair, second, wire)
}

fn clients_reach_each_other(client: Implementation, relay: Implementation) {
    let (pair, second, _wire) = with_second_client(&Setup::between(client, relay));
    pair.relay.host.run("sysctl -q net.ipv4.ip_forward=1").success();
    pair.relay.host.run("sysctl -q net.ipv6.conf.all.forwarding=1").success();
    pair.client.host.reaches(&pair.relay.v4());
    second.host.reaches(&pair.relay.v4());
    pair.client.host.reaches(&second.v4());
    second.host.reaches(&pair.client.v4());
    pair.client.host.reaches(&second.v6());
    let stream = Stream::start(&pair.client.host, &second.host, second.inner(5000));
    stream.advance(10 * MEGABYTE);
    stream.finish();
}

#[test]
fn two_clients_reach_each_other_through_the_relay() {
    clients_reach_each_other(Maybetun, Maybetun);
}

#[test]
fn two_wireguard_go_clients_reach_each_other_through_the_relay() {
    clients_reach_each_other(WireguardGo, Maybetun);
}

#[test]
fn two_gotatun_clients_reach_each_other_through_the_relay() {
    clients_reach_each_other(Gotatun, Maybetun);
}

fn foreign_source_is_dropped(client: Implementation) {
    let pair = Setup::between(client, Maybetun).start();
    pair.client.host.reaches(&pair.relay.v4());
    let interface = pair.client.daemon.interface();
    pair.client.host.ip(&format!("addr add 10.9.0.77/24 dev {interface}"));
    pair.client.host.ip(&format!("addr add fd09::77/64 dev {interface} nodad"));
    for (foreign, relay) in [("10.9.0.77", pair.relay.v4()), ("fd09::77", pair.relay.v6())] {
        let finished = pair.client.host.run(&format!("ping -n -q -c 5 -i 0.1 -W 1 -I {foreign} {relay}"));
        assert!(finished.stdout.contains(" 0 received"), "{finished:#?}");
    }
    let status = status_json(&pair.relay.host, pair.relay.daemon.interface());
    assert_eq!(status["peers"][0]["dropped"]["source_not_allowed"], 10, "{status}");
    // Given the addresses, the same packets pass.
    pair.relay.wg("set", &format!("peer {} allowed-ips 10.9.0.0/24,fd09::/64", pair.client.public_key)).success();
    pair.client.host.run(&format!("ping -n -q -c 1 -w 10 -I 10.9.0.77 {}", pair.relay.v4())).success();
    pair.client.host.run(&format!("ping -n -q -c 1 -w 10 -I fd09::77 {}", pair.relay.v6())).success();
}

#[test]
fn source_not_allowed_is_dropped_and_counted() {
    foreign_source_is_dropped(Maybetun);
}

#[test]
fn source_not_allowed_from_wireguard_go_is_dropped_and_counted() {
    foreign_source_is_dropped(WireguardGo);
}

#[test]
fn source_not_allowed_from_gotatun_is_dropped_and_counted() {
    foreign_source_is_dropped(Gotatun);
}

#[test]
fn longest_prefix_wins() {
    let (pair, second, _wire) = with_second_client(&Setup::between(Maybetun, Maybetun));
    pair.client.host.reaches(&pair.relay.v4());
    second.host.reaches(&pair.relay.v4());
    // The first client holds all of 10.9.5.0/24 but one address, which is the second's.
    pair.relay.wg("set", &format!("peer {} allowed-ips 10.9.0.1/32,10.9.5.0/24", pair.client.public_key)).success();
    pair.relay.wg("set", &format!("peer {} allowed-ips 10.9.0.3/32,10.9.5.3/32", second.public_key)).success();
    pair.relay.host.ip(&format!("route add 10.9.5.0/24 dev {}", pair.relay.daemon.interface()));
    for (end, address) in [(&pair.client, "10.9.5.1"), (&second, "10.9.5.3")] {
        end.host.ip(&format!("addr add {address}/32 dev {}", end.daemon.interface()));
        pair.relay.host.reaches(address);
    }
    // Once the exception is gone, its address belongs to the first client, which does not hold it.
    pair.relay.wg("set", &format!("peer {} allowed-ips 10.9.0.3/32", second.public_key)).success();
    assert_eq!(pair.relay.host.count_replies("10.9.5.3", 3), 0);
}

#[test]
fn address_that_is_nobodys_is_counted() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    assert_eq!(pair.relay.host.count_replies("10.9.0.200", 3), 0);
    let dropped = || {
        let status = status_json(&pair.relay.host, pair.relay.daemon.interface());
        status["dropped"]["no_route"].as_u64().unwrap_or_else(|| panic!("no such count in {status}"))
    };
    eventually("the packets are counted", Duration::from_secs(10), || dropped() >= 3);
}
