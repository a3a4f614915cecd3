//! The numbers of the runs as rows for people: a name, a value for each run, and what it means.

use maybetun_lab::observer::{BURST_GAP_US, SizeCount, Summary};
use maybetun_lab::sighting::Direction;

use super::browser::PageLoad;
use super::run::{Run, ServerPlace};

/// How many of the most frequent sizes are shown.
const TOP_SIZES: usize = 4;

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Figure {
    pub(super) name: String,
    /// One for each run, in order.
    pub(super) values: Vec<String>,
    pub(super) meaning: String,
}

/// Rows that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) title: &'static str,
    pub(super) figures: Vec<Figure>,
}

/// Returns every row, in the order of reading.
pub(super) fn groups(runs: &[Run]) -> Vec<Group> {
    let row = |name: &str, meaning: &str, value: &dyn Fn(&Summary) -> String| Figure {
        name: name.to_owned(),
        values: runs.iter().map(|run| value(&run.summary)).collect(),
        meaning: meaning.to_owned(),
    };
    let mut volume = vec![
        row("packets", "datagrams of the tunnel, both ways", &|s| count(s.total.packets)),
        row("  upload", "from the client to the relay", &|s| count(s.upload.packets)),
        row("  download", "from the relay to the client", &|s| count(s.download.packets)),
        row("bytes", "their UDP payload, both ways", &|s| count(s.total.bytes)),
        row("  upload", "requests and acknowledgements", &|s| count(s.upload.bytes)),
        row("  download", "the page", &|s| count(s.download.bytes)),
        row("upload share", "the upload's part of the bytes", &|s| format!("{:.2} %", s.upload_share)),
    ];
    if runs.iter().any(|run| run.summary.missed_frames > 0) {
        volume.push(row("missed", "packets the capture was too slow for: the true counts are higher", &|s| {
            count(s.missed_frames)
        }));
    }
    let mut sizes = vec![row("distinct sizes", "different datagram sizes, in bytes of UDP payload", &|s| {
        count(s.distinct_sizes as u64)
    })];
    for rank in 0..TOP_SIZES {
        let name = if rank == 0 { "  most frequent" } else { "" };
        let meaning = if rank == 0 { "bytes, direction, and how many datagrams" } else { "" };
        sizes.push(row(name, meaning, &|s| s.sizes.get(rank).map_or_else(|| "-".to_owned(), size)));
    }
    let gap = format!("runs of packets without a pause of {} ms", BURST_GAP_US / 1_000);
    let time = vec![
        row("duration", "from the first packet to the last", &|s| milliseconds(s.duration_ms)),
        row("mean rate", "IP bits a second over that time", &|s| rate(s.bits_per_second)),
        row("bursts", &gap, &|s| count(s.bursts)),
        row("handshake", "messages that set up keys: their sizes name the protocol", &|s| count(s.handshake_messages)),
        row("keepalives", "data messages with nothing inside", &|s| count(s.keepalives)),
    ];
    let row = |name: &str, meaning: &str, value: &dyn Fn(&PageLoad) -> String| Figure {
        name: name.to_owned(),
        values: runs.iter().map(|run| value(&run.page)).collect(),
        meaning: meaning.to_owned(),
    };
    let page = vec![
        row("objects", "files that the page load delivered, each byte checked", &|page| count(page.objects as u64)),
        row("bytes", "their size", &|page| count(page.bytes)),
        row("load time", "from the first connection to the last byte", &|page| milliseconds(page.ms)),
    ];
    let mut groups = vec![
        Group { title: "How much", figures: volume },
        Group { title: "Which sizes", figures: sizes },
        Group { title: "When", figures: time },
        Group { title: "Not seen by the observer: what the client got", figures: page },
    ];
    if let [plain, _, ..] = runs {
        groups.push(overhead(runs, plain));
    }
    groups
}

/// What each run costs more than the first.
fn overhead(runs: &[Run], first: &Run) -> Group {
    let row = |name: &str, meaning: &str, value: &dyn Fn(&Run) -> String| Figure {
        name: name.to_owned(),
        values: std::iter::once("-".to_owned()).chain(runs.iter().skip(1).map(value)).collect(),
        meaning: meaning.to_owned(),
    };
    let base = &first.summary;
    let more = |value: u64, base: u64| format!("{:+.0} %", (value as f64 / base.max(1) as f64 - 1.0) * 100.0);
    let figures = vec![
        row("bytes", "more on the wire than without the defense", &|run| {
            more(run.summary.total.bytes, base.total.bytes)
        }),
        row("  upload", "of that, from the client to the relay", &|run| {
            more(run.summary.upload.bytes, base.upload.bytes)
        }),
        row("  download", "of that, from the relay to the client", &|run| {
            more(run.summary.download.bytes, base.download.bytes)
        }),
        row("load time", "longer than without the defense; runs differ by some ms", &|run| {
            format!("{:+.0} ms", run.page.ms - first.page.ms)
        }),
    ];
    Group { title: "Overhead", figures }
}

/// What is to be said about the set-up, if anything was not as it should be.
pub(super) fn remarks(runs: &[Run]) -> Vec<&'static str> {
    let on_relay = runs.iter().any(|run| run.server_place == ServerPlace::OnRelay);
    on_relay
        .then_some("/proc/sys is read-only here: the web server ran on the relay itself. The wire looks the same.")
        .into_iter()
        .collect()
}

/// A number with a thin gap between thousands: `812`, `842 311`.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A duration in milliseconds: `412 ms`, `3.2 ms`.
pub(super) fn milliseconds(value: f64) -> String {
    if value < 10.0 { format!("{value:.1} ms") } else { format!("{value:.0} ms") }
}

fn rate(bits_per_second: u64) -> String {
    format!("{:.1} Mbit/s", bits_per_second as f64 / 1e6)
}

fn size(size: &SizeCount) -> String {
    let direction = match size.direction {
        Direction::Upload => "up",
        Direction::Download => "down",
    };
    format!("{} {direction} x {}", size.bytes, size.packets)
}

#[cfg(test)]
mod tests {
    use super::super::run::tests::example;
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        let cases = [(0, "0"), (999, "999"), (1_000, "1 000"), (842_311, "842 311"), (1_234_567, "1 234 567")];
        for (value, text) in cases {
            assert_eq!(count(value), text);
        }
    }

    #[test]
    fn every_row_has_a_value_for_every_run() {
        for group in groups(&[example(), example()]) {
            for figure in group.figures {
                assert_eq!(figure.values.len(), 2, "{}", figure.name);
            }
        }
    }

    #[test]
    fn missed_packets_are_told_only_if_there_are_any() {
        let told = |run: &Run| groups(std::slice::from_ref(run))[0].figures.iter().any(|row| row.name == "missed");
        let mut run = example();
        assert!(!told(&run));
        run.summary.missed_frames = 1;
        assert!(told(&run));
    }

    #[test]
    fn a_server_on_the_relay_is_remarked() {
        let mut run = example();
        assert!(remarks(std::slice::from_ref(&run)).is_empty());
        run.server_place = ServerPlace::OnRelay;
        assert!(remarks(&[run])[0].contains("read-only"));
    }
}
