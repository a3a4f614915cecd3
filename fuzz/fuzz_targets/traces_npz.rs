//! Arrays of numpy: whatever set is read, is written and read back equal.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use maybetun_lab::trace::npz;

fuzz_target!(|bytes: &[u8]| {
    let Ok(loads) = npz::read(Cursor::new(bytes)) else { return };
    let longest = loads.iter().map(|load| load.trace.len()).max().unwrap_or(0);
    // Written, the rows of few loads can outgrow memory: they are as long as the longest one.
    if loads.len() * longest > 1 << 20 {
        return;
    }
    let mut file = Cursor::new(Vec::new());
    npz::write(&mut file, &loads).expect("what was read can be written");
    let read = npz::read(file).expect("what was written can be read");
    assert!(read.iter().map(|load| load.trace.len()).eq(loads.iter().map(|load| load.trace.len())));
});
