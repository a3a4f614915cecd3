//! Traces of Maybenot's simulator: whatever is read, is written and read back equal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use maybetun_lab::trace::simulator;

fuzz_target!(|bytes: &[u8]| {
    let Ok(trace) = simulator::read(bytes) else { return };
    let mut text = Vec::new();
    simulator::write(&mut text, &trace).expect("memory takes all");
    assert_eq!(simulator::read(&text[..]).expect("what was written can be read"), trace);
});
