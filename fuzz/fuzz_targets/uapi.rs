//! The texts of the configuration socket: whatever parses, formats to a text that parses back equal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use maybetun::uapi::{request, response};

fuzz_target!(|text: &str| {
    let zone_index = |name: &str| (name == "eth0").then_some(2);
    if let Ok(request) = request::parse(text, zone_index) {
        let formatted = request::format(&request);
        assert_eq!(request::parse(&formatted, |_| None), Ok(request));
    }
    if let Ok(status) = response::parse(text, zone_index) {
        assert_eq!(response::parse(&response::format(&status), zone_index), Ok(status));
    }
    let _ = response::parse_errno(text);
});
