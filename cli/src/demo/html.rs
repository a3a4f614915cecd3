//! The results as a web page that needs nothing but itself.

use std::fmt::Write as _;

use maybetun_lab::plot::{STYLE, escape};

use super::chart;
use super::figures::{self, count, milliseconds};
use super::run::Run;

/// Returns the page.
pub(super) fn page(runs: &[Run]) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>maybetun demo: a page load, seen from the wire</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <header>\n<p class=\"eyebrow\">maybetun demo</p>\n<h1>A page load, seen from the wire</h1>\n\
         <p class=\"lead\">A client loads a web page through an encrypted tunnel. An observer between client and relay \
         reads no content: only when each packet passes, which way, and how large it is. That is what follows.</p>\n\
         </header>\n"
    );
    for run in runs {
        overview(&mut html, run);
    }
    plots(&mut html, runs);
    table(&mut html, runs);
    for remark in figures::remarks(runs) {
        let _ = writeln!(html, "<p class=\"remark\">{}</p>", escape(remark));
    }
    html.push_str("</main>\n</body>\n</html>\n");
    html
}

/// One run: its key figures, and what its plots show.
fn overview(html: &mut String, run: &Run) {
    let summary = &run.summary;
    let _ = writeln!(html, "<section>\n<h2>{}</h2>\n<dl class=\"tiles\">", escape(run.label.name()));
    let tiles = [
        (count(summary.total.packets), "packets"),
        (format!("{} kB", count(summary.total.bytes / 1_000)), "of UDP payload"),
        (format!("{:.1} %", summary.upload_share), "of it upload"),
        (count(summary.distinct_sizes as u64), "distinct sizes"),
        (milliseconds(summary.duration_ms), "first to last packet"),
    ];
    for (value, name) in tiles {
        let _ = writeln!(html, "<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(&value));
    }
    html.push_str("</dl>\n");
    let _ = writeln!(html, "<p class=\"reading\">{}</p>\n</section>", escape(&reading(run)));
}

/// The plots of all runs, those of one kind above each other and on the same axis of time.
fn plots(html: &mut String, runs: &[Run]) {
    let end_ms = runs.iter().map(|run| chart::duration_ms(&run.observation.packets)).fold(0.0, f64::max);
    html.push_str("<section>\n<h2>Side by side</h2>\n");
    for run in runs {
        let title = format!("Packets over time: {}", run.label.name());
        let plot = chart::timeline(&run.observation.packets, end_ms);
        figure(html, &title, "Each stroke is one packet, as long as the packet is large.", true, &plot);
    }
    for run in runs {
        let title = format!("Packet sizes: {}", run.label.name());
        let plot = chart::histogram(&run.observation.packets);
        figure(html, &title, "How many packets of each size, on a logarithmic axis.", false, &plot);
    }
    for run in runs {
        let title = format!("Bytes so far: {}", run.label.name());
        let plot = chart::cumulative(&run.observation.packets, end_ms);
        figure(html, &title, "Each plateau is a pause.", false, &plot);
    }
    html.push_str("</section>\n");
}

fn figure(html: &mut String, title: &str, caption: &str, shows_handshake: bool, svg: &str) {
    let handshake = if shows_handshake { "<span class=\"chip key\">handshake</span>" } else { "" };
    let _ = writeln!(
        html,
        "<figure>\n<figcaption><h3>{}</h3><p>{}</p><div class=\"legend\"><span class=\"chip up\">upload</span>\
         <span class=\"chip down\">download</span>{handshake}</div></figcaption>\n<div class=\"plot\">{svg}</div>\n</figure>",
        escape(title),
        escape(caption)
    );
}

/// What the plots show, in words.
fn reading(run: &Run) -> String {
    match run.label.defense() {
        None => plain_reading(run),
        Some(defense) => defended_reading(run, defense),
    }
}

fn defended_reading(run: &Run, defense: &str) -> String {
    let summary = &run.summary;
    format!(
        "The same page load with the defense {defense} at both ends. Every packet of data has one size, whatever is inside; \
         padding goes both ways, and nothing tells it from the rest. The observer counts {} kB down and {} kB up for the \
         page of {} kB. The {} handshake messages still name the protocol by their sizes. This defense delays nothing, so \
         large bursts still show, and it spreads its padding over seconds, while this page takes {}.",
        count(summary.download.bytes / 1_000),
        count(summary.upload.bytes / 1_000),
        count(run.page.bytes / 1_000),
        count(summary.handshake_messages),
        milliseconds(run.page.ms),
    )
}

fn plain_reading(run: &Run) -> String {
    let summary = &run.summary;
    let frequent = summary.sizes.first().map_or_else(String::new, |size| {
        format!(
            " The most frequent size, {} bytes, makes up {:.0} % of the packets.",
            size.bytes,
            size.packets as f64 * 100.0 / summary.total.packets.max(1) as f64
        )
    });
    format!(
        "Encryption hides what is said, not how. After the handshake, whose {} messages name the protocol by their sizes, \
         requests go up and the page comes down, {} bursts in {}: first the document, then style sheets and scripts, then \
         fonts and images. The observer counts {} kB down for a page of {} kB in {} files, so the page's size shows \
         through the tunnel.{frequent} {} distinct sizes, their order and their timing are enough for a classifier to tell \
         one page from another.",
        count(summary.handshake_messages),
        count(summary.bursts),
        milliseconds(summary.duration_ms),
        count(summary.download.bytes / 1_000),
        count(run.page.bytes / 1_000),
        count(run.page.objects as u64),
        count(summary.distinct_sizes as u64),
    )
}

fn table(html: &mut String, runs: &[Run]) {
    html.push_str("<section>\n<h2>The numbers</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th></th>");
    for run in runs {
        let _ = write!(html, "<th class=\"value\">{}</th>", escape(run.label.name()));
    }
    html.push_str("<th></th></tr></thead>\n");
    for group in figures::groups(runs) {
        let _ = writeln!(
            html,
            "<tbody><tr><th class=\"group\" colspan=\"{}\">{}</th></tr>",
            runs.len() + 2,
            escape(group.title)
        );
        for row in group.figures {
            let indent = if row.name.starts_with(' ') { " class=\"indent\"" } else { "" };
            let _ = write!(html, "<tr><th{indent} scope=\"row\">{}</th>", escape(row.name.trim_start()));
            for value in &row.values {
                let _ = write!(html, "<td class=\"value\">{}</td>", escape(value));
            }
            let _ = writeln!(html, "<td>{}</td></tr>", escape(&row.meaning));
        }
        html.push_str("</tbody>\n");
    }
    html.push_str("</table></div>\n</section>\n");
}

#[cfg(test)]
mod tests {
    use super::super::run::tests::example;
    use super::*;

    #[test]
    fn the_page_loads_nothing_from_elsewhere() {
        let html = page(&[example()]);
        for outside in ["http:", "https:", "src=", "href=", "url(", "@import", "<script", "<link"] {
            assert!(!html.contains(outside), "{outside}");
        }
    }

    #[test]
    fn each_run_has_its_three_plots_and_its_column() {
        let html = page(&[example(), example()]);
        assert_eq!(html.matches("<svg").count(), 6);
        assert_eq!(html.matches("<th class=\"value\">plain</th>").count(), 2);
        assert_eq!(html.matches("<td class=\"value\">1 788</td>").count(), 2);
    }

    #[test]
    fn elements_that_open_also_close() {
        let html = page(&[example()]);
        for element in
            ["main", "section", "figure", "svg", "table", "tbody", "tr", "th", "td", "p", "div", "dl", "text"]
        {
            let opened = html.matches(&format!("<{element}>")).count() + html.matches(&format!("<{element} ")).count();
            assert_eq!(opened, html.matches(&format!("</{element}>")).count(), "{element}");
        }
    }
}
