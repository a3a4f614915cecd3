//! How many pages a measurement gets in a minute: sites through real tunnels over TCP, in virtual time, on as many cores as there are.
//!
//! `cargo bench --package maybetun-lab --no-default-features --features virtual-time,workloads --bench workloads -- [PAGES]`, 200 by
//! default, in a target directory of its own.

use std::error::Error;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use maybetun::settings::{DefenseChange, EphemeralSettings, Tier};
use maybetun_lab::workload::{Access, Load, Site, load};

/// Loads pages, each of another site, on all cores.
fn loads(pages: u64, defense: Option<&DefenseChange>) -> Vec<Load> {
    let next = AtomicU64::new(0);
    let cores = thread::available_parallelism().map_or(1, Into::into);
    let work = || {
        let mut loads = Vec::new();
        loop {
            let page = next.fetch_add(1, Ordering::Relaxed);
            if page >= pages {
                return loads;
            }
            loads.push(load(&Site::generate(page), 1, &Access::default(), defense, page));
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let pages = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(200);
    let of = |tier| DefenseChange::Ephemeral(EphemeralSettings { tier, ..EphemeralSettings::default() });
    for (name, change) in [
        ("no defense", None),
        ("one size", Some(of(Tier::Size))),
        ("padding", Some(of(Tier::Padding))),
        ("blocking", Some(of(Tier::Blocking))),
    ] {
        let start = Instant::now();
        let loads = loads(pages, change.as_ref());
        let rate = 60.0 * pages as f64 / start.elapsed().as_secs_f64();
        let mut times: Vec<Duration> = loads.iter().filter_map(|load| load.time).collect();
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        let datagrams: usize = loads.iter().map(|load| load.trace.len()).sum();
        let [up, down] = [|load: &Load| load.up, |load: &Load| load.down]
            .map(|bytes| loads.iter().map(bytes).sum::<u64>() / pages.max(1) / 1_000);
        writeln!(
            io::stdout(),
            "{name}: {rate:.0} pages a minute; {} of {pages} loaded, median {median:.2?}; {} datagrams, {up} kB up, {down} kB down a page",
            times.len(),
            datagrams as u64 / pages.max(1),
        )?;
    }
    Ok(())
}
