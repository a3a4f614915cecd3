//! Neither what the kernel holds unsent behind a slow link nor a transfer beside it blurs what a defense asks for: seen
//! after the link.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::thread;
use std::time::{Duration, Instant};

use maybetun_integration_tests::Implementation::Maybetun;
use maybetun_integration_tests::{
    Carried, Config, End, Host, Keys, MEGABYTE, Network, PeerConfig, PlayedRelay, Read, Setup, Stream, UdpFlood, Wire,
    alone, ask, block_and_pause, defense, errno, key_in_hex, metronome,
};

/// What the link carries, in bits a second.
const RATE: u64 = 5_000_000;

/// How long a packet of the one size takes on it.
const PACKET: Duration = Duration::from_micros(1_494 * 8 * 1_000_000 / RATE);

/// A client with a machine, behind a link of `link` bits a second if any, under a flood of `flood` bits a second. Returns
/// what came out of the link while `time` passed, from a second after the start.
fn flooded(machine: String, link: Option<u64>, flood: u64, time: Duration) -> Vec<Read> {
    let (client, relay) = (Host::new(), Host::new());
    let wire = Wire::between(&client, &relay, Network::First, 1500);
    wire.split_segments(&client, &relay);
    let (client_keys, relay_keys) = (Keys::new(), Keys::new());
    let endpoint = (Network::First.v4(2), 51820).into();
    let played = PlayedRelay::start(&relay, endpoint, &relay_keys, &client_keys.public);
    let peer = PeerConfig {
        public_key: relay_keys.public.clone(),
        preshared_key: None,
        endpoint: Some(endpoint),
        allowed_ips: "10.9.0.0/24".to_owned(),
    };
    let config = Config { private_key: client_keys.private, listen_port: 51820, peers: vec![peer] };
    let client = End::start(client, Maybetun, config, client_keys.public, 1, 1420);
    if let Some(rate) = link {
        let slow = format!("tc qdisc add dev {} root tbf rate {rate} burst 32k limit 12000000", wire.left);
        client.host.run(&slow).success();
    }
    let request = format!(
        "set=1\npublic_key={}\nupdate_only=true\ndaita_enable=1\ndaita_machine={machine}\n\
         daita_max_delayed_packets=1024\ndaita_min_delay_capacity=50\ndaita_max_decoy_frac=0\ndaita_max_delay_frac=0\n\n",
        key_in_hex(&relay_keys.public)
    );
    assert_eq!(errno(&ask(&client.daemon, &request)), 0);
    let flood = UdpFlood::start(&client.host, "10.9.0.2:9".parse().unwrap(), flood);
    thread::sleep(Duration::from_secs(1) + time);
    flood.finish();
    let reads = played.finish();
    let first = reads.first().expect("datagrams came").at + Duration::from_secs(1);
    reads.into_iter().filter(|read| (first..first + time).contains(&read.at)).collect()
}

#[test]
fn blocking_is_silence_after_a_slow_link_too() {
    let _heavy = alone();
    let window = Duration::from_millis(200);
    let machine = block_and_pause(window.as_micros() as f64, window.as_micros() as f64);
    let reads = flooded(machine, Some(RATE), 10 * RATE, Duration::from_secs(8));
    let gaps: Vec<_> = reads.windows(2).map(|pair| pair[1].at - pair[0].at).filter(|gap| *gap > window / 4).collect();
    // What the kernel held as the window began: two packets, and one that was on the link.
    let least = window - 3 * PACKET;
    let split: Vec<_> = gaps.iter().filter(|gap| **gap < least).collect();
    assert!(split.is_empty(), "windows of {split:?} among {}", gaps.len());
    assert!((18..=21).contains(&gaps.len()), "{} windows in 8 s: {gaps:?}", gaps.len());
    // The link is used whole between them.
    let packets = reads.iter().filter(|read| read.carried == Carried::Packets).count();
    assert!(packets > 1_500, "{packets} packets");
}

#[test]
fn padding_keeps_its_instants_after_a_slow_link_too() {
    let _heavy = alone();
    let beat = Duration::from_millis(20);
    let reads = flooded(metronome(beat.as_micros() as f64), Some(RATE), 10 * RATE, Duration::from_secs(8));
    let padding: Vec<_> = reads.iter().filter(|read| read.carried == Carried::Padding).collect();
    assert!((395..=405).contains(&padding.len()), "{} beats in 8 s", padding.len());
    let mut errors: Vec<_> = padding.windows(2).map(|pair| (pair[1].at - pair[0].at).abs_diff(beat)).collect();
    errors.sort();
    let [median, high] = [errors[errors.len() / 2], errors[errors.len() * 98 / 100]];
    // It waits for the packet that is on the link, and one behind it.
    assert!(median <= PACKET && high <= 2 * PACKET, "gaps are wrong by {median:?} (median), {high:?} (98 %)");
    let packets = reads.iter().filter(|read| read.carried == Carried::Packets).count();
    assert!(packets > 2_700, "{packets} packets beside it");
}

/// Rounds of the test below: what else the machine does makes it worse, never better.
const ROUNDS: usize = 6;

#[test]
fn padding_keeps_its_instants_beside_a_fast_transfer() {
    let _heavy = alone();
    let beat = Duration::from_millis(1);
    let mut figures = Vec::new();
    for _ in 0..ROUNDS {
        let reads = flooded(metronome(beat.as_micros() as f64), None, 300_000_000, Duration::from_secs(3));
        let padding: Vec<_> = reads.iter().filter(|read| read.carried == Carried::Padding).collect();
        let packets = reads.iter().filter(|read| read.carried == Carried::Packets).count();
        let mut errors: Vec<_> = padding.windows(2).map(|pair| (pair[1].at - pair[0].at).abs_diff(beat)).collect();
        errors.sort();
        let [median, high] = [errors[errors.len() / 2], errors[errors.len() * 99 / 100]];
        let is_whole = (2_970..=3_030).contains(&padding.len()) && packets > 90_000;
        if is_whole && median <= Duration::from_micros(20) && high <= Duration::from_micros(500) {
            return;
        }
        figures.push(format!("{median:?} (median), {high:?} (99 %), {} beats, {packets} packets", padding.len()));
    }
    panic!("gaps are wrong by {figures:#?}");
}

#[test]
fn a_neighbour_that_does_not_answer_does_not_stall_the_others() {
    let _heavy = alone();
    let pair = Setup::between(Maybetun, Maybetun).start();
    let (client, relay) = (&pair.client, &pair.relay.host);
    client.host.reaches(&pair.relay.v4());
    let other = Keys::new();
    relay.ip(&format!("addr add 192.0.2.3/24 dev {}", pair.wire.right));
    let address = "192.0.2.3:51820".parse().unwrap();
    // The relay's own device has the port on every address.
    pair.relay.wg("set", "listen-port 51821").success();
    client.wg("set", &format!("peer {} endpoint 192.0.2.2:51821", pair.relay.public_key)).success();
    let played = PlayedRelay::start(relay, address, &other, &client.public_key);
    client.wg("set", &format!("peer {} endpoint {address} allowed-ips 10.9.1.0/24", other.public)).success();
    client.host.ip(&format!("route add 10.9.1.0/24 dev {}", client.daemon.interface()));
    defense(client, &format!("{} on constant-size", pair.relay.public_key)).success();
    let flood = UdpFlood::start(&client.host, "10.9.1.2:9".parse().unwrap(), 20_000_000);
    thread::sleep(Duration::from_secs(1));
    let stream = Stream::start(&client.host, relay, pair.relay.inner(5_000));
    stream.advance(MEGABYTE);
    relay.ip(&format!("addr del 192.0.2.3/24 dev {}", pair.wire.right));
    client.host.ip(&format!("neigh flush dev {} to 192.0.2.3", pair.wire.left));
    let start = Instant::now();
    stream.advance(30 * MEGABYTE);
    let time = start.elapsed();
    assert!(client.host.ip("neigh show to 192.0.2.3").lines().all(|line| !line.contains("REACHABLE")));
    flood.finish();
    stream.finish();
    played.finish();
    assert!(time < Duration::from_secs(6), "30 MB took {time:?}");
}
