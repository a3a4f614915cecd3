//! How late a defense's actions are on the wire, and how late it hears of packets, in the form of Maybenot's simulator.

use std::path::Path;
use std::time::Duration;

use enum_map::enum_map;
use maybenot::Machine;
use maybenot::action::Action;
use maybenot::dist::{Dist, DistType};
use maybenot::event::Event;
use maybenot::state::{State, Trans};
use maybetun_machines::{Limits, Side};
use serde_json::{Map, Value, json};

use super::{RealError, Run, session};
use crate::defense::Defense;
use crate::tunnels::client;
use crate::virtual_network::Passed;
use crate::workload::{Access, Load, Plan, Stream};

/// Bins of a distribution: each has as many of what was measured.
const BINS: usize = 20;

/// What sums of probabilities may be short of 1.
const ROUNDING: f64 = 1e-9;

/// The time between two packets of padding of the defense that measures actions.
const BEAT: Duration = Duration::from_millis(1);

/// The time between two of the user's packets, each of which is answered by padding. An answer takes less than half of it, or is not
/// counted.
const ASK: Duration = Duration::from_millis(20);

/// What was measured beside the client, in order of size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delays {
    /// How much later than it should padding leaves that is due at a time: against the one that was the least late.
    pub actions: Vec<Duration>,
    /// How long after a packet padding leaves that a machine asks for, without a timeout, when it hears of it.
    pub reactions: Vec<Duration>,
}

impl Delays {
    /// Measures them for so long each, with nothing else going on: up to 100 s, after which a beat is no beat any more, as the session is
    /// made anew.
    ///
    /// # Errors
    /// When there is no tunnel.
    pub fn measure(program: &Path, time: Duration) -> Result<Self, RealError> {
        let access = Access::default();
        let load = |defense: &Defense, plan: Plan, after| {
            let run = Run { program, access: &access, defense, seed: 1, longest: time, after };
            session(&run, |session| session.load(plan))
        };
        let beat = maybetun_machines::find("metronome").ok_or_else(|| RealError::Defense("no metronome".to_owned()))?;
        let beaten = load(&Defense::Named(Box::new(beat.clone())), Plan::default(), time)?;
        let count = u32::try_from(time.as_millis() / ASK.as_millis()).unwrap_or(u32::MAX);
        let questions = Stream { start: Duration::ZERO, every: ASK, count, up: 172, down: 172 };
        let plan = Plan::new(vec![], vec![questions]).map_err(|error| RealError::Defense(error.to_string()))?;
        let answered = load(&answering()?, plan, Duration::ZERO)?;
        Ok(Self { actions: late(&times(&beaten)), reactions: answers(&times(&answered)) })
    }

    /// Returns them as the simulator's `Integration` has them: the bins of each distribution, in milliseconds, with their probabilities.
    /// What passes between a timer and the wire cannot be told apart from outside: it is all of `action_delay`. `reporting_delay` is
    /// what a reaction takes beyond half of all actions.
    pub fn integration(&self) -> Value {
        let half = self.actions.get(self.actions.len() / 2).copied().unwrap_or_default();
        let reports: Vec<_> = self.reactions.iter().map(|reaction| reaction.saturating_sub(half)).collect();
        json!({
            "action_delay": bins(&self.actions),
            "reporting_delay": bins(&reports),
            "trigger_delay": bins(&[]),
        })
    }
}

/// A defense whose client pads at once when it hears of a packet of the user's.
fn answering() -> Result<Defense, RealError> {
    let refused = RealError::Defense;
    let at_once = Dist { dist: DistType::Uniform { low: 0.0, high: 0.0 }, start: 0.0, max: 0.0 };
    let waiting = State::new(enum_map! { Event::NormalSent => vec![Trans(1, 1.0)], _ => vec![] });
    let mut padding = State::new(enum_map! { Event::PaddingSent => vec![Trans(0, 1.0)], _ => vec![] });
    padding.action = Some(Action::SendPadding { bypass: false, replace: false, timeout: at_once, limit: None });
    let machine = Machine::new(u64::MAX, 1.0, 0, 0.0, vec![waiting, padding]);
    let machine = machine.map_err(|error| refused(error.to_string()))?.serialize();
    let limits = Limits { max_actions_per_second: 100_000.0, ..Limits::default() };
    let side = |machines: &[String]| Side::parse(machines, limits).map_err(|error| refused(error.to_string()));
    let defense = maybetun_machines::Defense::from_machines("answering", side(&[machine])?, side(&[])?);
    Ok(Defense::Named(Box::new(defense.map_err(|error| refused(error.to_string()))?)))
}

/// Returns when the client's packets passed.
fn times(load: &Load) -> Vec<Duration> {
    // A handshake is smaller than all else, which has one size.
    let size = load.trace.iter().map(|passed| passed.size).max();
    let of_client = |passed: &&Passed| passed.from == client(0) && Some(passed.size) == size;
    load.trace.iter().filter(of_client).map(|passed| passed.at).collect()
}

/// Returns how much later each packet of a beat is than if all were as little late as the least late.
fn late(times: &[Duration]) -> Vec<Duration> {
    let offsets: Vec<_> =
        times.iter().zip(0u32..).map(|(at, beat)| at.as_nanos() as i128 - (BEAT * beat).as_nanos() as i128).collect();
    let least = offsets.iter().copied().min().unwrap_or(0);
    sorted(offsets.into_iter().map(|offset| Duration::from_nanos((offset - least) as u64)))
}

/// Returns how long after a packet the one came that answers it.
fn answers(times: &[Duration]) -> Vec<Duration> {
    sorted(times.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap < ASK / 2))
}

fn sorted(times: impl Iterator<Item = Duration>) -> Vec<Duration> {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    times
}

/// Returns bins that have equally many of the times; without times, one that is 0.
fn bins(sorted: &[Duration]) -> Value {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let mut bins = Map::new();
    let count = BINS.min(sorted.len());
    for bin in 0..count {
        let [low, high] = [bin, bin + 1].map(|edge| (edge * sorted.len() / count).min(sorted.len() - 1));
        let range = format!("({:.4}, {:.4})", milliseconds(sorted[low]), milliseconds(sorted[high]));
        // Bins that look alike are one. The simulator draws from less than the sum, which must not be less than 1.
        let share = 1.0 / count as f64 + if bin + 1 == count { ROUNDING } else { 0.0 };
        let before = bins.get(&range).and_then(Value::as_f64).unwrap_or(0.0);
        bins.insert(range, json!(before + share));
    }
    if bins.is_empty() {
        bins.insert("(0.0, 0.0)".to_owned(), json!(1.0));
    }
    Value::Object(bins)
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    #[test]
    fn a_beat_is_as_late_as_it_is_beside_the_least_late() {
        let times = [100, 1_050, 2_300, 3_080].map(|at| at * US);
        assert_eq!(late(&times), [0, 30, 50, 250].map(|at| at * US));
        assert!(late(&[]).is_empty());
    }

    #[test]
    fn an_answer_is_what_follows_soon() {
        let times = [0, 40, 20_000, 20_060, 40_000, 60_000, 60_030].map(|at| at * US);
        assert_eq!(answers(&times), [30, 40, 60].map(|at| at * US));
    }

    #[test]
    fn bins_have_equally_many_and_their_probabilities_are_one() {
        let delays = Delays { actions: (0..1_000).map(|at| at * US).collect(), reactions: vec![700 * US; 100] };
        let integration = delays.integration();
        assert_eq!(integration["action_delay"].as_object().unwrap().len(), BINS);
        assert_eq!(integration["action_delay"]["(0.0500, 0.1000)"], 0.05);
        assert_eq!(integration["trigger_delay"], json!({"(0.0, 0.0)": 1.0}));
        let reports = integration["reporting_delay"].as_object().unwrap();
        assert_eq!(reports.keys().collect::<Vec<_>>(), ["(0.2000, 0.2000)"]);
        for distribution in integration.as_object().unwrap().values() {
            let sum: f64 = distribution.as_object().unwrap().values().filter_map(Value::as_f64).sum();
            assert!((1.0..1.0 + 2.0 * ROUNDING).contains(&sum), "{distribution}");
        }
    }

    #[test]
    fn the_defense_that_answers_can_be_made() {
        assert!(matches!(answering(), Ok(Defense::Named(_))));
    }
}
