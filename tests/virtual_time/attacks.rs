//! What an observer gets who holds datagrams back, copies them, and injects them later or elsewhere.

use std::collections::HashSet;
use std::time::Duration;

use maybetun::defense::Plan;
use maybetun::keys::PrivateKey;
use maybetun::settings::{EphemeralSettings, MAX_RENEWAL, MIN_RENEWAL, Tier};
use maybetun::tunnel::DatagramBatch;
use maybetun_lab::tunnels::{Fate, Pair, Sighting, TwoEnds, packet, renew};

use crate::machines::{Step, pad, script};

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn settings(renewal: Duration) -> EphemeralSettings {
    EphemeralSettings { tier: Tier::Size, renewal, ..EphemeralSettings::default() }
}

fn agreed_with(renewal: Duration) -> TwoEnds {
    let mut network = TwoEnds::new();
    for side in [0, 1] {
        network.agree_by(side, &settings(renewal), 5);
    }
    network.send(0, &packet(0, 1, 1_000));
    network.run_for(seconds(40));
    network.seen.clear();
    network.raw.clear();
    network.delivered = [Vec::new(), Vec::new()];
    network
}

fn agreed() -> TwoEnds {
    agreed_with(MAX_RENEWAL)
}

fn bits(seen: &[Sighting], network: u8) -> HashSet<u32> {
    seen.iter().filter(|s| s.network == network).flat_map(|s| s.indices).flatten().map(|i| i >> 8).collect()
}

/// Checks that no session index was seen on both networks.
#[track_caller]
fn assert_nothing_shared(network: &TwoEnds) {
    let both: Vec<_> = bits(&network.seen, 2).intersection(&bits(&network.seen, 3)).copied().collect();
    assert_eq!(both, [0; 0], "indices on both networks");
}

/// What renews a session is that a datagram leaves or comes, not what it carries.
#[test]
fn small_packets_and_padding_renew_alike() {
    let play = |length: Option<usize>| {
        let mut network = agreed();
        network.run_for(seconds(90));
        match length {
            Some(length) => network.send(0, &packet(0, 9, length)),
            None => pad(&mut network, 0),
        }
        network.run_for(seconds(3));
        network.seen.iter().map(|s| (s.from, s.kind)).collect::<Vec<_>>()
    };
    let (large, small, padding) = (play(Some(1_000)), play(Some(100)), play(None));
    assert_eq!(large, padding);
    assert_eq!(small, padding);
}

/// The same for a large packet that waited for the end of blocking.
#[test]
fn packets_and_padding_that_waited_for_the_gate_renew_alike() {
    let play = |is_packet: bool| {
        let mut network = agreed();
        network.run_for(seconds(78));
        let now = network.instant();
        let plan = Plan::new(vec![script(&[Step::block(seconds(5))])]).unwrap();
        network.tunnels[0].run_machines(&plan, [1; 32], now);
        network.send(0, &packet(0, 1, 1_000));
        network.run_for(Duration::from_millis(500));
        match is_packet {
            true => network.send(0, &packet(0, 9, 1_000)),
            false => pad(&mut network, 0),
        }
        network.run_for(seconds(6));
        network.seen.iter().map(|s| (s.from, s.kind)).collect::<Vec<_>>()
    };
    let (packets, padding) = (play(true), play(false));
    assert_eq!(packets, padding);
}

/// The first data of an older session, held back, takes the relay back into it, on the new network.
#[test]
fn a_delayed_confirmation_does_not_take_an_old_session_to_the_new_network() {
    let mut network = agreed();
    network.run_for(seconds(85));
    network.seen.clear();
    network.raw.clear();
    // Renewal on the old network; the observer holds back what the client sends in the new session.
    network.send(0, &packet(0, 2, 1_000));
    network.run_for(Duration::from_millis(15)); // the initiation has arrived, the answer is under way
    network.fate = Box::new(|from| if from == 0 { Fate::Lose } else { Fate::Deliver });
    network.run_for(Duration::from_millis(30));
    let held = network.raw.iter().rfind(|(from, d)| *from == 0 && d[0] == 4).unwrap().1.clone();
    network.fate = Box::new(|_| Fate::Deliver);
    network.change_network();
    network.run_for(seconds(1));
    network.send(0, &packet(0, 3, 1_000));
    network.send(1, &packet(1, 3, 1_000));
    network.run_for(seconds(1));
    // Now the observer of the old network lets it go.
    network.deliver_from(1, &held, 2);
    network.run_for(seconds(1));
    network.send(0, &packet(0, 4, 1_000));
    network.run_for(seconds(1));
    for count in 10..20 {
        network.send(1, &packet(1, count, 1_000));
    }
    network.run_for(seconds(1));
    assert_nothing_shared(&network);
}

/// An old session's datagram, held back, moves the endpoint back: the new session is seen on the old network.
#[test]
fn a_delayed_datagram_does_not_take_the_new_session_to_the_old_network() {
    let mut network = agreed();
    network.fate = Box::new(|_| Fate::Lose);
    network.send(0, &packet(0, 2, 1_000));
    let held = network.raw.last().unwrap().1.clone();
    network.fate = Box::new(|_| Fate::Deliver);
    network.change_network();
    network.run_for(seconds(1));
    network.send(0, &packet(0, 3, 1_000));
    network.run_for(seconds(1));
    network.deliver_from(1, &held, 2);
    network.send(1, &packet(1, 3, 1_000));
    network.run_for(seconds(1));
    assert_nothing_shared(&network);
}

/// Who is faster than the client with a copy of its initiation stops the relay.
#[test]
fn a_copy_of_an_initiation_from_elsewhere_does_not_stop_the_relay() {
    let mut network = agreed();
    network.run_for(seconds(85));
    network.raw.clear();
    let start = network.now();
    let mut copied = 0;
    // Nothing is lost: each initiation of the client's is only delivered first from another address, too.
    let mut arrivals = Vec::new();
    for count in 0..800u32 {
        network.send(0, &packet(0, count, 1_000));
        network.send(1, &packet(1, count, 1_000));
        let calls: Vec<_> =
            network.raw.iter().filter(|(from, d)| *from == 0 && d[0] == 1).map(|(_, d)| d.clone()).collect();
        for call in &calls[copied..] {
            network.deliver_from(1, call, 99);
        }
        copied = calls.len();
        let before = network.delivered[0].len();
        network.run_for(Duration::from_millis(100));
        if network.delivered[0].len() > before {
            arrivals.push(network.now() - start);
        }
    }
    let gaps = arrivals.windows(2).map(|p| p[1] - p[0]).max();
    assert!(gaps.unwrap() < seconds(1) && network.now() - start - *arrivals.last().unwrap() < seconds(1));
}

/// An answer that was held back for an hour makes a session that the peer does not have.
#[test]
fn an_answer_of_an_hour_ago_makes_no_session() {
    let mut network = agreed();
    network.run_for(seconds(200)); // no session
    network.raw.clear();
    // Both call at once; the observer holds back what the client answers, and lets the rest pass.
    network.send(1, &packet(1, 1, 1_000));
    network.send(0, &packet(0, 1, 1_000));
    network.run_for(Duration::from_millis(5));
    let mut turn = 0;
    network.fate = Box::new(move |from| {
        turn += usize::from(from == 0);
        if from == 0 && turn == 1 { Fate::Lose } else { Fate::Deliver }
    });
    network.run_for(seconds(1));
    let held = network.raw.iter().find(|(from, d)| *from == 0 && d[0] == 2).unwrap().1.clone();
    network.fate = Box::new(|_| Fate::Deliver);
    // An hour of traffic.
    for count in 0..3_600 {
        network.send(0, &packet(0, count, 1_000));
        network.send(1, &packet(1, count, 1_000));
        network.run_for(seconds(1));
    }
    let handshakes = network.tunnels[1].statistics().handshakes;
    network.deliver_from(1, &held, 2);
    let taken = network.tunnels[1].statistics().handshakes > handshakes;
    network.delivered = [Vec::new(), Vec::new()];
    let start = network.now();
    let mut first = None;
    for count in 0..300 {
        network.send(0, &packet(0, count, 1_000));
        network.send(1, &packet(1, count, 1_000));
        network.run_for(seconds(1));
        if first.is_none() && !network.delivered[0].is_empty() {
            first = Some(network.now() - start);
        }
    }
    println!("taken {taken}; first download after {first:?}");
    assert!(!taken && first.is_some_and(|f| f <= seconds(2)));
}

/// How many leave says how many were packets.
#[test]
fn the_number_that_waited_does_not_tell_packets_from_padding() {
    let play = |packets: u32, padding: u32| {
        let mut network = agreed();
        network.run_for(seconds(300));
        network.fate = Box::new(|_| Fate::Lose);
        for count in 0..packets {
            network.send(0, &packet(0, count, 1_000));
        }
        for _ in 0..padding {
            pad(&mut network, 0);
        }
        network.fate = Box::new(|_| Fate::Deliver);
        network.seen.clear();
        network.run_for(seconds(8));
        network.seen.iter().filter(|s| s.from == 0 && s.kind == 4).count()
    };
    let (mixed, only) = (play(750, 750), play(0, 1_500));
    assert_eq!(mixed, only);
}

/// Back to an old private key, its old initiations are taken again.
#[test]
fn an_initiation_cannot_be_replayed_after_the_private_key_changed_back() {
    let mut pair = Pair::new();
    let ((), calls) = pair.act(0, |client, now, out| client.start_handshake(now, out));
    assert_eq!(pair.receive(1, &calls[0]).1.len(), 1);
    let (own, now) = (pair.keys[1].clone(), pair.now);
    pair.tunnels[1].set_private_key(&PrivateKey::generate_from_os(), now);
    pair.tunnels[1].set_private_key(&own, now);
    assert_eq!(pair.receive(1, &calls[0]).1.len(), 0);
}

/// A client that moves while its gate is closed, with nothing to send, calls when it opens.
#[test]
fn a_move_while_the_gate_is_closed_is_made_up_for() {
    let mut network = agreed();
    let now = network.instant();
    let plan = Plan::new(vec![script(&[Step::block(seconds(2))])]).unwrap();
    network.tunnels[0].run_machines(&plan, [1; 32], now);
    network.send(0, &packet(0, 1, 1_000));
    network.run_for(seconds(1));
    assert!(network.tunnels[0].is_closed());
    network.seen.clear();
    network.change_network();
    network.run_for(seconds(60));
    assert!(network.seen.iter().any(|s| s.from == 0 && s.kind == 1), "no call");
}

/// What the negotiation says does not leave in a session that is over.
#[test]
fn control_does_not_leave_in_a_session_that_is_over() {
    for is_suspended in [false, true] {
        let mut network = agreed();
        network.fate = Box::new(|_| Fate::Lose);
        let mut out = DatagramBatch::new();
        let now = network.instant();
        renew(&mut network.tunnels[0], now, &mut out).unwrap(); // a hello, which nobody answers
        network.inject(0, &out);
        network.run_for(Duration::from_millis(500));
        network.seen.clear();
        if is_suspended {
            network.skip(Duration::from_millis(1_200));
            network.suspend(seconds(100_000));
        } else {
            network.skip(seconds(1_000));
        }
        let (now, mut out) = (network.instant(), DatagramBatch::new());
        network.tunnels[0].handle_timeout(now, &mut out);
        let mut all: Vec<u8> = out.iter().map(|d| d[0]).collect();
        // The control frame is scheduled some ms later.
        network.skip(Duration::from_millis(60));
        if is_suspended {
            network.suspend(seconds(100_000));
        }
        let (now, mut out) = (network.instant(), DatagramBatch::new());
        network.tunnels[0].handle_timeout(now, &mut out);
        all.extend(out.iter().map(|d| d[0]));
        assert!(!all.contains(&4), "suspended {is_suspended}");
    }
}

/// Renewal would keep an idle tunnel awake, if it did not wait for traffic.
#[test]
fn an_idle_tunnel_falls_silent_whatever_the_renewal() {
    for renewal in [MIN_RENEWAL, seconds(100), seconds(130), seconds(600), seconds(3_600)] {
        let mut network = agreed_with(renewal);
        network.send(0, &packet(0, 1, 1_000));
        let start = network.now();
        network.run_for(seconds(20_000));
        let last = network.seen.last().unwrap().at - start;
        assert!(network.initiations().is_empty() && last <= seconds(11), "{renewal:?}: something left after {last:?}");
    }
}

/// An answer to the relay's call, held back, takes the relay into a session of the old network.
#[test]
fn a_delayed_answer_does_not_take_an_old_session_to_the_new_network() {
    let mut network = agreed();
    network.run_for(seconds(200));
    network.seen.clear();
    network.raw.clear();
    network.send(1, &packet(1, 1, 1_000)); // the relay calls
    network.fate = Box::new(|from| if from == 0 { Fate::Lose } else { Fate::Deliver });
    network.run_for(seconds(1));
    let held = network.raw.iter().find(|(from, d)| *from == 0 && d[0] == 2).unwrap().1.clone();
    network.fate = Box::new(|_| Fate::Deliver);
    network.change_network();
    network.run_for(seconds(1));
    network.send(0, &packet(0, 3, 1_000));
    network.run_for(seconds(1));
    network.deliver_from(1, &held, 2);
    network.send(0, &packet(0, 4, 1_000));
    network.run_for(seconds(1));
    network.send(1, &packet(1, 4, 1_000));
    network.run_for(seconds(1));
    assert_nothing_shared(&network);
}

/// Data of the old session, injected on the new network, is answered by a quiet client.
#[test]
fn an_idle_client_does_not_answer_the_old_session_on_a_new_network() {
    let mut network = agreed();
    network.run_for(seconds(10));
    network.fate = Box::new(|_| Fate::Lose);
    network.send(1, &packet(1, 2, 1_000));
    let held = network.raw.last().unwrap().1.clone();
    network.fate = Box::new(|_| Fate::Deliver);
    network.change_network();
    network.run_for(seconds(60));
    network.seen.clear();
    network.deliver_from(0, &held, 2);
    network.run_for(seconds(30));
    assert_eq!(network.seen, []);
}

/// An older session, confirmed late, does not replace a newer.
#[test]
fn a_late_confirmation_does_not_shorten_the_newer_session() {
    let mut network = agreed();
    network.run_for(seconds(200));
    network.raw.clear();
    network.send(0, &packet(0, 1, 1_000));
    network.run_for(Duration::from_millis(15));
    network.fate = Box::new(|from| if from == 0 { Fate::Lose } else { Fate::Deliver });
    network.run_for(seconds(21));
    let held = network.raw.iter().find(|(from, d)| *from == 0 && d[0] == 4).unwrap().1.clone();
    network.fate = Box::new(|_| Fate::Deliver);
    for count in 0..400 {
        network.send(0, &packet(0, count, 1_000));
        network.send(1, &packet(1, count, 1_000));
        network.run_for(Duration::from_millis(250));
    }
    network.events = [Vec::new(), Vec::new()];
    let handshakes = network.tunnels[1].statistics().handshakes;
    network.deliver_from(1, &held, 2);
    assert_eq!(network.tunnels[1].statistics().handshakes, handshakes, "an older session was taken into use");
}

/// An owner that wakes late seals a control frame in a session that is over.
#[test]
fn control_that_is_overdue_does_not_leave_in_a_session_that_is_over() {
    let mut network = agreed();
    let (now, mut out) = (network.instant(), DatagramBatch::new());
    renew(&mut network.tunnels[0], now, &mut out).unwrap();
    assert_eq!(out.len(), 0, "it waits some ms");
    network.skip(seconds(1_000));
    let (now, mut out) = (network.instant(), DatagramBatch::new());
    network.tunnels[0].handle_timeout(now, &mut out);
    assert!(out.iter().all(|d| d[0] != 4));
}

/// T15b
#[test]
fn a_late_confirmation_does_not_replace_the_newer_session() {
    let mut network = agreed();
    network.run_for(seconds(200));
    network.raw.clear();
    network.send(0, &packet(0, 1, 1_000));
    network.run_for(Duration::from_millis(15));
    network.fate = Box::new(|from| if from == 0 { Fate::Lose } else { Fate::Deliver });
    network.run_for(seconds(21));
    let held = network.raw.iter().find(|(from, d)| *from == 0 && d[0] == 4).unwrap().1.clone();
    network.fate = Box::new(|_| Fate::Deliver);
    network.run_for(seconds(7));
    for count in 0..400 {
        network.send(0, &packet(0, count, 1_000));
        network.send(1, &packet(1, count, 1_000));
        network.run_for(Duration::from_millis(250));
    }
    network.events = [Vec::new(), Vec::new()];
    let handshakes = network.tunnels[1].statistics().handshakes;
    network.deliver_from(1, &held, 2);
    let taken = network.tunnels[1].statistics().handshakes > handshakes;
    for count in 0..400 {
        network.send(1, &packet(1, count, 1_000));
        network.run_for(Duration::from_millis(100));
    }
    assert!(!taken, "an older session was taken into use");
}

/// An answer that was not used before the system slept makes a session hours old.
#[test]
fn a_confirmation_after_a_long_sleep_is_not_taken() {
    let mut network = agreed();
    network.run_for(seconds(200));
    network.raw.clear();
    network.send(1, &packet(1, 1, 1_000)); // the relay calls
    network.run_for(Duration::from_millis(15));
    network.fate = Box::new(|from| if from == 1 { Fate::Lose } else { Fate::Deliver });
    network.run_for(Duration::from_millis(200));
    let held = network.raw.iter().find(|(from, d)| *from == 1 && d[0] == 4).unwrap().1.clone();
    network.skip(seconds(2));
    network.suspend(seconds(8 * 3_600));
    let before = network.tunnels[0].statistics().handshakes;
    network.deliver_from(0, &held, 2);
    let after = network.tunnels[0].statistics().handshakes;
    assert_eq!(before, after, "a session of eight hours ago was taken into use");
}

/// The same at the client: a copy of the relay's call.
#[test]
fn a_copy_of_the_relays_initiation_does_not_stop_the_client() {
    let mut network = agreed();
    network.run_for(seconds(200));
    network.raw.clear();
    network.send(1, &packet(1, 1, 1_000)); // the relay calls, so it renews
    network.run_for(seconds(118));
    network.raw.clear();
    let (mut copied, mut longest, mut last) = (0, Duration::ZERO, network.now());
    for count in 0..400u32 {
        network.send(1, &packet(1, count, 1_000));
        network.send(0, &packet(0, count, 1_000));
        let calls: Vec<_> =
            network.raw.iter().filter(|(from, d)| *from == 1 && d[0] == 1).map(|(_, d)| d.clone()).collect();
        for call in &calls[copied..] {
            network.deliver_as_relay_of(call, 77);
        }
        copied = calls.len();
        let before = network.delivered[1].len();
        network.run_for(Duration::from_millis(50));
        if network.delivered[1].len() > before {
            last = network.now();
        }
        longest = longest.max(network.now() - last);
    }
    assert!(longest < seconds(1));
}
