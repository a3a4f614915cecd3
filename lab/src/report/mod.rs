//! Results: what each defense hides and what it costs, as JSON ([`Report::json`]) and as one page ([`Report::page`]).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::attack::{Accuracy, Point, shape};
use crate::trace::{Direction, Trace};

mod page;
mod plots;

/// Version of the JSON object's shape.
pub const VERSION: u32 = 1;

/// All that is reported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The title of the page.
    pub title: String,
    /// What was measured, when, and on what machine.
    pub about: String,
    /// A row for each defense, the undefended one first.
    pub outcomes: Vec<Outcome>,
    /// Loads to look at.
    pub examples: Vec<Example>,
}

/// What a defense hides, and what it costs. Numbers are finite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The name of the defense.
    pub defense: String,
    /// How often the attack names the site.
    pub accuracy: Accuracy,
    /// The attack with fewer loads; empty if that was not measured.
    pub curve: Vec<Point>,
    /// How often the observer of the throughput names the activity.
    pub activity: Option<Accuracy>,
    /// Bytes that it adds, as a share of those without it: 0.5 is half as much again.
    pub overhead: f64,
    /// Bytes up over bytes down.
    pub upload_ratio: f64,
    /// How long a load takes, in seconds: median and 95th percentile.
    pub load_seconds: Option<[f64; 2]>,
    /// All that it costs, if that was measured.
    pub costs: Option<Costs>,
}

/// What a defense costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// Bytes of a load from the client, the mean, with IP and UDP headers.
    pub up_bytes: f64,
    /// Bytes of a load to the client, alike.
    pub down_bytes: f64,
    /// Times of loads.
    pub times: Times,
    /// Times of loads where the link is full.
    pub bottleneck: Times,
    /// How often a second the client's tunnel was woken during loads and reading: in virtual time by deadlines of its own, in real time
    /// for whatever reason.
    pub wakeups: f64,
    /// The part of a processor that it took meanwhile; `None` in virtual time.
    pub cpu: Option<f64>,
    /// A large download, and a call beside it.
    pub bulk: Bulk,
}

/// How long loads took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// Seconds that half of those did not exceed that came to an end; `None` if none did.
    pub median: Option<f64>,
    /// Seconds that 95 in 100 of them did not exceed.
    pub p95: Option<f64>,
    /// How many did not come to an end in time.
    pub unfinished: usize,
}

/// A large download, and a call beside it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bulk {
    /// Bits that are received a second.
    pub goodput: f64,
    /// Seconds that a round trip of the call takes: median, and what 95 in 100 do not exceed.
    pub call: [f64; 2],
}

/// The throughput of a load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// What it is.
    pub name: String,
    /// How long a step of the series is, in milliseconds; at least 1.
    pub step_ms: u32,
    /// Bytes up in each step.
    pub up: Vec<f64>,
    /// Bytes down in each step.
    pub down: Vec<f64>,
}

impl Example {
    /// Makes an example of a load, in steps of `step_ms` (at least 1) milliseconds.
    pub fn of(name: impl Into<String>, trace: &Trace, step_ms: u32) -> Self {
        let step_ms = step_ms.max(1);
        let step = Duration::from_millis(step_ms.into());
        let [up, down] =
            [Direction::Upload, Direction::Download].map(|direction| shape::series(trace, direction, step));
        Self { name: name.into(), step_ms, up, down }
    }
}

/// The object, with its version.
#[derive(Serialize)]
struct Versioned<'a> {
    version: u32,
    #[serde(flatten)]
    report: &'a Report,
}

impl Report {
    /// Returns one line: the object, with the version of its shape. A number that is not finite is `null`.
    ///
    /// # Errors
    /// None that is known.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(&Versioned { version: VERSION, report: self })
    }

    /// Returns a page in HTML that needs nothing but itself, readable in light and dark.
    pub fn page(&self) -> String {
        page::page(self)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::trace::Passage;

    /// Numbers are sums of few powers of two: `serde_json` reads others back but for the last digit.
    pub(crate) fn example() -> Report {
        let accuracy = |mean: f64| Accuracy {
            mean,
            interval: [mean - 0.0625, mean + 0.0625],
            chance: 0.125,
            folds: vec![mean; 10],
            labels: vec![0, 1],
            confusion: vec![vec![9, 1], vec![0, 10]],
        };
        let outcome = |defense: &str, mean: f64, overhead: f64| Outcome {
            defense: defense.into(),
            accuracy: accuracy(mean),
            curve: [10, 20, 40].map(|loads| Point { loads, accuracy: accuracy(mean * loads as f64 / 64.0) }).into(),
            activity: Some(accuracy(0.5)),
            overhead,
            upload_ratio: 0.0625,
            load_seconds: Some([1.5, 2.5]),
            costs: (defense != "bad").then_some(Costs {
                up_bytes: 1_000.0,
                down_bytes: 16_000.0,
                times: Times { median: Some(1.5), p95: Some(2.5), unfinished: 0 },
                bottleneck: Times { median: None, p95: None, unfinished: 5 },
                wakeups: 8.0,
                cpu: Some(0.0625),
                bulk: Bulk { goodput: 64e6, call: [0.125, 0.25] },
            }),
        };
        let outcomes = vec![
            outcome("none", 0.875, 0.0),
            outcome("<front>", 0.75, 0.75),
            outcome("tamaraw", 0.25, 2.0),
            outcome("bad", 0.5, 2.5),
        ];
        let passage = |ms, direction| Passage { at: Duration::from_millis(ms), direction, size: 1_000 };
        let trace = Trace::sorted(vec![passage(0, Direction::Upload), passage(250, Direction::Download)]).unwrap();
        let examples = vec![Example::of("A page", &trace, 100)];
        Report { title: "Defenses".into(), about: "Two sites & ten visits".into(), outcomes, examples }
    }

    #[test]
    fn the_object_has_its_version_and_reads_back() {
        let json = example().json().unwrap();
        assert!(json.starts_with("{\"version\":1,\"title\":\"Defenses\""), "{json}");
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), example());
    }

    #[test]
    fn an_example_has_a_step_for_each_stretch_of_time() {
        let example = &example().examples[0];
        assert_eq!((&example.up[..], &example.down[..]), (&[1_000.0, 0.0, 0.0][..], &[0.0, 0.0, 1_000.0][..]));
    }
}
