//! Traffic profiles in TOML: whatever parses, is written as a text that parses back equal, and walked within its bounds.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use maybetun_machines::profile::{Direction, MAX_RATE, Profile, Rates, STEP, Walk};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

fuzz_target!(|text: &str| {
    let Ok(profile) = Profile::parse(text) else { return };
    match Profile::parse(&profile.to_toml()) {
        Ok(again) => assert_eq!(again, profile),
        Err(error) => panic!("{error}"),
    }
    let [up, down] = Direction::ALL.map(|direction| profile.peak(direction));
    assert!(up <= MAX_RATE && down <= MAX_RATE);
    let mean = profile.mean_rates();
    assert!(mean.upload <= up && mean.download <= down, "{mean:?}");
    let steps = u64::try_from(profile.inertia().as_millis() / STEP.as_millis()).expect("inertia is bounded");
    let most = |peak: u64| peak / steps + 1;
    let mut walk = Walk::new(&profile, ChaCha20Rng::from_seed([1; 32]));
    let mut before = Rates::default();
    for step in 0..500 {
        let rates = walk.at(STEP * step);
        assert!(rates.upload <= up && rates.download <= down, "{rates:?}");
        assert!(rates.upload.abs_diff(before.upload) <= most(up), "{before:?} {rates:?}");
        assert!(rates.download.abs_diff(before.download) <= most(down), "{before:?} {rates:?}");
        before = rates;
    }
    let after = walk.at(Duration::from_secs(1 << 40));
    assert_eq!(after, before, "a jump leaves the rates where they were");
});
