//! Padding that only one side sends, to a peer that knows nothing of it.

use std::time::Duration;

use maybetun::defense::Plan;
use maybetun_lab::tunnels::{TwoEnds, packet};

use crate::machines::metronome;

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Side `padder` pads every `interval` from now on; side 0 began the session.
fn padding(padder: usize, interval: Duration) -> TwoEnds {
    let mut network = TwoEnds::new();
    network.send(0, &packet(0, 0, 100));
    network.run_for(seconds(1));
    network.start(padder, &Plan::new(vec![metronome(interval)]).unwrap(), [5; 32]);
    network.send(padder, &packet(padder, 1, 100));
    network.seen.clear();
    network
}

fn padding_of(network: &TwoEnds, side: usize) -> Vec<Duration> {
    let data = network.seen.iter().filter(|seen| seen.from == side && seen.kind == 4);
    data.map(|seen| seen.at).collect()
}

#[test]
fn an_hour_makes_no_more_handshakes_than_renewal_asks_for() {
    for padder in [0, 1] {
        let mut network = padding(padder, Duration::from_millis(50));
        network.run_for(seconds(3_600));
        let initiations = network.initiations().len();
        // Side 0 renews after 120 s, for it sends: padding, or the keepalives that answer it.
        assert!((27..=31).contains(&initiations), "side {padder} pads: {initiations} handshakes");
        // With each handshake of its own comes a packet that confirms it.
        let padding = padding_of(&network, padder).len() - if padder == 0 { initiations } else { 0 };
        assert!((71_990..=72_010).contains(&padding), "side {padder} pads: {padding} packets");
        assert_eq!(network.delivered[1 - padder].len(), if padder == 0 { 2 } else { 1 });
    }
}

#[test]
fn the_rate_is_exact_however_late_the_driver_looks() {
    let mut network = padding(0, Duration::from_micros(1_000));
    network.run_for(seconds(60));
    let times = padding_of(&network, 0);
    let rate = times.len() as f64 / 60.0;
    assert!((999.5..=1_000.5).contains(&rate), "{rate} a second");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == Duration::from_micros(1_000)));

    // A driver that wakes up to 0.9 ms late.
    let mut network = padding(0, Duration::from_micros(1_000));
    let mut late = 1u64;
    while network.now() < seconds(61) {
        late = late * 48_271 % 0x7fff_ffff;
        let at = network.tunnels[0].next_timeout().unwrap() - network.instant();
        network.run_for(Duration::ZERO);
        network.skip(at + Duration::from_micros(late % 900));
    }
    let rate = padding_of(&network, 0).len() as f64 / 60.0;
    assert!((999.5..=1_000.5).contains(&rate), "{rate} a second");
}

#[test]
fn a_session_that_ended_seals_no_padding() {
    let mut network = padding(0, Duration::from_millis(50));
    network.run_for(seconds(10));
    network.fate = Box::new(|_| maybetun_lab::tunnels::Fate::Lose);
    let cut = network.now();
    network.run_for(seconds(400));
    let last = *padding_of(&network, 0).last().unwrap();
    assert!(last < cut + seconds(181), "padding under keys that nobody has any more, at {last:?}");
}
