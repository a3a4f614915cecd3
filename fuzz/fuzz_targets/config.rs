//! Configuration files: whatever parses, formats to a text that parses back equal but for the lines of hooks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use maybetun::config::{self, Config};

fuzz_target!(|text: &[u8]| {
    let Ok(config) = config::parse(text) else { return };
    let formatted = config::format(&config);
    // Spelled out, lists can outgrow the bound of a file.
    if formatted.len() > config::MAX_FILE {
        return;
    }
    match config::parse(&formatted) {
        Ok(again) => assert_eq!(without_lines(again), without_lines(config)),
        Err(error) => panic!("{error}"),
    }
});

fn without_lines(mut config: Config) -> Config {
    let interface = &mut config.interface;
    let hooks = [&mut interface.pre_up, &mut interface.post_up, &mut interface.pre_down, &mut interface.post_down];
    for hook in hooks.into_iter().flatten() {
        hook.line = 0;
    }
    config
}
