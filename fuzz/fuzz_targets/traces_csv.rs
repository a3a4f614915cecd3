//! Comma-separated traces: whatever set is read, is written and read back equal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use maybetun_lab::trace::csv;

fuzz_target!(|bytes: &[u8]| {
    let Ok(loads) = csv::read(bytes) else { return };
    let mut text = Vec::new();
    csv::write(&mut text, &loads).expect("memory takes all");
    assert_eq!(csv::read(&text[..]).expect("what was written can be read"), loads);
});
