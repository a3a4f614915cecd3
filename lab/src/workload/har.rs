//! Pages that a browser has exported: HTTP Archive files, version 1.2 (w3c.github.io/web-performance/specs/HAR/Overview.html).

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{MAX_BYTES, MAX_ORIGINS, MAX_REQUESTS, Plan, PlanError, Protocol, Request};

/// The largest file in bytes. Browsers write bodies too, when they are asked to.
const MAX_FILE: u64 = 1 << 28;

/// Bytes of a header whose size is not said, as with HTTP/2 in Chrome.
const HEADER: i64 = 300;

/// The longest time in an entry, in milliseconds: a day.
const LONGEST: f64 = 86_400_000.0;

/// Why a file is no plan.
#[derive(Debug, thiserror::Error)]
pub enum HarError {
    /// The file cannot be read.
    #[error("{file}: {error}")]
    File {
        /// Its path.
        file: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// It is larger than a file may be.
    #[error("larger than {MAX_FILE} bytes; export without bodies")]
    TooLarge,
    /// It is no HTTP Archive.
    #[error("{place}: {error}")]
    Format {
        /// The field.
        place: String,
        /// What was found and expected, with line and column.
        error: serde_json::Error,
    },
    /// A value cannot be.
    #[error("{place}: {found}, expected {expected}")]
    Value {
        /// The field.
        place: String,
        /// Its value.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// All of it together cannot be.
    #[error("{0}")]
    Plan(#[from] PlanError),
    /// What is wrong, and in which file.
    #[error("{file}: {error}")]
    In {
        /// Its path.
        file: String,
        /// What is wrong.
        error: Box<HarError>,
    },
}

#[derive(Deserialize)]
struct Archive {
    log: Log,
}

#[derive(Deserialize)]
struct Log {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    started_date_time: String,
    #[serde(default)]
    time: f64,
    request: Asked,
    response: Answered,
    #[serde(default)]
    timings: Timings,
    #[serde(rename = "_initiator", default)]
    initiator: Option<Initiator>,
    #[serde(rename = "_fromCache", default)]
    from_cache: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    url: String,
    #[serde(default = "unknown")]
    headers_size: i64,
    #[serde(default = "unknown")]
    body_size: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answered {
    #[serde(default)]
    status: i64,
    #[serde(default)]
    http_version: String,
    #[serde(default = "unknown")]
    headers_size: i64,
    #[serde(default = "unknown")]
    body_size: i64,
    #[serde(rename = "_transferSize", default)]
    transfer_size: Option<i64>,
    #[serde(default)]
    content: Content,
}

#[derive(Deserialize, Default)]
struct Content {
    #[serde(default)]
    size: i64,
}

#[derive(Deserialize, Default)]
struct Timings {
    #[serde(default)]
    wait: Option<f64>,
}

#[derive(Deserialize)]
struct Initiator {
    #[serde(default)]
    url: Option<String>,
}

/// What the format has for a size that is not known.
fn unknown() -> i64 {
    -1
}

/// An entry that went over the network, as far as it is used. Times are milliseconds since the first.
struct Exchange<'a> {
    url: &'a str,
    initiator: Option<&'a str>,
    began: f64,
    ended: f64,
    wait: f64,
    up: u32,
    down: u32,
    protocol: Option<Protocol>,
}

impl Plan {
    /// Reads a page from a file. See [`from_har`](Self::from_har).
    ///
    /// # Errors
    /// With the file, and the place in it.
    pub fn read_har(path: &Path) -> Result<Self, HarError> {
        let named = |error| HarError::File { file: path.display().to_string(), error };
        let mut text = String::new();
        File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text)).map_err(named)?;
        Self::from_har(&text).map_err(|error| HarError::In { file: path.display().to_string(), error: Box::new(error) })
    }

    /// Reads a page from the text of an HTTP Archive, of 256 MiB at most.
    ///
    /// - Sizes are those on the wire: of headers and bodies, or what Chrome says was transferred; a header of unknown size has 300
    ///   bytes. What came from a cache, had no answer or was in the page itself is left out.
    /// - A request waits for the one that Chrome says initiated it, or else for the answer that was there last before it; as long after
    ///   that as then. What began before any answer begins as long after the first as then.
    /// - A server thinks for as long as the browser waited, less the shortest wait, which is the network's.
    /// - Each host is an origin, and from the tenth on they share one. The protocol is that of most answers, and HTTP/2
    ///   when two are of as many or no answer says one.
    ///
    /// # Errors
    /// When it is no HTTP Archive, has nothing that was loaded, or a value that cannot be; with the place.
    pub fn from_har(text: &str) -> Result<Self, HarError> {
        if text.len() as u64 > MAX_FILE {
            return Err(HarError::TooLarge);
        }
        let mut json = serde_json::Deserializer::from_str(text);
        let archive: Archive = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let place = error.path().to_string();
            HarError::Format { place, error: error.into_inner() }
        })?;
        json.end().map_err(|error| HarError::Format { place: "after the archive".into(), error })?;
        let entries = archive.log.entries;
        if entries.len() > MAX_REQUESTS {
            return Err(PlanError::TooManyRequests(entries.len()).into());
        }
        let exchanges = exchanges(&entries)?;
        Ok(Self::new(requests(&exchanges), Vec::new())?.over(most_used(&exchanges)))
    }
}

/// Reads the entries that went over the network, in the order of their beginning.
fn exchanges(entries: &[Entry]) -> Result<Vec<Exchange<'_>>, HarError> {
    let mut dated = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let is_loaded = entry.request.url.starts_with("http") && entry.response.status > 0;
        if is_loaded && entry.from_cache.is_none() {
            let place = || format!("log.entries[{number}].startedDateTime");
            let text = &entry.started_date_time;
            let date = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| HarError::Value {
                place: place(),
                found: format!("{:?}", text.chars().take(40).collect::<String>()),
                expected: "a date and time as in RFC 3339",
            })?;
            dated.push((date, number, entry));
        }
    }
    dated.sort_by_key(|(date, number, _)| (*date, *number));
    let Some((first, ..)) = dated.first().copied() else {
        let found = format!("{} entries, none of which was loaded from the network", entries.len());
        return Err(HarError::Value { place: "log.entries".into(), found, expected: "one at least" });
    };
    let shortest = dated.iter().filter_map(|(.., entry)| entry.timings.wait.filter(|wait| *wait > 0.0));
    let shortest = shortest.fold(f64::INFINITY, f64::min);
    dated
        .into_iter()
        .map(|(date, number, entry)| {
            let place = |field: &str| format!("log.entries[{number}].{field}");
            let began = time(&place("startedDateTime"), (date - first).as_seconds_f64() * 1_000.0)?;
            let took = time(&place("time"), entry.time)?;
            let wait = time(&place("timings.wait"), entry.timings.wait.unwrap_or(0.0))?;
            let Entry { request, response, .. } = entry;
            let up = size(&place("request"), known(request.headers_size, HEADER), known(request.body_size, 0))?;
            let body = known(response.body_size, response.content.size);
            let down = match response.transfer_size.filter(|size| *size > 0) {
                Some(size_of_all) => size(&place("response._transferSize"), size_of_all, 0)?,
                None => size(&place("response"), known(response.headers_size, HEADER), body)?,
            };
            Ok(Exchange {
                url: &request.url,
                initiator: entry.initiator.as_ref().and_then(|initiator| initiator.url.as_deref()),
                began,
                ended: began + took,
                wait: (wait - shortest).max(0.0),
                up,
                down,
                protocol: Protocol::of_version(&response.http_version),
            })
        })
        .collect()
}

/// Returns the protocol of most answers.
fn most_used(exchanges: &[Exchange<'_>]) -> Protocol {
    let count = |of| exchanges.iter().filter(|exchange| exchange.protocol == Some(of)).count();
    let [http1, http2, http3] = Protocol::ALL.map(count);
    match http2.max(http1).max(http3) {
        most if http2 == most || http1 == http3 => Protocol::Http2,
        most if http1 == most => Protocol::Http1,
        _ => Protocol::Http3,
    }
}

/// Makes requests of exchanges, which are in the order of their beginning.
fn requests(exchanges: &[Exchange<'_>]) -> Vec<Request> {
    let mut by_url = HashMap::new();
    let mut origins: HashMap<&str, usize> = HashMap::new();
    // The answers that were there before, by when.
    let mut ends: Vec<(f64, usize)> = exchanges.iter().map(|exchange| exchange.ended).zip(0..).collect();
    ends.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut requests = Vec::with_capacity(exchanges.len());
    for (number, exchange) in exchanges.iter().enumerate() {
        let there = ends.partition_point(|(ended, _)| *ended <= exchange.began);
        let last = || ends[..there].iter().rev().map(|(_, of)| *of).find(|of| *of < number);
        let initiator = exchange.initiator.and_then(|url| by_url.get(url).copied());
        let after: Option<usize> = initiator.or_else(last);
        let since = after.map_or(0.0, |after| exchanges[after].ended);
        let origin = origins.len().min(MAX_ORIGINS - 1);
        requests.push(Request {
            after: after.into_iter().collect(),
            delay: milliseconds(exchange.began - since),
            not_before: Duration::ZERO,
            up: exchange.up,
            down: exchange.down,
            think: milliseconds(exchange.wait),
            origin: *origins.entry(host(exchange.url)).or_insert(origin),
        });
        by_url.insert(exchange.url, number);
    }
    requests
}

/// Returns the part of a URL that says whose it is.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or(rest)
}

fn known(size: i64, otherwise: i64) -> i64 {
    if size < 0 { otherwise } else { size }
}

fn size(place: &str, header: i64, body: i64) -> Result<u32, HarError> {
    let bytes = header.saturating_add(body.max(0));
    u32::try_from(bytes).ok().filter(|bytes| *bytes <= MAX_BYTES).ok_or_else(|| HarError::Value {
        place: place.to_owned(),
        found: format!("{bytes} bytes"),
        expected: "0 bytes to 1 GiB, with its header",
    })
}

/// Reads a time; one that is not known, -1, is 0.
fn time(place: &str, milliseconds: f64) -> Result<f64, HarError> {
    if milliseconds <= LONGEST {
        return Ok(milliseconds.max(0.0));
    }
    let found = format!("{milliseconds} ms");
    Err(HarError::Value { place: place.to_owned(), found, expected: "a day at most" })
}

fn milliseconds(number: f64) -> Duration {
    Duration::from_micros((number.max(0.0) * 1_000.0) as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn entry(url: &str, at: &str, time: f64, rest: &str) -> String {
        format!(
            r#"{{"startedDateTime":"2026-01-02T03:04:{at}Z","time":{time},"request":{{"url":"{url}","headersSize":100,"bodySize":0}},
            "response":{{"status":200,"httpVersion":"h2","headersSize":-1,"bodySize":5000}}{rest}}}"#
        )
    }

    fn archive(entries: &[String]) -> String {
        format!(r#"{{"log":{{"version":"1.2","entries":[{}]}}}}"#, entries.join(","))
    }

    #[test]
    fn a_page_has_the_sizes_times_and_order_of_the_file() {
        let text = archive(&[
            // Out of order, as browsers write them.
            entry("https://b.example/i.png", "05.250", 30.0, r#","timings":{"wait":50}"#),
            entry("https://a.example/", "05.000", 100.0, r#","timings":{"wait":20}"#),
            entry("https://a.example/s.js", "05.150", 60.0, r#","_initiator":{"url":"https://a.example/"}"#),
            entry("data:image/png;base64,AAAA", "05.160", 0.0, ""),
            // It is not the last answer that asked for it.
            entry("https://a.example/j.js", "05.300", 10.0, r#","_initiator":{"url":"https://a.example/"}"#),
        ]);
        let plan = Plan::from_har(&text).unwrap();
        let expected = [
            (vec![], 0, 0, 0, 0),
            (vec![0], 50, 0, 0, 0),
            // The script was there 40 ms before.
            (vec![1], 40, 30, 1, 0),
            (vec![0], 200, 0, 0, 0),
        ];
        let found = plan.requests().iter().zip(expected);
        for (request, (after, delay, think, origin, not_before)) in found {
            let expected = Request {
                after,
                delay: delay * MS,
                think: think * MS,
                origin,
                not_before: not_before * MS,
                up: 100,
                down: 5_300,
            };
            assert_eq!(*request, expected);
        }
        assert_eq!((plan.requests().len(), plan.protocol()), (4, Protocol::Http2));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let fine = entry("https://a.example/", "05.000", 1.0, "");
        let of = |entry: &str| archive(&[fine.clone(), entry.to_owned()]);
        for (text, expected) in [
            ("".into(), ".: EOF while parsing a value at line 1 column 0"),
            (r#"{"log":{}}"#.into(), "log: missing field `entries` at line 1 column 9"),
            (archive(&[]), "log.entries: 0 entries, none of which was loaded from the network, expected one at least"),
            (
                of(&fine.replace("2026-01-02T", "yesterday ")),
                "log.entries[1].startedDateTime: \"yesterday 03:04:05.000Z\", expected a date and time as in RFC 3339",
            ),
            (
                of(&fine.replace("5000", "2000000000")),
                "log.entries[1].response: 2000000300 bytes, expected 0 bytes to 1 GiB, with its header",
            ),
            (of(&fine.replace("\"time\":1", "\"time\":1e300")), "log.entries[1].time: 1000000000000000000000000"),
            (of(&fine.replace("\"https://a.example/\"", "7")), "log.entries[1].request.url: invalid type: integer `7`"),
            (of(&fine) + "}", "after the archive: trailing characters"),
            (of(&fine)[..300].into(), "log.entries[1].?: EOF while parsing a string at line 2"),
        ] {
            let found = Plan::from_har(&text).unwrap_err().to_string();
            assert!(found.starts_with(expected), "{found}\nexpected {expected}");
        }
    }

    #[test]
    fn the_protocol_is_that_of_most_answers() {
        let of = |versions: &[&str]| {
            let entry = entry("https://a.example/", "05.000", 1.0, "");
            let entries: Vec<_> =
                versions.iter().map(|version| entry.replace("\"h2\"", &format!("{version:?}"))).collect();
            Plan::from_har(&archive(&entries)).unwrap().protocol()
        };
        for (versions, expected) in [
            (&["h3", "HTTP/3", "http/2.0"][..], Protocol::Http3),
            (&["h3-29", "h2", "HTTP/2.0"], Protocol::Http2),
            (&["http/1.1", "HTTP/1.0", "h3"], Protocol::Http1),
            (&["http/1.1", "h3"], Protocol::Http2),
            (&["h2", "h3"], Protocol::Http2),
            (&["", "unknown", "data", "http/1.1"], Protocol::Http1),
            (&["", "http/", "h"], Protocol::Http2),
        ] {
            assert_eq!(of(versions), expected, "{versions:?}");
        }
    }

    #[test]
    fn a_file_that_is_wrong_is_named() {
        let missing = Plan::read_har(Path::new("/nonexistent.har")).unwrap_err().to_string();
        assert!(missing.starts_with("/nonexistent.har: No such file"), "{missing}");
        let wrong = Plan::read_har(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))).unwrap_err();
        assert!(wrong.to_string().contains("Cargo.toml: [0]: expected value at line 1"), "{wrong}");
    }

    proptest! {
        #[test]
        fn whatever_is_cut_or_changed_does_not_panic(
            at in any::<prop::sample::Index>(), byte in 32..127_u8, cut in any::<bool>(),
        ) {
            let mut text = archive(&[
                entry("https://a.example/", "05.000", 100.0, r#","timings":{"wait":20}"#),
                entry("https://b.example/", "05.150", 60.0, r#","_initiator":{"url":"https://a.example/"}"#),
            ]).into_bytes();
            let place = at.index(text.len());
            text[place] = byte;
            if cut {
                text.truncate(place);
            }
            let _ = Plan::from_har(&String::from_utf8(text).unwrap());
        }
    }
}
