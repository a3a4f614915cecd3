//! How much the machines of one end may do.

use serde::{Deserialize, Serialize};

use crate::DefenseError;

/// Most actions a second that limits may allow: one a microsecond.
pub const MAX_ACTIONS_PER_SECOND: f64 = 1_000_000.0;

/// Actions a second that are allowed unless a defense says otherwise. Machines that act on every packet, as those of
/// RegulaTor do, stay below it at 300 Mbit/s in full-size packets.
pub const DEFAULT_ACTIONS_PER_SECOND: f64 = 100_000.0;

/// Limits on what all machines of one end do together.
///
/// The two fractions are those of Maybenot's framework, with its meaning: **0 is no limit**, and a machine's own allowance
/// (`allowed_padding_packets`, `allowed_blocked_microsec`) comes first, so that a machine whose allowance is endless is
/// never held by them. What holds for every machine is `max_actions_per_second`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Most padding packets as a fraction of all packets sent, from 0 to 1; 0 is no limit.
    pub max_padding_frac: f64,
    /// Most time blocked as a fraction of the time since the start, from 0 to 1; 0 is no limit.
    pub max_blocking_frac: f64,
    /// Most actions a second: above 0, at most [`MAX_ACTIONS_PER_SECOND`].
    pub max_actions_per_second: f64,
}

impl Limits {
    /// Checks that every limit is in its range.
    ///
    /// # Errors
    /// When one is not, or is not a number; the key is the name of the field.
    pub fn validate(&self) -> Result<(), DefenseError> {
        let fractions = [("max_padding_frac", self.max_padding_frac), ("max_blocking_frac", self.max_blocking_frac)];
        for (key, fraction) in fractions {
            if !(0.0..=1.0).contains(&fraction) {
                return Err(DefenseError::new(key, format_args!("{fraction} is not a fraction from 0 to 1")));
            }
        }
        let actions = self.max_actions_per_second;
        if !(actions > 0.0 && actions <= MAX_ACTIONS_PER_SECOND) {
            let message = format_args!("{actions} is not above 0 and at most {MAX_ACTIONS_PER_SECOND}");
            return Err(DefenseError::new("max_actions_per_second", message));
        }
        Ok(())
    }
}

impl Default for Limits {
    /// No limit on fractions, [`DEFAULT_ACTIONS_PER_SECOND`].
    fn default() -> Self {
        Self { max_padding_frac: 0.0, max_blocking_frac: 0.0, max_actions_per_second: DEFAULT_ACTIONS_PER_SECOND }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of_error(limits: Limits) -> Option<String> {
        limits.validate().err().map(|error| error.key().to_owned())
    }

    #[test]
    fn fractions_are_from_zero_to_one() {
        for fraction in [0.0, 0.5, 1.0] {
            let limits = Limits { max_padding_frac: fraction, max_blocking_frac: fraction, ..Limits::default() };
            assert_eq!(limits.validate(), Ok(()));
        }
        for fraction in [-0.1, 1.1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let padding = Limits { max_padding_frac: fraction, ..Limits::default() };
            assert_eq!(key_of_error(padding).as_deref(), Some("max_padding_frac"));
            let blocking = Limits { max_blocking_frac: fraction, ..Limits::default() };
            assert_eq!(key_of_error(blocking).as_deref(), Some("max_blocking_frac"));
        }
    }

    #[test]
    fn some_actions_are_allowed_and_not_any_number() {
        for actions in [0.001, 1.0, MAX_ACTIONS_PER_SECOND] {
            assert_eq!(Limits { max_actions_per_second: actions, ..Limits::default() }.validate(), Ok(()));
        }
        for actions in [0.0, -1.0, 1_000_000.1, f64::NAN, f64::INFINITY] {
            let limits = Limits { max_actions_per_second: actions, ..Limits::default() };
            assert_eq!(key_of_error(limits).as_deref(), Some("max_actions_per_second"));
        }
    }
}
