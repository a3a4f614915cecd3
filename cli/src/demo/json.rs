//! The results as one JSON object.

use maybetun_lab::observer::Summary;
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::browser::PageLoad;
use super::run::Run;

/// Version of the object's shape.
const VERSION: u32 = 1;

/// The numbers of a run.
#[derive(serde::Serialize)]
struct Numbers<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    page: &'a PageLoad,
}

struct Report<'a>(&'a [Run]);

impl Serialize for Report<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(1 + self.0.len()))?;
        object.serialize_entry("version", &VERSION)?;
        for run in self.0 {
            object.serialize_entry(run.label.name(), &Numbers { summary: &run.summary, page: &run.page })?;
        }
        object.end()
    }
}

/// Returns one line: an object with the version and, under its label, the numbers of each run.
///
/// # Errors
/// Never for runs that were performed: their numbers are finite.
pub(super) fn report(runs: &[Run]) -> serde_json::Result<String> {
    serde_json::to_string(&Report(runs))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::run::tests::example;
    use super::*;

    #[test]
    fn the_report_is_one_object_with_the_runs_numbers_under_its_label() {
        let text = report(&[example()]).unwrap();
        assert!(!text.contains('\n'));
        let object: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            object,
            json!({
                "version": 1,
                "plain": {
                    "packets": 4, "bytes": 1788, "ip_bytes": 1900,
                    "upload": {"packets": 2, "bytes": 244, "ip_bytes": 300},
                    "download": {"packets": 2, "bytes": 1544, "ip_bytes": 1600},
                    "upload_share": 13.65,
                    "distinct_sizes": 4,
                    "sizes": [
                        {"bytes": 1452, "packets": 1, "direction": "download"},
                        {"bytes": 148, "packets": 1, "direction": "upload"},
                        {"bytes": 96, "packets": 1, "direction": "upload"},
                        {"bytes": 92, "packets": 1, "direction": "download"},
                    ],
                    "handshake_messages": 2,
                    "keepalives": 0,
                    "bursts": 2,
                    "duration_ms": 40.0,
                    "bits_per_second": 380_000,
                    "other_frames": 3,
                    "missed_frames": 0,
                    "page": {"objects": 1, "bytes": 1_300, "ms": 39.5},
                }
            })
        );
    }
}
