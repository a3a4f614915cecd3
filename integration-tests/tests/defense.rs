//! Defenses on real tunnels: against other implementations, on the wire, switched at runtime, and hostile ones.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use maybetun_integration_tests::Implementation::{Gotatun, Maybetun, WireguardGo};
use maybetun_integration_tests::{
    Capture, ClientFile, Daemon, Datagram, End, Finished, MEGABYTE, Pair, Setup, Stream, alone, ask, block_and_pause,
    errno, eventually, key_in_hex, maybetun_program, metronome, run, runaway, status_json, value_of,
};
use serde_json::Value;

/// MTU of the tunnels here, and what a packet of constant size is on the wire.
const MTU: usize = 1_420;
const CONSTANT: usize = MTU + 32;

/// The client's outer address.
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Runs `maybetun defense IFACE LINE` at `end`.
fn defense(end: &End, line: &str) -> Finished {
    let mut command = end.host.command(maybetun_program());
    run(command.args(["defense", end.daemon.interface()]).args(line.split_whitespace()), "")
}

/// Runs machines at `end`, by the keys that gotatun documents.
fn enable(end: &End, peer: &End, machines: &[String]) -> String {
    let lines: String = machines.iter().map(|machine| format!("daita_machine={machine}\n")).collect();
    let request = format!(
        "set=1\npublic_key={}\nupdate_only=true\ndaita_enable=1\n{lines}daita_max_delayed_packets=1024\n\
         daita_min_delay_capacity=50\ndaita_max_decoy_frac=0\ndaita_max_delay_frac=0\n\n",
        key_in_hex(&peer.public_key)
    );
    ask(&end.daemon, &request)
}

/// The defense that a maybetun shows for its only peer.
fn shown(end: &End) -> Value {
    status_json(&end.host, end.daemon.interface())["peers"][0]["defense"].take()
}

fn count(defense: &Value, member: &str) -> u64 {
    defense[member].as_u64().unwrap_or_else(|| panic!("no {member} in {defense}"))
}

/// Packets that came out of the tunnel of `end`.
fn delivered(end: &End) -> u64 {
    let path = format!("/sys/class/net/{}/statistics/rx_packets", end.daemon.interface());
    // Only a process of the namespace's own mount sees its interfaces there.
    end.host.run(&format!("cat {path}")).success().trim().parse().unwrap()
}

/// Waits until the last acknowledgements of transfers have come out of the tunnel.
fn settled(pair: &Pair) {
    let mut before = None;
    eventually("the tunnel is idle", Duration::from_secs(60), || {
        let now = Some([&pair.client, &pair.relay].map(delivered));
        let is_idle = now == before;
        before = now;
        thread::sleep(Duration::from_secs(1));
        is_idle
    });
}

/// Transfers both ways at once through a tunnel.
fn transfer(pair: &Pair) {
    let up = Stream::start(&pair.client.host, &pair.relay.host, pair.relay.inner(5000));
    let down = Stream::start(&pair.relay.host, &pair.client.host, pair.client.inner(5000));
    up.advance(2 * MEGABYTE);
    down.advance(2 * MEGABYTE);
    up.finish();
    down.finish();
}

/// Pads at both ends every 10 ms, and checks that both know padding from data.
fn daita_at_both_ends(setup: &Setup) {
    let pair = Setup { daita: Some(metronome(10_000.0)), ..setup.clone() }.start();
    pair.client.host.reaches(&pair.relay.v4());
    pair.client.host.reaches(&pair.relay.v6());
    pair.relay.host.reaches(&pair.client.v4());
    transfer(&pair);

    let padding =
        |end: &End| -> u64 { value_of(&ask(&end.daemon, "get=1\n\n"), "daita_rx_decoy_packet_bytes").unwrap() };
    let ends = [&pair.client, &pair.relay];
    settled(&pair);
    let before = ends.map(|end| (padding(end), delivered(end)));
    for (end, (padding_before, _)) in ends.into_iter().zip(before) {
        eventually("padding arrives", Duration::from_secs(60), || padding(end) > padding_before + 50 * MTU as u64);
    }
    for (end, (_, delivered_before)) in ends.into_iter().zip(before) {
        assert_eq!(delivered(end), delivered_before, "padding came out of the tunnel");
    }
    pair.client.host.reaches(&pair.relay.v4());
}

#[test]
fn daita_with_gotatun_as_relay() {
    daita_at_both_ends(&Setup::between(Maybetun, Gotatun));
}

#[test]
fn daita_with_gotatun_as_client() {
    daita_at_both_ends(&Setup::between(Gotatun, Maybetun));
}

#[test]
fn daita_between_maybetuns() {
    daita_at_both_ends(&Setup::between(Maybetun, Maybetun));
}

#[test]
fn a_plain_peer_drops_padding_quietly() {
    let pair = Setup::between(Maybetun, WireguardGo).start();
    pair.client.host.reaches(&pair.relay.v4());
    assert_eq!(errno(&enable(&pair.client, &pair.relay, &[metronome(10_000.0)])), 0);
    pair.client.host.reaches(&pair.relay.v4());
    transfer(&pair);
    settled(&pair);
    let (before, delivered_before) = (count(&shown(&pair.client), "padding_sent_packets"), delivered(&pair.relay));
    eventually("padding is sent", Duration::from_secs(60), || {
        count(&shown(&pair.client), "padding_sent_packets") > before + 200
    });
    assert_eq!(delivered(&pair.relay), delivered_before, "padding came out of the tunnel");
    let status = status_json(&pair.client.host, pair.client.daemon.interface());
    assert_eq!(status["peers"][0]["handshakes"], 1, "padding needs no handshake: {status}");
    pair.relay.host.reaches(&pair.client.v4());
}

#[test]
fn a_defense_is_switched_during_a_transfer() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    pair.client.host.reaches(&pair.relay.v4());
    let up = Stream::start(&pair.client.host, &pair.relay.host, pair.relay.inner(5000));
    let down = Stream::start(&pair.relay.host, &pair.client.host, pair.client.inner(5000));
    for name in ["front", "interspace", "constant-size"] {
        for (end, role) in [(&pair.client, "client"), (&pair.relay, "relay")] {
            let said = defense(end, &format!("on {name} --max-padding-frac 0.5")).success();
            assert!(said.trim_end().ends_with(&format!("{name}, as {role}")), "{said}");
        }
        up.advance(2 * MEGABYTE);
        down.advance(2 * MEGABYTE);
        let running = shown(&pair.relay);
        assert_eq!((&running["name"], &running["role"]), (&name.into(), &"relay".into()), "{running}");
        assert_eq!(running["max_padding_frac"], 0.5, "{running}");
        assert!(count(&running, "constant_size_received_bytes") > 0, "{running}");
        let text = defense(&pair.relay, "status").success();
        assert!(text.contains(&format!("defense: {name}, as relay: ")), "{text}");

        for end in [&pair.client, &pair.relay] {
            defense(end, &format!("{} off", other(&pair, end).public_key)).success();
        }
        up.advance(2 * MEGABYTE);
        down.advance(2 * MEGABYTE);
        assert!(shown(&pair.client).is_null());
        assert!(defense(&pair.client, "status").success().contains("defense: off"));
    }
    up.finish();
    down.finish();
    let status = status_json(&pair.client.host, pair.client.daemon.interface());
    assert_eq!(status["peers"][0]["handshakes"], 1, "the session survived: {status}");
}

fn other<'a>(pair: &'a Pair, end: &End) -> &'a End {
    if std::ptr::eq(end, &pair.client) { &pair.relay } else { &pair.client }
}

/// A client and a relay on a wire that shows every datagram, and a capture at the relay.
fn watched() -> (Pair, Capture) {
    let pair = Setup::between(Maybetun, Maybetun).start();
    pair.wire.split_segments(&pair.client.host, &pair.relay.host);
    pair.client.host.reaches(&pair.relay.v4());
    let capture = Capture::start(&pair.relay.host, &pair.wire.right);
    (pair, capture)
}

fn from_client(datagrams: &[Datagram]) -> Vec<Datagram> {
    datagrams.iter().copied().filter(|datagram| datagram.source == CLIENT).collect()
}

#[test]
fn every_packet_has_one_size() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    pair.wire.split_segments(&pair.client.host, &pair.relay.host);
    pair.client.host.reaches(&pair.relay.v4());
    for end in [&pair.client, &pair.relay] {
        defense(end, "on front").success();
    }
    let capture = Capture::start(&pair.relay.host, &pair.wire.right);
    for payload in (1..=1_392).step_by(107) {
        pair.client.host.ping_sized(&pair.relay.v4(), payload);
    }
    transfer(&pair);
    pair.client.wg("set", &format!("peer {} persistent-keepalive 1", pair.relay.public_key)).success();
    thread::sleep(Duration::from_secs(3));
    let datagrams = capture.finish();
    let data: Vec<_> = datagrams.iter().filter(|datagram| datagram.is_data).collect();
    assert!(data.len() > 4_000, "{} packets", data.len());
    let odd: Vec<_> = data.iter().filter(|datagram| datagram.length != CONSTANT).take(10).collect();
    assert!(odd.is_empty(), "{odd:?}");
}

#[test]
fn a_metronome_is_seen_on_the_wire() {
    let (pair, capture) = watched();
    assert_eq!(errno(&enable(&pair.client, &pair.relay, &[metronome(20_000.0)])), 0);
    pair.client.host.reaches(&pair.relay.v4());
    eventually("200 beats", Duration::from_secs(60), || count(&shown(&pair.client), "padding_sent_packets") >= 200);
    let beats = from_client(&capture.finish());
    let beats: Vec<_> = beats.iter().filter(|datagram| datagram.length == CONSTANT).skip(5).collect();
    let (first, last) = (beats.first().unwrap().at, beats.last().unwrap().at);
    let mean = (last - first).as_secs_f64() / (beats.len() - 1) as f64;
    // What does not drift is as exact as its ends are: a late beat is not made up for by the next.
    assert!((0.0199..0.0201).contains(&mean), "{mean} s between {} beats", beats.len());
}

#[test]
fn a_metronome_neither_drifts_nor_skips() {
    let _heavy = alone();
    let (pair, capture) = watched();
    defense(&pair.client, "on metronome").success();
    pair.client.host.reaches(&pair.relay.v4());
    eventually("15,000 beats", Duration::from_secs(120), || {
        count(&shown(&pair.client), "padding_sent_packets") >= 15_000
    });
    let beats = from_client(&capture.finish());
    let beats: Vec<_> = beats.iter().filter(|datagram| datagram.length == CONSTANT).skip(100).collect();
    let times: Vec<f64> = beats.iter().map(|beat| (beat.at - beats[0].at).as_secs_f64()).collect();
    let rate = 1.0 / slope(&times);
    assert!((999.5..=1_000.5).contains(&rate), "{rate} a second over {} beats", times.len());
}

/// Returns the mean step of `times`, by least squares: a late beat here or there hardly moves it.
fn slope(times: &[f64]) -> f64 {
    let count = times.len() as f64;
    let (middle, mean) = ((count - 1.0) / 2.0, times.iter().sum::<f64>() / count);
    let offsets = || (0..times.len()).map(|index| index as f64 - middle);
    let covariance: f64 = offsets().zip(times).map(|(offset, time)| offset * (time - mean)).sum();
    covariance / offsets().map(|offset| offset * offset).sum::<f64>()
}

/// Sends UDP through the tunnel as fast as it goes until it is dropped.
struct UdpFlood {
    stop: Arc<AtomicBool>,
    sent: maybetun_integration_tests::Background<u64>,
}

impl UdpFlood {
    fn start(pair: &Pair) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, target) = (Arc::clone(&stop), pair.relay.inner(9));
        let sent = pair.client.host.spawn(move || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            let mut sent = 0;
            while !stopped.load(Ordering::Relaxed) {
                // A full queue is an error here, and what a flood is about.
                sent += u64::from(socket.send_to(&[0; 1_200], target).is_ok());
                // Some 40 Mbit/s.
                if sent % 8 == 0 {
                    thread::sleep(Duration::from_millis(2));
                }
            }
            sent
        });
        Self { stop, sent }
    }

    fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.sent.finish()
    }
}

#[test]
fn nothing_leaves_while_blocked_under_a_flood() {
    let (pair, capture) = watched();
    pair.relay.host.run("sysctl -q net.ipv4.icmp_ratelimit=0").success();
    assert_eq!(errno(&enable(&pair.client, &pair.relay, &[block_and_pause(200_000.0, 200_000.0)])), 0);
    let flood = UdpFlood::start(&pair);
    eventually("ten windows", Duration::from_secs(120), || count(&shown(&pair.client), "blocking_actions") >= 10);
    assert!(flood.finish() > 1_000);
    let sent = from_client(&capture.finish());
    let gaps: Vec<Duration> = sent.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    // A datagram inside a window would split its gap in two.
    let windows = gaps.iter().filter(|gap| **gap >= Duration::from_millis(180)).count();
    let split: Vec<_> = gaps.iter().filter(|gap| (60..180).contains(&gap.as_millis())).collect();
    assert!(windows >= 9, "{windows} windows without a datagram among {} datagrams", sent.len());
    assert!(split.is_empty(), "{split:?}");
    defense(&pair.client, "off").success();
    pair.client.host.reaches(&pair.relay.v4());
}

#[test]
fn hostile_machines_are_refused_and_change_nothing() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    pair.client.host.reaches(&pair.relay.v4());
    let good = metronome(10_000.0);
    let hostile = [
        String::new(),
        "02".to_owned(),
        good[..good.len() / 2].to_owned(),
        format!("01{}", &good[2..]),
        format!("{good}AAAA"),
        good.replace('e', "!"),
        "02".to_owned() + &"A".repeat(60_000),
    ];
    for machine in hostile {
        let request = format!(
            "set=1\nlisten_port=1\npublic_key={}\ndaita_enable=1\ndaita_machine={machine}\n\n",
            key_in_hex(&pair.relay.public_key)
        );
        assert_eq!(errno(&ask(&pair.client.daemon, &request)), 22, "{machine:.40}");
        let status = status_json(&pair.client.host, pair.client.daemon.interface());
        assert!(status["peers"][0]["defense"].is_null() && status["listen_port"] == 51820, "{status}");
    }
    pair.client.host.reaches(&pair.relay.v4());
}

#[test]
fn a_runaway_machine_is_bounded_and_can_be_switched_off() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    pair.client.host.reaches(&pair.relay.v4());
    assert_eq!(errno(&enable(&pair.client, &pair.relay, &[runaway(), block_and_pause(0.0, 0.0)])), 0);
    pair.client.host.count_replies(&pair.relay.v4(), 5);
    eventually("the cap holds it", Duration::from_secs(60), || count(&shown(&pair.client), "actions_capped") > 0);
    let started = std::time::Instant::now();
    let before = count(&shown(&pair.client), "padding_actions");
    thread::sleep(Duration::from_secs(3));
    let actions = count(&shown(&pair.client), "padding_actions") - before;
    let cap = count(&shown(&pair.client), "max_actions_per_second");
    let seconds = started.elapsed().as_secs() + 2;
    assert!(actions <= cap * seconds, "{actions} actions in {seconds} s, at most {cap} a second");
    defense(&pair.client, "off").success();
    assert!(shown(&pair.client).is_null());
    pair.client.host.reaches(&pair.relay.v4());
}

#[test]
fn a_file_switches_its_defense_on() {
    let file = ClientFile::new("10.9.0.0/24, fd09::/64", "");
    file.write(&format!("{}Defense = front\nDefenseMaxPaddingFrac = 0.5\n", file.read()));
    let daemon = up(&file);
    file.assert_up();
    let running = status_json(&file.client, &file.interface)["peers"][0]["defense"].take();
    assert_eq!((&running["name"], &running["role"]), (&"front".into(), &"client".into()), "{running}");
    assert_eq!(running["max_padding_frac"], 0.5, "{running}");
    assert!(count(&running, "constant_size_sent_bytes") > 0, "{running}");
    daemon.terminate();
    file.assert_gone();
}

#[test]
fn a_tunnel_does_not_start_without_its_defense() {
    for line in ["Defense = fornt", "Defense = ./missing.toml", "Defense = front\nDefenseMaxPaddingFrac = 2"] {
        let file = ClientFile::new("10.9.0.0/24", "");
        file.write(&format!("{}{line}\n", file.read()));
        for subcommand in ["check", "up"] {
            let mut command = file.client.command(maybetun_program());
            let finished = run(command.arg(subcommand).arg(file.path()), "");
            assert_eq!(finished.code, Some(3), "{subcommand}: {finished:#?}");
            assert!(finished.stderr.contains("Defense"), "{finished:#?}");
        }
        file.assert_gone();
    }
}

fn up(file: &ClientFile) -> Daemon {
    let mut command = file.client.command(maybetun_program());
    Daemon::spawn(command.arg("up").arg(file.path()), &file.interface)
}
