//! What the timers send tells nobody what the datagrams before it carried.

use std::collections::HashSet;
use std::time::Duration;

use maybetun::settings::{DefenseSettings, EphemeralSettings, MAX_RENEWAL, Role, Tier};
use maybetun_lab::tunnels::{DELAY, Fate, Sighting, TwoEnds, packet};
use maybetun_machines::pool_pair;
use proptest::prelude::*;

use crate::machines::pad;

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// One size and nothing else: what leaves is what a test sends, and what the timers do about it.
fn size() -> EphemeralSettings {
    EphemeralSettings { tier: Tier::Size, renewal: MAX_RENEWAL, ..EphemeralSettings::default() }
}

/// Two sides that agreed, silent since; everything before is forgotten.
fn agreed(serial: u64) -> TwoEnds {
    let mut network = TwoEnds::new();
    for side in [0, 1] {
        network.agree_by(side, &size(), serial);
    }
    network.send(0, &packet(0, 1, 1_000));
    network.run_for(seconds(40));
    network.seen.clear();
    network.delivered = [Vec::new(), Vec::new()];
    network
}

/// What a side hands to its tunnel, and how long it rests then.
#[derive(Debug, Clone, Copy)]
struct Step {
    side: usize,
    pause: Duration,
}

/// What is handed over in every step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Packets,
    Padding,
}

/// What the observer does: loses some datagrams, and from some instant on all of one side's.
#[derive(Debug, Clone)]
struct Meddling {
    fates: Vec<Fate>,
    mute: Option<(usize, u64)>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pause = prop_oneof![
        6 => (0..2_000u64).prop_map(Duration::from_millis),
        3 => (2..40u64).prop_map(Duration::from_secs),
        1 => (60..400u64).prop_map(Duration::from_secs),
    ];
    prop::collection::vec((0..2usize, pause).prop_map(|(side, pause)| Step { side, pause }), 1..40)
}

fn meddling() -> impl Strategy<Value = Meddling> {
    let fate = prop_oneof![
        6 => Just(Fate::Deliver),
        2 => Just(Fate::Lose),
        1 => Just(Fate::Repeat),
        1 => (1..3_000u64).prop_map(|ms| Fate::Delay(Duration::from_millis(ms))),
    ];
    let mute = prop::option::of((0..2usize, 0..60u64));
    (prop::collection::vec(fate, 1..100), mute).prop_map(|(fates, mute)| Meddling { fates, mute })
}

/// Plays a history, and returns what an observer saw of it.
fn play(what: What, steps: &[Step], meddling: &Meddling) -> Vec<Sighting> {
    let mut network = agreed(7);
    let (Meddling { fates, mute }, mut turn) = (meddling.clone(), 0);
    network.fate = Box::new(move |from| {
        turn += 1;
        match mute {
            Some((side, since)) if from == side && turn as u64 > since => Fate::Lose,
            _ => fates[turn % fates.len()],
        }
    });
    for (count, step) in steps.iter().enumerate() {
        match what {
            // Too large for two to share a datagram.
            What::Packets => network.send(step.side, &packet(step.side, count as u32, 1_000)),
            What::Padding => pad(&mut network, step.side),
        }
        network.run_for(step.pause);
    }
    network.run_for(seconds(300));
    network.seen
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn padding_and_packets_have_the_same_consequences(steps in steps(), meddling in meddling()) {
        let [packets, padding] = [What::Packets, What::Padding].map(|what| play(what, &steps, &meddling));
        prop_assert_eq!(packets, padding);
    }
}

#[test]
fn who_drops_one_direction_learns_nothing_from_the_handshake_that_follows() {
    let mute = |side| Meddling { fates: vec![Fate::Deliver], mute: Some((side, 0)) };
    for (sender, muted) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let steps = [Step { side: sender, pause: seconds(30) }];
        let [packets, padding] = [What::Packets, What::Padding].map(|what| play(what, &steps, &mute(muted)));
        assert_eq!(packets, padding);
        assert!(padding.iter().any(|seen| seen.kind == 1), "padding that is not answered is missed");
    }
}

#[test]
fn padding_without_a_session_begins_a_handshake_and_leaves_in_its_session() {
    let mut network = agreed(1);
    network.run_for(seconds(300));
    assert_eq!(network.seen, [], "there is no session any more, and nobody speaks");
    pad(&mut network, 1);
    network.run_for(Duration::from_millis(100));
    let kinds: Vec<_> = network.seen.iter().map(|seen| (seen.from, seen.kind)).take(3).collect();
    assert_eq!(kinds, [(1, 1), (0, 2), (1, 4)]);
}

#[test]
fn after_the_last_packet_at_most_one_more_datagram_leaves_each_way() {
    for (age, sender) in (0..110).step_by(10).flat_map(|age| [(age, 0), (age, 1)]) {
        for what in [What::Packets, What::Padding] {
            let mut network = agreed(age);
            network.run_for(seconds(age).saturating_sub(seconds(40)));
            network.seen.clear();
            match what {
                What::Packets => network.send(sender, &packet(sender, 9, 1_000)),
                What::Padding => pad(&mut network, sender),
            }
            network.run_for(seconds(3_600));
            let after: Vec<_> = network.seen[1..].iter().map(|seen| (seen.from, seen.kind)).collect();
            assert_eq!(after, [(1 - sender, 4)], "{what:?} at {age} s");
        }
    }
}

#[test]
fn a_keepalive_comes_after_five_to_ten_seconds_and_never_after_the_same() {
    let mut network = agreed(3);
    let mut waits = HashSet::new();
    for count in 0..60 {
        network.seen.clear();
        let sent = network.now();
        network.send(0, &packet(0, count, 1_000));
        network.run_for(seconds(20));
        let [_, keepalive] = network.seen[..] else { continue };
        let wait = keepalive.at - sent - DELAY;
        assert!((seconds(5)..=seconds(10)).contains(&wait), "{wait:?}");
        waits.insert(wait);
    }
    assert!(waits.len() > 40, "{} waits", waits.len());
}

#[test]
fn a_peer_that_does_not_answer_is_called_after_fifteen_to_twenty_seconds_and_never_after_the_same() {
    let mut waits = HashSet::new();
    let mut network = agreed(4);
    for count in 0..40 {
        network.fate = Box::new(|_| Fate::Lose);
        network.seen.clear();
        let sent = network.now();
        network.send(0, &packet(0, count, 1_000));
        network.run_for(seconds(21));
        let wait = network.initiations()[0] - sent;
        assert!((seconds(15)..=seconds(20)).contains(&wait), "{wait:?}");
        waits.insert(wait);
        network.fate = Box::new(|_| Fate::Deliver);
        network.run_for(seconds(60));
    }
    assert_eq!(waits.len(), 40);
}

#[test]
fn the_jitter_of_retries_is_no_function_of_the_index() {
    // Two networks in which all but the seeds of the tunnels is the same would have the same gaps, if it were.
    let gaps = |seed: u8| {
        let mut network = TwoEnds::seeded(seed);
        network.fate = Box::new(|_| Fate::Lose);
        network.send(0, &packet(0, 1, 100));
        network.run_for(seconds(80));
        let times = network.initiations();
        times.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>()
    };
    let all: Vec<_> = (0..8).flat_map(gaps).collect();
    let spread = seconds(5)..=Duration::from_millis(5_333);
    assert!(all.iter().all(|gap| spread.contains(gap)), "{all:?}");
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len(), "each is drawn");
    assert_ne!(gaps(1), gaps(2));
}

#[test]
fn a_plain_peer_is_treated_as_wireguard_says() {
    let mut network = TwoEnds::new();
    network.agree(0, &size());
    network.send(0, &packet(0, 1, 1_000));
    network.run_for(seconds(60));
    network.send(0, &packet(0, 1, 1_000));
    network.run_for(seconds(12));
    network.seen.clear();
    // The peer answers a packet after ten seconds; padding is nothing to it.
    let sent = network.now();
    pad(&mut network, 0);
    network.run_for(seconds(20));
    network.send(0, &packet(0, 2, 1_000));
    network.run_for(seconds(20));
    let seen: Vec<_> = network.seen.iter().map(|seen| (seen.from, seen.at - sent)).collect();
    assert_eq!(seen, [(0, Duration::ZERO), (0, seconds(20)), (1, seconds(30) + DELAY)]);
}

/// The longest that any pair of the pool goes on after the user's last packet, as the documents say.
const SILENT_AFTER: Duration = seconds(3_000);

/// Runs one pair of the pool at both ends, exchanges a few packets, and returns for how long something left after the last.
fn silent_after(tier: Tier, index: u32) -> Duration {
    let mut network = agreed(u64::from(index));
    let pair = pool_pair(tier, index).unwrap();
    let now = network.instant();
    for (side, role) in [Role::Client, Role::Relay].into_iter().enumerate() {
        let plan = DefenseSettings::of(&pair, role).plan;
        network.tunnels[side].run_machines(&plan, [index as u8; 32], now);
    }
    for count in 0..30 {
        network.send(0, &packet(0, count, 1_000));
        network.run_for(Duration::from_millis(15));
        network.send(1, &packet(1, count, 1_000));
        network.run_for(Duration::from_millis(60));
    }
    let last = network.now();
    network.run_for(seconds(3_600));
    network.seen.last().map_or(Duration::ZERO, |seen| seen.at.saturating_sub(last))
}

#[test]
fn every_pair_of_the_pool_falls_silent() {
    // All of them take minutes: `POOL_STEP=1`, with `--nocapture` for what the documents say.
    let step = std::env::var("POOL_STEP").map_or(20, |step| step.parse().unwrap());
    for tier in [Tier::Padding, Tier::Blocking] {
        let mut waits: Vec<_> = (0..1_000).step_by(step).map(|index| (silent_after(tier, index), index)).collect();
        waits.sort();
        let at = |percent: usize| waits[(waits.len() - 1) * percent / 100];
        println!("{tier}: median {:?}, of 95 % {:?}, of all {:?}", at(50), at(95), at(100));
        assert!(at(100).0 <= SILENT_AFTER, "{:?}", at(100));
    }
}
