//! Defenses in TOML, and machines in Maybenot's text form: whatever parses, is written as a text that parses back equal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use maybetun_machines::{Defense, Limits, Side, machine};

fuzz_target!(|text: &str| {
    if let Ok(defense) = Defense::parse(text) {
        match Defense::parse(&defense.to_toml()) {
            Ok(again) => assert_eq!(again, defense),
            Err(error) => panic!("{error}"),
        }
    }
    if let Ok(machine) = machine::parse(text) {
        let side = Side { machines: [machine].into(), limits: Limits::default() };
        let defense = Defense::from_machines("fuzz", side, Side::default()).expect("a machine that parses is valid");
        assert_eq!(Defense::parse(&defense.to_toml()), Ok(defense));
    }
});
