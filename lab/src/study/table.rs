//! A study as a table.

use std::fmt;

use super::{Row, Study};

/// A table in Markdown. Percentages are of the row `none`, if there is one.
impl fmt::Display for Study {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sites, visits, seed, engine, rows } = self;
        writeln!(f, "{sites} sites, {visits} visits each, seed {seed}, {engine}.\n")?;
        f.write_str(
            "| defense | accuracy (95 %) | bytes | upload | up : down | load time, median | p95 | full link | bulk | call beside it, median, p95 | wakeups/s | CPU | activity named |\n",
        )?;
        f.write_str("|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")?;
        let base = rows.iter().find(|row| row.defense == "none");
        for row in rows {
            let [low, high] = row.accuracy.interval;
            let total = |row: &Row| row.costs.up_bytes + row.costs.down_bytes;
            let more = |of: &dyn Fn(&Row) -> f64| base.map_or_else(String::new, |base| change(of(row), of(base)));
            let time = |of: &dyn Fn(&Row) -> Option<f64>| {
                let Some(seconds) = of(row) else { return "never".to_owned() };
                let more = base.and_then(of).map_or_else(String::new, |base| change(seconds, base));
                format!("{seconds:.2} s{more}")
            };
            let unfinished = row.costs.times.unfinished + row.costs.bottleneck.unfinished;
            let note = if unfinished == 0 { String::new() } else { format!(" ({unfinished} unfinished)") };
            writeln!(
                f,
                "| {}{note} | {:.1} % ({:.1}–{:.1}) | {:.2} MB{} | {:.0} kB{} | {:.3} | {} | {} | {} | {:.1} Mbit/s | {:.0}, {:.0} ms | {:.0} | {} | {} |",
                row.defense,
                100.0 * row.accuracy.mean,
                100.0 * low,
                100.0 * high,
                total(row) / 1e6,
                more(&total),
                row.costs.up_bytes / 1e3,
                more(&|row| row.costs.up_bytes),
                row.costs.up_bytes / row.costs.down_bytes,
                time(&|row| row.costs.times.median),
                time(&|row| row.costs.times.p95),
                time(&|row| row.costs.bottleneck.median),
                row.costs.bulk.goodput / 1e6,
                1e3 * row.costs.bulk.call[0],
                1e3 * row.costs.bulk.call[1],
                row.costs.wakeups,
                row.costs.cpu.map_or_else(String::new, |cpu| format!("{:.2} %", 100.0 * cpu)),
                row.activity.as_ref().map_or_else(String::new, |activity| format!("{:.1} %", 100.0 * activity.mean)),
            )?;
        }
        if let Some(row) = rows.first() {
            writeln!(f, "| *random guess* | {:.1} % | | | | | | | | | | | |", 100.0 * row.accuracy.chance)?;
        }
        if rows.iter().any(|row| !row.curve.is_empty()) {
            f.write_str("\nWith fewer loads of each site to learn from:\n\n")?;
            for row in rows {
                let points =
                    row.curve.iter().map(|point| format!("{}: {:.1} %", point.loads, 100.0 * point.accuracy.mean));
                writeln!(f, "- {}: {}", row.defense, points.collect::<Vec<_>>().join(", "))?;
            }
        }
        Ok(())
    }
}

/// Says how much more than the base it is.
fn change(value: f64, base: f64) -> String {
    if value == base { String::new() } else { format!(" ({:+.0} %)", 100.0 * (value / base - 1.0)) }
}
