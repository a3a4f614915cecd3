//! The tunnel outlives what happens to the network under it.

use std::thread;
use std::time::Duration;

use maybetun_integration_tests::Implementation::WireguardGo;
use maybetun_integration_tests::{MEGABYTE, Network, Pair, Setup, Stream, dump, for_every_pair};

for_every_pair!(
    client_roams_during_a_transfer,
    relay_restarts,
    wire_goes_down_and_up,
    route_goes_away,
    firewall_refuses
);

fn client_roams_during_a_transfer(setup: Setup) {
    let pair = setup.start();
    pair.client.host.reaches(&pair.relay.v4());
    let up = Stream::start(&pair.client.host, &pair.relay.host, pair.relay.inner(5000));
    let down = Stream::start(&pair.relay.host, &pair.client.host, pair.client.inner(5000));
    for number in [9, 10] {
        up.advance(5 * MEGABYTE);
        down.advance(5 * MEGABYTE);
        pair.wire.renumber_left(&pair.client.host, number);
        if setup.client == WireguardGo {
            // It keeps to the source address that it used last until its socket is bound anew, or its timers run out.
            pair.client.wg("set", "listen-port 51820").success();
        }
        up.advance(5 * MEGABYTE);
        down.advance(5 * MEGABYTE);
        let endpoint = &dump(&pair.relay.host, &pair.relay.daemon)[0].endpoint;
        assert_eq!(*endpoint, format!("{}:51820", Network::First.v4(number)));
    }
    up.finish();
    down.finish();
}

fn relay_restarts(setup: Setup) {
    let mut pair = setup.start();
    pair.client.host.reaches(&pair.relay.v4());
    pair.relay.restart();
    // The client notices after 15 s without an answer (whitepaper §6.2, §6.4), and makes a new handshake.
    pair.client.host.reaches(&pair.relay.v4());
    pair.relay.host.reaches(&pair.client.v4());
}

/// Breaks the outer network during a transfer, mends it, and sees the transfer go on.
fn transfer_outlives(setup: &Setup, break_network: impl FnOnce(&Pair), mend_network: impl FnOnce(&Pair)) {
    let pair = setup.start();
    pair.client.host.reaches(&pair.relay.v4());
    let stream = Stream::start(&pair.client.host, &pair.relay.host, pair.relay.inner(5000));
    stream.advance(5 * MEGABYTE);
    break_network(&pair);
    // Long enough for many packets to be sent in vain.
    thread::sleep(Duration::from_secs(1));
    mend_network(&pair);
    stream.advance(5 * MEGABYTE);
    stream.finish();
}

fn wire_goes_down_and_up(setup: Setup) {
    transfer_outlives(
        &setup,
        |pair| drop(pair.client.host.ip(&format!("link set {} down", pair.wire.left))),
        |pair| drop(pair.client.host.ip(&format!("link set {} up", pair.wire.left))),
    );
}

fn route_goes_away(setup: Setup) {
    transfer_outlives(
        &setup,
        |pair| drop(pair.client.host.ip(&format!("route del 192.0.2.0/24 dev {}", pair.wire.left))),
        |pair| drop(pair.client.host.ip(&format!("route add 192.0.2.0/24 dev {} src 192.0.2.1", pair.wire.left))),
    );
}

/// A packet filter that drops what a socket sends makes the call fail with EPERM.
fn firewall_refuses(setup: Setup) {
    let rules = "table inet refuse { chain output { type filter hook output priority 0; udp dport 51820 drop; }; }";
    transfer_outlives(
        &setup,
        |pair| drop(pair.client.host.run_with_input("nft -f -", rules).success()),
        |pair| drop(pair.client.host.run("nft delete table inet refuse").success()),
    );
}
