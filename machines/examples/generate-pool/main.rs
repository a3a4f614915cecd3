//! Writes `pool/*.bin`: draws random machines for client and relay, keeps the pairs that do something and do not cost too
//! much, and packs them. Every pair has a seed of its own, so the files depend on nothing but versions and this file.

use std::error::Error;
use std::fs;
use std::io::{self, Write as _};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use maybenot::Machine;
use maybenot::action::Action;
use maybenot_gen::constraints::ConstraintsConfig;
use maybenot_gen::derive::DeriveConfig;
use maybenot_gen::environment::{EnvironmentConfig, NetworkConfig, Traces};
use maybenot_gen::random_machine::RandomMachineConfig;
use maybetun_machines::{POOL_PAIRS, POOL_VERSION, Tier};

/// Most of all packets that may be padding, and most of the time that may be blocked, by any one machine: nothing drawn may
/// pad or block without end.
const MOST_PADDING: f64 = 0.9;
const MOST_BLOCKING: f64 = 0.5;

/// Machines with fewer states are all alike, those with more are large and no better.
const STATES: RangeInclusive<usize> = 3..=5;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("pool");
    fs::create_dir_all(&directory)?;
    let start = Instant::now();
    let packed = std::thread::scope(|scope| {
        let threads = [Tier::Padding, Tier::Blocking].map(|tier| (tier, scope.spawn(move || pack(&pairs(tier)))));
        threads.map(|(tier, thread)| (tier, thread.join().expect("a pool was generated")))
    });
    for (tier, bytes) in packed {
        let path = directory.join(format!("{tier}.bin"));
        fs::write(&path, &bytes)?;
        writeln!(io::stdout(), "{}: {} bytes", path.display(), bytes.len())?;
    }
    writeln!(io::stdout(), "{} s", start.elapsed().as_secs())?;
    Ok(())
}

fn configuration(tier: Tier) -> DeriveConfig {
    let delay = match tier {
        Tier::Size | Tier::Padding => None,
        Tier::Blocking => Some(0.01..=0.5),
    };
    let blocks = Some(tier == Tier::Blocking);
    DeriveConfig {
        constraints: ConstraintsConfig {
            client_load: Some(0.2..=3.0),
            server_load: Some(0.05..=0.7),
            delay,
            client_min_normal_packets: Some(30),
            server_min_normal_packets: Some(100),
            include_after_last_normal: None,
        },
        env: EnvironmentConfig {
            traces: vec![Traces::BigEnough],
            num_traces: 3..=3,
            sim_steps: 3_000..=3_000,
            integration: None,
            implied_framework_limits: None,
            network: NetworkConfig { rtt_in_ms: 20..=200, packets_per_sec: Some(100_000..=100_000) },
        },
        machine: RandomMachineConfig {
            num_states: STATES,
            allow_blocking_client: blocks,
            allow_blocking_server: blocks,
            allow_expressive: None,
            allow_fixed_budget: Some(true),
            allow_frac_limits: Some(true),
            duration_point: None,
            count_point: None,
            min_action_timeout: None,
            circpad_compatible: None,
        },
        max_attempts: Some(2_000),
        max_duration_sec: None,
    }
}

/// Returns the pairs of a tier: the first of a row of seeds that give one.
fn pairs(tier: Tier) -> Vec<[Machine; 2]> {
    let configuration = configuration(tier);
    let pair = |number: u32| {
        let seed = format!("maybetun pool {POOL_VERSION} {tier} {number}");
        let (defense, _) =
            configuration.derive_defense_from_seed(None, &seed).expect("a configuration that is valid")?;
        let [client, relay] = [&defense.client, &defense.server].map(|machines| machines.first().map(bounded));
        let pair = [client??, relay??];
        (tier == Tier::Padding || pair.iter().any(blocks)).then_some(pair)
    };
    (0..).filter_map(pair).take(POOL_PAIRS).collect()
}

/// Returns the machine within our own bounds; `None` if it would have none.
fn bounded(machine: &Machine) -> Option<Machine> {
    let mut machine = machine.clone();
    machine.max_padding_frac = machine.max_padding_frac.min(MOST_PADDING);
    machine.max_blocking_frac = machine.max_blocking_frac.min(MOST_BLOCKING);
    // Zero is no limit.
    (machine.max_padding_frac > 0.0 && (machine.max_blocking_frac > 0.0 || !blocks(&machine))).then_some(machine)
}

fn blocks(machine: &Machine) -> bool {
    machine.states.iter().any(|state| matches!(state.action, Some(Action::BlockOutgoing { .. })))
}

/// Packs pairs as `pool.rs` reads them.
fn pack(pairs: &[[Machine; 2]]) -> Vec<u8> {
    let entries = pairs.iter().map(|pair| {
        let [client, relay] = pair.each_ref().map(|machine| {
            let text = machine.serialize();
            BASE64_STANDARD.decode(&text[2..]).expect("what follows the version is base64")
        });
        [&u16::try_from(client.len()).expect("a small machine").to_be_bytes()[..], &client, &relay].concat()
    });
    let mut bytes = vec![POOL_VERSION];
    bytes.extend_from_slice(&u16::try_from(pairs.len()).expect("some thousand pairs").to_be_bytes());
    let (mut index, mut contents) = (Vec::new(), Vec::new());
    for entry in entries {
        contents.extend_from_slice(&entry);
        index.extend_from_slice(&u32::try_from(contents.len()).expect("a few megabytes").to_be_bytes());
    }
    [bytes, index, contents].concat()
}
