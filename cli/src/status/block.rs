//! What texts are made of: blocks of lines, counts, spans of time and bytes.

use std::time::Duration;

use maybetun::settings::{Counters, Told};

use super::paint::Paint;

/// A heading and indented lines.
pub(super) struct Block {
    pub(super) text: String,
    paint: Paint,
}

impl Block {
    pub(super) fn new(heading: String, paint: Paint) -> Self {
        Self { text: heading + "\n", paint }
    }

    pub(super) fn line(&mut self, label: &str, value: impl std::fmt::Display) {
        self.text.push_str(&format!("  {}: {value}\n", self.paint.label(label)));
    }

    /// Adds the lines of counts that counters make.
    pub(super) fn counters(&mut self, counters: &impl Counters) {
        for (label, counts) in lines_of(counters) {
            self.line(label, counts);
        }
    }

    pub(super) fn optional_line(&mut self, label: &str, value: Option<String>) {
        if let Some(value) = value {
            self.line(label, value);
        }
    }
}

/// Joins the counts that are not zero; `None` if all are.
pub(super) fn counts(counts: &[(u64, &str)]) -> Option<String> {
    let nonzero: Vec<String> =
        counts.iter().filter(|(count, _)| *count != 0).map(|(count, reason)| format!("{count} {reason}")).collect();
    if nonzero.is_empty() { None } else { Some(nonzero.join(", ")) }
}

/// Returns the lines of counts that counters make, each with its label; those are left out in which all are zero.
pub(super) fn lines_of(counters: &impl Counters) -> Vec<(&'static str, String)> {
    let mut lines: Vec<(&str, Vec<(u64, &str)>)> = Vec::new();
    counters.each(&mut |counter, value| {
        let Told::Among(label, words) = counter.told else { return };
        match lines.iter_mut().find(|(of, _)| *of == label) {
            Some((_, counts)) => counts.push((value, words)),
            None => lines.push((label, vec![(value, words)])),
        }
    });
    lines.into_iter().filter_map(|(label, values)| Some((label, counts(&values)?))).collect()
}

/// Spells out a duration in whole seconds: `1 day, 2 hours, 1 second`.
pub(super) fn span(duration: Duration) -> String {
    const UNITS: [(u64, &str); 5] =
        [(365 * 24 * 60 * 60, "year"), (24 * 60 * 60, "day"), (60 * 60, "hour"), (60, "minute"), (1, "second")];
    let mut seconds = duration.as_secs();
    let mut parts = Vec::new();
    for (unit, name) in UNITS {
        let count = seconds / unit;
        seconds %= unit;
        match count {
            0 => {}
            1 => parts.push(format!("1 {name}")),
            _ => parts.push(format!("{count} {name}s")),
        }
    }
    parts.join(", ")
}

/// Renders a byte count in binary units with two decimals.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.2} {}", UNITS[unit])
}

/// Renders a byte count in the units that budgets are said in, with one decimal.
pub(super) fn decimal(count: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    match UNITS.into_iter().find(|(_, size)| count >= *size) {
        Some((unit, size)) => format!("{:.1} {unit}", count as f64 / size as f64),
        None => format!("{count} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_spelt_out() {
        assert_eq!(span(Duration::from_secs(1)), "1 second");
        assert_eq!(span(Duration::from_secs(3_661)), "1 hour, 1 minute, 1 second");
        assert_eq!(span(Duration::from_secs(2 * 86_400)), "2 days");
    }

    #[test]
    fn byte_counts_have_binary_units() {
        let cases =
            [(0, "0 B"), (1_023, "1023 B"), (1_024, "1.00 KiB"), (1 << 30, "1.00 GiB"), (1 << 52, "4096.00 TiB")];
        for (count, text) in cases {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn budgets_have_decimal_units() {
        let cases = [(0, "0 B"), (999, "999 B"), (5_200, "5.2 kB"), (20_000_000, "20.0 MB"), (2_000_000_000, "2.0 GB")];
        for (count, text) in cases {
            assert_eq!(decimal(count), text);
        }
    }
}
