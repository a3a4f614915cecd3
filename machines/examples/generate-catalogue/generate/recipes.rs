//! What the catalogue holds: each defense with its source and parameters.

use maybenot::Machine;
use maybenot_machines::{StaticMachine, get_machine};
use maybetun_machines::{Defense, DefenseError, Limits, Side};
use rand_xoshiro::Xoshiro256StarStar;
use rand_xoshiro::rand_core::SeedableRng as _;

use super::own;

/// A defense before it is measured.
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    description: &'static str,
    source: &'static str,
    client: Vec<Machine>,
    relay: Vec<Machine>,
}

impl Recipe {
    /// Returns the defense, of unknown overhead.
    ///
    /// # Errors
    /// When what the recipe says is not valid.
    pub(crate) fn defense(&self) -> Result<Defense, DefenseError> {
        let side = |machines: &[Machine]| Side { machines: machines.into(), limits: Limits::default() };
        Defense::from_machines(self.name, side(&self.client), side(&self.relay))?
            .with_texts(self.description, self.source)
    }
}

/// Returns all recipes.
pub(crate) fn all() -> Vec<Recipe> {
    vec![
        break_pad(),
        constant_rate(),
        constant_size(),
        front(),
        interspace(),
        metronome(),
        netflow(),
        regulator(),
        regulator_light(),
        scrambler(),
        tamaraw(),
        tamaraw_fast(),
    ]
}

fn break_pad() -> Recipe {
    Recipe {
        name: "break-pad",
        description: "Breaks up bursts of received packets with short bursts of padding",
        source: "Huang and Du, Break-Pad, Cybersecurity 2024, https://doi.org/10.1186/s42400-024-00222-y",
        client: drawn(StaticMachine::BreakPadClient, "break-pad client"),
        relay: drawn(StaticMachine::BreakPadServer, "break-pad relay"),
    }
}

fn constant_rate() -> Recipe {
    Recipe {
        name: "constant-rate",
        description: "Sends 200 packets a second up and 1,000 down from the first packet on, whatever the user does",
        source: "maybetun",
        client: vec![own::constant_rate(5_000.0)],
        relay: vec![own::constant_rate(1_000.0)],
    }
}

fn constant_size() -> Recipe {
    Recipe {
        name: "constant-size",
        description: "Gives every packet the same size, which every defense does, and nothing else",
        source: "maybetun",
        client: vec![],
        relay: vec![],
    }
}

fn front() -> Recipe {
    // The paper's FT-1: up to 1,700 packets each way, within a window of 1 to 14 seconds. Eight draws of ten states.
    let front = StaticMachine::Front {
        padding_budget_max: 1_700,
        window_min: 1_000_000.0,
        window_max: 14_000_000.0,
        num_states: 10,
    };
    let side = |role: &str| {
        let draws = (0..8).flat_map(|draw| drawn(front, &format!("front {role} {draw}"))).collect::<Vec<_>>();
        vec![own::one_at_random_again_and_again(&draws)]
    };
    Recipe {
        name: "front",
        description: "Hides the beginning of page loads in padding, most of it early; delays nothing",
        source: "Gong and Wang, Zero-delay Lightweight Defenses against Website Fingerprinting, USENIX Security 2020, \
                 https://www.usenix.org/conference/usenixsecurity20/presentation/gong",
        client: side("client"),
        relay: side("relay"),
    }
}

fn interspace() -> Recipe {
    Recipe {
        name: "interspace",
        description: "Extends real bursts and fakes others, with a machine drawn at random at each end",
        source: "Pulls, Towards Effective and Efficient Padding Machines for Tor, 2020, https://arxiv.org/abs/2011.13471",
        client: drawn(StaticMachine::InterspaceClient, "interspace client"),
        relay: drawn(StaticMachine::InterspaceServer, "interspace relay"),
    }
}

fn metronome() -> Recipe {
    Recipe {
        name: "metronome",
        description: "Pads every 1,000 microseconds for ever and blocks nothing; to measure timing with",
        source: "maybetun",
        client: vec![own::metronome(1_000.0)],
        relay: vec![own::metronome(1_000.0)],
    }
}

fn netflow() -> Recipe {
    Recipe {
        name: "netflow",
        description: "Pads after 1.5 to 9.5 seconds of silence, so that flow records of routers stay coarse",
        source: "The Tor Project, Connection-level padding, \
                 https://spec.torproject.org/padding-spec/connection-level-padding.html",
        client: drawn(StaticMachine::SimpleNetFlow, "netflow client"),
        relay: drawn(StaticMachine::SimpleNetFlow, "netflow relay"),
    }
}

/// Rates are approximated in 20 steps.
const REGULATOR_STEPS: usize = 20;

/// Holland and Hopper's paper.
const REGULATOR_SOURCE: &str = "Holland and Hopper, RegulaTor: A Straightforward Website Fingerprinting Defense, \
                                PoPETs 2022, https://petsymposium.org/popets/2022/popets-2022-0049.php";

fn regulator() -> Recipe {
    Recipe {
        name: "regulator",
        description: "Gives every download the shape of a decaying surge, and uploads in proportion (RegulaTor-Heavy)",
        source: REGULATOR_SOURCE,
        client: drawn(StaticMachine::RegulatorClient { u: 3.95, c: 1.77 }, "regulator client"),
        relay: drawn(
            StaticMachine::RegulatorServer { r: 277.0, d: 0.94, t: 3.55, n: 3_550.0, b: REGULATOR_STEPS },
            "regulator relay",
        ),
    }
}

fn regulator_light() -> Recipe {
    Recipe {
        name: "regulator-light",
        description: "As regulator, with a smaller budget and a faster decay (RegulaTor-Light)",
        source: REGULATOR_SOURCE,
        client: drawn(StaticMachine::RegulatorClient { u: 4.02, c: 2.08 }, "regulator-light client"),
        relay: drawn(
            StaticMachine::RegulatorServer { r: 260.0, d: 0.86, t: 3.75, n: 2_080.0, b: REGULATOR_STEPS },
            "regulator-light relay",
        ),
    }
}

fn scrambler() -> Recipe {
    Recipe {
        name: "scrambler",
        description: "Sends video segments at a constant rate of 2,500 packets a second and randomizes their sizes",
        source: "Hasselquist et al., Raising the Bar: Improved Fingerprinting Attacks and Defenses for Video Streaming \
                 Traffic, PoPETs 2024, https://petsymposium.org/popets/2024/popets-2024-0112.php",
        client: drawn(StaticMachine::ScramblerClient, "scrambler client"),
        relay: drawn(
            StaticMachine::ScramblerServer { interval: 400.0, min_count: 500.0, min_trail: 100.0, max_trail: 500.0 },
            "scrambler relay",
        ),
    }
}

/// Cai et al.'s paper.
const TAMARAW_SOURCE: &str = "Cai et al., A Systematic Approach to Developing and Evaluating Website Fingerprinting Defenses, \
                              CCS 2014, https://doi.org/10.1145/2660267.2660362";

fn tamaraw() -> Recipe {
    Recipe {
        name: "tamaraw",
        description: "Sends 25 packets a second up and 83 down while there is traffic",
        source: TAMARAW_SOURCE,
        client: drawn(tamaraw_machine(0.04), "tamaraw client"),
        relay: drawn(tamaraw_machine(0.012), "tamaraw relay"),
    }
}

fn tamaraw_fast() -> Recipe {
    Recipe {
        name: "tamaraw-fast",
        description: "Sends 250 packets a second up and 1,000 down while there is traffic (Tamaraw at the rates of a VPN)",
        source: TAMARAW_SOURCE,
        client: drawn(tamaraw_machine(0.004), "tamaraw-fast client"),
        relay: drawn(tamaraw_machine(0.001), "tamaraw-fast relay"),
    }
}

/// Takes seconds a packet. A second without normal packets ends it.
fn tamaraw_machine(seconds: f64) -> StaticMachine {
    StaticMachine::Tamaraw { p: seconds, stop_window: 1_000_000.0 }
}

/// Builds a machine, with random choices that its label seeds.
fn drawn(machine: StaticMachine, label: &str) -> Vec<Machine> {
    // FNV-1a: labels are few and ours, all that matters is that another label is another seed.
    let seed = label
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    get_machine(&[machine], &mut Xoshiro256StarStar::seed_from_u64(seed))
}
