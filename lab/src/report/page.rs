//! A report as a web page that needs nothing but itself.

use std::fmt::Write as _;

use super::{Outcome, Report, plots};
use crate::plot::{STYLE, escape};

/// What the plots of a report have beside those of the demo.
const OWN_STYLE: &str = ".frontier { stroke: var(--key); stroke-dasharray: 6 4; } .chance { fill: none; stroke-dasharray: 2 4; }\n\
                         .line.key { stroke: var(--key); }\n";

/// Returns the page.
pub(super) fn page(report: &Report) -> String {
    let (title, about) = (escape(&report.title), escape(&report.about));
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n{STYLE}{OWN_STYLE}</style>\n\
         </head>\n<body>\n<main>\n<header>\n<p class=\"eyebrow\">maybetun lab</p>\n<h1>{title}</h1>\n<p class=\"lead\">{about}</p>\n</header>\n"
    );
    table(&mut html, &report.outcomes);
    html.push_str("<section>\n<h2>Hidden, and paid</h2>\n");
    let caption = "Lower hides more, further left costs less. Strokes are intervals of 95 %; no defense lies below the dashed line.";
    figure(&mut html, "Accuracy against added bytes", caption, "", &plots::frontier(&report.outcomes));
    if report.outcomes.iter().any(|outcome| !outcome.curve.is_empty()) {
        let caption = "A line that still climbs at its end says that more loads would teach the attack more.";
        figure(&mut html, "Accuracy against loads", caption, "", &plots::curves(&report.outcomes));
    }
    html.push_str("</section>\n");
    if !report.examples.is_empty() {
        html.push_str("<section>\n<h2>Loads as the observer sees them</h2>\n");
        for example in &report.examples {
            let caption = format!("Bytes with IP and UDP headers, in steps of {} ms.", example.step_ms);
            let legend = "<span class=\"chip up\">upload</span><span class=\"chip down\">download</span>";
            figure(&mut html, &example.name, &caption, legend, &plots::throughput(example));
        }
        html.push_str("</section>\n");
    }
    html.push_str("</main>\n</body>\n</html>\n");
    html
}

fn figure(html: &mut String, title: &str, caption: &str, legend: &str, svg: &str) {
    let _ = writeln!(
        html,
        "<figure>\n<figcaption><h3>{}</h3><p>{}</p><div class=\"legend\">{legend}</div></figcaption>\n<div class=\"plot\">{svg}</div>\n</figure>",
        escape(title),
        escape(caption)
    );
}

/// What a column is called, and what it says of a defense; `None` if that was not measured.
type Column = (&'static str, fn(&Outcome) -> Option<String>);

const COLUMNS: &[Column] = &[
    ("site named", |of| Some(format!("{:.1} %", 100.0 * of.accuracy.mean))),
    ("95 %", |of| {
        let [low, high] = of.accuracy.interval;
        Some(format!("{:.1} to {:.1}", 100.0 * low, 100.0 * high))
    }),
    ("guess", |of| Some(format!("{:.1} %", 100.0 * of.accuracy.chance))),
    ("activity named", |of| of.activity.as_ref().map(|activity| format!("{:.1} %", 100.0 * activity.mean))),
    ("added bytes", |of| Some(format!("{:.0} %", 100.0 * of.overhead))),
    ("up / down", |of| Some(format!("{:.3}", of.upload_ratio))),
    ("load, median and p95", |of| of.load_seconds.map(|[median, late]| format!("{median:.2} s, {late:.2} s"))),
    ("on a full link", |of| of.costs?.bottleneck.median.map(|median| format!("{median:.2} s"))),
    ("unfinished", |of| of.costs.map(|costs| (costs.times.unfinished + costs.bottleneck.unfinished).to_string())),
    ("download", |of| of.costs.map(|costs| format!("{:.1} Mbit/s", costs.bulk.goodput / 1e6))),
    ("call beside it", |of| {
        of.costs.map(|costs| format!("{:.0}, {:.0} ms", 1e3 * costs.bulk.call[0], 1e3 * costs.bulk.call[1]))
    }),
    ("wakeups", |of| of.costs.map(|costs| format!("{:.0}/s", costs.wakeups))),
    ("processor", |of| of.costs?.cpu.map(|cpu| format!("{:.2} %", 100.0 * cpu))),
];

fn table(html: &mut String, outcomes: &[Outcome]) {
    html.push_str("<section>\n<h2>The numbers</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th>defense</th>");
    // What was measured of none is no column.
    let columns: Vec<_> =
        COLUMNS.iter().filter(|(_, value)| outcomes.iter().any(|outcome| value(outcome).is_some())).collect();
    for (column, _) in &columns {
        let _ = write!(html, "<th class=\"value\">{column}</th>");
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for outcome in outcomes {
        let _ = write!(html, "<tr><th scope=\"row\">{}</th>", escape(&outcome.defense));
        for (_, value) in &columns {
            let value = value(outcome).unwrap_or_else(|| "–".to_owned());
            let _ = write!(html, "<td class=\"value\">{value}</td>");
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table></div>\n</section>\n");
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;

    #[test]
    fn the_page_loads_nothing_from_elsewhere_and_is_for_light_and_dark() {
        let html = example().page();
        for outside in ["http:", "https:", "src=", "href=", "url(", "@import", "<script", "<link", "<front>"] {
            assert!(!html.contains(outside), "{outside}");
        }
        assert!(html.contains("prefers-color-scheme: dark") && html.contains("Two sites &amp; ten visits"));
    }

    #[test]
    fn every_defense_has_its_row_and_elements_close() {
        let html = example().page();
        assert_eq!((html.matches("<svg").count(), html.matches("<th scope=\"row\">").count()), (3, 4));
        assert!(html.contains(
            "<td class=\"value\">87.5 %</td><td class=\"value\">81.2 to 93.8</td><td class=\"value\">12.5 %</td>"
        ));
        for element in
            ["main", "section", "figure", "svg", "table", "tbody", "tr", "th", "td", "p", "div", "text", "circle"]
        {
            let opened = html.matches(&format!("<{element}>")).count() + html.matches(&format!("<{element} ")).count();
            assert_eq!(opened, html.matches(&format!("</{element}>")).count(), "{element}");
        }
    }
}
