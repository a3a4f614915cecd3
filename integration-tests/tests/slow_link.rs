//! What the kernel holds unsent behind a slow link does not blur what a defense asks for: seen after the link.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::thread;
use std::time::Duration;

use maybetun_integration_tests::Implementation::Maybetun;
use maybetun_integration_tests::{
    Carried, Config, End, Host, Keys, Network, PeerConfig, PlayedRelay, Read, UdpFlood, Wire, alone, ask,
    block_and_pause, errno, key_in_hex, metronome,
};

/// What the link carries, in bits a second.
const RATE: u64 = 5_000_000;

/// How long a packet of the one size takes on it.
const PACKET: Duration = Duration::from_micros(1_494 * 8 * 1_000_000 / RATE);

/// A client with a machine, behind a link of 5 Mbit/s, under a flood of ten times as much. Returns what came out of the
/// link while `time` passed, from a second after the start.
fn flooded(machine: String, time: Duration) -> Vec<Read> {
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
    let slow = format!("tc qdisc add dev {} root tbf rate {RATE} burst 32k limit 12000000", wire.left);
    client.host.run(&slow).success();
    let request = format!(
        "set=1\npublic_key={}\nupdate_only=true\ndaita_enable=1\ndaita_machine={machine}\n\
         daita_max_delayed_packets=1024\ndaita_min_delay_capacity=50\ndaita_max_decoy_frac=0\ndaita_max_delay_frac=0\n\n",
        key_in_hex(&relay_keys.public)
    );
    assert_eq!(errno(&ask(&client.daemon, &request)), 0);
    let flood = UdpFlood::start(&client.host, "10.9.0.2:9".parse().unwrap(), 10 * RATE);
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
    let reads = flooded(block_and_pause(window.as_micros() as f64, window.as_micros() as f64), Duration::from_secs(8));
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
    let reads = flooded(metronome(beat.as_micros() as f64), Duration::from_secs(8));
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
