//! A report as a web page that needs nothing but itself.

use std::fmt::Write as _;

use super::{Outcome, Report, plots};
use crate::attack::Accuracy;
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

fn table(html: &mut String, outcomes: &[Outcome]) {
    const COLUMNS: [&str; 7] =
        ["site named", "95 %", "guess", "activity named", "added bytes", "up / down", "load, median and p95"];
    html.push_str("<section>\n<h2>The numbers</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th>defense</th>");
    for column in COLUMNS {
        let _ = write!(html, "<th class=\"value\">{column}</th>");
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for outcome in outcomes {
        let Accuracy { mean, interval: [low, high], chance, .. } = outcome.accuracy;
        let none = || "not measured".to_owned();
        let values = [
            format!("{:.1} %", 100.0 * mean),
            format!("{:.1} to {:.1}", 100.0 * low, 100.0 * high),
            format!("{:.1} %", 100.0 * chance),
            outcome.activity.as_ref().map_or_else(none, |activity| format!("{:.1} %", 100.0 * activity.mean)),
            format!("{:.0} %", 100.0 * outcome.overhead),
            format!("{:.3}", outcome.upload_ratio),
            outcome.load_seconds.map_or_else(none, |[median, late]| format!("{median:.2} s, {late:.2} s")),
        ];
        let _ = write!(html, "<tr><th scope=\"row\">{}</th>", escape(&outcome.defense));
        for value in values {
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
