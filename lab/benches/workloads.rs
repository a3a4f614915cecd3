//! How many pages a measurement gets in a minute: sites through real tunnels over TCP and QUIC, in virtual time, on as many cores as there are.
//!
//! `cargo bench --package maybetun-lab --no-default-features --features virtual-time,workloads --bench workloads -- [PAGES]`, 200 by
//! default, in a target directory of its own.

use std::error::Error;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use maybetun::settings::{DefenseChange, EphemeralSettings, Tier};
use maybetun_lab::on_all_cores;
use maybetun_lab::workload::{Access, Load, Protocol, Run, Site, run};

/// Loads pages, each of another site, on all cores.
fn loads(pages: usize, protocol: Protocol, defense: Option<&DefenseChange>) -> Vec<Load> {
    let access = Access::default();
    on_all_cores(pages, |page| {
        let plan = Site::generate(page as u64).visit(1).over(protocol);
        run(plan, &Run::new(&access, defense, page as u64))
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let pages = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(200);
    let of = |tier| DefenseChange::Ephemeral(EphemeralSettings { tier, ..EphemeralSettings::default() });
    let defenses = [
        ("no defense", None),
        ("one size", Some(of(Tier::Size))),
        ("padding", Some(of(Tier::Padding))),
        ("blocking", Some(of(Tier::Blocking))),
    ];
    let rows = [Protocol::Http2, Protocol::Http3]
        .into_iter()
        .flat_map(|protocol| defenses.iter().map(move |(name, change)| (protocol, *name, change)));
    for (protocol, name, change) in rows {
        let start = Instant::now();
        let loads = loads(pages, protocol, change.as_ref());
        let rate = 60.0 * pages as f64 / start.elapsed().as_secs_f64();
        let mut times: Vec<Duration> = loads.iter().filter_map(|load| load.time).collect();
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        let datagrams: usize = loads.iter().map(|load| load.trace.len()).sum();
        let [up, down] = [|load: &Load| load.up, |load: &Load| load.down]
            .map(|bytes| loads.iter().map(bytes).sum::<u64>() / pages.max(1) as u64 / 1_000);
        writeln!(
            io::stdout(),
            "{protocol}, {name}: {rate:.0} pages a minute; {} of {pages} loaded, median {median:.2?}; {} datagrams, {up} kB up, {down} kB down a page",
            times.len(),
            datagrams / pages.max(1),
        )?;
    }
    Ok(())
}
