//! What there is to read of a profile, as text.

use std::fmt::Write as _;

use maybetun_machines::profile::{Activity, Direction, Profile, Quantiles, Rates};

/// Renders profiles as a table.
pub(super) fn table<'a>(profiles: impl IntoIterator<Item = &'a Profile>) -> String {
    let heads = ["NAME", "UP/DOWN", "UP", "DOWN", "SOURCE"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(heads).chain(profiles.into_iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for [name, ratio, up, down, source] in &rows {
        let [first, second, third, fourth] = [0, 1, 2, 3].map(width);
        let _ = writeln!(text, "{name:<first$}  {ratio:>second$}  {up:>third$}  {down:>fourth$}  {source}");
    }
    text
}

fn row(profile: &Profile) -> [String; 5] {
    let Rates { upload, download } = profile.mean_rates();
    let [up, down] = [upload, download].map(kilobits);
    [profile.name().to_owned(), ratio(profile), up, down, profile.source().to_owned()]
}

/// Renders all that a profile says, but for its quantiles the median alone, with the least and the most.
pub(super) fn details(profile: &Profile) -> String {
    let Rates { upload, download } = profile.mean_rates();
    let mut text = format!("{}: {}\n", profile.name(), profile.description());
    let _ = writeln!(text, "  source: {}", profile.source());
    let _ = writeln!(text, "  bytes up for bytes down: {}", ratio(profile));
    let _ = writeln!(text, "  mean rates: {} kbit/s up, {} kbit/s down", kilobits(upload), kilobits(download));
    let _ = writeln!(text, "  inertia: {} ms", profile.inertia().as_millis());
    for (state, share) in profile.states().iter().zip(profile.shares()) {
        let _ = writeln!(text, "\n{}: {} % of the time", state.name(), hundredths(share));
        let _ = writeln!(text, "  stays {} ms", range(state.stay(), 1_000));
        for direction in Direction::ALL {
            let Some(activity) = state.activity(direction) else { continue };
            let _ = writeln!(text, "  {}", line(direction, activity));
        }
    }
    text
}

fn line(direction: Direction, activity: &Activity) -> String {
    let way = match direction {
        Direction::Upload => "up",
        Direction::Download => "down",
    };
    let [bursts, rates, gaps] = [(activity.burst(), 1), (activity.rate(), 125), (activity.gap(), 1_000)]
        .map(|(table, unit)| range(table, unit));
    format!("{way}: bursts of {bursts} bytes at {rates} kbit/s, gaps of {gaps} ms")
}

/// Renders the least, the median and the most of a table.
fn range(table: &Quantiles, unit: u64) -> String {
    let points = table.points();
    let at = |index: usize| points.get(index).copied().unwrap_or_default() / unit;
    match (at(0), at(points.len() / 2), at(points.len().saturating_sub(1))) {
        (least, _, most) if least == most => least.to_string(),
        (least, median, most) => format!("{least} to {most} (median {median})"),
    }
}

fn ratio(profile: &Profile) -> String {
    let (low, high) = profile.upload_ratio();
    format!("{}-{}%", hundredths(low), hundredths(high))
}

/// Renders hundredths, without zeros at the end.
fn hundredths(number: u16) -> String {
    (f64::from(number) / 100.0).to_string()
}

fn kilobits(bytes: u64) -> String {
    (bytes / 125).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        name = "sample"
        description = "On and off"
        source = "Nowhere"
        upload_ratio = [350, 800]
        inertia = 1500000
        [states.off]
        weight = 1
        stay = [1000000, 1000000]
        next = { on = 1 }
        [states.on]
        weight = 1
        stay = [500000, 1000000, 1500000]
        next = { off = 1 }
        download = { burst = [1000000, 1000000], rate = [1000000, 1000000], gap = [1000000, 1000000] }"#;

    #[test]
    fn a_table_has_a_line_for_each() {
        let expected = "\
NAME    UP/DOWN  UP  DOWN  SOURCE
sample   3.5-8%   0  2000  Nowhere
";
        assert_eq!(table([&Profile::parse(TEXT).unwrap()]), expected);
    }

    #[test]
    fn details_tell_what_each_state_does() {
        let expected = "\
sample: On and off
  source: Nowhere
  bytes up for bytes down: 3.5-8%
  mean rates: 0 kbit/s up, 2000 kbit/s down
  inertia: 1500 ms

off: 50 % of the time
  stays 1000 ms

on: 50 % of the time
  stays 500 to 1500 (median 1000) ms
  down: bursts of 1000000 bytes at 8000 kbit/s, gaps of 1000 ms
";
        assert_eq!(details(&Profile::parse(TEXT).unwrap()), expected);
    }
}
