//! The plots of a report.

use std::fmt::Write as _;

use super::{Example, Outcome};
use crate::plot::{
    BOTTOM, LEFT, RIGHT, Scale, TOP, axis_line, close, column_axis, escape, grid_row, label, open, ticks,
};

/// Room for names at the right end, in units of the plot.
const NAMES: f64 = 120.0;

/// Height of a name, and about how wide one of its letters is, in units of the plot.
const LINE: f64 = 12.0;
const LETTER: f64 = 6.2;

/// Colours of lines, as classes of the page's style.
const COLOURS: [&str; 3] = ["up", "down", "key"];

/// Accuracy against overhead: a dot with its interval for each defense, and the frontier, along which no other defense hides more
/// for as many bytes.
pub(super) fn frontier(outcomes: &[Outcome]) -> String {
    let percent = |outcome: &Outcome| 100.0 * outcome.overhead.max(0.0);
    let most = outcomes.iter().map(percent).filter(|value| value.is_finite()).fold(10.0, f64::max);
    let (across, up) = (Scale::new(0.0, most, LEFT, RIGHT - NAMES), accuracy_axis());
    let mut svg = open("Accuracy of the attack against added bytes, a dot for each defense");
    accuracy_rows(&mut svg, &up);
    column_axis(&mut svg, &across, &ticks(most, 10), "added bytes, in per cent of those without a defense");
    chance(&mut svg, outcomes, &up);
    let mut path = String::new();
    for outcome in on_frontier(outcomes) {
        let (x, y) = (across.at(percent(outcome)), up.at(100.0 * outcome.accuracy.mean));
        let _ = if path.is_empty() { write!(path, "M{x:.1} {y:.1}") } else { write!(path, "H{x:.1}V{y:.1}") };
    }
    let _ = write!(svg, "<path class=\"line frontier\" d=\"{path}\"/>");
    let mut names = Vec::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.overhead.is_finite()) {
        let (x, y) = (across.at(percent(outcome)), up.at(100.0 * outcome.accuracy.mean));
        let [low, high] = outcome.accuracy.interval.map(|end| up.at(100.0 * end.clamp(0.0, 1.0)));
        let name = escape(&outcome.defense);
        let _ = write!(
            svg,
            "<path class=\"stroke up\" d=\"M{x:.1} {low:.1}V{high:.1}\"/><circle class=\"bar up\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\">\
             <title>{name}: {:.1} % for {:.0} % more bytes</title></circle>",
            100.0 * outcome.accuracy.mean,
            percent(outcome),
        );
        names.push((x + 8.0, y + 4.0, &outcome.defense));
    }
    write_names(&mut svg, names);
    axis_line(&mut svg, BOTTOM);
    close(svg, "accuracy, %")
}

/// Accuracy against the loads that were learnt from, a line for each defense that has a curve.
pub(super) fn curves(outcomes: &[Outcome]) -> String {
    let most = outcomes.iter().flat_map(|outcome| &outcome.curve).map(|point| point.loads).max().unwrap_or(1) as f64;
    let (across, up) = (Scale::new(0.0, most, LEFT, RIGHT - NAMES), accuracy_axis());
    let mut svg = open("Accuracy of the attack against loads of each site, a line for each defense");
    accuracy_rows(&mut svg, &up);
    column_axis(&mut svg, &across, &ticks(most, 10), "loads of each site to learn from");
    chance(&mut svg, outcomes, &up);
    let with_curve = outcomes.iter().filter(|outcome| !outcome.curve.is_empty());
    let mut names = Vec::new();
    for (outcome, colour) in with_curve.zip(COLOURS.into_iter().cycle()) {
        let mut path = String::new();
        let mut end = (LEFT, BOTTOM);
        for point in &outcome.curve {
            end = (across.at(point.loads as f64), up.at(100.0 * point.accuracy.mean));
            let _ = write!(path, "{}{:.1} {:.1}", if path.is_empty() { 'M' } else { 'L' }, end.0, end.1);
        }
        let _ = write!(svg, "<path class=\"line {colour}\" d=\"{path}\"/>");
        names.push((end.0 + 8.0, end.1 + 4.0, &outcome.defense));
    }
    write_names(&mut svg, names);
    axis_line(&mut svg, BOTTOM);
    close(svg, "accuracy, %")
}

/// Writes names at their places, the highest first: one that would lie on another is put below it.
fn write_names(svg: &mut String, mut names: Vec<(f64, f64, &String)>) {
    names.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut placed: Vec<(f64, f64, f64)> = Vec::new();
    for (x, mut y, name) in names {
        let end = x + LETTER * name.chars().count() as f64;
        for (from, to, of_other) in &placed {
            // The others are in order: whoever is passed stays above.
            if x < *to && *from < end && (y - of_other).abs() < LINE {
                y = of_other + LINE;
            }
        }
        placed.push((x, end, y));
        placed.sort_by(|a, b| a.2.total_cmp(&b.2));
        let _ = write!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escape(name));
    }
}

/// The throughput of a load in both directions.
pub(super) fn throughput(example: &Example) -> String {
    let step = f64::from(example.step_ms.max(1)) / 1_000.0;
    let rate = |bytes: f64| if bytes.is_finite() { bytes / step / 1_000.0 } else { 0.0 };
    let most = example.up.iter().chain(&example.down).map(|bytes| rate(*bytes)).fold(1.0, f64::max);
    let seconds = (example.up.len().max(example.down.len()).max(1)) as f64 * step;
    let (across, up) = (Scale::new(0.0, seconds, LEFT, RIGHT), Scale::new(0.0, most * 1.06, BOTTOM, TOP));
    let mut svg = open("Throughput of a load over time, one line for each direction");
    for tick in ticks(most, 6) {
        grid_row(&mut svg, up.at(tick), &label(tick));
    }
    column_axis(&mut svg, &across, &ticks(seconds, 12), "seconds");
    for (series, class) in [(&example.down, "down"), (&example.up, "up")] {
        let mut path = format!("M{LEFT} {BOTTOM}");
        for (at, &bytes) in series.iter().enumerate() {
            let _ = write!(path, "V{:.1}H{:.1}", up.at(rate(bytes)), across.at((at + 1) as f64 * step));
        }
        let _ = write!(svg, "<path class=\"line {class}\" d=\"{path}V{BOTTOM}\"/>");
    }
    axis_line(&mut svg, BOTTOM);
    close(svg, "kB/s")
}

/// Returns those beside which no other has as low an accuracy for as few bytes, in order of bytes.
fn on_frontier(outcomes: &[Outcome]) -> Vec<&Outcome> {
    let mut sorted: Vec<_> = outcomes.iter().filter(|outcome| outcome.overhead.is_finite()).collect();
    sorted.sort_by(|a, b| a.overhead.total_cmp(&b.overhead).then(a.accuracy.mean.total_cmp(&b.accuracy.mean)));
    let mut lowest = f64::INFINITY;
    sorted.retain(|outcome| {
        let is_lower = outcome.accuracy.mean < lowest;
        lowest = lowest.min(outcome.accuracy.mean);
        is_lower
    });
    sorted
}

fn accuracy_axis() -> Scale {
    Scale::new(0.0, 104.0, BOTTOM, TOP)
}

fn accuracy_rows(svg: &mut String, up: &Scale) {
    for tick in ticks(100.0, 5) {
        grid_row(svg, up.at(tick), &label(tick));
    }
}

/// Draws what a guess has.
fn chance(svg: &mut String, outcomes: &[Outcome], up: &Scale) {
    if let Some(outcome) = outcomes.first() {
        let y = up.at(100.0 * outcome.accuracy.chance);
        let _ = write!(svg, "<path class=\"axis chance\" d=\"M{LEFT} {y:.1}H{RIGHT}\"/>");
        let _ = write!(svg, "<text class=\"row\" x=\"{RIGHT}\" y=\"{:.1}\">guess</text>", y - 4.0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn the_frontier_leaves_out_who_hides_less_for_more() {
        let outcomes = example().outcomes;
        let names: Vec<_> = on_frontier(&outcomes).into_iter().map(|outcome| &outcome.defense[..]).collect();
        assert_eq!(names, ["none", "<front>", "tamaraw"]);
        assert_eq!(frontier(&outcomes).matches("<circle").count(), 4);
    }

    #[test]
    fn no_name_lies_on_another() {
        let names = ["one", "another", "third", "apart"].map(str::to_owned);
        let places = [(10.0, 50.0), (20.0, 50.0), (10.0, 55.0), (300.0, 50.0)];
        let mut svg = String::new();
        write_names(&mut svg, places.iter().zip(&names).map(|((x, y), name)| (*x, *y, name)).collect());
        let heights: Vec<f64> =
            svg.split("y=\"").skip(1).map(|rest| rest.split('"').next().unwrap().parse().unwrap()).collect();
        assert_eq!(heights, [50.0, 62.0, 50.0, 74.0]);
    }

    #[test]
    fn what_is_not_finite_or_not_there_still_gives_finite_plots() {
        let mut report = example();
        report.outcomes[1].overhead = f64::INFINITY;
        report.outcomes[2].overhead = f64::NAN;
        report.examples[0].up = vec![f64::NAN];
        for outcomes in [&report.outcomes[..], &[]] {
            for svg in [frontier(outcomes), curves(outcomes), throughput(&report.examples[0])] {
                assert!(svg.ends_with("</svg>") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            }
        }
    }
}
