//! In which time plans are run: virtual, or real.

use std::time::Duration;

use super::StudyError;
use super::loads::seed_of;
use crate::defense::Defense;
use crate::hosts::Settings;
use crate::on_all_cores;
use crate::workload::{Access, Load, Plan, Run, Session};

/// How long it takes in virtual time until a browser or a server is at what has arrived, on average: so long that they acknowledge with as
/// many packets as in real time (`validate`).
const WAKEUP: Duration = Duration::from_micros(60);

/// What runs plans.
#[derive(Debug, Clone, Default)]
pub enum Engine {
    /// Tunnels in virtual time, the same each time.
    #[default]
    Virtual,
    /// The program itself between network namespaces, in real time.
    #[cfg(feature = "real")]
    Real {
        /// The program: maybetun.
        program: std::path::PathBuf,
        /// How many clients there are at once.
        clients: usize,
        /// What loads pages; without, the lab's own browser does, and all that is no page.
        chromium: Option<std::path::PathBuf>,
    },
}

/// What plans are run through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Through<'a> {
    pub(super) access: &'a Access,
    pub(super) defense: &'a Defense,
    /// What each tunnel draws from, with its number.
    pub(super) seed: u64,
    /// The longest that a plan goes on.
    pub(super) longest: Duration,
    /// How long its trace goes on when it is done.
    pub(super) after: Duration,
}

/// Runs a plan through a tunnel.
pub(super) type Runner<'a> = &'a mut dyn FnMut(Plan) -> Result<Load, StudyError>;

impl Engine {
    /// Says in which time it runs plans.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Virtual => "in virtual time",
            #[cfg(feature = "real")]
            Self::Real { .. } => "in real time",
        }
    }

    /// Does `work` for each number below `count`, each with a tunnel of its own, many at once. What came of it is in order.
    pub(super) fn each<'a, T: Send>(
        &self,
        count: usize,
        through: &(impl Fn(usize) -> Through<'a> + Sync),
        work: impl Fn(usize, Runner<'_>) -> Result<T, StudyError> + Sync,
    ) -> Result<Vec<T>, StudyError> {
        let done = match self {
            Self::Virtual => on_all_cores(count, |number| {
                let Through { access, defense, seed, longest, after } = through(number);
                let tcp = Settings { wakeup: WAKEUP, ..Settings::default() };
                let usual = Run::new(access, None, seed_of(seed, number));
                let run = Run { longest, after, tcp, defense: defense.both(), ..usual };
                let mut session = Session::new(&run);
                work(number, &mut |plan| Ok(session.load(plan)))
            }),
            #[cfg(feature = "real")]
            Self::Real { program, clients, chromium } => crate::all_cores::on_threads(*clients, count, |number| {
                let Through { access, defense, seed, longest, after } = through(number);
                let seed = seed_of(seed, number);
                let run = crate::real::Run { program, access, defense, seed, longest, after };
                crate::real::session(&run, |session| {
                    Ok(work(number, &mut |plan| match chromium {
                        Some(chromium) if crate::real::is_page(&plan) => Ok(session.browse(chromium, plan)?),
                        _ => Ok(session.load(plan)?),
                    }))
                })?
            }),
        };
        done.into_iter().collect()
    }
}
