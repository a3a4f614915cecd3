//! Speaking the configuration protocol itself, for what `wg` does not say.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::daemon::Daemon;

/// Sends `request` and returns the response.
#[track_caller]
pub fn ask(daemon: &Daemon, request: &str) -> String {
    let mut stream = UnixStream::connect(daemon.socket()).expect("the socket answers");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out is set");
    stream.write_all(request.as_bytes()).expect("the request is sent");
    stream.shutdown(Shutdown::Write).expect("the end is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("a response in text");
    answer
}

/// Returns the error number of a response, without its sign.
#[track_caller]
pub fn errno(answer: &str) -> u32 {
    let number: i32 = value_of(answer, "errno").unwrap_or_else(|| panic!("no errno: {answer:?}"));
    number.unsigned_abs()
}

/// Returns the value of the first line with this key.
#[track_caller]
pub fn value_of<T: std::str::FromStr>(answer: &str, key: &str) -> Option<T> {
    let value = answer.lines().filter_map(|line| line.split_once('=')).find(|(name, _)| *name == key)?.1;
    Some(value.parse().unwrap_or_else(|_| panic!("{key} is {value:?}")))
}

/// Returns a key in base64 as the protocol spells it.
#[track_caller]
pub fn key_in_hex(key: &str) -> String {
    let bytes = BASE64.decode(key).expect("a key in base64");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
