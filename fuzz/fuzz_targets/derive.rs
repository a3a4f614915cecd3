//! Captures and the profiles of them: whatever is derived, is valid and written as a text that parses back equal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use maybetun_machines::profile::Profile;
use maybetun_machines::profile::capture;
use maybetun_machines::profile::derive::{About, derive};

fuzz_target!(|bytes: &[u8]| {
    let Ok(capture) = capture::read(bytes, &[]) else { return };
    let about = About { name: "fuzz", description: "", source: "", upload_ratio: None };
    let Ok(profile) = derive(&capture.traffic, &about) else { return };
    match Profile::parse(&profile.to_toml()) {
        Ok(again) => assert_eq!(again, profile),
        Err(error) => panic!("{error}"),
    }
});
