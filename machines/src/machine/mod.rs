//! One Maybenot machine: reading its text form, which may be hostile, and bounds on what it may hold.
//!
//! Maybenot's own parser checks most of this. What it leaves open is checked here: numbers that are not numbers, text
//! after the machine or a checksum that is cut off, and sizes that are small as text but large in memory.

use std::io::Read as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flate2::read::ZlibDecoder;
use maybenot::Machine;
use maybenot::action::Action;
use maybenot::constants::VERSION;
use maybenot::counter::Counter;
use maybenot::dist::{Dist, DistType};
use maybenot::state::State;
use thiserror::Error;

/// Longest text form of a machine in bytes: the version, then base64 of 32 KiB, beyond which Maybenot's decoder reads no
/// further.
pub const MAX_TEXT: usize = VERSION_LENGTH + (32 * 1024usize).div_ceil(3) * 4;

/// Most bytes of a machine once decompressed. Maybenot's own bound is twice that; each byte can take 40 bytes of memory.
pub const MAX_DECOMPRESSED: usize = 512 * 1024;

/// Most states of a machine.
pub const MAX_STATES: usize = 1_024;

/// Most transitions of a machine, over all states and events.
pub const MAX_TRANSITIONS: usize = 16_384;

/// Characters of the version at the beginning of the text form.
const VERSION_LENGTH: usize = 2;

/// Most bytes of a state once serialized, without its transitions: an action with three distributions and two counters
/// with one each, 43 bytes a distribution, and the lengths of the transitions.
const MAX_STATE_BYTES: usize = 5 * 43 + 2 * 5 + 8 + 13 * 4;

/// Most bytes of a transition once serialized: an index of at most 9 bytes and a probability.
const MAX_TRANSITION_BYTES: usize = 9 + 4;

/// Bytes that no compression makes so long that their text were too long: deflate adds 5 bytes to each 16 KiB that it
/// stores as they are, and zlib 6 to all (RFC 1951 §3.2.4, RFC 1950 §2.2). Compressing takes far longer than counting.
const NEVER_TOO_LONG: usize = 32 * 1024 - 64;

// A machine within the bounds can always be serialized: Maybenot panics beyond its own bound.
const _: () = assert!(
    MAX_STATES * MAX_STATE_BYTES + MAX_TRANSITIONS * MAX_TRANSITION_BYTES + 64 <= MAX_DECOMPRESSED
        && MAX_DECOMPRESSED <= maybenot::constants::MAX_DECOMPRESSED_SIZE
);

/// Why a text is not a machine, or a machine not one that may run.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MachineError {
    /// The text is longer than [`MAX_TEXT`].
    #[error("the machine has {0} characters, expected at most {MAX_TEXT}")]
    TooLong(usize),
    /// The text is of another version of Maybenot's format, or of none.
    #[error("the machine begins with {0:?}, expected version {VERSION:02}")]
    Version(String),
    /// What follows the version is not base64.
    #[error("the machine is cut off or damaged: expected base64 after the version")]
    NotBase64,
    /// The compressed data ends early, or its checksum is wrong.
    #[error("the machine is cut off or damaged: its compressed data is incomplete or fails its checksum")]
    Damaged,
    /// Something follows the compressed data.
    #[error("the machine is followed by {0} bytes, expected its end")]
    TrailingBytes(usize),
    /// The machine decompresses to more than [`MAX_DECOMPRESSED`].
    #[error("the machine decompresses to more than {MAX_DECOMPRESSED} bytes")]
    TooLarge,
    /// The machine has more than [`MAX_STATES`].
    #[error("the machine has {0} states, expected at most {MAX_STATES}")]
    TooManyStates(usize),
    /// The machine has more than [`MAX_TRANSITIONS`].
    #[error("the machine has {0} transitions, expected at most {MAX_TRANSITIONS}")]
    TooManyTransitions(usize),
    /// A number of the machine is not a number, or is infinite.
    #[error("the machine has {what} that is not a finite number{}", in_state(.state))]
    NotFinite {
        /// Which number.
        what: &'static str,
        /// The index of the state that it belongs to; none if it is the machine's.
        state: Option<usize>,
    },
    /// Maybenot refuses the machine.
    #[error("{0}")]
    Invalid(String),
}

fn in_state(state: &Option<usize>) -> String {
    state.map(|index| format!(", in state {index}")).unwrap_or_default()
}

/// Parses the text form of a machine, which may come from anyone.
///
/// # Errors
/// When the text is not exactly one machine of version 2, or the machine is invalid or beyond a bound of this module.
pub fn parse(text: &str) -> Result<Machine, MachineError> {
    if text.len() > MAX_TEXT {
        return Err(MachineError::TooLong(text.len()));
    }
    decompress(text)?;
    let machine: Machine = text.parse().map_err(|error: maybenot::Error| MachineError::Invalid(one_line(&error)))?;
    validate(&machine)?;
    Ok(machine)
}

/// Checks that Maybenot accepts a machine and that it is within the bounds of this module.
///
/// # Errors
/// When it is not.
pub fn validate(machine: &Machine) -> Result<(), MachineError> {
    if machine.states.len() > MAX_STATES {
        return Err(MachineError::TooManyStates(machine.states.len()));
    }
    machine.validate().map_err(|error| MachineError::Invalid(one_line(&error)))?;
    for (what, fraction) in
        [("a maximum of padding", machine.max_padding_frac), ("a maximum of blocking", machine.max_blocking_frac)]
    {
        if !fraction.is_finite() {
            return Err(MachineError::NotFinite { what, state: None });
        }
    }
    let mut transitions = 0;
    for (index, state) in machine.states.iter().enumerate() {
        transitions += validate_state(state).map_err(|what| MachineError::NotFinite { what, state: Some(index) })?;
    }
    if transitions > MAX_TRANSITIONS {
        return Err(MachineError::TooManyTransitions(transitions));
    }
    let most_bytes = machine.states.len() * MAX_STATE_BYTES + transitions * MAX_TRANSITION_BYTES + 64;
    if most_bytes > NEVER_TOO_LONG && machine.serialize().len() > MAX_TEXT {
        return Err(MachineError::TooLong(machine.serialize().len()));
    }
    Ok(())
}

/// Returns the bytes that stand for a machine whatever compressed its text form.
pub(crate) fn canonical(machine: &Machine) -> Result<Vec<u8>, MachineError> {
    decompress(&machine.serialize())
}

/// Returns what the text form of a machine decompresses to.
fn decompress(text: &str) -> Result<Vec<u8>, MachineError> {
    let version = text.chars().take(VERSION_LENGTH).collect::<String>();
    let encoded = text.strip_prefix(&format!("{VERSION:02}")).ok_or(MachineError::Version(version))?;
    let compressed = BASE64_STANDARD.decode(encoded).map_err(|_| MachineError::NotBase64)?;
    let mut decoder = ZlibDecoder::new(compressed.as_slice());
    let mut decompressed = Vec::new();
    // One byte more than is allowed, to notice that there is too much.
    let mut bounded = decoder.by_ref().take(MAX_DECOMPRESSED as u64 + 1);
    bounded.read_to_end(&mut decompressed).map_err(|_| MachineError::Damaged)?;
    if decompressed.len() > MAX_DECOMPRESSED {
        return Err(MachineError::TooLarge);
    }
    let consumed = usize::try_from(decoder.total_in()).unwrap_or(usize::MAX);
    match compressed.len().saturating_sub(consumed) {
        0 => Ok(decompressed),
        rest => Err(MachineError::TrailingBytes(rest)),
    }
}

/// Checks the numbers of a state and returns how many transitions it has.
///
/// # Errors
/// The first number that is not one.
fn validate_state(state: &State) -> Result<usize, &'static str> {
    let mut transitions = 0;
    for (_, vector) in state.get_transitions() {
        if vector.iter().any(|transition| !transition.1.is_finite()) {
            return Err("a probability");
        }
        transitions += vector.len();
    }
    let counters = [&state.counter.0, &state.counter.1].into_iter().flatten();
    let in_counters = counters.filter_map(|Counter { dist, .. }| *dist);
    if in_counters.chain(distributions(state.action)).all(is_finite) {
        Ok(transitions)
    } else {
        Err("a parameter of a distribution")
    }
}

/// Returns the distributions of an action.
fn distributions(action: Option<Action>) -> impl Iterator<Item = Dist> {
    let distributions = match action {
        None | Some(Action::Cancel { .. }) => [None; 3],
        Some(Action::SendPadding { timeout, limit, .. }) => [Some(timeout), limit, None],
        Some(Action::BlockOutgoing { timeout, duration, limit, .. }) => [Some(timeout), Some(duration), limit],
        Some(Action::UpdateTimer { duration, limit, .. }) => [Some(duration), limit, None],
    };
    distributions.into_iter().flatten()
}

/// Is every parameter a finite number? A maximum may be infinite: it is none then.
fn is_finite(dist: Dist) -> bool {
    let parameters = match dist.dist {
        DistType::Uniform { low, high } => [low, high, 0.0],
        DistType::Normal { mean, stdev } => [mean, stdev, 0.0],
        DistType::SkewNormal { location, scale, shape } => [location, scale, shape],
        DistType::LogNormal { mu, sigma } => [mu, sigma, 0.0],
        DistType::Binomial { probability, .. } | DistType::Geometric { probability } => [probability, 0.0, 0.0],
        DistType::Pareto { scale, shape } | DistType::Weibull { scale, shape } | DistType::Gamma { scale, shape } => {
            [scale, shape, 0.0]
        }
        DistType::Poisson { lambda } => [lambda, 0.0, 0.0],
        DistType::Beta { alpha, beta } => [alpha, beta, 0.0],
    };
    parameters.iter().all(|parameter| parameter.is_finite()) && dist.start.is_finite() && !dist.max.is_nan()
}

/// Returns an error's message as one line of printable text.
fn one_line(error: &maybenot::Error) -> String {
    error.to_string().replace(char::is_control, " ")
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod tests_support;
