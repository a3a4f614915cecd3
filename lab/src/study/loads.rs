//! Loads of sites with a defense at both ends, on all cores.

use std::time::Duration;

use rand_core::SeedableRng as _;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::engine::Through;
use super::{Options, StudyError};
use crate::attack::shuffle;
use crate::defense::Defense;
use crate::trace::{Direction, Labelled, Passage, Trace, TraceError};
use crate::tunnels::client;
use crate::workload::{Access, Load, Site};

/// After so long a load is unfinished.
const LONGEST: Duration = Duration::from_secs(600);

/// A load, and of what.
pub(super) struct Visit {
    pub(super) load: Load,
    site: u32,
    visit: u32,
    /// Which session it was of, and so which draw of the defense.
    session: u64,
}

impl Visit {
    /// Returns what the observer has of it.
    fn labelled(&self, defense: &Defense) -> Result<Labelled, TraceError> {
        let trace = observed(&self.load)?;
        let draw = defense.is_drawn().then_some(self.session);
        Ok(Labelled { label: self.site, visit: self.visit, draw, trace })
    }
}

/// Returns what the observer has of loads.
///
/// # Errors
/// When one is too long to be a trace.
pub(super) fn labelled(visits: &[Visit], defense: &Defense) -> Result<Vec<Labelled>, TraceError> {
    visits.iter().map(|visit| visit.labelled(defense)).collect()
}

/// Returns the trace of a load.
///
/// # Errors
/// When it is too long to be one.
pub(super) fn observed(load: &Load) -> Result<Trace, TraceError> {
    let mut trace = Trace::new();
    for passed in &load.trace {
        let direction = if passed.from == client(0) { Direction::Upload } else { Direction::Download };
        let size = u16::try_from(passed.size).unwrap_or(u16::MAX);
        trace.push(Passage { at: passed.at, direction, size })?;
    }
    Ok(trace)
}

/// Draws the sites.
pub(super) fn sites(options: &Options) -> Vec<Site> {
    let site = |number: u32| {
        let seed = options.seed.wrapping_add(number.into());
        let page = options.pages.get(number as usize);
        let site = page.map_or_else(|| Site::generate(seed), |page| Site::of(page, seed));
        match options.protocol {
            Some(protocol) => site.over(protocol),
            None => site,
        }
    };
    (0..options.sites).map(site).collect()
}

/// Loads each site so often, in the order of sites and visits. Who loads several in a session, loads them in a random order.
///
/// # Errors
/// When the engine fails.
pub(super) fn load(
    options: &Options,
    sites: &[Site],
    defense: &Defense,
    access: &Access,
    visits: u32,
) -> Result<Vec<Visit>, StudyError> {
    let mut order: Vec<usize> = (0..sites.len() * visits as usize).collect();
    if options.session > 1 {
        shuffle(&mut order, &mut Xoshiro256PlusPlus::seed_from_u64(options.seed));
    }
    let sessions: Vec<_> = order.chunks(options.session as usize).collect();
    let through =
        Through { access, defense, seed: options.seed, longest: LONGEST, after: options.reading, is_pages: true };
    let loaded = options.engine.each(sessions.len(), &|_| through, |number, run| {
        let mut visit = |&place: &usize| {
            let (site, visit) = (place / visits as usize, (place % visits as usize) as u32);
            let load = run(sites[site].visit(visit.into()))?;
            Ok((place, Visit { site: site as u32, visit, session: number as u64, load }))
        };
        sessions[number].iter().map(&mut visit).collect::<Result<Vec<_>, StudyError>>()
    })?;
    let mut loaded: Vec<_> = loaded.into_iter().flatten().collect();
    loaded.sort_by_key(|(place, _)| *place);
    Ok(loaded.into_iter().map(|(_, visit)| visit).collect())
}

/// Returns what a session is drawn from: another for each.
pub(super) fn seed_of(seed: u64, number: usize) -> u64 {
    seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number as u64).wrapping_add(1)
}
