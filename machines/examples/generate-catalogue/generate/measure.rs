//! What a defense costs, in Maybenot's simulator.

use std::time::Duration;

use maybenot::TriggerEvent;
use maybenot_gen::environment::Traces as Dataset;
use maybenot_gen::environment::traces::load_traces;
use maybenot_simulator::network::Network;
use maybenot_simulator::queue::SimQueue;
use maybenot_simulator::{SimEvent, SimulatorArgs, sim_advanced};
use maybetun_machines::{Defense, Overhead};
use rand_xoshiro::Xoshiro256StarStar;
use rand_xoshiro::rand_core::SeedableRng as _;

/// One-way delay between client and relay.
const DELAY: Duration = Duration::from_millis(10);

/// Packets a second that the network between them carries: more than any defense sends, so that padding never queues
/// behind a bottleneck and all delay is the defense's own.
const BOTTLENECK: usize = 100_000;

/// How many page loads are simulated: all that `maybenot-gen` has of the BigEnough dataset.
const PAGE_LOADS: usize = 14;

/// Steps of the simulator after which a page load is given up.
const MAX_ITERATIONS: usize = 1_000_000;

/// Page loads, and what they are without a defense.
pub(crate) struct Traces(Vec<(SimQueue, Count)>);

/// What the client saw of a page load until its last normal packet.
#[derive(Clone, Copy, Default)]
struct Count {
    normal_sent: u32,
    normal_received: u32,
    padding_sent: u32,
    padding_received: u32,
    duration: Duration,
}

impl Traces {
    /// Loads the page loads.
    pub(crate) fn load() -> Self {
        // Nothing is drawn: all of the dataset is taken.
        let mut unused = Xoshiro256StarStar::seed_from_u64(0);
        let network = Network::new(DELAY, Some(BOTTLENECK));
        let queues = load_traces(&[Dataset::BigEnough], PAGE_LOADS, network, &None, &None, &mut unused)
            .expect("the dataset is built in");
        Self(queues.into_iter().map(|queue| (queue.clone(), simulate(queue, None, 0))).collect())
    }

    /// Returns what a defense costs over all page loads, to two decimals.
    ///
    /// # Panics
    /// When a page load does not end under the defense.
    pub(crate) fn overhead(&self, defense: &Defense) -> Overhead {
        let (mut bare, mut defended) = (Count::default(), Count::default());
        for (seed, (queue, without)) in (0..).zip(&self.0) {
            let with = simulate(queue.clone(), Some(defense), 2 * seed);
            let normal = |count: Count| (count.normal_sent, count.normal_received);
            assert_eq!(normal(with), normal(*without), "{}: page load {seed} does not end", defense.name());
            bare = bare.plus(*without);
            defended = defended.plus(with);
        }
        let ratio = |part: f64, whole: f64| (part / whole * 100.0).round().max(0.0) / 100.0;
        let delay = defended.duration.as_secs_f64() - bare.duration.as_secs_f64();
        Overhead {
            upload: ratio(defended.padding_sent.into(), defended.normal_sent.into()),
            download: ratio(defended.padding_received.into(), defended.normal_received.into()),
            delay: ratio(delay, bare.duration.as_secs_f64()),
        }
    }
}

impl Count {
    fn plus(self, other: Self) -> Self {
        Self {
            normal_sent: self.normal_sent + other.normal_sent,
            normal_received: self.normal_received + other.normal_received,
            padding_sent: self.padding_sent + other.padding_sent,
            padding_received: self.padding_received + other.padding_received,
            duration: self.duration + other.duration,
        }
    }

    fn of(events: &[SimEvent]) -> Self {
        let Some(first) = events.first() else { return Self::default() };
        let last = events.iter().rposition(|event| !event.contains_padding).map_or(0, |index| index + 1);
        let mut count = Self::default();
        for event in &events[..last] {
            let counter = match (&event.event, event.contains_padding) {
                (TriggerEvent::TunnelSent, false) => &mut count.normal_sent,
                (TriggerEvent::TunnelSent, true) => &mut count.padding_sent,
                (TriggerEvent::TunnelRecv, false) => &mut count.normal_received,
                (TriggerEvent::TunnelRecv, true) => &mut count.padding_received,
                (other, _) => panic!("{other} is not network activity"),
            };
            *counter += 1;
            count.duration = event.time - first.time;
        }
        count
    }
}

/// Simulates a page load; without a defense if there is none. The client draws from `seed`, the relay from the next one.
fn simulate(mut queue: SimQueue, defense: Option<&Defense>, seed: u64) -> Count {
    let mut args = SimulatorArgs::new(Network::new(DELAY, Some(BOTTLENECK)), 0, true);
    args.only_client_events = true;
    args.max_sim_iterations = MAX_ITERATIONS;
    args.insecure_rng_seed = Some(seed);
    let Some(defense) = defense else { return Count::of(&sim_advanced(&[], &[], &mut queue, &args)) };
    let (client, relay) = (defense.client(), defense.relay());
    (args.max_padding_frac_client, args.max_blocking_frac_client) =
        (client.limits.max_padding_frac, client.limits.max_blocking_frac);
    (args.max_padding_frac_server, args.max_blocking_frac_server) =
        (relay.limits.max_padding_frac, relay.limits.max_blocking_frac);
    Count::of(&sim_advanced(&client.machines, &relay.machines, &mut queue, &args))
}
