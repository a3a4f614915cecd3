//! Which loads are tested together: folds in which every label has its share, and no draw is in two.

use std::collections::{BTreeMap, BTreeSet};

use rand_core::SeedableRng as _;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::AttackError;
use super::forest::below;

/// Returns the fold of each load, below `folds`. Classes are places among the labels. Loads of one draw are in one fold; those without are draws of their own.
///
/// Each draw goes, the largest first, where its labels are rarest; so stratified folds come out where nothing is shared.
///
/// # Errors
/// If some label has fewer draws than there are folds: a label that is tested must have been learnt.
pub(super) fn assign(
    classes: &[usize],
    labels: &[u32],
    draws: &[Option<u64>],
    folds: usize,
    seed: u64,
) -> Result<Vec<usize>, AttackError> {
    let count = labels.len();
    let mut groups: BTreeMap<(Option<u64>, usize), Vec<usize>> = BTreeMap::new();
    for (load, draw) in draws.iter().enumerate() {
        groups.entry((*draw, if draw.is_none() { load } else { 0 })).or_default().push(load);
    }
    let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
    let mut draws = vec![0; count];
    for group in &groups {
        let present: BTreeSet<usize> = group.iter().map(|&load| classes[load]).collect();
        present.into_iter().for_each(|class| draws[class] += 1);
    }
    if let Some((&label, &draws)) = labels.iter().zip(&draws).find(|(_, draws)| **draws < folds) {
        return Err(AttackError::TooFewDraws { label, draws, folds });
    }

    shuffle(&mut groups, &mut Xoshiro256PlusPlus::seed_from_u64(seed));
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    let mut fold_of = vec![0; classes.len()];
    let mut present = vec![vec![0usize; count]; folds];
    for group in groups {
        // What the sum of squares of the fold's counts grows by, but for a constant; then the smallest fold.
        let cost = |fold: usize| {
            let same: usize = group.iter().map(|&load| present[fold][classes[load]]).sum();
            (same, present[fold].iter().sum::<usize>())
        };
        let fold = (0..folds).min_by_key(|&fold| cost(fold)).unwrap_or(0);
        for load in group {
            fold_of[load] = fold;
            present[fold][classes[load]] += 1;
        }
    }
    let learnt = |fold: usize, label: usize| {
        present.iter().enumerate().any(|(other, counts)| other != fold && counts[label] > 0)
    };
    for (fold, counts) in present.iter().enumerate() {
        if counts.iter().all(|&loads| loads == 0) {
            return Err(AttackError::EmptyFold { folds });
        }
        if let Some(class) = (0..count).find(|&class| counts[class] > 0 && !learnt(fold, class)) {
            return Err(AttackError::TooFewDraws { label: labels[class], draws: 1, folds });
        }
    }
    Ok(fold_of)
}

/// Brings the items into a random order.
pub(crate) fn shuffle<T>(items: &mut [T], rng: &mut Xoshiro256PlusPlus) {
    for at in (1..items.len()).rev() {
        items.swap(at, below(rng, at + 1));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_fold_has_as_many_loads_of_every_label() {
        let classes: Vec<usize> = (0..200).map(|load| load % 5).collect();
        let folds = assign(&classes, &[0, 1, 2, 3, 4], &[None; 200], 10, 1).unwrap();
        for fold in 0..10 {
            for label in 0..5 {
                assert_eq!((0..200).filter(|&load| folds[load] == fold && classes[load] == label).count(), 4);
            }
        }
    }

    #[test]
    fn a_label_with_fewer_draws_than_folds_is_refused() {
        let classes = [0, 0, 0, 1, 1, 1];
        let error = assign(&classes, &[0, 7], &[Some(1), Some(1), Some(2), None, None, None], 3, 1).unwrap_err();
        assert!(matches!(error, AttackError::TooFewDraws { label: 0, draws: 2, folds: 3 }), "{error}");
    }

    proptest! {
        #[test]
        fn no_draw_is_in_two_folds(loads in prop::collection::vec((0usize..3, prop::option::of(0u64..12)), 1..120), seed: u64) {
            let (classes, draws): (Vec<_>, Vec<_>) = loads.into_iter().unzip();
            let Ok(folds) = assign(&classes, &[0, 1, 2], &draws, 3, seed) else { return Ok(()) };
            for (a, fold) in folds.iter().enumerate() {
                let others = (0..a).filter(|&b| draws[a].is_some() && draws[a] == draws[b]);
                prop_assert!(others.clone().all(|b| folds[b] == *fold));
            }
        }
    }
}
