//! What the tunnel carries while a defense runs.

use std::time::{Duration, Instant};

use maybenot::TriggerEvent;
use maybenot_gen::environment::Traces as Dataset;
use maybenot_gen::environment::traces::load_traces;
use maybenot_simulator::network::Network;
use maybenot_simulator::queue::SimQueue;
use maybenot_simulator::{SimEvent, SimulatorArgs, parse_trace, sim_advanced};
use maybetun_machines::Defense;
use rand_xoshiro::Xoshiro256StarStar;
use rand_xoshiro::rand_core::SeedableRng as _;

use crate::rates::Run;

/// One-way delay between client and relay.
const DELAY: Duration = Duration::from_millis(10);

/// Packets a second that the network carries: more than any defense sends.
const BOTTLENECK: usize = 100_000;

/// All page loads that `maybenot-gen` has of the BigEnough dataset.
const PAGE_LOADS: usize = 14;

/// How long nothing is sent after a load.
const SILENCE: Duration = Duration::from_secs(600);

/// Steps of the simulator after which a run is cut short: some machines do nothing but set their timer for ever.
const MAX_ITERATIONS: usize = 1_000_000;

/// A transfer: packets a second down, one up for every second of them, and for how many seconds. About 100 Mbit/s.
const TRANSFER_RATE: u64 = 8_600;
const TRANSFER_SECONDS: u64 = 5;

/// A load, and the silence after it, which one more packet ends.
pub(crate) struct Load {
    queue: SimQueue,
    /// When the last packet is sent before the silence.
    end: Instant,
}

impl Load {
    /// Loads the page loads.
    pub(crate) fn pages() -> Vec<Self> {
        let mut unused = Xoshiro256StarStar::seed_from_u64(0);
        load_traces(&[Dataset::BigEnough], PAGE_LOADS, network(), &None, &None, &mut unused)
            .expect("the dataset is built in")
            .into_iter()
            .map(Self::new)
            .collect()
    }

    /// Makes a transfer.
    pub(crate) fn transfer() -> Self {
        let packets = (0..TRANSFER_RATE * TRANSFER_SECONDS).flat_map(|number| {
            // Whoever receives a packet at the start has been sent it before.
            let at = 100_000_000 + number * 1_000_000_000 / TRANSFER_RATE;
            let acknowledged = (number % 2 == 1).then(|| format!("{},s,52\n", at + 1_000));
            [Some(format!("{at},r,1420\n")), acknowledged]
        });
        Self::new(parse_trace(&packets.flatten().collect::<String>(), network()))
    }

    fn new(mut queue: SimQueue) -> Self {
        let events = sim_advanced(&[], &[], &mut queue.clone(), &arguments(0));
        let end = events.last().expect("a load has packets").time;
        let last = end + SILENCE;
        queue.push(TriggerEvent::NormalSent, true, false, last, Duration::ZERO);
        Self { queue, end }
    }

    /// Runs a defense. The client draws from `seed`, the relay from the next one.
    pub(crate) fn run(&self, defense: &Defense, seed: u64) -> Run {
        let [client, relay] = [defense.client(), defense.relay()].map(|side| &side.machines[..]);
        let events = sim_advanced(client, relay, &mut self.queue.clone(), &arguments(seed));
        let end = self.end + SILENCE;
        let is_cut = !events.iter().any(|event| event.time >= end && !event.contains_padding);
        let is_before = |event: &&SimEvent| event.time < end;
        Run::new(events.iter().filter(is_before), is_cut)
    }
}

fn arguments(seed: u64) -> SimulatorArgs {
    let mut arguments = SimulatorArgs::new(network(), 0, true);
    arguments.only_client_events = true;
    arguments.max_sim_iterations = MAX_ITERATIONS;
    arguments.insecure_rng_seed = Some(seed);
    arguments
}

fn network() -> Network {
    Network::new(DELAY, Some(BOTTLENECK))
}
