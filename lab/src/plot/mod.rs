//! What the plots of all pages have in common: their style, axes and scales, as SVG that takes its colours from the page around it.

use std::fmt::Write as _;

/// The style of a page with plots, light and dark.
pub const STYLE: &str = include_str!("page.css");

/// Size of every plot, in its own units: they are the pixels of a wide screen.
pub const WIDTH: f64 = 960.0;
/// Its height.
pub const HEIGHT: f64 = 300.0;
/// Where the axes begin and end.
pub const LEFT: f64 = 62.0;
/// The right end.
pub const RIGHT: f64 = WIDTH - 14.0;
/// The upper end.
pub const TOP: f64 = 12.0;
/// The lower end.
pub const BOTTOM: f64 = HEIGHT - 40.0;
/// The axis between what goes up and what goes down.
pub const MIDDLE: f64 = (TOP + BOTTOM) / 2.0;

/// Maps a number to a place on the plot.
pub struct Scale {
    first: f64,
    /// The number at the end of the plot.
    pub last: f64,
    start: f64,
    end: f64,
}

impl Scale {
    /// From `first` at `start` to `last` at `end`; the two numbers are not the same.
    pub fn new(first: f64, last: f64, start: f64, end: f64) -> Self {
        Self { first, last, start, end }
    }

    /// Returns the place of a number.
    pub fn at(&self, value: f64) -> f64 {
        self.start + (value - self.first) / (self.last - self.first) * (self.end - self.start)
    }
}

/// Round numbers from 0 to `last`, at most `most` and two of them.
pub fn ticks(last: f64, most: usize) -> Vec<f64> {
    let rough = last / most as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|step| step * power).into_iter().find(|step| *step >= rough).unwrap_or(rough);
    (0..).map(|index| f64::from(index) * step).take_while(|tick| *tick <= last * 1.000_001).collect()
}

/// A tick in as many digits as it needs.
pub fn label(tick: f64) -> String {
    let text = format!("{tick:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Begins a plot; `description` is for who does not see it.
pub fn open(description: &str) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{description}\">")
}

/// Ends a plot, with the unit of its rows.
pub fn close(mut svg: String, unit: &str) -> String {
    let _ = write!(
        svg,
        "<text class=\"unit\" x=\"14\" y=\"{MIDDLE}\" transform=\"rotate(-90 14 {MIDDLE})\">{unit}</text></svg>"
    );
    svg
}

/// Draws a line across, and its label.
pub fn grid_row(svg: &mut String, y: f64, label: &str) {
    let _ = write!(
        svg,
        "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
         <text class=\"row\" x=\"{}\" y=\"{:.1}\">{label}</text>",
        LEFT - 8.0,
        y + 4.0
    );
}

/// Draws an axis across.
pub fn axis_line(svg: &mut String, y: f64) {
    let _ = write!(svg, "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
}

/// Draws the lines up, their labels, and the unit.
pub fn column_axis(svg: &mut String, scale: &Scale, ticks: &[f64], unit: &str) {
    for tick in ticks {
        let x = scale.at(*tick);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{BOTTOM}\"/>\
             <text class=\"column\" x=\"{x:.1}\" y=\"{}\">{}</text>",
            BOTTOM + 17.0,
            label(*tick)
        );
    }
    let _ = write!(svg, "<text class=\"unit\" x=\"{}\" y=\"{}\">{unit}</text>", (LEFT + RIGHT) / 2.0, HEIGHT - 5.0);
}

/// Writes the characters that mean something to HTML as references.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_few_and_end_within_the_axis() {
        assert_eq!(ticks(10.0, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(1.0, 4), [0.0, 0.5, 1.0]);
        for last in [0.003, 1.0, 7.3, 99.0, 412.0, 1e6] {
            let ticks = ticks(last, 8);
            assert!(
                (2..=9).contains(&ticks.len()) && ticks.iter().all(|tick| *tick <= last * 1.01),
                "{last}: {ticks:?}"
            );
        }
    }

    #[test]
    fn labels_have_no_idle_zeros() {
        assert_eq!([0.0, 0.5, 20.0, 1_500.0].map(label), ["0", "0.5", "20", "1500"]);
    }

    #[test]
    fn what_means_something_to_html_is_escaped() {
        assert_eq!(escape("<a href=\"x\">&'ü</a>"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;ü&lt;/a&gt;");
        assert_eq!(escape("1 & 2"), "1 &amp; 2");
        assert_eq!(escape(""), "");
    }
}
