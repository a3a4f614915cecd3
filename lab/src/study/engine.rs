//! In which time plans are run: virtual, or real.

#[cfg(feature = "real")]
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::StudyError;
use super::loads::seed_of;
use crate::defense::Defense;
use crate::hosts::Settings;
use crate::on_all_cores;
use crate::workload::{Access, Load, Plan, Run, Session};

/// How long it takes in virtual time until a browser or a server is at what has arrived, on average: so long that they acknowledge with as
/// many packets as in real time (`validate`).
pub(super) const WAKEUP: Duration = Duration::from_micros(60);

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
    /// Whether plans are pages, which a browser may load that is not the lab's.
    pub(super) is_pages: bool,
}

/// Runs a plan through a tunnel.
pub(super) type Runner<'a> = &'a mut dyn FnMut(Plan) -> Result<Load, StudyError>;

impl Engine {
    /// Returns the same with one client at a time: what fills a processor is measured by itself.
    pub(super) fn alone(&self) -> Self {
        match self {
            Self::Virtual => Self::Virtual,
            #[cfg(feature = "real")]
            Self::Real { program, chromium, .. } => {
                Self::Real { program: program.clone(), clients: 1, chromium: chromium.clone() }
            }
        }
    }

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
                let Through { access, defense, seed, longest, after, .. } = through(number);
                let tcp = Settings { wakeup: WAKEUP, ..Settings::default() };
                let usual = Run::new(access, None, seed_of(seed, number));
                let run = Run { longest, after, tcp, defense: defense.both(), ..usual };
                let mut session = Session::new(&run);
                work(number, &mut |plan| Ok(session.load(plan)))
            }),
            #[cfg(feature = "real")]
            Self::Real { program, clients, chromium } => {
                // One that fails ends all: the next would most often fail, too.
                let has_failed = AtomicBool::new(false);
                let done = crate::all_cores::on_threads(*clients, count, |number| {
                    if has_failed.load(Ordering::Relaxed) {
                        return None;
                    }
                    let Through { access, defense, seed, longest, after, is_pages } = through(number);
                    let chromium = chromium.as_ref().filter(|_| is_pages);
                    let run =
                        crate::real::Run { program, access, defense, seed: seed_of(seed, number), longest, after };
                    let done = crate::real::session(&run, |session| {
                        Ok(work(number, &mut |plan| match chromium {
                            Some(chromium) => Ok(session.browse(chromium, plan)?),
                            None => Ok(session.load(plan)?),
                        }))
                    });
                    let done = done.map_err(StudyError::from).and_then(std::convert::identity);
                    has_failed.fetch_or(done.is_err(), Ordering::Relaxed);
                    Some(done)
                });
                done.into_iter().flatten().collect()
            }
        };
        done.into_iter().collect()
    }
}
