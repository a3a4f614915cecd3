//! The size of a tunnel's packets follows the path, whoever tells of it, lies of it, or tells nothing.

use std::time::Duration;

use maybetun_integration_tests::Implementation::{self, Maybetun, WireguardGo};
use maybetun_integration_tests::{
    Capture, Datagram, End, MEGABYTE, Narrow, Outer, Stream, ask, defense, errno, eventually, key_in_hex, shown_peer,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes around a packet of the tunnel's: the IP and UDP headers, and WireGuard's own.
fn overhead(outer: Outer) -> usize {
    match outer {
        Outer::V4 => 20 + 8 + 32,
        Outer::V6 => 40 + 8 + 32,
    }
}

/// Has both clients agree with the relay on a defense.
#[track_caller]
fn agree(narrow: &Narrow) {
    for client in [&narrow.client, &narrow.neighbour] {
        let key = key_in_hex(&client.public_key);
        let request = format!("set=1\npublic_key={key}\nupdate_only=true\nmaybetun_ephemeral=size\n\n");
        assert_eq!(errno(&ask(&narrow.relay.daemon, &request)), 0);
        defense(client, "on ephemeral --tier size").success();
    }
    for end in [&narrow.client, &narrow.neighbour] {
        eventually("both ends agree", PATIENCE, || shown_peer(end)["protection"] == "protected");
    }
}

/// What an end logs of a path of `mtu` bytes.
fn line(outer: Outer, mtu: usize) -> String {
    format!("the path to the peer takes {mtu} bytes: packets in the tunnel have at most {}", mtu - overhead(outer))
}

/// Waits until an end has said last that the path takes `mtu` bytes.
#[track_caller]
fn says(end: &End, outer: Outer, mtu: usize) {
    eventually(&format!("{mtu} bytes are said"), PATIENCE, || {
        // The system is asked as something is sent.
        end.host.run("ping -n -q -c 1 -W 1 10.9.0.2");
        end.host.run("ping -n -q -c 1 -W 1 10.9.0.1");
        let log = end.daemon.log();
        log.lines()
            .rfind(|line| line.contains("the path to the peer takes"))
            .is_some_and(|said| said.contains(&line(outer, mtu)))
    });
}

/// Transfers a megabyte each way.
#[track_caller]
fn transfer(client: &End, relay: &End) {
    let up = Stream::start(&client.host, &relay.host, relay.inner(5000));
    up.advance(MEGABYTE);
    up.finish();
    let down = Stream::start(&relay.host, &client.host, client.inner(5000));
    down.advance(MEGABYTE);
    down.finish();
}

/// Pings with more than the path takes. Who sends the first learns that by its loss, as on any path; from then on none is lost.
#[track_caller]
fn ping_largest(from: &End, address: &str) {
    let pings = format!("ping -n -q -c 8 -i 0.05 -W 2 -M dont -s 1392 {address}");
    eventually("all large packets arrive", PATIENCE, || from.host.run(&pings).stdout.contains("8 received"));
}

fn data(captured: Vec<Datagram>) -> Vec<Datagram> {
    captured.into_iter().filter(|datagram| datagram.is_data() || datagram.is_fragment()).collect()
}

/// Asserts that all that crosses the middle has the one size of a path of `mtu` bytes, while there are transfers both ways.
#[track_caller]
fn one_size_crosses(narrow: &Narrow, mtu: usize) {
    let capture = Capture::start(&narrow.near, &narrow.middle.left);
    transfer(&narrow.client, &narrow.relay);
    let data = data(capture.finish());
    let others: Vec<_> = data.iter().filter(|one| one.ip.total_length != mtu || one.is_fragment()).take(3).collect();
    assert!(data.len() > 1_000 && others.is_empty(), "of {}: {others:#?}", data.len());
}

#[track_caller]
fn a_defended_tunnel_follows(outer: Outer, mtu: u16) {
    let narrow = Narrow::start(Maybetun, Maybetun, outer, mtu, false);
    agree(&narrow);
    ping_largest(&narrow.client, &narrow.relay.v4());
    for end in [&narrow.client, &narrow.relay] {
        says(end, outer, mtu.into());
    }
    one_size_crosses(&narrow, mtu.into());
    ping_largest(&narrow.client, &narrow.relay.v4());
    // The relay's other client has the size that it had.
    assert!(!narrow.neighbour.daemon.log().contains("the path to the peer takes"));
    narrow.neighbour.host.ping_sized(&narrow.relay.v4(), 1_392);
}

/// Whatever the relay is.
#[track_caller]
fn a_tunnel_without_a_defense_follows(relay: Implementation, outer: Outer, mtu: u16) {
    let narrow = Narrow::start(Maybetun, relay, outer, mtu, false);
    narrow.client.host.reaches(&narrow.relay.v4());
    ping_largest(&narrow.client, &narrow.relay.v4());
    says(&narrow.client, outer, mtu.into());
    if relay == Maybetun {
        says(&narrow.relay, outer, mtu.into());
    }
    let capture = Capture::start(&narrow.near, &narrow.middle.left);
    transfer(&narrow.client, &narrow.relay);
    let client = narrow.client_address();
    let data = data(capture.finish());
    let is_ours = |one: &&Datagram| one.source == client || relay == Maybetun;
    let cut: Vec<_> = data.iter().filter(is_ours).filter(|one| one.is_fragment()).take(3).collect();
    assert!(data.len() > 1_000 && cut.is_empty(), "of {}: {cut:#?}", data.len());
    narrow.neighbour.host.ping_sized(&narrow.relay.v4(), 1_392);
}

#[test]
fn a_tunnel_without_a_defense_follows_a_narrow_link() {
    for (outer, mtu) in [(Outer::V6, 1_280), (Outer::V6, 1_400), (Outer::V4, 1_400), (Outer::V4, 1_280)] {
        a_tunnel_without_a_defense_follows(Maybetun, outer, mtu);
    }
}

#[test]
fn a_tunnel_to_another_wireguard_follows_a_narrow_link() {
    for outer in [Outer::V4, Outer::V6] {
        a_tunnel_without_a_defense_follows(WireguardGo, outer, 1_400);
    }
}

#[test]
fn forged_messages_change_nothing_for_a_defended_tunnel() {
    for outer in [Outer::V4, Outer::V6] {
        let narrow = Narrow::start(Maybetun, Maybetun, outer, 1_500, false);
        agree(&narrow);
        narrow.client.host.ping_sized(&narrow.relay.v4(), 1_392);
        for number in [1, 2] {
            narrow.lie_to(number, 1_280);
        }
        // The system believes it.
        for (end, peer) in [(&narrow.client, narrow.relay_address()), (&narrow.relay, narrow.client_address())] {
            let route = end.host.ip(&format!("route get {peer}"));
            assert!(route.contains("mtu 1280"), "{route}");
        }
        let whole = || {
            let capture = Capture::start(&narrow.near, &narrow.middle.left);
            ping_largest(&narrow.client, &narrow.relay.v4());
            let data = data(capture.finish());
            data.len() >= 16 && data.iter().all(|one| one.ip.total_length == 1_420 + overhead(outer))
        };
        eventually("all datagrams are whole again", PATIENCE, whole);
        for end in [&narrow.client, &narrow.relay] {
            assert!(!end.daemon.log().contains("the path to the peer takes"), "{}", end.daemon.log());
        }
    }
}

#[test]
fn forged_messages_do_no_more_than_a_path_of_1280_to_a_tunnel_without_a_defense() {
    for outer in [Outer::V4, Outer::V6] {
        let narrow = Narrow::start(Maybetun, Maybetun, outer, 1_500, false);
        narrow.client.host.reaches(&narrow.relay.v4());
        for mtu in [1_280, 600, 0] {
            narrow.lie_to(1, mtu);
        }
        says(&narrow.client, outer, 1_280);
        transfer(&narrow.client, &narrow.relay);
    }
}

/// The routers say nothing of packets that are too large, and drop fragments.
#[track_caller]
fn a_black_hole_is_found_out(outer: Outer, mtu: u16) {
    let narrow = Narrow::start(Maybetun, Maybetun, outer, mtu, false);
    narrow.be_silent();
    narrow.drop_fragments();
    agree(&narrow);
    // From the least on it goes up by halves.
    let is_found = |end: &End| path_mtu(end).is_some_and(|found| (u64::from(mtu) - 8..=mtu.into()).contains(&found));
    eventually("the client knows the path", PATIENCE, || is_found(&narrow.client));
    transfer(&narrow.client, &narrow.relay);
    let of_client = path_mtu(&narrow.client).unwrap_or_default();
    one_size_crosses(&narrow, of_client as usize);
    ping_largest(&narrow.client, &narrow.relay.v4());
}

/// Returns what an end with one peer shows of the path.
#[track_caller]
fn path_mtu(end: &End) -> Option<u64> {
    shown_peer(end)["path_mtu"].as_u64()
}

#[test]
fn a_black_hole_over_ipv6_is_found_out() {
    a_black_hole_is_found_out(Outer::V6, 1_400);
}

#[test]
fn a_black_hole_over_ipv4_is_found_out() {
    a_black_hole_is_found_out(Outer::V4, 1_400);
}

#[test]
fn a_path_that_narrows_under_a_transfer_is_followed() {
    let narrow = Narrow::start(Maybetun, Maybetun, Outer::V6, 1_500, false);
    agree(&narrow);
    let up = Stream::start(&narrow.client.host, &narrow.relay.host, narrow.relay.inner(5000));
    let down = Stream::start(&narrow.relay.host, &narrow.client.host, narrow.client.inner(5000));
    for mtu in [1_492, 1_400] {
        up.advance(MEGABYTE);
        down.advance(MEGABYTE);
        narrow.set_mtu(mtu);
        for end in [&narrow.client, &narrow.relay] {
            says(end, Outer::V6, mtu.into());
        }
    }
    up.advance(MEGABYTE);
    down.advance(MEGABYTE);
    up.finish();
    down.finish();
    one_size_crosses(&narrow, 1_400);
    assert_eq!(path_mtu(&narrow.client), Some(1_400));
    assert_eq!(path_mtu(&narrow.neighbour), None);
}

#[test]
fn the_least_packets_of_ipv6_pass_where_the_path_has_no_room_for_them() {
    for is_defended in [true, false] {
        let narrow = Narrow::start(Maybetun, Maybetun, Outer::V6, 1_280, true);
        if is_defended {
            agree(&narrow);
        }
        narrow.client.host.reaches(&narrow.relay.v6());
        ping_largest(&narrow.client, &narrow.relay.v4());
        says(&narrow.client, Outer::V6, 1_280 + overhead(Outer::V6));
        narrow.client.host.ping_sized(&narrow.relay.v6(), 1_280 - 48);
        transfer(&narrow.client, &narrow.relay);
    }
}

#[test]
fn a_defended_tunnel_follows_a_link_of_1492_over_ipv6() {
    a_defended_tunnel_follows(Outer::V6, 1_492);
}

#[test]
fn a_defended_tunnel_follows_a_link_of_1400_over_ipv6() {
    a_defended_tunnel_follows(Outer::V6, 1_400);
}

#[test]
fn a_defended_tunnel_follows_a_link_of_1280_over_ipv6() {
    a_defended_tunnel_follows(Outer::V6, 1_280);
}

#[test]
fn a_defended_tunnel_follows_a_link_of_1400_over_ipv4() {
    a_defended_tunnel_follows(Outer::V4, 1_400);
}

#[test]
fn a_defended_tunnel_follows_a_link_of_1280_over_ipv4() {
    a_defended_tunnel_follows(Outer::V4, 1_280);
}
