//! A study as a table.

use std::fmt;

use super::{Row, Study};

/// What a column says of a row, beside the one without a defense, if there is one; nothing of what was not measured.
type Cell = fn(&Row, Option<&Row>) -> Option<String>;

/// The columns: one that says nothing of any row is left out.
const COLUMNS: &[(&str, Cell)] = &[
    ("accuracy (95 %)", |row, _| {
        let [low, high] = row.accuracy.interval.map(|end| 100.0 * end);
        Some(format!("{:.1} % ({low:.1}–{high:.1})", 100.0 * row.accuracy.mean))
    }),
    ("activity named", |row, _| Some(format!("{:.1} %", 100.0 * row.activity.as_ref()?.mean))),
    ("bytes", |row, base| Some(format!("{:.2} MB{}", bytes(row) / 1e6, more(bytes(row), base.map(bytes))))),
    ("upload", |row, base| {
        let up = |row: &Row| row.costs.up_bytes;
        Some(format!("{:.0} kB{}", up(row) / 1e3, more(up(row), base.map(up))))
    }),
    ("up : down", |row, _| Some(format!("{:.3}", row.costs.up_bytes / row.costs.down_bytes))),
    ("load time, median", |row, base| Some(time(row, base, |row| row.costs.times.median))),
    ("p95", |row, base| Some(time(row, base, |row| row.costs.times.p95))),
    ("full link", |row, base| Some(time(row, base, |row| row.costs.bottleneck.median))),
    ("bulk", |row, _| Some(format!("{:.1} Mbit/s", row.costs.bulk.goodput / 1e6))),
    ("call beside it, median, p95", |row, _| {
        let [median, late] = row.costs.bulk.call.map(|seconds| 1e3 * seconds);
        Some(format!("{median:.0}, {late:.0} ms"))
    }),
    ("wakeups/s", |row, _| Some(format!("{:.0}", row.costs.wakeups))),
    ("CPU", |row, _| Some(format!("{:.2} %", 100.0 * row.costs.cpu?))),
];

/// A table in Markdown. Percentages are of the row `none`, if there is one.
impl fmt::Display for Study {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sites, visits, seed, engine, rows } = self;
        writeln!(f, "{sites} sites, {visits} visits each, seed {seed}, {engine}.\n")?;
        let base = rows.iter().find(|row| row.defense == "none");
        let is_there = |cell: Cell| rows.iter().any(|row| cell(row, base).is_some());
        let columns: Vec<_> = COLUMNS.iter().filter(|(_, cell)| is_there(*cell)).collect();
        f.write_str("| defense |")?;
        columns.iter().try_for_each(|(name, _)| write!(f, " {name} |"))?;
        writeln!(f, "\n|---|{}", "---|".repeat(columns.len()))?;
        for row in rows {
            let unfinished = row.costs.times.unfinished + row.costs.bottleneck.unfinished;
            let note = if unfinished == 0 { String::new() } else { format!(" ({unfinished} unfinished)") };
            write!(f, "| {}{note} |", row.defense)?;
            columns.iter().try_for_each(|(_, cell)| write!(f, " {} |", cell(row, base).unwrap_or_default()))?;
            f.write_str("\n")?;
        }
        if let Some(row) = rows.first() {
            let rest = " |".repeat(columns.len().saturating_sub(1));
            writeln!(f, "| *random guess* | {:.1} % |{rest}", 100.0 * row.accuracy.chance)?;
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

fn bytes(row: &Row) -> f64 {
    row.costs.up_bytes + row.costs.down_bytes
}

fn time(row: &Row, base: Option<&Row>, of: fn(&Row) -> Option<f64>) -> String {
    let Some(seconds) = of(row) else { return "never".to_owned() };
    format!("{seconds:.2} s{}", more(seconds, base.and_then(of)))
}

/// Says how much more than the base it is.
fn more(value: f64, base: Option<f64>) -> String {
    let change = base.filter(|base| *base != value).map(|base| 100.0 * (value / base - 1.0));
    change.map_or_else(String::new, |change| format!(" ({change:+.0} %)"))
}
