use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::super::text::tests::profiles;
use super::super::{MAX_RATE, ProfileName};
use super::*;

fn walk(profile: &Profile, seed: u8) -> Walk<ChaCha20Rng> {
    Walk::new(profile, ChaCha20Rng::from_seed([seed; 32]))
}

fn at_step(walk: &mut Walk<ChaCha20Rng>, step: u32) -> [u64; 2] {
    let Rates { upload, download } = walk.at(step * STEP);
    [upload, download]
}

/// A profile with a single state, in which only the download does anything.
fn steady(inertia: u64, burst: &str, rate: &str, gap: &str) -> Profile {
    let text = format!(
        "name = \"x\"\nupload_ratio = [0, 0]\ninertia = {inertia}\n[states.a]\nweight = 1\nstay = [1000000, 9000000]\n\
         next.a = 1\ndownload = {{ burst = {burst}, rate = {rate}, gap = {gap} }}"
    );
    Profile::parse(&text).unwrap()
}

#[test]
fn a_walk_begins_at_zero_and_is_constant_between_points_of_the_grid() {
    let mut walk = walk(ProfileName::Download.profile(), 1);
    assert_eq!(walk.at(Duration::ZERO), Rates::default());
    assert_eq!(walk.at(STEP - Duration::from_nanos(1)), Rates::default());
    walk.at(60 * STEP);
    let clone = walk.clone();
    assert_eq!(walk.at(60 * STEP + STEP / 2), clone.clone().at(60 * STEP));
}

#[test]
fn time_that_goes_back_gives_what_the_last_gave() {
    let mut walk = walk(ProfileName::Web.profile(), 2);
    let last = walk.at(1_000 * STEP);
    assert_eq!(walk.at(STEP), last);
    assert_eq!(walk.at(Duration::ZERO), last);
    assert_eq!(walk.at(1_000 * STEP), last);
}

#[test]
fn a_jump_of_days_takes_no_simulation_and_leaves_the_rates_where_they_were() {
    let mut walk = walk(ProfileName::Video.profile(), 3);
    let before = walk.at(600 * STEP);
    let days = Duration::from_secs(5 * 86_400);
    assert_eq!(walk.at(days), before);
    let goes_on = (1..3_000).any(|step| at_step(&mut walk, 5 * 864_000 + step)[1] > 0);
    assert!(goes_on);
    walk.at(Duration::MAX);
    assert_eq!(walk.at(days), walk.at(Duration::MAX));
}

#[test]
fn a_continuous_flow_reaches_its_rate_and_no_more() {
    let profile = steady(1_000_000, "[1000000000, 1000000000]", "[5000000, 5000000]", "[10000, 10000]");
    let mut walk = walk(&profile, 4);
    let rates: Vec<_> = (0..200).map(|step| at_step(&mut walk, step)[1]).collect();
    assert!(rates.iter().all(|rate| *rate <= 5_000_000));
    assert!(rates[199] > 4_990_000, "{}", rates[199]);
    assert!(rates[1] < 60_000 && rates[10] < 1_600_000, "it has momentum: {rates:?}");
}

#[test]
fn the_long_run_is_as_fast_as_the_tables_say() {
    for name in ProfileName::ALL {
        let (profile, hours) = (name.profile(), 12);
        let mean = profile.mean_rates();
        let mut sums = [0; 2];
        for seed in 0..hours {
            let mut walk = walk(profile, seed);
            for step in 1..=36_000 {
                sums.iter_mut().zip(at_step(&mut walk, step)).for_each(|(sum, rate)| *sum += rate);
            }
        }
        for (sum, mean) in sums.into_iter().zip([mean.upload, mean.download]) {
            let walked = sum / (36_000 * u64::from(hours));
            assert!(walked.abs_diff(mean) <= mean / 8, "{name}: {walked} for {mean}");
        }
    }
}

/// These numbers are the same on every machine; others mean that both ends of a tunnel of two versions differ.
#[test]
fn a_seed_gives_these_rates_everywhere() {
    let profile = steady(1_000_000, "[1000, 90000, 4000000]", "[100000, 3000000]", "[10000, 700000]");
    let mut walk = walk(&profile, 9);
    let rates = [10, 50, 100, 500, 1_000].map(|step| at_step(&mut walk, step)[1]);
    assert_eq!(rates, [73_994, 720_821, 886_121, 855_451, 1_140_793]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rates_have_momentum_whatever_the_profile(profile in profiles(), seed: u8) {
        let mut walk = walk(&profile, seed);
        let inertia = u64::from(profile.inertia_steps());
        let peaks = Direction::ALL.map(|direction| profile.peak(direction));
        prop_assert!(peaks.iter().all(|peak| *peak <= MAX_RATE));
        let mut before = [[0i128; 2]; 2];
        for step in 1..2_000 {
            let rates = at_step(&mut walk, step);
            for direction in 0..2 {
                let (rate, peak) = (i128::from(rates[direction]), i128::from(peaks[direction]));
                let velocity = rate - before[direction][0];
                let acceleration = velocity - before[direction][1];
                prop_assert!(rate <= peak);
                prop_assert!(velocity.abs() <= peak / i128::from(inertia) + 1, "{velocity} of {peak}");
                let most = 2 * peak / i128::from(inertia * inertia) + 3;
                // The first low-pass is behind by a step.
                prop_assert!(acceleration.abs() <= most.min(2 * peak), "{acceleration} of {most}");
                before[direction] = [rate, velocity];
            }
        }
    }

    #[test]
    fn how_often_a_walk_is_asked_changes_nothing(
        profile in profiles(), seed: u8, asked in prop::collection::vec(0..4_000_000u64, 1..40),
    ) {
        let mut fine = walk(&profile, seed);
        let mut asked = asked;
        asked.sort_unstable();
        let mut coarse = walk(&profile, seed);
        let mut step = 0;
        for micros in asked {
            let elapsed = Duration::from_micros(micros * 50);
            while STEP * step <= elapsed {
                fine.at(STEP * step);
                step += 1;
            }
            prop_assert_eq!(fine.at(elapsed), coarse.at(elapsed));
        }
    }

    #[test]
    fn smoothing_keeps_the_mean(profile in profiles(), seed: u8) {
        let mut walk = walk(&profile, seed);
        let (mut raw, mut smooth) = ([0u128; 2], [0u128; 2]);
        let steps = 20_000;
        for step in 1..=steps {
            let rates = at_step(&mut walk, step);
            for direction in Direction::ALL {
                raw[direction as usize] += u128::from(walk.raw(direction));
                smooth[direction as usize] += u128::from(rates[direction as usize]);
            }
        }
        for direction in Direction::ALL {
            let (raw, smooth) = (raw[direction as usize], smooth[direction as usize]);
            // What is still on its way through the low-passes at the end, and a byte a second of rounding.
            let late = u128::from(profile.peak(direction)) * 2 * u128::from(profile.inertia_steps());
            prop_assert!(raw.abs_diff(smooth) <= raw / 10 + late + u128::from(steps) * 2, "{raw} {smooth}");
        }
    }
}
