//! The one size of a defense is what both ends take, and what is larger is told to its sender.

use std::time::Duration;

use maybetun_integration_tests::Implementation::Maybetun;
use maybetun_integration_tests::{Capture, MEGABYTE, Outer, Pair, Setup, Stream, defense, eventually, shown_peer};

/// The MTU of the end that takes less, and what its datagrams have.
const LESS: usize = 1_300;
const ONE_SIZE: usize = LESS + 32;

const PATIENCE: Duration = Duration::from_secs(60);

#[track_caller]
fn agree(pair: &Pair) {
    for end in [&pair.relay, &pair.client] {
        defense(end, "on ephemeral --tier size").success();
    }
    for end in [&pair.relay, &pair.client] {
        eventually("both ends agree", PATIENCE, || shown_peer(end)["protection"] == "protected");
    }
}

/// A pair that agreed, whose relay takes less than its client.
#[track_caller]
fn unequal() -> Pair {
    let pair = Setup::between(Maybetun, Maybetun).start();
    pair.relay.host.ip(&format!("link set {} mtu {LESS}", pair.relay.daemon.interface()));
    agree(&pair);
    pair
}

#[test]
fn a_sender_learns_the_mtu_of_the_other_end() {
    let pair = unequal();
    let headers = |version: u8| if version == 4 { 28 } else { 48 };
    for (version, address) in [(4, pair.relay.v4()), (6, pair.relay.v6())] {
        let ping = |payload: usize| pair.client.host.run(&format!("ping -n -c 1 -W 5 -M do -s {payload} {address}"));
        let told = ping(1_420 - headers(version));
        let said = told.stdout.clone() + &told.stderr;
        assert!(said.contains(&format!("{LESS}")), "IPv{version}: {said}");
        ping(LESS - headers(version)).success();
        let route = pair.client.host.ip(&format!("route get {address}"));
        assert!(route.contains(&format!("mtu {LESS}")), "IPv{version}: {route}");
    }
}

#[test]
fn a_transfer_goes_through_at_the_size_of_the_other_end_and_nothing_on_the_wire_is_larger() {
    let pair = unequal();
    let capture = Capture::start(&pair.client.host, &pair.wire.left);
    let up = Stream::start(&pair.client.host, &pair.relay.host, pair.relay.inner(5000));
    let down = Stream::start(&pair.relay.host, &pair.client.host, pair.client.inner(5000));
    up.advance(MEGABYTE);
    down.advance(MEGABYTE);
    up.finish();
    down.finish();
    let data = capture.finish().into_iter().filter(|datagram| datagram.is_data()).collect::<Vec<_>>();
    let others = data.iter().filter(|datagram| datagram.length % ONE_SIZE != 0).count();
    assert!(data.len() > 1_000 && others == 0, "{others} of {}", data.len());
}

#[test]
fn a_datagram_that_may_be_fragmented_arrives() {
    let pair = unequal();
    for _ in 0..3 {
        pair.client.host.run(&format!("ping -n -c 1 -W 10 -M dont -s 1392 {}", pair.relay.v4())).success();
    }
}

#[test]
fn a_user_is_told_once_which_mtu_the_link_takes() {
    for (outer, fitting) in [(Outer::V4, 1_340), (Outer::V6, 1_320)] {
        let pair = Setup { outer, ..Setup::between(Maybetun, Maybetun) }.start();
        for (host, interface) in [(&pair.client.host, &pair.wire.left), (&pair.relay.host, &pair.wire.right)] {
            host.ip(&format!("link set {interface} mtu 1400"));
        }
        agree(&pair);
        let advice = format!("the path to the peer takes 1400 bytes: packets in the tunnel have at most {fitting}");
        let told = || pair.client.daemon.log().matches(&advice).count();
        eventually("the user is told", PATIENCE, || told() > 0);
        // Large packets arrive all the same.
        pair.client.host.run(&format!("ping -n -c 1 -W 10 -M dont -s 1392 {}", pair.relay.v4())).success();
        // Another epoch, and changes of the network that are none.
        pair.client.host.ip("addr add 172.16.0.1/32 dev lo");
        defense(&pair.client, "renew").success();
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(told(), 1, "{}", pair.client.daemon.log());
    }
}

#[test]
fn nobody_is_told_of_a_path_that_takes_what_is_sent() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    agree(&pair);
    pair.client.host.reaches(&pair.relay.v4());
    assert!(!pair.client.daemon.log().contains("the path to the peer takes"), "{}", pair.client.daemon.log());
}
