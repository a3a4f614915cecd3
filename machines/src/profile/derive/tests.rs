use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::super::Walk;
use super::*;

const ABOUT: About<'_> = About { name: "x", description: "", source: "A test", upload_ratio: None };

/// Counts packets of `bytes`, `every` some milliseconds in a range of milliseconds.
fn flow(traffic: &mut Traffic, direction: Direction, millis: std::ops::Range<u64>, every: usize, bytes: u32) {
    millis.step_by(every).for_each(|at| traffic.add(Duration::from_millis(at), direction, bytes));
}

/// Ten times: five seconds of download at 1 MB/s with 3 % of upload, then five seconds of nothing.
fn on_and_off() -> Traffic {
    let mut traffic = Traffic::new();
    for start in (0..100_000).step_by(10_000) {
        flow(&mut traffic, Direction::Download, start..start + 5_000, 1, 1_000);
        flow(&mut traffic, Direction::Upload, start..start + 5_000, 2, 60);
    }
    flow(&mut traffic, Direction::Download, 99_999..100_000, 1, 1);
    traffic
}

fn names(profile: &Profile) -> Vec<&str> {
    profile.states().iter().map(State::name).collect()
}

#[test]
fn what_goes_on_and_off_has_two_states() {
    let profile = derive(&on_and_off(), &ABOUT).unwrap();
    assert_eq!(names(&profile), ["heavy", "silent"]);
    assert_eq!(profile.shares(), [5_000, 5_000]);
    for (index, state) in profile.states().iter().enumerate() {
        assert_eq!(state.stay().points(), [5_000_000, 5_000_000]);
        assert_eq!(state.next(), [(1 - index, 10)]);
        assert_eq!(state.weight(), 50);
    }
    assert_eq!(profile.upload_ratio(), (300, 300));
    let mean = profile.mean_rates();
    assert!(mean.download.abs_diff(500_000) < 2_000 && mean.upload.abs_diff(15_000) < 100, "{mean:?}");
}

#[test]
fn a_walk_is_as_fast_in_the_long_run_as_the_traffic_was() {
    let traffic = on_and_off();
    let profile = derive(&traffic, &ABOUT).unwrap();
    let mut walk = Walk::new(&profile, ChaCha20Rng::from_seed([3; 32]));
    let seconds = 20_000;
    let [mut upload, mut download] = [0, 0];
    for step in 1..=10 * seconds {
        let rates = walk.at(step * crate::profile::STEP);
        upload += rates.upload;
        download += rates.download;
    }
    let [upload, download] = [upload, download].map(|sum| sum / u64::from(10 * seconds));
    assert!(download.abs_diff(500_000) < 50_000 && upload.abs_diff(15_000) < 1_500, "{upload} {download}");
}

#[test]
fn four_levels_are_told_apart_by_parts_of_the_peak() {
    let mut traffic = Traffic::new();
    for (start, bytes) in [(0, 1_000), (10_000, 200), (20_000, 20), (30_000, 1_000), (50_000, 200)] {
        flow(&mut traffic, Direction::Download, start..start + 10_000, 1, bytes);
        flow(&mut traffic, Direction::Upload, start..start + 10_000, 10, bytes / 2);
    }
    let profile = derive(&traffic, &ABOUT).unwrap();
    assert_eq!(names(&profile), ["heavy", "light", "medium", "silent"]);
    let heavy = &profile.states()[0];
    // To medium, to silent; the capture is followed by itself.
    assert_eq!(heavy.next(), [(2, 1), (3, 1)]);
    assert_eq!(profile.states()[2].next(), [(0, 1), (1, 1)]);
}

#[test]
fn silence_of_50_ms_parts_bursts() {
    let bins = |pattern: &str| cycles(pattern.bytes().map(|byte| u64::from(byte - b'0')));
    let cycle = |bytes, burst: u64, gap: u64| Cycle { bytes, burst: burst * 10_000, gap: gap * 10_000 };
    assert_eq!(bins("1000010000010"), [cycle(2, 6, 5), cycle(1, 1, 1)]);
    assert_eq!(bins("0001110000"), [cycle(3, 3, 7)], "what is before the first is behind the last");
    assert_eq!(bins("000"), []);
    assert_eq!(bins("1"), [cycle(1, 1, 1)]);
    let long = bins(&"1".repeat(250));
    assert_eq!(long, [cycle(100, 99, 1), cycle(100, 99, 1), cycle(50, 49, 1)], "a second at most");
}

#[test]
fn what_tells_nothing_is_refused() {
    let error = |traffic: &Traffic| derive(traffic, &ABOUT).unwrap_err().to_string();
    assert_eq!(error(&Traffic::new()), "no packets of the client in it: is its address right?");
    let mut traffic = Traffic::new();
    flow(&mut traffic, Direction::Download, 0..29_000, 10, 100);
    assert_eq!(error(&traffic), "29 s of traffic, expected at least 30 s");
    flow(&mut traffic, Direction::Download, 29_000..40_000, 10, 100);
    assert_eq!(error(&traffic), "no upload in it: is the client's address right?");
    let about = About { name: "X", ..ABOUT };
    let error = derive(&on_and_off(), &about).unwrap_err().to_string();
    assert_eq!(error, "name: expected 1 to 32 of a-z, 0-9 and `-`");
}

#[test]
fn times_that_go_back_and_days_count_for_what_they_can() {
    let mut traffic = Traffic::new();
    traffic.add(Duration::from_secs(100), Direction::Upload, 1);
    traffic.add(Duration::ZERO, Direction::Upload, u32::MAX);
    traffic.add(Duration::from_secs(100), Direction::Upload, u32::MAX);
    assert_eq!((traffic.bytes(Direction::Upload), traffic.duration()), (u64::from(u32::MAX), BIN));
    traffic.add(Duration::MAX, Direction::Upload, 1);
    traffic.add(Duration::from_secs(100) + MOST_CAPTURED, Direction::Upload, 1);
    assert_eq!((traffic.packets(), traffic.left_out(), traffic.duration()), (3, 2, BIN));
}

#[test]
fn a_ratio_that_is_asked_for_is_kept() {
    let about = About { upload_ratio: Some((300, 800)), ..ABOUT };
    assert_eq!(derive(&on_and_off(), &about).unwrap().upload_ratio(), (300, 800));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_traffic_gives_a_valid_profile_of_its_mean_or_an_error(
        packets in prop::collection::vec((0..200_000u64, any::<bool>(), 0..22u32, any::<u32>()), 0..400),
    ) {
        let mut traffic = Traffic::new();
        for (millis, is_upload, bits, bytes) in packets {
            let direction = if is_upload { Direction::Upload } else { Direction::Download };
            traffic.add(Duration::from_millis(millis), direction, bytes % (2 << bits));
        }
        if let Ok(profile) = derive(&traffic, &ABOUT) {
            prop_assert_eq!(Profile::parse(&profile.to_toml()).unwrap(), profile.clone());
            // The last second may not be whole.
            let whole = traffic.bins().len() / SECOND_BINS * SECOND_BINS;
            let sums = sum(&traffic.bins()[..whole]);
            let mean = profile.mean_rates();
            for (sum, mean) in sums.into_iter().zip([mean.upload, mean.download]) {
                let expected = sum * 100 / whole as u64;
                prop_assert!(mean.abs_diff(expected) <= expected / 10 + 1, "{mean} for {expected}");
            }
        }
    }

    #[test]
    fn hostile_traffic_does_not_panic(
        packets in prop::collection::vec((any::<u64>(), any::<bool>(), any::<u32>()), 0..20),
        near in prop::collection::vec((0..100u64, any::<bool>(), any::<u32>()), 0..50),
    ) {
        let mut traffic = Traffic::new();
        let near = near.into_iter().map(|(seconds, is_upload, bytes)| (seconds * 1_000_000, is_upload, bytes));
        for (micros, is_upload, bytes) in near.chain(packets) {
            let direction = if is_upload { Direction::Upload } else { Direction::Download };
            traffic.add(Duration::from_micros(micros), direction, bytes);
        }
        let _ = derive(&traffic, &ABOUT);
    }
}
