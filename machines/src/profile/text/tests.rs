use proptest::prelude::*;

use super::super::{MAX_INERTIA, MAX_POINTS};
use super::*;

const FULL: &str = r#"
name = "a-1"
description = "A \"quoted\" one"
source = "Nowhere"
upload_ratio = [300, 800]
inertia = 1500000

[states.heavy]
weight = 3
stay = [1000000, 2000000, 60000000]
next = { silent = 1 }
upload = { burst = [1, 100], rate = [1, 1000], gap = [10000, 20000] }
download = { burst = [100, 100], rate = [1250000000, 1250000000], gap = [10000, 86400000000] }

[states.silent]
weight = 1000000
stay = [10000, 10000]
next = { heavy = 2, silent = 1 }
"#;

fn error_of(text: &str) -> String {
    Profile::parse(text).unwrap_err().to_string()
}

fn replaced(from: &str, to: &str) -> String {
    assert!(FULL.contains(from), "{from}");
    error_of(&FULL.replacen(from, to, 1))
}

#[test]
fn every_member_is_read() {
    let profile: Profile = FULL.parse().unwrap();
    assert_eq!(profile.name(), "a-1");
    assert_eq!(profile.description(), "A \"quoted\" one");
    assert_eq!(profile.source(), "Nowhere");
    assert_eq!(profile.upload_ratio(), (300, 800));
    assert_eq!(profile.inertia(), Duration::from_millis(1_500));
    let [heavy, silent] = profile.states() else { panic!("{:?}", profile.states()) };
    assert_eq!((heavy.name(), heavy.weight(), heavy.next()), ("heavy", 3, &[(1, 1)][..]));
    assert_eq!(heavy.stay().points(), [1_000_000, 2_000_000, 60_000_000]);
    assert_eq!(heavy.activity(Direction::Upload).unwrap().rate().points(), [1, 1_000]);
    assert_eq!(heavy.activity(Direction::Download).unwrap().gap().points(), [10_000, 86_400_000_000]);
    assert_eq!((silent.name(), silent.next()), ("silent", &[(0, 2), (1, 1)][..]));
    assert!(Direction::ALL.iter().all(|direction| silent.activity(*direction).is_none()));
    assert_eq!((profile.peak(Direction::Upload), profile.peak(Direction::Download)), (1_000, MAX_RATE));
}

#[test]
fn an_error_names_the_key_the_state_and_what_was_expected() {
    for (from, to, error) in [
        ("\"a-1\"", "\"A\"", "name: expected 1 to 32 of a-z, 0-9 and `-`"),
        ("\"Nowhere\"", "\"a\\nb\"", "source: expected one line of at most 1024 printable characters"),
        ("[300, 800]", "[900, 800]", "upload_ratio: 900 to 800, expected the lower one first"),
        ("1500000", "99999", "inertia: 99999, expected 100000 to 60000000"),
        ("1500000", "60000001", "inertia: 60000001, expected 100000 to 60000000"),
        ("weight = 3", "weight = 0", "states.heavy.weight: 0, expected 1 to 1000000"),
        ("weight = 3", "weight = 1000001", "states.heavy.weight: 1000001, expected 1 to 1000000"),
        ("[1000000, 2", "[9999, 2", "states.heavy.stay[0]: 9999, expected 10000 to 86400000000"),
        ("[1000000, 2", "[3000000, 2", "states.heavy.stay[1]: 2000000, expected at least 3000000: quantiles ascend"),
        ("[10000, 10000]", "[10000]", "states.silent.stay: 1 points, expected 2 to 33"),
        ("burst = [1,", "burst = [0,", "states.heavy.upload.burst[0]: 0, expected 1 to 1099511627776"),
        ("rate = [1,", "rate = [0,", "states.heavy.upload.rate[0]: 0, expected 1 to 1250000000"),
        ("1250000000]", "1250000001]", "states.heavy.download.rate[1]: 1250000001, expected 1 to 1250000000"),
        ("gap = [10000, 2", "gap = [0, 2", "states.heavy.upload.gap[0]: 0, expected 10000 to 86400000000"),
        ("{ silent = 1 }", "{}", "states.heavy.next: expected at least one state, which may be this one"),
        ("{ silent = 1 }", "{ silent = 0 }", "states.heavy.next.silent: 0, expected 1 to 1000000"),
        (
            "{ silent = 1 }",
            "{ light = 1 }",
            "states.heavy.next.light: no such state, expected one of [\"heavy\", \"silent\"]",
        ),
        ("[states.silent]", "[states.Silent]", "states.Silent: expected 1 to 32 of a-z, 0-9 and `-`"),
    ] {
        assert_eq!(replaced(from, to), error);
    }
}

#[test]
fn what_is_no_number_or_no_key_is_told_with_its_line() {
    assert_eq!(replaced("\"a-1\"", "7"), "name: line 2: invalid type: integer `7`, expected a string");
    for (from, to, start) in [
        ("weight = 3", "weight = 3.5", "states.heavy.weight: line 9: "),
        ("weight = 3", "weight = -1", "states.heavy.weight: line 9: "),
        ("weight = 3", "weigh = 3", "states.heavy.weigh: line 9: unknown field"),
        ("[300, 800]", "[300, 80000]", "upload_ratio[1]: line 5: "),
        ("burst = [1, 100]", "burst = [1, \"x\"]", "states.heavy.upload.burst[1]: line 12: "),
        ("inertia", "inert", "inert: line 6: unknown field"),
    ] {
        let error = replaced(from, to);
        assert!(error.starts_with(start), "{error}");
    }
}

#[test]
fn a_text_has_a_bound() {
    let text = format!("{FULL}#{}", "x".repeat(MAX_PROFILE));
    assert_eq!(
        error_of(&text[..MAX_PROFILE + 1]),
        format!("{} bytes, expected at most {MAX_PROFILE}", MAX_PROFILE + 1)
    );
    assert!(Profile::parse(&text[..MAX_PROFILE]).is_ok());
    assert!(Profile::parse(&format!("name = {}", "[".repeat(MAX_PROFILE / 2))).is_err());
    let states: String = (0..=MAX_STATES)
        .map(|index| format!("[states.s{index}]\nweight = 1\nstay = [10000, 10000]\nnext = {{ s0 = 1 }}\n"))
        .collect();
    let error = error_of(&format!("name = \"x\"\nupload_ratio = [0, 0]\ninertia = 100000\n{states}"));
    assert_eq!(error, "states: 17 states, expected 1 to 16");
    assert_eq!(
        error_of("name = \"x\"\nupload_ratio = [0, 0]\ninertia = 100000\nstates = {}"),
        "states: 0 states, expected 1 to 16"
    );
}

fn micros(time: Duration) -> u64 {
    time.as_micros() as u64
}

/// Ascending points, as often small as large.
fn points(least: u64, most: u64) -> impl Strategy<Value = Vec<u64>> {
    let bits = most.ilog2();
    let point = (0..=bits, any::<u64>()).prop_map(move |(bits, draw)| (draw % (2u64 << bits)).clamp(least, most));
    prop::collection::vec(point, 2..=MAX_POINTS).prop_map(|mut points| {
        points.sort_unstable();
        points
    })
}

fn times_of(most: u64) -> impl Strategy<Value = Vec<u64>> {
    points(micros(MIN_TIME), most)
}

prop_compose! {
    fn activity()(
        burst in points(1, MAX_BURST), rate in points(1, MAX_RATE), gap in times_of(micros(MAX_TIME)),
    ) -> ActivityTable {
        ActivityTable { burst, rate, gap }
    }
}

prop_compose! {
    fn state(states: usize)(
        weight in 1..=MAX_WEIGHT, stay in times_of(100_000_000),
        next in prop::collection::btree_map(0..states, 1..=MAX_WEIGHT, 1..=states),
        upload in prop::option::of(activity()), download in prop::option::of(activity()),
    ) -> StateTable {
        let next = next.into_iter().map(|(index, weight)| (format!("s{index:02}"), weight)).collect();
        StateTable { weight, stay, next, upload, download }
    }
}

/// Any valid profile.
pub(in crate::profile) fn profiles() -> impl Strategy<Value = Profile> {
    let states = (1..=MAX_STATES).prop_flat_map(|count| prop::collection::vec(state(count), count));
    let texts = ("[a-z0-9-]{1,32}", "\\PC{0,256}", "\\PC{0,1024}");
    (texts, any::<(u16, u16)>(), 100_000..=micros(MAX_INERTIA), states).prop_map(
        |((name, description, source), ratio, inertia, states)| {
            let upload_ratio = (ratio.0.min(ratio.1), ratio.0.max(ratio.1));
            let states = states.into_iter().enumerate().map(|(index, state)| (format!("s{index:02}"), state)).collect();
            let document = Document { name, description, source, upload_ratio, inertia, states };
            Profile::parse(&toml::to_string(&document).unwrap()).unwrap()
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(profile in profiles()) {
        let text = profile.to_toml();
        let again = Profile::parse(&text).unwrap();
        prop_assert_eq!(&again, &profile);
        prop_assert_eq!(again.to_toml(), text);
    }

    #[test]
    fn any_text_is_a_profile_or_an_error(text in "\\PC{0,200}", cut in 0..FULL.len(), flip in 1..128u8) {
        let _ = Profile::parse(&text);
        let mut damaged = FULL.as_bytes().to_vec();
        damaged[cut] ^= flip;
        if let Ok(damaged) = String::from_utf8(damaged) {
            let _ = Profile::parse(&damaged);
        }
        let _ = Profile::parse(&FULL[..cut]);
    }
}
