//! Everything that `wg` can do, it can do with maybetun, also while a transfer runs.

use std::net::UdpSocket;
use std::time::Duration;

use maybetun_integration_tests::Implementation::Maybetun;
use maybetun_integration_tests::{
    Daemon, Host, Keys, MEGABYTE, Setup, Stream, dump, eventually, interface_name, preshared_key,
};

#[test]
fn every_key_round_trips() {
    let host = Host::new();
    let daemon = Daemon::start(Maybetun, &host, &interface_name());
    let (own, peer, preshared) = (Keys::new(), Keys::new(), preshared_key());
    daemon.wg_with_input(&host, "set", "private-key /dev/stdin", &own.private).success();
    daemon.wg(&host, "set", "listen-port 4242 fwmark 0x2a").success();
    let settings = "endpoint [2001:db8::7]:99 persistent-keepalive 25 allowed-ips 10.1.2.3/8,2001:db8:9::/48";
    daemon.wg(&host, "set", &format!("peer {} {settings}", peer.public)).success();
    let secret = format!("peer {} preshared-key /dev/stdin", peer.public);
    daemon.wg_with_input(&host, "set", &secret, &preshared).success();

    let shown = |what: &str| daemon.wg(&host, "show", what).success().trim().to_owned();
    assert_eq!(shown("private-key"), own.private);
    assert_eq!(shown("public-key"), own.public);
    assert_eq!(shown("listen-port"), "4242");
    assert_eq!(shown("fwmark"), "0x2a");
    let peers = dump(&host, &daemon);
    assert_eq!(peers.len(), 1);
    assert_eq!(peers[0].public_key, peer.public);
    assert_eq!(peers[0].preshared_key, preshared);
    assert_eq!(peers[0].endpoint, "[2001:db8::7]:99");
    assert_eq!(peers[0].keepalive, "25");
    let mut allowed: Vec<&str> = peers[0].allowed_ips.split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["10.0.0.0/8", "2001:db8:9::/48"]);

    daemon.wg(&host, "set", "fwmark 0").success();
    daemon.wg(&host, "set", &format!("peer {} persistent-keepalive off allowed-ips 0.0.0.0/0", peer.public)).success();
    daemon.wg(&host, "set", &format!("private-key /dev/null peer {} preshared-key /dev/null", peer.public)).success();
    let peers = dump(&host, &daemon);
    assert_eq!((peers[0].keepalive.as_str(), peers[0].allowed_ips.as_str()), ("off", "0.0.0.0/0"));
    assert_eq!(peers[0].preshared_key, "(none)");
    assert_eq!((shown("private-key"), shown("fwmark")), ("(none)".to_owned(), "off".to_owned()));

    daemon.wg(&host, "set", &format!("peer {} remove", peer.public)).success();
    assert_eq!(dump(&host, &daemon), []);
}

#[test]
fn showconf_and_setconf_round_trip() {
    let host = Host::new();
    let (first, second) =
        (Daemon::start(Maybetun, &host, &interface_name()), { Daemon::start(Maybetun, &host, &interface_name()) });
    let config = format!(
        "[Interface]\nPrivateKey = {}\nFwMark = 0x7\n\n[Peer]\nPublicKey = {}\nPresharedKey = {}\n\
         AllowedIPs = 10.3.0.0/16, fd03::/64\nEndpoint = 192.0.2.77:51820\nPersistentKeepalive = 20\n\n\
         [Peer]\nPublicKey = {}\nAllowedIPs = 10.4.0.0/16\n",
        Keys::new().private,
        Keys::new().public,
        preshared_key(),
        Keys::new().public,
    );
    let lines = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.retain(|line| !line.starts_with("ListenPort"));
        lines.sort_unstable();
        lines
    };
    first.wg_with_input(&host, "setconf", "/dev/stdin", &config).success();
    let shown = first.wg(&host, "showconf", "").success();
    second.wg_with_input(&host, "setconf", "/dev/stdin", &config).success();
    assert_eq!(lines(&shown), lines(&second.wg(&host, "showconf", "").success()));
    for line in config.lines().filter(|line| !line.is_empty() && !line.starts_with("AllowedIPs")) {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }

    // What is not in a new configuration is gone afterwards.
    second.wg_with_input(&host, "setconf", "/dev/stdin", "[Interface]\n").success();
    assert_eq!(dump(&host, &second), []);
    second.wg_with_input(&host, "addconf", "/dev/stdin", &config).success();
    assert_eq!(dump(&host, &second).len(), 2);
}

#[test]
fn syncconf_of_the_same_configuration_interrupts_nothing() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    pair.client.host.reaches(&pair.relay.v4());
    let stream = Stream::start(&pair.client.host, &pair.relay.host, pair.relay.inner(5000));
    for _ in 0..3 {
        stream.advance(2 * MEGABYTE);
        for end in [&pair.client, &pair.relay] {
            let before = dump(&end.host, &end.daemon);
            end.daemon.wg_with_input(&end.host, "syncconf", "/dev/stdin", &end.config.to_string()).success();
            let after = dump(&end.host, &end.daemon);
            assert_eq!(after[0].latest_handshake, before[0].latest_handshake, "the session stays");
            assert!(after[0].received >= before[0].received, "the counters stay");
        }
    }
    stream.advance(2 * MEGABYTE);
    stream.finish();
}

#[test]
fn peers_come_and_go_during_a_transfer() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    pair.client.host.reaches(&pair.relay.v4());
    let stream = Stream::start(&pair.client.host, &pair.relay.host, pair.relay.inner(5000));
    for number in 0..20 {
        let peer = Keys::new().public;
        pair.relay.wg("set", &format!("peer {peer} allowed-ips 10.50.{number}.0/24")).success();
        pair.relay.wg("set", &format!("peer {peer} allowed-ips 10.51.{number}.0/24 endpoint 192.0.2.1:9")).success();
        assert_eq!(dump(&pair.relay.host, &pair.relay.daemon).len(), 2);
        pair.relay.wg("set", &format!("peer {peer} remove")).success();
        stream.advance(MEGABYTE / 2);
    }
    stream.finish();
    assert_eq!(dump(&pair.relay.host, &pair.relay.daemon).len(), 1);
}

#[test]
fn listen_ports_change_during_a_transfer() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    pair.client.host.reaches(&pair.relay.v4());
    let stream = Stream::start(&pair.client.host, &pair.relay.host, pair.relay.inner(5000));
    stream.advance(2 * MEGABYTE);
    // The relay follows its client to the new port.
    pair.client.wg("set", "listen-port 6001").success();
    stream.advance(2 * MEGABYTE);
    assert_eq!(dump(&pair.relay.host, &pair.relay.daemon)[0].endpoint, "192.0.2.1:6001");
    // The client follows its relay, which still sends to it.
    pair.relay.wg("set", "listen-port 6002").success();
    stream.advance(2 * MEGABYTE);
    stream.finish();
    assert_eq!(dump(&pair.client.host, &pair.client.daemon)[0].endpoint, "192.0.2.2:6002");
    // The old port is free again.
    pair.relay.host.inside(|| UdpSocket::bind("0.0.0.0:51820")).unwrap();
}

#[test]
fn listen_port_in_use_is_refused_and_the_device_lives() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    let _taken = pair.relay.host.inside(|| UdpSocket::bind("0.0.0.0:7777")).unwrap();
    let message = pair.relay.wg("set", "listen-port 7777").failure();
    assert!(message.contains("in use"), "{message}");
    assert_eq!(pair.relay.wg("show", "listen-port").success().trim(), "51820");
    pair.client.host.reaches(&pair.relay.v4());
}

#[test]
fn private_key_changes_while_running() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    pair.client.host.reaches(&pair.relay.v4());
    let renewed = Keys::new();
    pair.client.daemon.wg_with_input(&pair.client.host, "set", "private-key /dev/stdin", &renewed.private).success();
    // The relay does not know the new key.
    assert_eq!(pair.client.host.count_replies(&pair.relay.v4(), 3), 0);
    pair.relay.wg("set", &format!("peer {} remove", pair.client.public_key)).success();
    pair.relay.wg("set", &format!("peer {} allowed-ips 10.9.0.1/32", renewed.public)).success();
    pair.client.host.reaches(&pair.relay.v4());
    assert_eq!(dump(&pair.relay.host, &pair.relay.daemon)[0].public_key, renewed.public);
}

#[test]
fn fwmark_marks_every_datagram() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    // Only marked datagrams pass.
    let rules = "table inet marks { chain output { type filter hook output priority 0;
                 udp dport 51820 meta mark != 0x33 drop; }; }";
    pair.client.host.run_with_input("nft -f -", rules).success();
    assert_eq!(pair.client.host.count_replies(&pair.relay.v4(), 3), 0);
    pair.client.wg("set", "fwmark 0x33").success();
    pair.client.host.reaches(&pair.relay.v4());
    // A new socket is marked as the old one was.
    pair.client.wg("set", "listen-port 6003").success();
    assert_eq!(pair.client.host.count_replies(&pair.relay.v4(), 3), 3);
    pair.client.wg("set", "fwmark 0").success();
    assert_eq!(pair.client.host.count_replies(&pair.relay.v4(), 3), 0);
}

#[test]
fn persistent_keepalive_keeps_a_silent_tunnel_alive() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    pair.client.wg("set", &format!("peer {} persistent-keepalive 1", pair.relay.public_key)).success();
    // No packet of the user's makes this handshake or these keepalives.
    let received = || dump(&pair.relay.host, &pair.relay.daemon)[0].received;
    eventually("the relay hears of its client", Duration::from_secs(20), || received() > 0);
    let before = received();
    eventually("keepalives come", Duration::from_secs(20), || received() >= before + 2 * 32);
}

#[test]
fn removed_peer_is_silent_and_can_return() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    pair.client.host.reaches(&pair.relay.v4());
    pair.relay.wg("set", &format!("peer {} remove", pair.client.public_key)).success();
    assert_eq!(pair.client.host.count_replies(&pair.relay.v4(), 3), 0);
    pair.relay.daemon.configure(&pair.relay.host, &pair.relay.config);
    pair.client.host.reaches(&pair.relay.v4());
}
