//! Ends that agree on a defense: with each other, with peers that know nothing of it, and as an observer sees it.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use maybetun_integration_tests::Implementation::{Gotatun, Maybetun, WireguardGo};
use maybetun_integration_tests::{
    Capture, ClientFile, Daemon, End, Implementation, MEGABYTE, Pair, Setup, Star, Stream, alone, count, defense,
    eventually, maybetun_program, run, shown_peer, status_json,
};
use serde_json::Value;

/// What a packet of constant size is on the wire, at the tunnels' MTU of 1420.
const CONSTANT: usize = 1_420 + 32;

/// Renewals under load.
const RENEWALS: u64 = 100;

const PATIENCE: Duration = Duration::from_secs(120);

/// What both ends of a connection show of their agreement.
fn epoch(end: &End) -> Value {
    shown_peer(end)["negotiation"]["epoch"].take()
}

/// Waits until both ends are protected and show the same epoch, and returns it.
#[track_caller]
fn agreed(client: &End, relay: &End) -> Value {
    let of = |end: &End| {
        let epoch = epoch(end);
        ["number", "fingerprint", "digest"].map(|member| epoch[member].clone())
    };
    eventually("both ends agree", PATIENCE, || {
        let shown = of(client);
        shown[0].is_u64() && shown == of(relay)
    });
    // Each has yet to hear that the other runs it, where that is required.
    eventually("both are protected", PATIENCE, || {
        [client, relay].iter().all(|end| shown_peer(end)["protection"] == "protected")
    });
    epoch(client)
}

fn on(pair: &Pair, line: &str) {
    for end in [&pair.relay, &pair.client] {
        defense(end, &format!("on ephemeral {line}")).success();
    }
}

#[test]
fn both_ends_renew_a_hundred_times_under_load() {
    let _heavy = alone();
    let pair = Setup::between(Maybetun, Maybetun).start();
    on(&pair, "--negotiation require");
    let mut fingerprint = agreed(&pair.client, &pair.relay)["fingerprint"].clone();
    let up = Stream::start(&pair.client.host, &pair.relay.host, pair.relay.inner(5000));
    let down = Stream::start(&pair.relay.host, &pair.client.host, pair.client.inner(5000));
    for _ in 0..RENEWALS {
        assert!(defense(&pair.client, "renew").success().ends_with(": renewed\n"));
        eventually("another epoch", PATIENCE, || epoch(&pair.client)["fingerprint"] != fingerprint);
        fingerprint = epoch(&pair.client)["fingerprint"].clone();
    }
    up.advance(MEGABYTE);
    down.advance(MEGABYTE);
    up.finish();
    down.finish();
    agreed(&pair.client, &pair.relay);
    for end in [&pair.client, &pair.relay] {
        let peer = shown_peer(end);
        assert_eq!(peer["negotiation"]["renewals"], RENEWALS, "{peer:#}");
        let dropped = ["unprotected", "malformed"].map(|member| peer["dropped"][member].clone());
        assert_eq!(dropped, [0, 0], "{peer:#}");
    }
}

#[test]
fn the_relay_renews_too_or_says_why_not() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    defense(&pair.relay, "on ephemeral").success();
    pair.client.host.reaches(&pair.relay.v4());
    let refused = defense(&pair.relay, "renew").failure();
    assert!(refused.contains("not renewed: nothing is agreed on"), "{refused}");
    defense(&pair.client, "on ephemeral").success();
    let first = agreed(&pair.client, &pair.relay);
    assert!(defense(&pair.relay, "renew").success().ends_with(": renewed\n"));
    eventually("another epoch", PATIENCE, || epoch(&pair.relay)["fingerprint"] != first["fingerprint"]);
    agreed(&pair.client, &pair.relay);
    // A peer that is not asked cannot be asked anew.
    defense(&pair.relay, "on ephemeral --negotiation off").success();
    let refused = defense(&pair.relay, "renew").failure();
    assert!(refused.contains("not renewed: the peer is not asked"), "{refused}");
}

#[test]
fn fifty_clients_each_agree_with_one_relay() {
    let _heavy = alone();
    let Star { relay, clients, .. } = Star::start(Maybetun, 50);
    for client in &clients {
        defense(&relay, &format!("{} on ephemeral --tier blocking", client.public_key)).success();
        defense(client, "on ephemeral --tier blocking").success();
    }
    let shown = || status_json(&relay.host, relay.daemon.interface())["peers"].take();
    eventually("the relay agrees with all", PATIENCE, || {
        shown().as_array().unwrap().iter().all(|peer| peer["protection"] == "protected")
    });
    let peers = shown();
    let fingerprints: HashSet<_> = peers.as_array().unwrap().iter().map(|peer| fingerprint(peer).to_owned()).collect();
    assert_eq!(fingerprints.len(), clients.len(), "each has a seed of its own");
    for client in &clients {
        client.host.reaches(&relay.v4());
        assert!(fingerprints.contains(fingerprint(&shown_peer(client))));
    }
}

fn fingerprint(peer: &Value) -> &str {
    peer["negotiation"]["epoch"]["fingerprint"].as_str().unwrap_or_else(|| panic!("nothing is agreed on: {peer:#}"))
}

#[test]
fn a_relay_that_is_restarted_in_the_middle_is_agreed_with_anew() {
    let mut pair = Setup::between(Maybetun, Maybetun).start();
    let mut seen = HashSet::new();
    // Before the client calls, while it does, and after both agreed.
    for pause in [0, 30, 100, 1_000] {
        on(&pair, "");
        pair.client.host.count_replies(&pair.relay.v4(), 1);
        thread::sleep(Duration::from_millis(pause));
        pair.relay.restart();
        defense(&pair.relay, "on ephemeral").success();
        pair.client.host.reaches(&pair.relay.v4());
        let epoch = agreed(&pair.client, &pair.relay);
        assert!(seen.insert(epoch["fingerprint"].as_str().unwrap().to_owned()));
    }
    assert_eq!(seen.len(), 4);
}

/// A peer that never answers is talked to all the same, and the user is told.
fn a_silent_peer_leaves_this_end_alone(peer: Implementation) {
    let pair = Setup::between(Maybetun, peer).start();
    defense(&pair.client, "on ephemeral --strength low").success();
    pair.client.host.reaches(&pair.relay.v4());
    assert_eq!(shown_peer(&pair.client)["protection_cause"], "negotiating");
    eventually("the client gives up", PATIENCE, || shown_peer(&pair.client)["protection_cause"] == "unanswered");
    let shown = shown_peer(&pair.client);
    assert_eq!((&shown["protection"], &shown["defense"]["machines"]), (&"one-sided".into(), &1.into()), "{shown:#}");
    pair.client.host.reaches(&pair.relay.v6());
    pair.relay.host.reaches(&pair.client.v4());
    let text = defense(&pair.client, "status").success();
    assert!(text.contains("protection: one-sided: the peer does not answer"), "{text}");
}

#[test]
fn gotatun_never_answers() {
    a_silent_peer_leaves_this_end_alone(Gotatun);
}

#[test]
fn wireguard_go_never_answers() {
    a_silent_peer_leaves_this_end_alone(WireguardGo);
}

#[test]
fn what_is_required_of_a_silent_peer_lets_nothing_leave() {
    let pair = Setup::between(Maybetun, WireguardGo).start();
    pair.client.host.reaches(&pair.relay.v4());
    defense(&pair.client, "on ephemeral --negotiation require").success();
    let received =
        || pair.relay.host.run(&format!("cat /sys/class/net/{}/statistics/rx_packets", pair.relay.daemon.interface()));
    let before = received().success();
    assert_eq!(pair.client.host.count_replies(&pair.relay.v4(), 3), 0);
    eventually("the client gives up", PATIENCE, || shown_peer(&pair.client)["protection_cause"] == "unanswered");
    assert_eq!(pair.client.host.count_replies(&pair.relay.v4(), 3), 0);
    assert_eq!(received().success(), before, "something left");
    let shown = shown_peer(&pair.client);
    assert_eq!(shown["protection"], "not-protected", "{shown:#}");
    assert!(count(&shown["dropped"], "unprotected") >= 3, "{shown:#}");
    defense(&pair.client, "off").success();
    pair.client.host.reaches(&pair.relay.v4());
}

#[test]
fn a_file_asks_for_agreement() {
    let file = ClientFile::new("10.9.0.0/24, fd09::/64", "");
    defense(&file.relay, "on ephemeral").success();
    let lines = "Defense = ephemeral\nDefenseTier = blocking\nDefenseStrength = low\nNegotiation = require\n";
    file.write(&format!("{}{lines}", file.read()));
    let mut command = file.client.command(maybetun_program());
    let daemon = Daemon::spawn(command.arg("up").arg(file.path()), &file.interface);
    // Nothing is sent: the client calls by itself.
    eventually("it is protected", PATIENCE, || shown_peer(&file.relay)["protection"] == "protected");
    file.assert_up();
    let peer = status_json(&file.client, &file.interface)["peers"][0].take();
    let epoch = &peer["negotiation"]["epoch"];
    assert_eq!((&epoch["tier"], &epoch["strength"]), (&"blocking".into(), &"low".into()), "{peer:#}");
    daemon.terminate();
    file.assert_gone();
}

#[test]
fn what_is_said_beside_the_wrong_defense_is_refused() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    for line in ["on front --tier size", "renew", "on ephemeral --tier most"] {
        let finished = defense(&pair.client, line);
        assert_eq!(finished.code, Some(2), "{line}: {finished:#?}");
    }
}

#[test]
fn an_observer_cannot_tell_an_agreement_from_padding() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    pair.wire.split_segments(&pair.client.host, &pair.relay.host);
    let capture = Capture::start(&pair.relay.host, &pair.wire.right);
    // Without machines there is nothing on the wire but the handshake and what is said to agree.
    on(&pair, "--tier size --negotiation require");
    let mut fingerprint = agreed(&pair.client, &pair.relay)["fingerprint"].clone();
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(700));
        defense(&pair.client, "renew").success();
        eventually("another epoch", PATIENCE, || epoch(&pair.client)["fingerprint"] != fingerprint);
        fingerprint = epoch(&pair.client)["fingerprint"].clone();
    }
    let datagrams = capture.finish();
    let data: Vec<_> = datagrams.iter().filter(|datagram| datagram.is_data()).collect();
    assert!(data.len() >= 50, "{} packets", data.len());
    assert!(data.iter().all(|datagram| datagram.length == CONSTANT), "{data:#?}");
    // Within an exchange each message follows on the last by chance, 25 ms on average.
    let gaps: Vec<_> = data.windows(2).map(|pair| pair[1].at.saturating_sub(pair[0].at)).collect();
    let gaps: Vec<_> = gaps.iter().map(Duration::as_millis).filter(|gap| *gap < 200).collect();
    let distinct: HashSet<_> = gaps.iter().collect();
    assert!(distinct.len() >= 15, "{gaps:?}");
    assert!(gaps.iter().filter(|gap| **gap < 2).count() < gaps.len() / 3, "{gaps:?}");
}

#[test]
fn a_program_may_show_the_same_as_json_and_as_text() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    on(&pair, "--strength high");
    let epoch = agreed(&pair.client, &pair.relay);
    let mut command = pair.client.host.command(maybetun_program());
    let text = run(command.args(["status", pair.client.daemon.interface()]), "").success();
    for line in [
        "protection: both ends run a defense that only they know".to_owned(),
        "negotiation: prefer, padding, high, anew after 1 hour".to_owned(),
        format!("seed fingerprint: {}", epoch["fingerprint"].as_str().unwrap()),
        format!("defense digest: {}", epoch["digest"].as_str().unwrap()),
    ] {
        assert!(text.contains(&line), "{line} in {text}");
    }
}
