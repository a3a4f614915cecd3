//! How far apart the runs of a defense are that load one and the same page.

use std::time::Duration;

use maybenot::TriggerEvent;
use maybenot_gen::environment::Traces as Dataset;
use maybenot_gen::environment::traces::load_traces;
use maybenot_simulator::network::Network;
use maybenot_simulator::queue::SimQueue;
use maybenot_simulator::{SimulatorArgs, sim_advanced};
use maybetun_machines::Defense;
use rand_xoshiro::Xoshiro256StarStar;
use rand_xoshiro::rand_core::SeedableRng as _;

/// Packets at the start of a page load that are compared one by one.
const FIRST: usize = 50;

/// Packets after which a run is cut off, as seen by the client.
const MOST_PACKETS: usize = 20_000;

/// One page load.
pub(crate) struct Page(SimQueue);

/// What an observer of the client sees of one run.
struct Shape {
    packets: f64,
    /// Rows of packets that go one way.
    bursts: f64,
    first_padding: f64,
    /// Which way each of the first packets goes.
    first: Vec<bool>,
}

impl Page {
    /// Loads the first page load of the dataset.
    pub(crate) fn load() -> Self {
        let mut unused = Xoshiro256StarStar::seed_from_u64(0);
        let queues = load_traces(&[Dataset::BigEnough], 1, network(), &None, &None, &mut unused);
        Self(queues.expect("the dataset is built in").remove(0))
    }

    /// Returns the cells of a row: mean, and standard deviation as a fraction of it.
    pub(crate) fn spread(&self, runs: u64, defense: impl Fn(u64) -> Defense) -> String {
        let shapes = (0..runs).map(|run| self.shape(&defense(run), 2 * run)).collect::<Vec<_>>();
        let cell = |value: fn(&Shape) -> f64| {
            let values = shapes.iter().map(value).collect::<Vec<_>>();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
            let [least, most] =
                [f64::min as fn(f64, f64) -> f64, f64::max].map(|of| values.iter().copied().reduce(of).unwrap_or(mean));
            format!("{mean:.0} ± {:.0} % ({least:.0} to {most:.0})", 100.0 * variance.sqrt() / mean)
        };
        let (mut differing, mut pairs) = (0, 0);
        for (index, one) in shapes.iter().enumerate() {
            for other in &shapes[..index] {
                differing += one.first.iter().zip(&other.first).filter(|(one, other)| one != other).count();
                pairs += 1;
            }
        }
        let differing = differing as f64 / f64::from(pairs);
        let cells = [cell(|shape| shape.packets), cell(|shape| shape.bursts), cell(|shape| shape.first_padding)];
        format!("{} | {differing:.1}", cells.join(" | "))
    }

    fn shape(&self, defense: &Defense, seed: u64) -> Shape {
        let mut args = SimulatorArgs::new(network(), MOST_PACKETS, true);
        args.only_client_events = true;
        args.insecure_rng_seed = Some(seed);
        let machines = [defense.client(), defense.relay()].map(|side| &side.machines[..]);
        let events = sim_advanced(machines[0], machines[1], &mut self.0.clone(), &args);
        let is_up = events.iter().map(|event| matches!(event.event, TriggerEvent::TunnelSent)).collect::<Vec<_>>();
        let turns = is_up.windows(2).filter(|pair| pair[0] != pair[1]).count();
        Shape {
            packets: events.len() as f64,
            bursts: (turns + 1) as f64,
            first_padding: events.iter().take(FIRST).filter(|event| event.contains_padding).count() as f64,
            first: is_up.into_iter().take(FIRST).collect(),
        }
    }
}

fn network() -> Network {
    Network::new(Duration::from_millis(10), Some(100_000))
}
