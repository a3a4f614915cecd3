//! Whatever defense runs, what the user sends arrives: from the first packet on, for which there is no session yet, and however
//! little padding the user allows.

use std::time::Duration;

use maybetun::settings::{DefenseSettings, Fraction, Limits, Role};
use maybetun_lab::tunnels::{TwoEnds, packet};

/// How long packets are sent, ten a second. RegulaTor, the slowest of the catalogue, holds one for two seconds.
const TIME: Duration = Duration::from_secs(8);
const PACKETS: u32 = 80;

/// Returns two ends that run a defense of the catalogue, and have no session.
fn defended(name: &str, limits: &Limits) -> TwoEnds {
    let defense = maybetun_machines::find(name).expect("it is in the catalogue");
    let mut network = TwoEnds::new();
    for (side, role) in [(0, Role::Client), (1, Role::Relay)] {
        network.start_within(limits, side, &DefenseSettings::of(defense, role).plan, [side as u8 + 1; 32]);
    }
    network
}

/// Has a side send packets, as one who waits for nobody, and tells how many of the first half have arrived by the end: later, when
/// nothing is sent any more, blocking may end by itself.
fn arrived(network: &mut TwoEnds, side: usize) -> usize {
    let before = network.delivered[1 - side].len();
    for number in 0..PACKETS {
        network.send(side, &packet(side, number, 100));
        network.run_for(TIME / PACKETS);
    }
    (network.delivered[1 - side].len() - before).min(PACKETS as usize / 2)
}

/// Tells which defenses of the catalogue lost packets or kept them, with how many of each side's arrived.
fn stuck(limits: &Limits, silence: Duration) -> Vec<(&'static str, [usize; 2])> {
    let arrived = maybetun_machines::catalogue().iter().map(|entry| {
        let mut network = defended(entry.name(), limits);
        if !silence.is_zero() {
            arrived(&mut network, 0);
            network.run_for(silence);
        }
        (entry.name(), [0, 1].map(|side| arrived(&mut network, side)))
    });
    arrived.filter(|(_, arrived)| *arrived != [PACKETS as usize / 2; 2]).collect()
}

#[test]
fn packets_arrive_though_the_first_finds_no_session() {
    assert_eq!(stuck(&Limits::default(), Duration::ZERO), []);
}

#[test]
fn packets_arrive_though_hardly_any_padding_is_allowed() {
    let rate = Limits { max_padding_rate: Some(1), ..Limits::default() };
    assert_eq!(stuck(&rate, Duration::ZERO), []);
    let share = Limits { max_padding_frac: Some(Fraction::new(0.01).unwrap()), ..Limits::default() };
    assert_eq!(stuck(&share, Duration::ZERO), []);
}

#[test]
fn packets_arrive_after_a_silence_in_which_sessions_end() {
    assert_eq!(stuck(&Limits::default(), Duration::from_secs(400)), []);
}

#[test]
fn where_slots_come_by_themselves_packets_wait_for_them_though_hardly_any_padding_is_allowed() {
    // A slot every 5 ms.
    let limits = Limits { max_padding_rate: Some(1), ..Limits::default() };
    let mut network = defended("constant-rate", &limits);
    network.send(0, &packet(0, 0, 100));
    network.run_for(Duration::from_secs(1));
    let (before, start) = (network.seen.len(), network.now());
    for number in 1..40 {
        network.run_until(start + Duration::from_micros(7_300) * number);
        network.send(0, &packet(0, number, 100));
    }
    network.run_for(Duration::from_secs(1));
    let left: Vec<_> = network.seen[before..].iter().filter(|seen| seen.from == 0 && seen.kind == 4).collect();
    let times: Vec<_> = left.iter().map(|seen| seen.at.as_micros() % 5_000).collect();
    assert!(times.len() >= 39 && times.iter().all(|time| *time == times[0]), "{times:?}");
}
