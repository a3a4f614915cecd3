//! A classifier that sees what an observer sees of a datagram, and says how well it tells normal packets from padding.
//!
//! Times are allowed to tell: a burst of data is a burst. So datagrams are compared only with those of the same cell,
//! whose gaps to the datagrams before and behind them, and whose distances from the last handshake, are alike: what is
//! told within a cell is told by something else.

use std::collections::HashMap;
use std::time::Duration;

use rand_core::{RngCore as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;
use smartcore::ensemble::random_forest_regressor::{RandomForestRegressor, RandomForestRegressorParameters};
use smartcore::linalg::basic::matrix::DenseMatrix;

use crate::datagram::Datagram;

/// A transport datagram of one direction.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// What the observer saw.
    pub seen: Datagram,
    /// How long before it the last handshake message passed.
    pub since_handshake: Duration,
    /// Whether it carried packets of the user's. Only the sender knows.
    pub is_normal: bool,
}

/// How well normal packets were told from padding.
#[derive(Debug)]
pub struct Told {
    /// The area under the classifier's curve: how often, of a normal packet and a padding packet of one cell, the
    /// normal one has the higher score. 0.5 is chance.
    pub area: f64,
    /// The interval in which the area lies with a confidence of 99 %.
    pub interval: [f64; 2],
    /// Datagrams in cells that hold both.
    pub datagrams: usize,
    /// The three fields that told most, each with its share.
    pub fields: Vec<(&'static str, f64)>,
}

/// Names the columns of [`row`].
const FIELDS: [&str; COLUMNS] = [
    "version",
    "total length",
    "traffic class",
    "has an id",
    "DF",
    "MF",
    "fragment offset",
    "hops",
    "flow label",
    "source port",
    "UDP length",
    "has a UDP checksum",
    "reserved bytes",
    "counter",
    "time since the handshake",
    "gap before",
    "gap behind",
    "id, to the one before",
    "id, to the one behind",
    "session, to the one before",
    "session, to the one behind",
    "counter, to the one before",
    "counter, to the one behind",
    "DF, to the one before",
    "DF, to the one behind",
    "order, to the one before",
    "order, to the one behind",
    "length, to the one before",
    "length, to the one behind",
];

const COLUMNS: usize = 29;

/// Gaps below this are alike: at 200 Mbit/s a datagram takes about as long itself, so that behind any link what was
/// sent together, in one call or in several, is as far apart.
const TOGETHER: Duration = Duration::from_micros(64);

/// Times since a handshake from this on are alike: later, a session is as old as any.
const LONG_AGO: Duration = Duration::from_millis(50);

/// Counters from this on are alike.
const MANY: f32 = 100.0;

/// How long a block of the bootstrap is: longer than a burst.
const BLOCK: Duration = Duration::from_millis(50);

/// How often the bootstrap draws.
const REPLICATES: usize = 400;

/// The trees.
const FOREST: RandomForestRegressorParameters = RandomForestRegressorParameters {
    max_depth: Some(8),
    min_samples_leaf: 100,
    min_samples_split: 200,
    n_trees: 30,
    m: Some(COLUMNS / 2),
    keep_samples: false,
    seed: 12,
};

/// What is alike of datagrams that are compared: who judged them, both gaps, and the time since the last handshake.
type Cell = (usize, u8, u8, u8);

/// A datagram as it is compared.
struct Judged {
    cell: Cell,
    block: (usize, u128),
    score: f64,
    is_normal: bool,
}

/// Trains on the even `stretches` of traffic and judges the odd ones, and the other way round. Each stretch has the
/// datagrams of one direction in the order in which they passed; no two stretches overlap.
///
/// The interval is from a bootstrap: 50 ms of traffic are drawn together, because what leaves in one burst is not
/// independent.
///
/// # Panics
/// Panics unless there are two stretches with both kinds.
pub fn tell(stretches: &[Vec<Sample>]) -> Told {
    let mut judged = Vec::new();
    let mut shares = [0.0; COLUMNS];
    for half in 0..2 {
        let in_half = |index: &usize| index % 2 == half;
        let (learnt, tried): (Vec<usize>, Vec<usize>) = (0..stretches.len()).partition(in_half);
        let rows: Vec<_> = learnt.iter().flat_map(|&index| rows(&stretches[index])).collect();
        let labels = learnt.iter().flat_map(|&index| inner(&stretches[index]));
        let labels: Vec<f32> = labels.map(|sample| f32::from(u8::from(sample.is_normal))).collect();
        let forest = RandomForestRegressor::fit(&matrix(&rows), &labels, FOREST).expect("a forest grows");
        let importances = forest.compute_feature_importances().expect("the forest has grown");
        shares.iter_mut().zip(importances).for_each(|(share, importance)| *share += importance / 2.0);
        for index in tried {
            judged.extend(judge(&forest, &stretches[index], half, index));
        }
    }
    let mut fields: Vec<_> = FIELDS.into_iter().zip(shares).collect();
    fields.sort_by(|a, b| b.1.total_cmp(&a.1));
    fields.truncate(3);
    let (area, interval, datagrams) = compare(&mut judged);
    Told { area, interval, datagrams, fields }
}

type Forest = RandomForestRegressor<f32, f32, DenseMatrix<f32>, Vec<f32>>;

fn judge(forest: &Forest, stretch: &[Sample], half: usize, index: usize) -> Vec<Judged> {
    let Some(first) = stretch.first() else { return Vec::new() };
    let rows: Vec<_> = rows(stretch).collect();
    let scores = forest.predict(&matrix(&rows)).expect("rows as it has learnt");
    let cells = stretch
        .windows(3)
        .map(|three| -> Cell { (half, gap(&three[0], &three[1]), gap(&three[1], &three[2]), age(&three[1])) });
    let judged = inner(stretch).iter().zip(cells).zip(scores).map(|((sample, cell), score)| Judged {
        cell,
        block: (index, (sample.seen.at - first.seen.at).as_nanos() / BLOCK.as_nanos()),
        score: score.into(),
        is_normal: sample.is_normal,
    });
    judged.collect()
}

/// The samples that have a neighbour on both sides.
fn inner(stretch: &[Sample]) -> &[Sample] {
    stretch.get(1..stretch.len().saturating_sub(1)).unwrap_or_default()
}

fn matrix(rows: &[[f32; COLUMNS]]) -> DenseMatrix<f32> {
    let columns = (0..COLUMNS).flat_map(|column| rows.iter().map(move |row| row[column])).collect();
    DenseMatrix::new(rows.len(), COLUMNS, columns, true).expect("as many values as cells")
}

fn rows(stretch: &[Sample]) -> impl Iterator<Item = [f32; COLUMNS]> {
    let displaced = displaced(stretch);
    (1..stretch.len().saturating_sub(1)).map(move |at| row(&stretch[at - 1..=at + 1], &displaced[at - 1..=at + 1]))
}

/// Returns what the classifier sees of the middle one of three datagrams. What counts up, identifications and counters,
/// it sees by the steps.
fn row(three: &[Sample], displaced: &[i64]) -> [f32; COLUMNS] {
    let [before, this, behind] = [0, 1, 2].map(|at| &three[at].seen);
    let ip = this.ip;
    let id = |a: &Datagram, b: &Datagram| f32::from((b.ip.id as u16).wrapping_sub(a.ip.id as u16) as i16);
    let counter = |a: &Datagram, b: &Datagram| match (a.message.receiver == b.message.receiver, a.message.counter) {
        (true, Some(counter)) => b.message.counter.map_or(0.0, |other| other.wrapping_sub(counter) as i64 as f32),
        _ => 0.0,
    };
    let session = |a: &Datagram, b: &Datagram| flag(a.message.receiver != b.message.receiver);
    let fragments = |a: &Datagram, b: &Datagram| flag(b.ip.dont_fragment) - flag(a.ip.dont_fragment);
    let length = |a: &Datagram, b: &Datagram| b.length as f32 - a.length as f32;
    let [first, second, third] = this.message.reserved;
    [
        flag(this.source.is_ipv6()),
        ip.total_length as f32,
        ip.traffic_class.into(),
        flag(ip.id != 0),
        flag(ip.dont_fragment),
        flag(ip.more_fragments),
        ip.fragment_offset as f32,
        ip.hops.into(),
        ip.flow_label as f32,
        this.ports[0].into(),
        this.udp_length.into(),
        flag(this.udp_checksum != 0),
        u32::from_le_bytes([first, second, third, 0]) as f32,
        (this.message.counter.unwrap_or(0) as f32).min(MANY),
        age(&three[1]).into(),
        gap(&three[0], &three[1]).into(),
        gap(&three[1], &three[2]).into(),
        id(before, this),
        id(this, behind),
        session(before, this),
        session(this, behind),
        counter(before, this),
        counter(this, behind),
        fragments(before, this),
        fragments(this, behind),
        (displaced[1] - displaced[0]) as f32,
        (displaced[2] - displaced[1]) as f32,
        length(before, this),
        length(this, behind),
    ]
}

fn flag(is_set: bool) -> f32 {
    u8::from(is_set).into()
}

/// Returns by how many places each datagram passed later than its counter says, among those of its session.
fn displaced(stretch: &[Sample]) -> Vec<i64> {
    let mut sessions: HashMap<Option<u32>, Vec<usize>> = HashMap::new();
    for (at, sample) in stretch.iter().enumerate() {
        sessions.entry(sample.seen.message.receiver).or_default().push(at);
    }
    let mut displaced = vec![0; stretch.len()];
    for places in sessions.into_values() {
        let mut ordered: Vec<_> = places.iter().copied().enumerate().collect();
        ordered.sort_by_key(|&(_, at)| stretch[at].seen.message.counter);
        for (rank, (place, at)) in ordered.into_iter().enumerate() {
            displaced[at] = place as i64 - rank as i64;
        }
    }
    displaced
}

/// Returns the step of the time between two datagrams.
fn gap(before: &Sample, this: &Sample) -> u8 {
    step(this.seen.at.saturating_sub(before.seen.at))
}

/// Returns the step of the time since the last handshake.
fn age(sample: &Sample) -> u8 {
    step(sample.since_handshake.min(LONG_AGO))
}

/// Measures a time in steps: two to a doubling, the first one [`TOGETHER`].
fn step(time: Duration) -> u8 {
    (2.0 * time.div_duration_f64(TOGETHER).max(0.5).log2() + 2.0) as u8
}

/// Returns the area, its interval, and how many datagrams were in cells with both kinds.
fn compare(judged: &mut [Judged]) -> (f64, [f64; 2], usize) {
    judged.sort_by(|a, b| a.cell.cmp(&b.cell).then(a.score.total_cmp(&b.score)));
    let both: usize = judged
        .chunk_by(|a, b| a.cell == b.cell)
        .filter(|cell| cell.iter().any(|one| one.is_normal) && cell.iter().any(|one| !one.is_normal))
        .map(<[Judged]>::len)
        .sum();
    let mut blocks = HashMap::new();
    let block_of: Vec<_> = judged
        .iter()
        .map(|one| {
            let next = blocks.len();
            *blocks.entry(one.block).or_insert(next)
        })
        .collect();
    let blocks = blocks.len();
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(12);
    let mut areas: Vec<_> = (0..REPLICATES)
        .map(|_| {
            let mut weights = vec![0.0; blocks];
            (0..blocks).for_each(|_| weights[(rng.next_u64() % blocks as u64) as usize] += 1.0);
            area(judged, |at| weights[block_of[at]])
        })
        .collect();
    areas.sort_by(f64::total_cmp);
    let tail = REPLICATES / 200;
    (area(judged, |_| 1.0), [areas[tail], areas[REPLICATES - 1 - tail]], both)
}

/// Returns the share of pairs of a normal and a padding packet of one cell in which the normal one has the higher
/// score; a tie counts half. What is judged is in order of cell and score.
fn area(judged: &[Judged], weight: impl Fn(usize) -> f64) -> f64 {
    let (mut right, mut pairs, mut at) = (0.0, 0.0, 0);
    for cell in judged.chunk_by(|a, b| a.cell == b.cell) {
        let (mut normal, mut padding) = (0.0, 0.0);
        for ties in cell.chunk_by(|a, b| a.score == b.score) {
            let (mut tied_normal, mut tied_padding) = (0.0, 0.0);
            for one in ties {
                *(if one.is_normal { &mut tied_normal } else { &mut tied_padding }) += weight(at);
                at += 1;
            }
            right += tied_normal * (padding + tied_padding / 2.0);
            normal += tied_normal;
            padding += tied_padding;
        }
        pairs += normal * padding;
    }
    assert!(pairs > 0.0, "no cell has both normal packets and padding");
    right / pairs
}
