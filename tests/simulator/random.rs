//! Random machines, made deterministic.

use std::time::Duration;

use maybenot::Machine;
use maybenot::action::Action;
use maybenot::dist::Dist;
use maybenot_gen::random_machine::RandomMachineConfig;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use crate::compare::{Defense, Rule, Trace, compare};
use crate::fixed::{Values, fixed, with_actions};

const MACHINES: u64 = 1_000;

/// Values drawn at random, once.
struct Drawn<'a>(&'a mut ChaCha20Rng);

impl Drawn<'_> {
    fn below(&mut self, end: u64) -> u64 {
        self.0.next_u64() % end
    }
}

impl Values for Drawn<'_> {
    fn time(&mut self, _: &Dist) -> u64 {
        // One in eight is zero.
        if self.below(8) == 0 { 0 } else { self.below(90_000) }
    }

    fn count(&mut self, _: &Dist) -> u64 {
        1 + self.below(20)
    }
}

/// Which actions the machines of one side may take together, so that none of the simulator's rules on what waits is met:
/// - "replaced by normal packets only": the simulator lets padding take the place of a normal packet that waits, not of
///   padding that waits;
/// - "padding keeps its flag while it waits": in the simulator, padding that waits for the end of non-bypassable blocking
///   leaves when that becomes bypassable; in a tunnel what waits, waits for the end.
///
/// `rules.rs` shows both.
#[derive(Debug, Clone, Copy)]
enum Regime {
    /// Non-bypassable blocking; padding with and without bypass.
    FailClosed,
    /// Bypassable blocking; padding with and without bypass.
    Bypassable,
    /// Blocking of both kinds; padding that waits for the end of either.
    Mixed,
    /// Bypassable blocking; padding that bypasses it and is replaced.
    ConstantRate,
    /// No blocking; padding with any flags.
    Unblocked,
}

const REGIMES: [Regime; 5] =
    [Regime::FailClosed, Regime::Bypassable, Regime::Mixed, Regime::ConstantRate, Regime::Unblocked];

impl Regime {
    fn allows_blocking(self) -> bool {
        !matches!(self, Self::Unblocked)
    }

    fn apply(self, action: &mut Action) {
        match (self, action) {
            // "TimerBegin only when the timer changed": so every change of an internal timer is one.
            (_, Action::UpdateTimer { replace, .. }) => *replace = true,
            (Self::FailClosed, Action::BlockOutgoing { bypass, .. }) => *bypass = false,
            (Self::Bypassable | Self::ConstantRate, Action::BlockOutgoing { bypass, .. }) => *bypass = true,
            (Self::FailClosed | Self::Bypassable, Action::SendPadding { replace, .. }) => *replace = false,
            (Self::Mixed, Action::SendPadding { bypass, replace, .. }) => (*bypass, *replace) = (false, false),
            (Self::ConstantRate, Action::SendPadding { bypass, replace, .. }) => (*bypass, *replace) = (true, true),
            (Self::Mixed | Self::Unblocked, Action::BlockOutgoing { .. })
            | (Self::Unblocked, Action::SendPadding { .. })
            | (_, Action::Cancel { .. }) => {}
        }
    }
}

fn random_side(rng: &mut ChaCha20Rng, is_client: bool) -> (Regime, Vec<Machine>) {
    let regime = REGIMES[(rng.next_u32() % 5) as usize];
    let count = 1 + rng.next_u32() % 2;
    let machines = (0..count).map(|_| {
        let config = RandomMachineConfig {
            num_states: 1..=6,
            allow_blocking_client: Some(regime.allows_blocking()),
            allow_blocking_server: Some(regime.allows_blocking()),
            allow_expressive: None,
            allow_fixed_budget: None,
            allow_frac_limits: None,
            duration_point: None,
            count_point: None,
            min_action_timeout: None,
            circpad_compatible: None,
        };
        let machine = config.get_random_machine(is_client, rng);
        with_actions(fixed(&machine, &mut Drawn(rng)), |action| regime.apply(action))
    });
    (regime, machines.collect())
}

/// Packets from both sides at random times, no two in the same nanosecond of a microsecond.
fn random_trace(rng: &mut ChaCha20Rng) -> Trace {
    let (mut micros, mut trace) = (0, Vec::new());
    for serial in 0..(4 + rng.next_u64() % 60) {
        trace.push((Duration::from_nanos(micros * 1_000 + serial), (rng.next_u32() % 2) as usize));
        micros += match rng.next_u32() % 4 {
            0 => 1 + rng.next_u64() % 300,
            1 | 2 => 1 + rng.next_u64() % 20_000,
            _ => 1 + rng.next_u64() % 200_000,
        };
    }
    trace
}

#[test]
fn a_thousand_random_machines_do_as_in_the_simulator() {
    let (mut machines, mut seed) = (0, 0);
    let (mut runs, mut events, mut cut, mut hidden) = (0, 0, 0, 0);
    let mut failures = Vec::new();
    while machines < MACHINES {
        seed += 1;
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let (sides, trace) = ([true, false].map(|is_client| random_side(&mut rng, is_client)), random_trace(&mut rng));
        let regimes = [sides[0].0, sides[1].0];
        let defense = Defense { machines: sides.map(|(_, machines)| machines), ..Defense::default() };
        machines += defense.machines.iter().map(|machines| machines.len() as u64).sum::<u64>();
        runs += 1;
        match compare(&defense, &trace) {
            Ok(agreement) => {
                events += agreement.events;
                cut += usize::from(agreement.cut == Some(Rule::OrderAtOneInstant));
                hidden += usize::from(agreement.cut == Some(Rule::HiddenByAggregateDelay));
            }
            Err(error) => failures.push(format!("seed {seed} {regimes:?}: {error}")),
        }
    }
    let shown = &failures[..failures.len().min(4)];
    assert!(failures.is_empty(), "{} of {runs} runs differ\n{}", failures.len(), shown.join("\n"));
    assert!(
        events > 200 * runs && cut + hidden < runs / 3,
        "{runs} runs, {events} events, {cut} + {hidden} ended early"
    );
}
