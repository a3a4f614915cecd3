//! Captures: whatever trace is read, is written and read back equal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use maybetun_lab::trace::pcapng;

fuzz_target!(|bytes: &[u8]| {
    let Ok(trace) = pcapng::read(bytes, None) else { return };
    let mut capture = Vec::new();
    // A later fragment can be smaller than the headers of a datagram, which are what is written.
    if pcapng::write(&mut capture, &trace).is_err() {
        return;
    }
    let client = [192, 0, 2, 1].into();
    assert_eq!(pcapng::read(&capture[..], Some(client)).expect("what was written can be read"), trace);
});
