//! What one end runs, valid by construction.

use std::sync::Arc;

use maybenot::Machine;

/// Most machines of one tunnel.
pub const MAX_MACHINES: usize = 32;

/// Actions a second that machines may take, unless a defense says otherwise.
pub const DEFAULT_ACTIONS_PER_SECOND: u32 = 20_000;

/// What one end runs: machines, and the bounds on what they may take. Whatever there is can run. The default has no machines.
///
/// Two are equal if their machines do the same under the same bounds.
#[derive(Clone)]
pub struct Plan {
    machines: Arc<[Machine]>,
    max_padding_frac: f64,
    max_blocking_frac: f64,
    max_actions_per_second: u32,
}

/// Explains why there is no such plan.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// There are more machines than a tunnel runs.
    #[error("{0} machines, expected at most {MAX_MACHINES}")]
    TooManyMachines(usize),
    /// The framework refuses a machine.
    #[error("{0}")]
    Machine(String),
    /// A limit is no fraction.
    #[error("a limit of {0}, expected a number from 0 to 1")]
    Limit(f64),
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            machines: Arc::default(),
            max_padding_frac: 0.0,
            max_blocking_frac: 0.0,
            max_actions_per_second: DEFAULT_ACTIONS_PER_SECOND,
        }
    }
}

impl Plan {
    /// Returns a plan for `machines`, which tunnels that run it share, without limits but the default cap on actions.
    ///
    /// # Errors
    /// When they are more than [`MAX_MACHINES`], or one is not valid.
    pub fn new(machines: impl Into<Arc<[Machine]>>) -> Result<Self, PlanError> {
        let machines = machines.into();
        if machines.len() > MAX_MACHINES {
            return Err(PlanError::TooManyMachines(machines.len()));
        }
        for machine in &*machines {
            machine.validate().map_err(|error| PlanError::Machine(error.to_string()))?;
        }
        Ok(Self { machines, ..Self::default() })
    }

    /// Sets the padding packets that all machines together may send, as a fraction of all packets, and the time that they may
    /// block, as a fraction of all time: 0 (no limit) to 1.
    ///
    /// # Errors
    /// When one is none of that.
    pub fn limited(self, max_padding_frac: f64, max_blocking_frac: f64) -> Result<Self, PlanError> {
        for limit in [max_padding_frac, max_blocking_frac] {
            if !(0.0..=1.0).contains(&limit) {
                return Err(PlanError::Limit(limit));
            }
        }
        Ok(Self { max_padding_frac, max_blocking_frac, ..self })
    }

    /// Sets how many timers of all machines together may be set off in a second, internal ones and those of actions; more wait
    /// for the next second. The end of blocking never waits.
    #[must_use]
    pub fn capped(self, max_actions_per_second: u32) -> Self {
        Self { max_actions_per_second, ..self }
    }

    /// Returns the machines.
    pub fn machines(&self) -> &Arc<[Machine]> {
        &self.machines
    }

    /// Returns the fraction of all packets that padding may be; 0 is no limit.
    pub fn max_padding_frac(&self) -> f64 {
        self.max_padding_frac
    }

    /// Returns the fraction of all time that may be blocked; 0 is no limit.
    pub fn max_blocking_frac(&self) -> f64 {
        self.max_blocking_frac
    }

    /// Returns how many timers may be set off in a second.
    pub fn max_actions_per_second(&self) -> u32 {
        self.max_actions_per_second
    }
}

impl PartialEq for Plan {
    fn eq(&self, other: &Self) -> bool {
        let bounds = |plan: &Self| {
            (plan.max_padding_frac.to_bits(), plan.max_blocking_frac.to_bits(), plan.max_actions_per_second)
        };
        let (ours, theirs) = (&self.machines, &other.machines);
        let are_same = |(one, other): (&Machine, &Machine)| one.serialize() == other.serialize();
        bounds(self) == bounds(other)
            && ours.len() == theirs.len()
            && (Arc::ptr_eq(ours, theirs) || ours.iter().zip(theirs.iter()).all(are_same))
    }
}

impl Eq for Plan {}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A machine in full is hundreds of lines.
        f.debug_struct("Plan")
            .field("machines", &self.machines.len())
            .field("max_padding_frac", &self.max_padding_frac)
            .field("max_blocking_frac", &self.max_blocking_frac)
            .field("max_actions_per_second", &self.max_actions_per_second)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        maybetun_machines::find("front").unwrap().client().machines[0].clone()
    }

    #[test]
    fn there_is_no_plan_that_cannot_run() {
        assert!(Plan::new(vec![machine(); MAX_MACHINES]).is_ok());
        let many = Plan::new(vec![machine(); MAX_MACHINES + 1]);
        assert_eq!(many.unwrap_err(), PlanError::TooManyMachines(MAX_MACHINES + 1));
        let broken: [fn(&mut Machine); 2] =
            [|machine| machine.states.clear(), |machine| machine.max_padding_frac = 2.0];
        for spoil in broken {
            let mut machine = machine();
            spoil(&mut machine);
            assert!(matches!(Plan::new([machine]), Err(PlanError::Machine(_))));
        }
        for (padding, blocking, wrong) in [(1.5, 0.0, 1.5), (0.0, -0.1, -0.1)] {
            assert_eq!(Plan::default().limited(padding, blocking).unwrap_err(), PlanError::Limit(wrong));
        }
        assert!(Plan::default().limited(f64::NAN, 0.0).is_err() && Plan::default().limited(1.0, 0.0).is_ok());
    }

    #[test]
    fn equal_machines_are_equal_wherever_they_come_from() {
        let plan = Plan::new([machine()]).unwrap();
        let read_again = maybetun_machines::machine::parse(&machine().serialize()).unwrap();
        assert_eq!(Plan::new([read_again]).unwrap(), plan);
        assert_ne!(Plan::default(), plan);
        assert_ne!(plan.clone().capped(7), plan);
        assert_ne!(plan.clone().limited(0.5, 0.0).unwrap(), plan);
    }
}
