//! The attack against sets whose answer is known.

use std::time::Duration;

use rand_core::{RngCore as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::forest::below;
use super::*;
use crate::trace::{Direction, Passage, Trace};

const OPTIONS: Options = Options { features: Features::All, folds: 10, trees: 60, seed: 7 };

/// Makes `visits` loads of each of `labels` labels. `load` has the generator, the label and the visit, and says when datagrams
/// pass in milliseconds, up ones as negative numbers of bytes, and the draw.
fn set(
    labels: u32,
    visits: u32,
    seed: u64,
    mut load: impl FnMut(&mut Xoshiro256PlusPlus, u32, u32) -> (Vec<(u64, i32)>, Option<u64>),
) -> Vec<Labelled> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let loads = (0..labels).flat_map(|label| (0..visits).map(move |visit| (label, visit)));
    let loads = loads.map(|(label, visit)| {
        let (passages, draw) = load(&mut rng, label, visit);
        let passages = passages.into_iter().map(|(ms, bytes)| Passage {
            at: Duration::from_millis(ms),
            direction: if bytes < 0 { Direction::Upload } else { Direction::Download },
            size: bytes.unsigned_abs() as u16,
        });
        Labelled { label, visit, draw, trace: Trace::sorted(passages.collect()).unwrap() }
    });
    loads.collect()
}

/// A load of `count` datagrams at any time in 3 s, which tell nothing but how many they are.
fn noise(rng: &mut Xoshiro256PlusPlus, count: usize) -> Vec<(u64, i32)> {
    (0..count).map(|_| (rng.next_u64() % 3_000, if rng.next_u64().is_multiple_of(4) { -100 } else { 1_400 })).collect()
}

fn has_chance(accuracy: &Accuracy) -> bool {
    let [low, high] = accuracy.interval;
    (low..=high).contains(&accuracy.chance)
}

/// Seven loads of ten have as many datagrams as their site's; the others as many as one of the three others'. So nobody is right
/// more often than in 70 % of the loads.
#[test]
fn the_attack_comes_near_the_best_there_is() {
    let loads = set(4, 200, 1, |rng, label, _| {
        let other = (label as usize + 1 + below(rng, 3)) % 4;
        let shown = if below(rng, 10) < 7 { label as usize } else { other };
        (noise(rng, 40 + 60 * shown), None)
    });
    let accuracy = closed_world(&loads, &OPTIONS).unwrap();
    assert!((accuracy.mean - 0.7).abs() < 0.05, "{accuracy:?}");
    assert_eq!((accuracy.chance, accuracy.folds.len(), &accuracy.labels[..]), (0.25, 10, &[0, 1, 2, 3][..]));
    assert_eq!(accuracy.confusion.iter().flatten().sum::<u32>(), 800);
}

#[test]
fn a_fixed_schedule_gives_chance() {
    let loads = set(5, 20, 1, |_, _, _| ((0..100).map(|slot| (20 * slot, 1_400)).collect(), None));
    let accuracy = closed_world(&loads, &OPTIONS).unwrap();
    assert!((accuracy.mean - 0.2).abs() < 1e-9, "{accuracy:?}");
}

#[test]
fn jitter_that_does_not_depend_on_the_site_gives_chance() {
    let loads =
        set(5, 60, 3, |rng, _, _| ((0..100).map(|slot| (20 * slot + rng.next_u64() % 10, 1_400)).collect(), None));
    let accuracy = closed_world(&loads, &OPTIONS).unwrap();
    assert!(has_chance(&accuracy), "{accuracy:?}");
}

#[test]
fn one_late_packet_tells() {
    let loads = set(2, 40, 1, |_, label, _| {
        let late = |slot| if label == 1 && slot == 50 { 5 } else { 0 };
        ((0..100).map(|slot| (20 * slot + late(slot), if slot % 5 == 0 { -1_400 } else { 1_400 })).collect(), None)
    });
    for features in [Features::KFingerprinting, Features::All] {
        let accuracy = closed_world(&loads, &Options { features, ..OPTIONS }).unwrap();
        assert_eq!((accuracy.mean, accuracy.interval), (1.0, [1.0, 1.0]), "{features:?}");
    }
}

/// Each draw has its own number of datagrams, whatever the site, and was used for one site.
#[test]
fn what_only_the_draw_tells_is_chance_when_draws_are_apart() {
    let mut loads = set(4, 120, 5, |rng, label, visit| {
        let draw = u64::from(label) * 1_000 + u64::from(visit / 8);
        let mut of_draw = Xoshiro256PlusPlus::seed_from_u64(draw);
        let count = 50 + below(&mut of_draw, 2_000);
        (noise(rng, count), Some(draw))
    });
    let apart = closed_world(&loads, &OPTIONS).unwrap();
    assert!(has_chance(&apart), "{apart:?}");
    loads.iter_mut().for_each(|load| load.draw = None);
    let shared = closed_world(&loads, &OPTIONS).unwrap();
    assert!(shared.mean > 0.6, "as good as it looks to who forgets the draws: {shared:?}");
}

#[test]
fn more_loads_teach_more_and_the_seed_decides() {
    let loads = set(4, 40, 1, |rng, label, _| {
        let count = 40 + 12 * label as usize + below(rng, 30);
        (noise(rng, count), None)
    });
    let curve = learning_curve(&loads, &[1, 8, 36], &OPTIONS).unwrap();
    assert_eq!(curve, learning_curve(&loads, &[1, 8, 36], &OPTIONS).unwrap());
    assert!(curve[0].accuracy.mean + 0.05 < curve[2].accuracy.mean, "{curve:?}");
    assert_eq!(curve[2].accuracy.chance, 0.25);
    let error = learning_curve(&loads, &[37], &OPTIONS).unwrap_err();
    assert_eq!(error, AttackError::TooFewLoads { label: 0, left: 36, loads: 37 });
    assert!(matches!(learning_curve(&loads, &[0], &OPTIONS), Err(AttackError::TooFewLoads { loads: 0, .. })));
}

#[test]
fn what_cannot_be_attacked_is_said() {
    let loads = set(2, 3, 1, |rng, _, _| (noise(rng, 5), None));
    let error = closed_world(&loads, &OPTIONS).unwrap_err();
    assert_eq!(error.to_string(), "label 0 has loads of 3 draws: expected at least one for each of 10 folds");
    assert_eq!(closed_world(&loads[..3], &OPTIONS), Err(AttackError::TooFewLabels { labels: 1 }));
    assert_eq!(closed_world(&[], &OPTIONS), Err(AttackError::TooFewLabels { labels: 0 }));
    let error = closed_world(&loads, &Options { folds: 1, ..OPTIONS }).unwrap_err();
    assert_eq!(error, AttackError::Options { folds: 1, trees: 60 });
}

#[test]
fn a_call_a_film_and_silence_are_told_by_throughput() {
    let windows = set(3, 20, 2, |rng, label, _| {
        let passages = match label {
            0 => (0..1_500u64).flat_map(|at| [(20 * at, -200), (20 * at + 7, 200)]).collect(),
            1 => (0..6u64).flat_map(|segment| (0..300).map(move |at| (5_000 * segment + 2 * at, 1_400))).collect(),
            _ => (0..4).map(|_| (rng.next_u64() % 30_000, 120)).collect(),
        };
        (passages, None)
    });
    let accuracy = shape::classify(&windows, &OPTIONS).unwrap();
    assert_eq!(accuracy.mean, 1.0, "{accuracy:?}");
    let alike = set(3, 40, 3, |rng, _, _| (noise(rng, 300), None));
    let accuracy = shape::classify(&alike, &OPTIONS).unwrap();
    assert!(has_chance(&accuracy), "{accuracy:?}");
}
