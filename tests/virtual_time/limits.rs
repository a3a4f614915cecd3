//! What a defense may cost, whatever its machines ask for: the user's limits, the device's, and what an address may be sent
//! that has not shown that it receives.

use std::time::Duration;

use maybenot::action::Action;
use maybetun::defense::Plan;
use maybetun::settings::{EphemeralSettings, Fraction, Limits, NegotiationPolicy};
use maybetun_lab::tunnels::{TwoEnds, address, packet, renew};
use maybetun_machines::Tier;

use crate::machines::{fixed, frenzy, metronome};

/// Bytes of the IP packet around a datagram of the one size, over IPv4.
const OUTER: u64 = 1_452 + 28;

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Runs machines at side 0, under the user's limits.
fn run(network: &mut TwoEnds, plan: &Plan, limits: &Limits) {
    network.start_within(limits, 0, plan, [1; 32]);
    network.seen.clear();
}

/// Pads as fast as the cap on actions lets it, and asks for nothing else.
fn flood() -> Plan {
    let action = Action::SendPadding { bypass: true, replace: false, timeout: fixed(Duration::ZERO), limit: None };
    Plan::new(vec![frenzy(action)]).unwrap().capped(1_000_000)
}

#[test]
fn a_fraction_of_packets_holds_for_all_machines_together() {
    for machines in [1, 4] {
        let mut network = TwoEnds::connected();
        let plan = Plan::new(vec![metronome(Duration::from_millis(3)); machines]).unwrap();
        run(&mut network, &plan, &Limits { max_padding_frac: Fraction::new(0.5), ..Limits::default() });
        for count in 0..500 {
            network.send(0, &packet(0, count, 100));
            network.run_for(Duration::from_millis(20));
            let defense = network.tunnels[0].defense_statistics(network.instant()).unwrap();
            assert!(defense.padding_sent_packets <= u64::from(count) + 1, "{defense:?}");
        }
        let defense = network.tunnels[0].defense_statistics(network.instant()).unwrap();
        assert!(defense.padding_sent_packets >= 490 && defense.padding_dropped.over_frac > 0, "{defense:?}");
    }
}

#[test]
fn a_machine_that_floods_is_held_to_the_rate_by_default_too() {
    for (set, rate) in [(None, maybetun::settings::DEFAULT_MAX_PADDING_RATE), (Some(100_000), 100_000)] {
        let mut network = TwoEnds::connected();
        run(&mut network, &flood(), &Limits { max_padding_rate: set, ..Limits::default() });
        let from = network.now();
        for count in 0..300 {
            network.send(0, &packet(0, count, 100));
            network.run_for(Duration::from_millis(10));
        }
        let elapsed = (network.now() - from).as_secs_f64();
        let defense = network.tunnels[0].defense_statistics(network.instant()).unwrap();
        let bytes = (defense.padding_sent_packets * OUTER) as f64;
        // A second's worth was saved before.
        let most = rate as f64 * (elapsed + 1.0);
        assert!(bytes <= most && bytes > 0.9 * most, "{bytes} of {most}");
        assert!(defense.padding_dropped.over_rate > 0);
        assert_eq!(network.delivered[1].len(), 301, "packets of the user's are not held to it");
    }
}

#[test]
fn a_fraction_of_time_holds_for_all_that_blocks() {
    let block = |duration| Action::BlockOutgoing {
        bypass: false,
        replace: true,
        timeout: fixed(Duration::ZERO),
        duration: fixed(duration),
        limit: None,
    };
    let mut network = TwoEnds::connected();
    let machines = [seconds(1_000), Duration::from_millis(10)].map(|duration| frenzy(block(duration)));
    run(
        &mut network,
        &Plan::new(machines).unwrap(),
        &Limits { max_blocking_frac: Fraction::new(0.25), ..Limits::default() },
    );
    let from = network.now();
    for count in 0..1_000 {
        network.send(0, &packet(0, count, 100));
        network.run_for(Duration::from_millis(20));
        let blocked = network.tunnels[0].defense_statistics(network.instant()).unwrap().blocked;
        assert!(blocked.as_secs_f64() <= 0.25 * (network.now() - from).as_secs_f64() + 1e-6, "{blocked:?}");
    }
    let blocked = network.tunnels[0].defense_statistics(network.instant()).unwrap().blocked;
    assert!(blocked > seconds(4), "{blocked:?} of 20 s");
}

#[test]
fn limits_outlive_an_epoch() {
    let mut network = TwoEnds::new();
    let limits = Limits { max_padding_frac: Fraction::new(0.3), ..Limits::default() };
    let settings = EphemeralSettings { tier: Tier::Padding, limits, ..EphemeralSettings::default() };
    network.agree(0, &settings);
    network.agree(1, &settings);
    for count in 0..200_u64 {
        network.send(0, &packet(0, count as u32, 1_400));
        network.run_for(Duration::from_millis(100));
        if count % 50 == 49 {
            let (now, mut out) = (network.instant(), maybetun::tunnel::DatagramBatch::new());
            let _ = renew(&mut network.tunnels[0], now, &mut out);
            network.inject(0, &out);
        }
    }
    assert!(network.tunnels[0].negotiation_status(network.instant()).unwrap().renewals >= 3);
    let defense = network.tunnels[0].defense_statistics(network.instant()).unwrap();
    let (padding, all) =
        (defense.padding_sent_packets, network.seen.iter().filter(|s| s.from == 0 && s.kind == 4).count());
    // Besides what machines send: what the ends say, some twenty frames.
    assert!(padding as f64 <= 0.3 * all as f64 + 25.0, "{padding} of {all}");
    assert!(padding > 40, "{padding} of {all}");
}

/// The relay, which pads a thousand times a second, hears the client from another address.
fn moved(network: &mut TwoEnds, negotiates: bool) -> u64 {
    let client_packet = {
        network.raw.clear();
        let delay = network.set_delay(seconds(3_600));
        network.send(0, &packet(0, 7, 1_400));
        network.set_delay(delay);
        network.raw.last().unwrap().1.clone()
    };
    network.seen.clear();
    network.deliver_from(1, &client_packet, 77);
    network.run_for(seconds(2));
    let sent = network.seen.iter().filter(|seen| seen.from == 1 && seen.network == 77 && seen.length == 1_452);
    let bytes = sent.count() as u64 * OUTER;
    let dropped = network.tunnels[1].defense_statistics(network.instant()).unwrap().padding_dropped;
    assert!(dropped.unproven > 1_000, "{negotiates}: {dropped:?}");
    bytes
}

#[test]
fn an_address_that_shows_nothing_gets_three_times_what_came_from_it() {
    let mut network = TwoEnds::connected();
    network.start(1, &Plan::new(vec![metronome(Duration::from_millis(1))]).unwrap(), [1; 32]);
    network.send(1, &packet(1, 1, 100));
    network.run_for(seconds(1));
    let bytes = moved(&mut network, false);
    // What came: a datagram of 1,400 bytes and padding to 16; then the client's own address is not heard from again.
    assert!(bytes <= 3 * OUTER, "{bytes} bytes");
}

#[test]
fn a_client_that_seems_to_hop_from_address_to_address_has_nobody_flooded() {
    let mut network = TwoEnds::new();
    let settings = EphemeralSettings { tier: Tier::Size, ..Default::default() };
    network.agree(0, &settings);
    network.agree(1, &settings);
    network.send(0, &packet(0, 0, 1_000));
    network.run_for(seconds(2));
    // It lies from now on: its datagrams are small, and come from addresses that are not its own.
    network.restart(0);
    network.tunnels[0].set_endpoint(Some(address(1)));
    network.send(0, &packet(0, 1, 24));
    network.run_for(seconds(1));
    network.seen.clear();
    let mut received = 0;
    for hop in 0..150 {
        network.raw.clear();
        let delay = network.set_delay(seconds(3_600));
        network.send(0, &packet(0, 2 + hop, 24));
        network.set_delay(delay);
        let datagram = network.raw.last().unwrap().1.clone();
        received += 28 + datagram.len();
        network.deliver_from(1, &datagram, 100 + hop as u8);
        network.run_for(Duration::from_millis(100));
    }
    let sent: usize =
        network.seen.iter().filter(|seen| seen.from == 1 && seen.network >= 100).map(|seen| 28 + seen.length).sum();
    // Beside three times what came: the frames that ask whether the address receives, one in two seconds.
    let asked = 8 * 1_480;
    assert!(sent <= 3 * received + asked, "{sent} bytes for {received}");
}

#[test]
fn an_address_that_is_asked_and_answers_is_padded_to_again() {
    let mut network = TwoEnds::new();
    let settings = EphemeralSettings { negotiation: NegotiationPolicy::Prefer, tier: Tier::Size, ..Default::default() };
    network.agree(0, &settings);
    network.agree(1, &settings);
    network.send(0, &packet(0, 0, 1_000));
    network.run_for(seconds(2));
    let now = network.instant();
    network.tunnels[1].run_machines(&Plan::new(vec![metronome(Duration::from_millis(1))]).unwrap(), [1; 32], now);
    network.send(1, &packet(1, 1, 100));
    network.run_for(seconds(1));
    // Nobody answers at the other address: seven frames that ask, at most, beside the padding.
    let bytes = moved(&mut network, true);
    assert!(bytes <= (3 + 7) * OUTER, "{bytes} bytes");
    // The client itself is there now.
    network.move_unseen(77);
    network.send(0, &packet(0, 8, 1_000));
    // It is asked again after two seconds, or four.
    network.run_for(seconds(6));
    network.seen.clear();
    network.run_for(seconds(1));
    let padding = network.seen.iter().filter(|seen| seen.from == 1 && seen.network == 77).count();
    assert!(padding >= 999, "{padding} packets in a second");
}
