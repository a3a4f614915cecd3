//! When a tunnel speaks by itself, and when it is silent.

use std::time::Duration;

use maybetun::keys::PresharedKey;

use maybetun::tunnel::Event;
use maybetun_lab::tunnels::{DELAY, Fate, TwoEnds, number, packet};

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Two sides with a session, and one packet exchanged each way; everything before is forgotten.
fn connected() -> TwoEnds {
    let mut network = TwoEnds::new();
    network.send(0, &packet(0, 1, 100));
    network.run_for(seconds(1));
    network.send(1, &packet(1, 1, 100));
    network.run_for(seconds(1));
    network.send(0, &packet(0, 2, 100));
    network.run_for(seconds(20));
    assert_eq!(network.delivered[1].len(), 2);
    network.seen.clear();
    network.wakeups = [0; 2];
    network
}

#[test]
fn an_idle_tunnel_is_silent_and_asleep() {
    let mut network = connected();
    network.run_for(seconds(3_600));
    assert_eq!(network.seen, [], "nothing is sent");
    assert!(network.wakeups.iter().all(|count| *count <= 2), "woken {:?} times in an hour", network.wakeups);
}

#[test]
fn data_that_is_not_answered_is_answered_by_a_keepalive_after_ten_seconds() {
    let mut network = connected();
    let sent = network.now();
    network.send(0, &packet(0, 3, 100));
    network.run_for(seconds(60));
    let after: Vec<_> = network.seen.iter().map(|seen| (seen.from, seen.length, seen.at - sent)).collect();
    assert_eq!(after, [(0, 144, Duration::ZERO), (1, 32, DELAY + seconds(10))]);
}

#[test]
fn steady_traffic_renews_the_session_every_two_minutes_and_loses_nothing() {
    let mut network = connected();
    let start = network.now();
    for count in 0..6_000 {
        network.send(0, &packet(0, count, 200));
        network.send(1, &packet(1, count, 200));
        network.run_for(Duration::from_millis(100));
    }
    network.run_for(seconds(1));
    let numbers: Vec<_> = network.delivered[1][2..].iter().map(|packet| number(packet)).collect();
    assert_eq!(numbers, (0..6_000).collect::<Vec<_>>());
    let initiations = network.initiations().len() as u64;
    let expected = (network.now() - start).as_secs() / 120;
    assert!((expected - 1..=expected + 1).contains(&initiations), "{initiations} handshakes");
}

#[test]
fn an_hour_of_traffic_one_way_makes_no_more_handshakes_than_renewal_asks_for() {
    let mut network = connected();
    for count in 0..36_000 {
        network.send(0, &packet(0, count, 200));
        network.run_for(Duration::from_millis(100));
    }
    let initiations = network.initiations().len();
    assert!((28..=32).contains(&initiations), "{initiations} handshakes");
    let delivered = network.delivered[1].len();
    assert_eq!(delivered, 36_000 + 2);
}

#[test]
fn a_persistent_keepalive_fills_silence_and_nothing_else() {
    let mut network = connected();
    let now = network.instant();
    network.tunnels[0].set_persistent_keepalive(25, now);
    let start = network.now();
    network.run_for(seconds(80));
    let keepalives: Vec<_> =
        network.seen.iter().filter(|seen| seen.from == 0 && seen.kind == 4).map(|seen| seen.at - start).collect();
    assert_eq!(keepalives, [25, 50, 75].map(seconds));

    network.seen.clear();
    for count in 0..4 {
        network.send(0, &packet(0, count, 100));
        network.run_for(seconds(4));
    }
    assert!(network.seen.iter().all(|seen| seen.from == 1 || seen.length != 32), "traffic needs no keepalive");
}

#[test]
fn a_silent_peer_is_called_again_and_given_up_after_ninety_seconds() {
    let mut network = connected();
    network.fate = Box::new(|_| Fate::Lose);
    network.events[0].clear();
    let sent = network.now();
    network.send(0, &packet(0, 3, 100));
    network.run_for(seconds(16));
    let first = network.initiations()[0] - sent;
    assert!((seconds(14)..=seconds(15)).contains(&first) || first <= seconds(1), "{first:?}");

    network.run_for(seconds(240));
    let initiations = network.initiations();
    for pair in initiations.windows(2) {
        let gap = pair[1] - pair[0];
        assert!((seconds(5)..=Duration::from_millis(6_400)).contains(&gap), "retried after {gap:?}");
    }
    assert!((14..=19).contains(&initiations.len()), "{} initiations", initiations.len());
    assert!(network.events[0].contains(&Event::HandshakeFailed));
}

#[test]
fn packets_given_up_are_counted_and_the_next_packet_tries_again() {
    let mut network = TwoEnds::new();
    network.fate = Box::new(|_| Fate::Lose);
    for count in 0..3 {
        network.send(0, &packet(0, count, 100));
    }
    network.run_for(seconds(300));
    assert_eq!(network.tunnels[0].statistics().dropped.no_session, 3);
    assert_eq!(network.tunnels[0].queued(), 0);

    network.fate = Box::new(|_| Fate::Deliver);
    network.send(0, &packet(0, 9, 100));
    network.run_for(seconds(1));
    assert_eq!(network.delivered[1], [packet(0, 9, 100)]);
}

#[test]
fn a_restarted_relay_is_found_again() {
    let mut network = connected();
    network.restart(1);
    let start = network.now();
    let mut count = 100;
    while network.delivered[1].len() == 2 {
        network.send(0, &packet(0, count, 100));
        network.run_for(seconds(1));
        count += 1;
        assert!(network.now() - start < seconds(25), "not found again in 25 s");
    }
    network.send(1, &packet(1, 7, 100));
    network.run_for(seconds(1));
    assert_eq!(network.delivered[0].last(), Some(&packet(1, 7, 100)), "the relay knows where the client is");
}

#[test]
fn a_tunnel_that_slept_past_its_session_makes_a_new_one_for_the_first_packet() {
    for idle in [179, 181, 400, 539, 541, 100_000] {
        let mut network = connected();
        network.run_for(seconds(idle));
        network.send(0, &packet(0, 77, 100));
        network.run_for(seconds(1));
        assert_eq!(network.delivered[1].last(), Some(&packet(0, 77, 100)), "after {idle} s");
        network.send(1, &packet(1, 78, 100));
        network.run_for(seconds(1));
        assert_eq!(network.delivered[0].last(), Some(&packet(1, 78, 100)), "after {idle} s");
    }
}

#[test]
fn both_sides_starting_at_once_end_with_a_session() {
    let mut network = TwoEnds::new();
    network.send(0, &packet(0, 1, 100));
    network.send(1, &packet(1, 1, 100));
    network.run_for(seconds(12));
    network.send(0, &packet(0, 2, 100));
    network.send(1, &packet(1, 2, 100));
    network.run_for(seconds(1));
    assert_eq!(network.delivered[1].last(), Some(&packet(0, 2, 100)));
    assert_eq!(network.delivered[0].last(), Some(&packet(1, 2, 100)));
}

#[test]
fn a_preshared_key_that_both_change_every_two_minutes_costs_no_packet() {
    let mut network = connected();
    for count in 0..6_000 {
        if count % 1_200 == 600 {
            let key = PresharedKey::generate_from_os();
            // One side is a little late.
            let now = network.instant();
            network.tunnels[0].set_preshared_key(&key, now);
            network.run_for(Duration::from_millis(50));
            let now = network.instant();
            network.tunnels[1].set_preshared_key(&key, now);
        }
        network.send(0, &packet(0, count, 200));
        network.send(1, &packet(1, count, 200));
        network.run_for(Duration::from_millis(100));
    }
    for side in [0, 1] {
        let numbers: Vec<_> =
            network.delivered[side].iter().map(|packet| number(packet)).skip_while(|number| *number != 0).collect();
        assert_eq!(numbers, (0..6_000).collect::<Vec<_>>());
    }
    assert!(network.tunnels[0].statistics().handshakes >= 5);
}

#[test]
fn a_preshared_key_that_only_one_changes_ends_the_traffic_with_the_session() {
    let mut network = connected();
    let now = network.instant();
    network.tunnels[0].set_preshared_key(&PresharedKey::generate_from_os(), now);
    for count in 0..400 {
        network.send(0, &packet(0, count, 200));
        network.run_for(seconds(1));
    }
    let last = number(network.delivered[1].last().unwrap());
    assert!((100..=181).contains(&last), "traffic went on until second {last}");
}

#[test]
fn a_session_ends_after_three_minutes_also_when_it_was_used_just_before() {
    let mut network = connected();
    let made = network.tunnels[0].last_handshake().unwrap() - network.instant().checked_sub(network.now()).unwrap();
    network.fate = Box::new(|_| Fate::Lose);
    for before in [900, 500, 100] {
        network.run_until(made + seconds(180) - Duration::from_millis(before));
        network.send(1, &packet(1, 1, 100));
    }
    network.events[1].clear();
    network.run_for(seconds(2));
    assert!(network.events[1].contains(&Event::SessionEnded), "{:?}", network.events[1]);
}
