//! Packets of every kind and size cross the tunnel, whoever is at its other end.

use maybetun_integration_tests::Implementation::{Gotatun, Maybetun};
use maybetun_integration_tests::{Keys, Outer, Setup, dump, for_every_pair, preshared_key, status_json};

for_every_pair!(
    pings_over_ipv4,
    pings_over_ipv6,
    pings_of_every_size,
    smallest_ipv6_mtu,
    jumbo_mtu,
    preshared_keys,
    wrong_preshared_key,
    wrong_public_key,
);

fn pings_over_ipv4(setup: Setup) {
    pings_both_ways(&setup);
}

fn pings_over_ipv6(setup: Setup) {
    pings_both_ways(&Setup { outer: Outer::V6, ..setup });
}

fn pings_both_ways(setup: &Setup) {
    let pair = setup.start();
    pair.client.host.reaches(&pair.relay.v4());
    pair.client.host.reaches(&pair.relay.v6());
    pair.relay.host.reaches(&pair.client.v4());
    pair.relay.host.reaches(&pair.client.v6());
    let peers = dump(&pair.client.host, &pair.client.daemon);
    assert_eq!(peers[0].endpoint, setup.relay_endpoint().to_string());
    assert!(peers[0].latest_handshake > 0 && peers[0].received > 0 && peers[0].sent > 0, "{peers:?}");
}

fn pings_of_every_size(setup: Setup) {
    every_size(&setup);
}

fn smallest_ipv6_mtu(setup: Setup) {
    every_size(&Setup { mtu: 1280, ..setup });
}

fn jumbo_mtu(setup: Setup) {
    // gotatun's buffers hold 4096 bytes with the tunnel's own.
    let mtu = if [setup.client, setup.relay].contains(&Gotatun) { 4000 } else { 9000 };
    every_size(&Setup { mtu, ..setup });
}

/// Pings with payloads from one byte up to what fills the MTU, in steps that are coprime to the padding's 16 bytes.
fn every_size(setup: &Setup) {
    const V4_HEADERS: usize = 20 + 8;
    const V6_HEADERS: usize = 40 + 8;
    let pair = setup.start();
    let mtu = usize::from(setup.mtu);
    let step = if mtu > 1500 { 997 } else { 97 };
    pair.client.host.reaches(&pair.relay.v4());
    for (address, largest) in [(pair.relay.v4(), mtu - V4_HEADERS), (pair.relay.v6(), mtu - V6_HEADERS)] {
        let edges = (1..=4).chain((largest - 17)..=largest);
        for payload in (1..largest).step_by(step).chain(edges) {
            pair.client.host.ping_sized(&address, payload);
        }
        let too_large = format!("ping -n -q -c 1 -W 1 -M do -s {} {address}", largest + 1);
        pair.client.host.run(&too_large).failure();
    }
}

fn preshared_keys(setup: Setup) {
    let key = preshared_key();
    let pair = Setup { preshared_keys: [Some(key.clone()), Some(key)], ..setup }.start();
    pair.client.host.reaches(&pair.relay.v4());
    pair.relay.host.reaches(&pair.client.v4());
}

fn wrong_preshared_key(setup: Setup) {
    let keys = [Some(preshared_key()), Some(preshared_key())];
    let pair = Setup { preshared_keys: keys, ..setup.clone() }.start();
    assert_eq!(pair.client.host.count_replies(&pair.relay.v4(), 10), 0);
    assert_eq!(dump(&pair.client.host, &pair.client.daemon)[0].latest_handshake, 0);

    // Nothing has broken: with the keys taken away, the tunnel comes up.
    for (end, other) in [(&pair.client, &pair.relay), (&pair.relay, &pair.client)] {
        end.wg("set", &format!("peer {} preshared-key /dev/null", other.public_key)).success();
    }
    pair.client.host.reaches(&pair.relay.v4());
}

fn wrong_public_key(setup: Setup) {
    let pair = setup.start();
    pair.client.host.reaches(&pair.relay.v4());
    let stranger = Keys::new();
    // The relay now knows the client by another key.
    pair.relay.wg("set", &format!("peer {} remove", pair.client.public_key)).success();
    pair.relay.wg("set", &format!("peer {} allowed-ips 10.9.0.1/32", stranger.public)).success();
    assert_eq!(pair.client.host.count_replies(&pair.relay.v4(), 10), 0);
    assert_eq!(dump(&pair.relay.host, &pair.relay.daemon)[0].latest_handshake, 0);
    assert_eq!(dump(&pair.client.host, &pair.client.daemon).len(), 1);
}

#[test]
fn status_counts_the_packets() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    pair.client.host.reaches(&pair.relay.v4());
    assert_eq!(pair.client.host.count_replies(&pair.relay.v4(), 5), 5);
    let status = status_json(&pair.relay.host, pair.relay.daemon.interface());
    let peer = &status["peers"][0];
    assert_eq!(peer["public_key"], pair.client.public_key);
    assert!(peer["received_packets"].as_u64().unwrap() >= 6, "{status}");
    assert!(peer["sent_packets"].as_u64().unwrap() >= 6, "{status}");
    assert!(peer["received_bytes"].as_u64().unwrap() >= 6 * 84, "{status}");
    assert_eq!(peer["handshakes"], 1, "{status}");
    let text = status.to_string();
    assert!(!text.contains(&pair.relay.config.private_key), "the private key is hidden: {text}");
}
