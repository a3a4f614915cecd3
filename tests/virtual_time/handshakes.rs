//! Handshakes that cross, get lost, are given up or are renewed under other keys.

use std::net::SocketAddr;
use std::time::Duration;

use maybetun::keys::{PresharedKey, PrivateKey};
use maybetun::tunnel::{DatagramBatch, Endpoint, Event};
use maybetun_lab::tunnels::{Fate, Pair, TwoEnds, address, number, packet};

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Sends numbered packets both ways, `pause` apart, and asserts that each arrives.
fn assert_steady_traffic(network: &mut TwoEnds, count: u32, pause: Duration) {
    network.delivered = [Vec::new(), Vec::new()];
    for count in 0..count {
        network.send(0, &packet(0, count, 200));
        network.send(1, &packet(1, count, 200));
        network.run_for(pause);
    }
    network.run_for(seconds(2));
    for side in [0, 1] {
        let numbers: Vec<_> = network.delivered[side].iter().map(|packet| number(packet)).collect();
        assert_eq!(numbers, (0..count).collect::<Vec<_>>(), "at side {side}");
    }
}

/// Has a side call the other, to which the way is another, and returns the kinds of what leaves.
fn call_again(network: &mut TwoEnds, side: usize) -> Vec<u8> {
    let (now, mut out) = (network.instant(), DatagramBatch::new());
    network.tunnels[side].call_again(now, &mut out);
    network.inject(side, &out);
    out.iter().map(|datagram| datagram[0]).collect()
}

#[test]
fn who_is_called_because_the_way_is_another_has_a_session_at_once_and_no_packet_is_lost() {
    let mut network = TwoEnds::connected();
    let before = network.tunnels[0].statistics().handshakes;
    // The relay has answered a moment ago.
    assert_eq!(call_again(&mut network, 1), [1]);
    assert_steady_traffic(&mut network, 100, Duration::from_millis(20));
    assert_eq!(network.tunnels[0].statistics().handshakes, before + 1);
}

#[test]
fn a_call_that_does_not_arrive_costs_the_session_nothing() {
    let mut network = TwoEnds::connected();
    network.fate = Box::new(|_| Fate::Lose);
    assert_eq!(call_again(&mut network, 1), [1]);
    network.fate = Box::new(|_| Fate::Deliver);
    assert_steady_traffic(&mut network, 100, Duration::from_millis(20));
    assert!(network.events.iter().all(|events| !events.contains(&Event::SessionEnded)));
}

#[test]
fn without_a_session_nobody_is_called_because_the_way_is_another() {
    let mut network = TwoEnds::new();
    assert!(call_again(&mut network, 0).is_empty());
    network.send(0, &packet(0, 1, 100));
    network.run_for(seconds(400));
    assert!(call_again(&mut network, 0).is_empty());
}

#[test]
fn an_initiation_that_got_lost_does_not_cost_the_session_that_the_peer_began() {
    let mut network = TwoEnds::new();
    network.send(1, &packet(1, 1, 100));
    network.run_for(Duration::from_millis(15));
    network.fate = Box::new(|from| if from == 0 { Fate::Lose } else { Fate::Deliver });
    network.send(0, &packet(0, 0, 100));
    network.fate = Box::new(|_| Fate::Deliver);
    network.run_for(seconds(6));
    network.events = [Vec::new(), Vec::new()];
    assert_steady_traffic(&mut network, 40_000, Duration::from_millis(5));
    assert!(!network.events[0].contains(&Event::SessionEnded) && !network.events[1].contains(&Event::SessionEnded));
}

#[test]
fn sides_that_began_at_once_renew_in_time() {
    let mut network = TwoEnds::new();
    network.send(0, &packet(0, 1, 100));
    network.send(1, &packet(1, 1, 100));
    network.run_for(seconds(6));
    network.events = [Vec::new(), Vec::new()];
    assert_steady_traffic(&mut network, 60_000, Duration::from_millis(10));
    assert!(!network.events[0].contains(&Event::SessionEnded) && !network.events[1].contains(&Event::SessionEnded));
}

#[test]
fn packets_that_wait_are_sent_even_if_both_answers_to_crossing_initiations_got_lost() {
    let mut network = TwoEnds::new();
    network.send(0, &packet(0, 1, 100));
    network.send(1, &packet(1, 1, 100));
    network.run_for(Duration::from_millis(5));
    network.fate = Box::new(|_| Fate::Lose);
    network.run_for(seconds(1));
    network.fate = Box::new(|_| Fate::Deliver);
    network.run_for(seconds(30));
    assert_eq!(network.delivered, [[packet(1, 1, 100)], [packet(0, 1, 100)]]);
}

#[test]
fn ninety_seconds_are_tried_however_old_the_tunnel_is() {
    for age in [0, 500, 530, 541, 2_000] {
        let mut network = TwoEnds::new();
        network.fate = Box::new(|_| Fate::Lose);
        network.run_for(seconds(age));
        network.send(0, &packet(0, 1, 100));
        network.run_for(seconds(88));
        assert_eq!(network.tunnels[0].queued(), 1, "a tunnel of {age} s gave up early");
        network.run_for(seconds(12));
        assert_eq!(network.tunnels[0].statistics().dropped.no_session, 1, "a tunnel of {age} s did not give up");
    }
}

#[test]
fn a_short_outage_after_a_long_silence_loses_nothing() {
    let mut network = TwoEnds::new();
    network.send(0, &packet(0, 1, 100));
    network.run_for(seconds(535));
    network.fate = Box::new(|_| Fate::Lose);
    network.send(0, &packet(0, 2, 100));
    network.run_for(seconds(15));
    network.fate = Box::new(|_| Fate::Deliver);
    network.run_for(seconds(10));
    assert_eq!(network.delivered[1], [packet(0, 1, 100), packet(0, 2, 100)]);
}

#[test]
fn a_new_private_key_does_not_strand_what_waits() {
    let mut network = TwoEnds::new();
    network.fate = Box::new(|_| Fate::Lose);
    network.send(0, &packet(0, 1, 100));
    let now = network.instant();
    network.tunnels[0].set_private_key(&PrivateKey::generate_from_os(), now);
    assert!(network.tunnels[0].next_timeout().is_some_and(|at| at <= now));
}

#[test]
fn renewal_under_a_new_preshared_key_loses_nothing() {
    let mut network = TwoEnds::new();
    network.send(1, &packet(1, 1, 100));
    network.run_for(seconds(1));
    let (key, now) = (PresharedKey::generate_from_os(), network.instant());
    for tunnel in &mut network.tunnels {
        tunnel.set_preshared_key(&key, now);
    }
    network.run_for(seconds(121));
    assert_steady_traffic(&mut network, 2_000, Duration::from_millis(2));
    assert!(network.initiations().len() >= 2, "the session was renewed under the traffic");
}

#[test]
fn an_initiation_cannot_be_replayed_after_a_change_of_the_preshared_key() {
    let elsewhere = Endpoint::from(SocketAddr::from(([203, 0, 113, 9], 9)));
    let mut pair = Pair::new();
    let ((), calls) = pair.act(0, |client, now, out| client.start_handshake(now, out));
    assert_eq!(pair.receive(1, &calls[0]).1.len(), 1);
    for _ in 0..3 {
        let now = pair.now;
        pair.tunnels[1].set_preshared_key(&PresharedKey::generate_from_os(), now);
        let mut packet = [0; 256];
        let (_, answers) = pair.act(1, |relay, now, out| {
            relay.receive(&calls[0], elsewhere, now, |_| true, &mut packet, out);
        });
        assert_eq!((answers.len(), pair.tunnels[1].endpoint()), (0, Some(address(0))));
    }
}

const YEAR: Duration = seconds(365 * 24 * 3_600);

/// Returns a network whose ends had a session, and whose client was started anew with its clock `behind`.
fn with_a_clock_behind(behind: Duration) -> TwoEnds {
    let mut network = TwoEnds::new();
    network.skip(YEAR);
    network.send(0, &packet(0, 0, 100));
    network.run_for(seconds(10));
    network.restart(0);
    network.tunnels[0].set_endpoint(Some(address(1)));
    network.set_wall_clock(behind);
    network
}

#[test]
fn a_clock_that_was_a_year_behind_costs_nothing_once_it_is_set() {
    let mut network = with_a_clock_behind(YEAR);
    network.send(0, &packet(0, 1, 100));
    network.run_for(seconds(12));
    assert_eq!(network.delivered[1].len(), 1, "the relay takes no call of last year's");
    network.set_wall_clock(Duration::ZERO);
    network.run_for(seconds(6));
    assert_eq!(network.delivered[1], [packet(0, 0, 100), packet(0, 1, 100)]);
}

#[test]
fn a_call_goes_on_where_it_was_when_the_clock_is_set_back() {
    let mut network = with_a_clock_behind(Duration::ZERO);
    network.fate = Box::new(|_| Fate::Lose);
    network.send(0, &packet(0, 1, 100));
    network.run_for(seconds(1));
    network.set_wall_clock(seconds(3_600));
    network.fate = Box::new(|_| Fate::Deliver);
    network.run_for(seconds(6));
    assert_eq!(network.delivered[1], [packet(0, 0, 100), packet(0, 1, 100)]);
}

#[test]
fn a_call_goes_on_after_a_sleep_that_sets_no_clock_back() {
    let mut network = TwoEnds::new();
    network.fate = Box::new(|_| Fate::Lose);
    network.send(0, &packet(0, 1, 100));
    network.run_for(seconds(1));
    network.suspend(seconds(3_600));
    network.fate = Box::new(|_| Fate::Deliver);
    network.run_for(seconds(6));
    network.run_for(seconds(200));
    network.send(0, &packet(0, 2, 100));
    network.run_for(seconds(1));
    assert_eq!(network.delivered[1], [packet(0, 1, 100), packet(0, 2, 100)]);
    assert!(!network.events[0].iter().any(|event| matches!(event, Event::ClockSetBack(_))));
}

#[test]
fn a_clock_that_was_set_back_is_told_of_until_it_is_where_it_was() {
    let mut network = TwoEnds::connected();
    network.run_for(seconds(3_600));
    network.send(0, &packet(0, 1, 100));
    network.run_for(seconds(200));
    network.set_wall_clock(seconds(1_000));
    network.send(0, &packet(0, 2, 100));
    network.run_for(seconds(95));
    let told = |network: &TwoEnds| {
        let events = network.events[0].iter();
        events.filter(|event| matches!(event, Event::ClockSetBack(_))).copied().collect::<Vec<_>>()
    };
    let [Event::ClockSetBack(behind)] = told(&network)[..] else { panic!("{:?}", network.events[0]) };
    assert_eq!(behind.as_secs(), 800, "200 s have passed since the last call");
    assert_eq!(network.delivered[1].len(), 2, "the relay refuses what is earlier");
    network.run_for(seconds(800));
    network.send(0, &packet(0, 3, 100));
    network.run_for(seconds(1));
    assert_eq!((told(&network).len(), network.delivered[1].len()), (1, 3));
}
