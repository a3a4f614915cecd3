//! Defenses as an observer of the wire sees them: sizes, gaps and rates in packet captures.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use maybetun_integration_tests::Implementation::Maybetun;
use maybetun_integration_tests::{
    Capture, Datagram, Pair, Setup, UdpFlood, alone, block_and_pause, count, defense, enable_machines, errno,
    eventually, metronome, shown_defense, transfer,
};

/// What a packet of constant size is on the wire, at the tunnels' MTU of 1420.
const CONSTANT: usize = 1_420 + 32;

/// The client's outer address.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

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
    let data: Vec<_> = datagrams.iter().filter(|datagram| datagram.is_data()).collect();
    assert!(data.len() > 4_000, "{} packets", data.len());
    let odd: Vec<_> = data.iter().filter(|datagram| datagram.length != CONSTANT).take(10).collect();
    assert!(odd.is_empty(), "{odd:?}");
}

#[test]
fn a_metronome_is_seen_on_the_wire() {
    let (pair, capture) = watched();
    assert_eq!(errno(&enable_machines(&pair.client, &pair.relay, &[metronome(20_000.0)])), 0);
    pair.client.host.reaches(&pair.relay.v4());
    eventually("200 beats", Duration::from_secs(60), || {
        count(&shown_defense(&pair.client), "padding_sent_packets") >= 200
    });
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
        count(&shown_defense(&pair.client), "padding_sent_packets") >= 15_000
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

/// How long the machine of the tests below blocks, and how long it then lets everything through.
const WINDOW: Duration = Duration::from_millis(200);

/// The shortest silence that is a whole window: what was handed to the socket as it began may take this much longer.
const SILENCE: Duration = Duration::from_millis(195);

/// Blocks and pauses at the client under a flood of `megabits` a second, and checks that every window is silent.
fn nothing_leaves_while_blocked(megabits: u64) {
    let _heavy = alone();
    let (pair, capture) = watched();
    // What comes back in the windows must not draw anything out either.
    pair.relay.host.run("sysctl -q net.ipv4.icmp_ratelimit=0").success();
    let machine = block_and_pause(WINDOW.as_micros() as f64, WINDOW.as_micros() as f64);
    assert_eq!(errno(&enable_machines(&pair.client, &pair.relay, &[machine])), 0);
    let flood = UdpFlood::start(&pair.client.host, pair.relay.inner(9), megabits * 1_000_000);
    eventually("twenty windows", Duration::from_secs(120), || {
        count(&shown_defense(&pair.client), "blocking_actions") >= 20
    });
    let offered = flood.finish().bits_per_second();
    let sent = from_client(&capture.finish());
    assert!(offered >= megabits * 1_000_000, "only {offered} bits a second were offered");
    assert_silent_windows(&sent, 19);
    let waited = count(&shown_defense(&pair.client), "queue_high_water");
    // A window's worth at the lower rate; at the higher, the queue is full long before its end.
    assert!(waited >= 150, "no more than {waited} packets waited: that was no flood");
    defense(&pair.client, "off").success();
    pair.client.host.reaches(&pair.relay.v4());
}

/// Checks that among `sent` there are at least `least` windows without a datagram, that nothing splits one, and that
/// none is missing between two.
fn assert_silent_windows(sent: &[Datagram], least: usize) {
    let gaps = sent.windows(2).map(|pair| (pair[0].at, pair[1].at - pair[0].at));
    // Without a flood's datagrams for this long, a window has begun.
    let long: Vec<_> = gaps.filter(|(_, length)| *length >= WINDOW / 4).collect();
    let split: Vec<_> = long.iter().filter(|(_, length)| *length < SILENCE).collect();
    assert!(split.is_empty(), "a datagram in a window, which is split into {split:?}");
    assert!(long.len() >= least, "{} windows without a datagram among {} datagrams", long.len(), sent.len());
    for pair in long.windows(2) {
        let open = pair[1].0 - (pair[0].0 + pair[0].1);
        assert!(open < WINDOW * 3 / 2, "datagrams for {open:?} between two windows: one was left out");
    }
}

#[test]
fn nothing_leaves_while_blocked_under_a_flood_of_10_megabits_a_second() {
    nothing_leaves_while_blocked(10);
}

#[test]
fn nothing_leaves_while_blocked_under_a_flood_of_300_megabits_a_second() {
    nothing_leaves_while_blocked(300);
}

/// Since 1970, as in captures.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

#[test]
fn a_constant_rate_is_the_same_whatever_the_user_does() {
    let _heavy = alone();
    let (pair, capture) = watched();
    defense(&pair.client, "on constant-rate").success();
    pair.client.host.reaches(&pair.relay.v4());
    // The first packets of a session are not yet those of a rate.
    thread::sleep(Duration::from_secs(1));
    let lasting = |what: &'static str, work: &dyn Fn()| {
        let begin = now();
        work();
        (what, begin, now())
    };
    let silence = || thread::sleep(Duration::from_secs(10));
    let phases = [
        lasting("silence", &silence),
        lasting("pings", &|| {
            assert!(pair.client.host.count_replies(&pair.relay.v4(), 80) > 40);
        }),
        lasting("a flood", &|| {
            let flood = UdpFlood::start(&pair.client.host, pair.relay.inner(9), 50_000_000);
            silence();
            assert!(flood.finish().bits_per_second() >= 50_000_000);
        }),
        lasting("silence after the flood", &silence),
    ];
    let sent = from_client(&capture.finish());
    let waited = count(&shown_defense(&pair.client), "queue_high_water");
    assert!(waited > 500, "no more than {waited} packets waited: that was no flood");
    for (what, begin, end) in phases {
        let during: Vec<_> = sent.iter().filter(|datagram| (begin..end).contains(&datagram.at)).collect();
        let odd: Vec<_> = during.iter().filter(|datagram| datagram.length != CONSTANT).take(10).collect();
        assert!(odd.is_empty(), "{what}: {odd:?}");
        let rate = during.len() as f64 / (end - begin).as_secs_f64();
        assert!((196.0..=204.0).contains(&rate), "{what}: {rate} packets a second");
        let times: Vec<f64> = during.iter().map(|datagram| (datagram.at - begin).as_secs_f64()).collect();
        let rate = 1.0 / slope(&times);
        assert!((196.0..=204.0).contains(&rate), "{what}: {rate} packets a second, by their mean distance");
    }
}

/// Datagrams that sockets of the host have taken so far.
fn handed_over(pair: &Pair) -> u64 {
    let text = pair.client.host.run("cat /proc/net/snmp").success();
    let mut lines = text.lines().filter(|line| line.starts_with("Udp:"));
    let names = lines.next().unwrap().split_whitespace();
    let values = lines.next().unwrap().split_whitespace();
    let mut fields = names.zip(values);
    fields.find(|(name, _)| *name == "OutDatagrams").unwrap().1.parse().unwrap()
}

#[test]
fn nothing_is_handed_over_while_blocked_on_a_slow_link() {
    let _heavy = alone();
    let pair = Setup::between(Maybetun, Maybetun).start();
    pair.client.host.reaches(&pair.relay.v4());
    let slow = format!("tc qdisc add dev {} root tbf rate 10mbit burst 32k limit 12000000", pair.wire.left);
    pair.client.host.run(&slow).success();
    let flood = UdpFlood::start(&pair.client.host, pair.relay.inner(9), 300_000_000);
    // Until the socket's buffer is full.
    thread::sleep(Duration::from_secs(2));
    let machine = block_and_pause(10_000_000.0, 500_000.0);
    assert_eq!(errno(&enable_machines(&pair.client, &pair.relay, &[machine])), 0);
    thread::sleep(Duration::from_millis(600));
    // It blocks now, and the flood's own datagrams are not to be counted.
    flood.finish();
    let before = handed_over(&pair);
    thread::sleep(Duration::from_secs(4));
    assert_eq!(handed_over(&pair), before, "datagrams were handed to the socket while blocking");
}
