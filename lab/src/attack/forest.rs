//! Extremely randomised trees: P. Geurts, D. Ernst and L. Wehenkel, "Extremely randomized trees", Machine Learning 63 (2006),
//! with Gini's impurity, as scikit-learn's `ExtraTreesClassifier` has them.
//!
//! Of our own: smartcore, the crate for trees that the lab has, grows extremely randomised ones for regression only.

use rand_core::{RngCore as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::on_all_cores;

/// Of so many columns, one is looked at where a tree branches. The square root of them, as is usual, finds too little where most columns
/// tell nothing, as those of the matrix after the end of a load.
const DRAWN: usize = 10;

/// Numbers in columns: all of the first feature, then all of the second.
pub(crate) struct Table {
    rows: usize,
    columns: Vec<Vec<f32>>,
}

impl Table {
    /// Takes rows that are as long as each other, of finite numbers.
    pub(crate) fn new(rows: &[Vec<f32>]) -> Self {
        let columns = rows.first().map_or(0, Vec::len);
        Self { rows: rows.len(), columns: (0..columns).map(|at| rows.iter().map(|row| row[at]).collect()).collect() }
    }

    /// Returns how many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }
}

/// What a forest learns from: some rows of a table, and the class of each of its rows.
pub(crate) struct Lesson<'a> {
    pub(crate) table: &'a Table,
    pub(crate) classes: &'a [usize],
    /// How many classes there are.
    pub(crate) count: usize,
    /// The rows to learn from.
    pub(crate) rows: Vec<usize>,
}

/// Trees that vote.
pub(crate) struct Forest {
    trees: Vec<Tree>,
    classes: usize,
}

struct Tree(Vec<Node>);

enum Node {
    /// Rows with at most `threshold` go to node `left`, the others to the one behind it.
    Split { column: usize, threshold: f32, left: usize },
    /// The classes of what was learnt here, with their shares.
    Leaf(Vec<(usize, f32)>),
}

impl Forest {
    /// Grows `trees` trees, on all processors. The same seed grows the same forest on any number of them.
    pub(crate) fn grow(lesson: &Lesson<'_>, trees: usize, seed: u64) -> Self {
        let varying: Vec<usize> = (0..lesson.table.columns.len())
            .filter(|&column| bounds(&lesson.table.columns[column], &lesson.rows).is_some())
            .collect();
        let trees = on_all_cores(trees, |tree| {
            // Seeds of neighbouring trees are spread by the generator's own SplitMix64.
            let rng = Xoshiro256PlusPlus::seed_from_u64(seed.rotate_left(32) ^ tree as u64);
            Grower { lesson, columns: varying.clone(), rng, counts: Counts::new(lesson.count) }.grow()
        });
        Self { trees, classes: lesson.count }
    }

    /// Names the class of a row: the one with the largest sum of the trees' shares; of several, the first.
    pub(crate) fn name(&self, table: &Table, row: usize) -> usize {
        let mut votes = vec![0.0f64; self.classes];
        for tree in &self.trees {
            for &(class, share) in tree.leaf(table, row) {
                votes[class] += f64::from(share);
            }
        }
        (0..self.classes).rev().max_by(|&a, &b| votes[a].total_cmp(&votes[b])).unwrap_or(0)
    }
}

impl Tree {
    fn leaf(&self, table: &Table, row: usize) -> &[(usize, f32)] {
        let mut at = 0;
        loop {
            match &self.0[at] {
                Node::Leaf(shares) => return shares,
                Node::Split { column, threshold, left } => {
                    at = left + usize::from(table.columns[*column][row] > *threshold);
                }
            }
        }
    }
}

/// A tree that grows.
struct Grower<'a> {
    lesson: &'a Lesson<'a>,
    /// Those that are not the same in all rows, in a random order.
    columns: Vec<usize>,
    rng: Xoshiro256PlusPlus,
    counts: Counts,
}

impl Grower<'_> {
    fn grow(mut self) -> Tree {
        let mut rows = self.lesson.rows.clone();
        let mut nodes = vec![Node::Leaf(Vec::new())];
        let mut waiting = vec![(0, 0..rows.len())];
        while let Some((node, range)) = waiting.pop() {
            let here = &mut rows[range.clone()];
            let Some((column, threshold)) = self.split(here) else {
                nodes[node] = Node::Leaf(self.shares(here));
                continue;
            };
            let values = &self.lesson.table.columns[column];
            let border = range.start + partition(here, |&row| values[row] <= threshold);
            let left = nodes.len();
            nodes.extend([Node::Leaf(Vec::new()), Node::Leaf(Vec::new())]);
            nodes[node] = Node::Split { column, threshold, left };
            waiting.extend([(left, range.start..border), (left + 1, border..range.end)]);
        }
        Tree(nodes)
    }

    /// Draws one in [`DRAWN`] columns, and more while all are the same in `rows`; with a threshold each, of which the best is
    /// taken. `None` if nothing tells the rows apart, or nothing need.
    fn split(&mut self, rows: &[usize]) -> Option<(usize, f32)> {
        let Lesson { table, classes, .. } = self.lesson;
        if rows.iter().all(|&row| classes[row] == classes[rows[0]]) {
            return None;
        }
        let wanted = self.columns.len().div_ceil(DRAWN);
        let mut best: Option<(f64, usize, f32)> = None;
        for drawn in 0..self.columns.len() {
            if drawn >= wanted && best.is_some() {
                break;
            }
            let other = drawn + below(&mut self.rng, self.columns.len() - drawn);
            self.columns.swap(drawn, other);
            let column = self.columns[drawn];
            let values = &table.columns[column];
            let Some([low, high]) = bounds(values, rows) else { continue };
            let threshold = low + (high - low) * unit(&mut self.rng);
            // Rounding must leave something on either side.
            let threshold = if threshold < high { threshold } else { low };
            let gain = self.counts.purity(rows.iter().map(|&row| (classes[row], values[row] <= threshold)));
            if best.is_none_or(|(most, ..)| gain > most) {
                best = Some((gain, column, threshold));
            }
        }
        best.map(|(_, column, threshold)| (column, threshold))
    }

    fn shares(&self, rows: &[usize]) -> Vec<(usize, f32)> {
        let mut counts = vec![0u32; self.lesson.count];
        rows.iter().for_each(|&row| counts[self.lesson.classes[row]] += 1);
        let present = counts.into_iter().enumerate().filter(|(_, count)| *count > 0);
        present.map(|(class, count)| (class, count as f32 / rows.len() as f32)).collect()
    }
}

/// How many rows of each class are on either side of a threshold.
struct Counts([Vec<f64>; 2]);

impl Counts {
    fn new(classes: usize) -> Self {
        Self([vec![0.0; classes], vec![0.0; classes]])
    }

    /// Returns the squares of the counts over the numbers of rows, summed: it is largest where Gini's impurity of both sides,
    /// weighed by rows, is smallest.
    fn purity(&mut self, rows: impl Iterator<Item = (usize, bool)>) -> f64 {
        self.0.iter_mut().for_each(|side| side.fill(0.0));
        for (class, is_left) in rows {
            self.0[usize::from(is_left)][class] += 1.0;
        }
        let side = |counts: &Vec<f64>| {
            let (squares, all) =
                counts.iter().fold((0.0, 0.0), |(squares, all), count| (squares + count * count, all + count));
            squares / f64::max(all, 1.0)
        };
        self.0.iter().map(side).sum()
    }
}

/// Returns the smallest and the largest of the values of `rows`; `None` if they are the same.
fn bounds(values: &[f32], rows: &[usize]) -> Option<[f32; 2]> {
    let (low, high) = rows
        .iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &row| (low.min(values[row]), high.max(values[row])));
    (low < high).then_some([low, high])
}

/// Brings those of which it is true to the front, and returns how many they are.
fn partition<T>(items: &mut [T], is_first: impl Fn(&T) -> bool) -> usize {
    let mut border = 0;
    for at in 0..items.len() {
        if is_first(&items[at]) {
            items.swap(at, border);
            border += 1;
        }
    }
    border
}

/// Draws a number below `limit`, which is not 0.
pub(crate) fn below(rng: &mut Xoshiro256PlusPlus, limit: usize) -> usize {
    ((u128::from(rng.next_u64()) * limit as u128) >> 64) as usize
}

/// Draws a number from 0 up to 1.
fn unit(rng: &mut Xoshiro256PlusPlus) -> f32 {
    (rng.next_u64() >> 40) as f32 / (1u64 << 24) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lesson<'a>(table: &'a Table, classes: &'a [usize]) -> Lesson<'a> {
        Lesson { table, classes, count: 2, rows: (0..table.rows()).collect() }
    }

    #[test]
    fn a_forest_has_learnt_by_heart_what_can_be_told_apart() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let rows: Vec<Vec<f32>> = (0..200).map(|_| (0..5).map(|_| unit(&mut rng)).collect()).collect();
        let classes: Vec<usize> = (0..200).map(|_| below(&mut rng, 2)).collect();
        let table = Table::new(&rows);
        let forest = Forest::grow(&lesson(&table, &classes), 20, 1);
        assert!((0..200).all(|row| forest.name(&table, row) == classes[row]));
    }

    #[test]
    fn equal_rows_share_a_leaf_and_the_majority_wins() {
        let table = Table::new(&vec![vec![1.0, 2.0]; 5]);
        let forest = Forest::grow(&lesson(&table, &[0, 1, 1, 0, 1]), 3, 1);
        assert!(forest.trees.iter().all(|tree| tree.0.len() == 1));
        assert_eq!(forest.name(&table, 0), 1);
    }

    #[test]
    fn neighbouring_numbers_are_told_apart_and_huge_ones_too() {
        let low = 1.0f32;
        for pair in [[low, low.next_up()], [f32::MIN / 2.0, f32::MAX / 2.0], [0.0, f32::from_bits(1)]] {
            let table = Table::new(&pair.map(|value| vec![value]));
            let forest = Forest::grow(&lesson(&table, &[0, 1]), 1, 1);
            assert_eq!([0, 1].map(|row| forest.name(&table, row)), [0, 1], "{pair:?}");
        }
    }
}
