//! What one end of a tunnel runs.

use std::fmt;
use std::sync::Arc;

use maybenot::Machine;

use crate::machine::{self, MachineError};
use crate::{DefenseError, Limits};

/// Most machines of one end.
pub const MAX_MACHINES: usize = 16;

/// Most states of all machines of one end together.
pub const MAX_STATES_A_SIDE: usize = 4_096;

/// An end of the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The user's device: the one that starts handshakes.
    Client,
    /// The VPN server.
    Relay,
}

impl Role {
    /// Returns the name of the end's table in the text form.
    pub(crate) fn table(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Relay => "relay",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.table())
    }
}

/// What one end runs: machines, and limits on them all. Cheap to clone: the machines are shared.
#[derive(Clone)]
pub struct Side {
    /// The machines, in the order of their identifiers; none if this end adds nothing but constant size.
    pub machines: Arc<[Machine]>,
    /// What they may do together.
    pub limits: Limits,
}

impl Side {
    /// Parses machines in their text form, which may come from anyone, and checks them and the limits.
    ///
    /// # Errors
    /// When one is not valid, or there are too many; the key is `machines`, `machines[INDEX]` or `limits.FIELD`.
    pub fn parse<T: AsRef<str>>(machines: &[T], limits: Limits) -> Result<Self, DefenseError> {
        check_count(machines.len())?;
        let parsed = machines
            .iter()
            .enumerate()
            .map(|(index, text)| machine::parse(text.as_ref()).map_err(|error| at_index(index, &error)));
        let side = Self { machines: parsed.collect::<Result<_, _>>()?, limits };
        side.validate()?;
        Ok(side)
    }

    /// Checks machines and limits.
    ///
    /// # Errors
    /// As [`Side::parse`].
    pub fn validate(&self) -> Result<(), DefenseError> {
        check_count(self.machines.len())?;
        for (index, machine) in self.machines.iter().enumerate() {
            machine::validate(machine).map_err(|error| at_index(index, &error))?;
        }
        let states = self.machines.iter().map(|machine| machine.states.len()).sum::<usize>();
        if states > MAX_STATES_A_SIDE {
            let message = format_args!("{states} states in all machines, expected at most {MAX_STATES_A_SIDE}");
            return Err(DefenseError::new("machines", message));
        }
        self.limits.validate().map_err(|error| error.under("limits"))
    }

    /// Returns the machines in their text form.
    pub fn texts(&self) -> Vec<String> {
        self.machines.iter().map(Machine::serialize).collect()
    }
}

impl Default for Side {
    /// No machines, the default limits.
    fn default() -> Self {
        Self { machines: Arc::new([]), limits: Limits::default() }
    }
}

impl fmt::Debug for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A machine in full is hundreds of lines.
        let names = self.machines.iter().map(Machine::name).collect::<Vec<_>>();
        f.debug_struct("Side").field("machines", &names).field("limits", &self.limits).finish()
    }
}

fn check_count(machines: usize) -> Result<(), DefenseError> {
    if machines > MAX_MACHINES {
        let message = format_args!("{machines} machines, expected at most {MAX_MACHINES}");
        return Err(DefenseError::new("machines", message));
    }
    Ok(())
}

fn at_index(index: usize, error: &MachineError) -> DefenseError {
    DefenseError::new(format!("machines[{index}]"), error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::tests_support::{NO_OP, states};

    #[test]
    fn machines_are_bounded_in_number() {
        let side = Side::parse(&[NO_OP; MAX_MACHINES], Limits::default()).unwrap();
        assert_eq!(side.texts(), [NO_OP; MAX_MACHINES]);
        let error = Side::parse(&[NO_OP; MAX_MACHINES + 1], Limits::default()).unwrap_err();
        assert_eq!(error.to_string(), "machines: 17 machines, expected at most 16");
    }

    #[test]
    fn states_are_bounded_over_all_machines() {
        let side = |machines: usize| Side {
            machines: vec![states(machine::MAX_STATES); machines].into(),
            limits: Limits::default(),
        };
        assert_eq!(side(4).validate(), Ok(()));
        let error = side(5).validate().unwrap_err();
        assert_eq!(error.to_string(), "machines: 5120 states in all machines, expected at most 4096");
    }

    #[test]
    fn an_error_tells_which_machine_or_limit() {
        let error = Side::parse(&[NO_OP, "01"], Limits::default()).unwrap_err();
        assert_eq!(error.to_string(), "machines[1]: the machine begins with \"01\", expected version 02");
        let limits = Limits { max_blocking_frac: 2.0, ..Limits::default() };
        assert_eq!(Side::parse(&[NO_OP], limits).unwrap_err().key(), "limits.max_blocking_frac");
    }
}
