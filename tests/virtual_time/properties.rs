//! What holds for every traffic on every network, against a simple model: a list of what was sent.

use std::collections::HashSet;
use std::time::Duration;

use maybetun_lab::tunnels::{Fate, TwoEnds, number, packet};
use proptest::prelude::*;

/// What is sent when a session is this old may arrive when it has ended: so the protocol wants it (whitepaper §6.2).
const SESSION_END: std::ops::RangeInclusive<Duration> = Duration::from_secs(178)..=Duration::from_secs(181);

#[derive(Debug, Clone)]
struct Step {
    side: usize,
    length: usize,
    pause: Duration,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pause = prop_oneof![
        8 => (0..200u64).prop_map(Duration::from_millis),
        2 => (1..30u64).prop_map(Duration::from_secs),
        1 => (60..700u64).prop_map(Duration::from_secs),
    ];
    let step = (0..2usize, 24..1_420usize, pause).prop_map(|(side, length, pause)| Step { side, length, pause });
    prop::collection::vec(step, 1..120)
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        6 => Just(Fate::Deliver),
        2 => Just(Fate::Lose),
        1 => Just(Fate::Repeat),
        1 => (1..3_000u64).prop_map(|ms| Fate::Delay(Duration::from_millis(ms))),
    ];
    prop::collection::vec(fate, 1..200)
}

fn play(network: &mut TwoEnds, steps: &[Step]) -> [Vec<Vec<u8>>; 2] {
    let mut sent = [Vec::new(), Vec::new()];
    for (count, step) in steps.iter().enumerate() {
        let packet = packet(step.side, count as u32, step.length);
        network.send(step.side, &packet);
        sent[step.side].push(packet);
        network.run_for(step.pause);
    }
    network.run_for(Duration::from_secs(20));
    sent
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_comes_out_was_sent_and_comes_out_once(steps in steps(), fates in fates()) {
        let mut network = TwoEnds::new();
        let mut turn = 0;
        network.fate = Box::new(move |_| { turn += 1; fates[turn % fates.len()] });
        let sent = play(&mut network, &steps);
        for side in [0, 1] {
            let mut numbers = HashSet::new();
            for packet in &network.delivered[side] {
                prop_assert!(sent[1 - side].contains(packet), "came out changed");
                prop_assert!(numbers.insert(number(packet)), "came out twice");
            }
        }
    }

    #[test]
    fn a_network_without_faults_loses_nothing_and_keeps_order(steps in steps()) {
        // The two sides do not start at the same instant: crossing initiations of a first contact may cost one retry,
        // within which a side waits, and this is what the retry is for.
        let mut network = TwoEnds::new();
        network.send(0, &packet(0, u32::MAX, 24));
        network.run_for(Duration::from_secs(1));
        network.delivered = [Vec::new(), Vec::new()];
        let mut expected = [Vec::new(), Vec::new()];
        let mut at_the_end = HashSet::new();
        for (count, step) in steps.iter().enumerate() {
            let age = network.tunnels[step.side].last_handshake().map(|at| network.instant() - at);
            if age.is_some_and(|age| SESSION_END.contains(&age)) {
                at_the_end.insert(count as u32);
            }
            let packet = packet(step.side, count as u32, step.length);
            network.send(step.side, &packet);
            expected[1 - step.side].push(packet);
            network.run_for(step.pause);
        }
        network.run_for(Duration::from_secs(20));
        for side in [0, 1] {
            let arrived: HashSet<_> = network.delivered[side].iter().map(|packet| number(packet)).collect();
            expected[side].retain(|packet| arrived.contains(&number(packet)) || !at_the_end.contains(&number(packet)));
            prop_assert_eq!(&network.delivered[side], &expected[side]);
        }
    }

    #[test]
    fn the_tunnel_works_again_once_the_network_does(steps in steps(), fates in fates()) {
        let mut network = TwoEnds::new();
        let mut turn = 0;
        network.fate = Box::new(move |_| { turn += 1; fates[turn % fates.len()] });
        play(&mut network, &steps);
        network.fate = Box::new(|_| Fate::Deliver);
        let mut works = false;
        for count in 0..40u32 {
            network.send(0, &packet(0, 1_000 + count, 100));
            network.run_for(Duration::from_secs(1));
            network.send(1, &packet(1, 1_000 + count, 100));
            network.run_for(Duration::from_secs(1));
            let arrived = |side: usize| network.delivered[side].last().is_some_and(|packet| number(packet) == 1_000 + count);
            works = arrived(0) && arrived(1);
            if works {
                break;
            }
        }
        prop_assert!(works, "no traffic both ways within 80 s of a working network");
    }

    #[test]
    fn a_tunnel_never_wakes_more_than_once_a_second_on_its_own(steps in steps(), fates in fates()) {
        let mut network = TwoEnds::new();
        let mut turn = 0;
        network.fate = Box::new(move |_| { turn += 1; fates[turn % fates.len()] });
        play(&mut network, &steps);
        let before = network.wakeups;
        network.run_for(Duration::from_secs(600));
        for side in [0, 1] {
            prop_assert!(network.wakeups[side] - before[side] <= 200, "{} times in 10 minutes", network.wakeups[side] - before[side]);
        }
    }
}
