use std::io::Write as _;

use enum_map::enum_map;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use maybenot::counter::Operation;
use maybenot::event::Event;
use maybenot::state::Trans;
use proptest::prelude::*;

use super::tests_support::{NO_OP, states};
use super::*;

fn text_of(decompressed: &[u8], trailing: &[u8]) -> String {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(decompressed).unwrap();
    let mut compressed = encoder.finish().unwrap();
    compressed.extend_from_slice(trailing);
    format!("02{}", BASE64_STANDARD.encode(compressed))
}

fn error_of(text: &str) -> MachineError {
    parse(text).unwrap_err()
}

fn with_action(action: Action) -> Machine {
    let mut machine = states(1);
    machine.states[0].action = Some(action);
    machine
}

fn padding(timeout: Dist) -> Machine {
    with_action(Action::SendPadding { bypass: false, replace: false, timeout, limit: None })
}

fn uniform(low: f64, high: f64) -> Dist {
    Dist::new(DistType::Uniform { low, high }, 0.0, 0.0)
}

#[test]
fn the_text_form_of_maybenot_is_read() {
    assert_eq!(parse(NO_OP).unwrap().serialize(), NO_OP);
    let machine = padding(uniform(1.0, 2.0));
    assert_eq!(parse(&machine.serialize()).unwrap().serialize(), machine.serialize());
}

#[test]
fn another_version_is_named() {
    for found in ["", "0", "01", "03", "2e", "é0", "\u{1b}["] {
        let text = format!("{found}{}", if found.len() < 2 { "" } else { &NO_OP[2..] });
        assert_eq!(error_of(&text), MachineError::Version(found.to_owned()), "{text:?}");
    }
    assert_eq!(error_of("\u{1b}[").to_string(), "the machine begins with \"\\u{1b}[\", expected version 02");
}

#[test]
fn a_text_that_is_cut_off_is_refused_wherever_it_is_cut() {
    let text = padding(uniform(1.0, 2.0)).serialize();
    for length in 0..text.len() {
        let error = error_of(&text[..length]);
        let is_expected = match length {
            ..2 => matches!(error, MachineError::Version(_)),
            _ if length % 4 == 2 => error == MachineError::Damaged,
            _ => error == MachineError::NotBase64,
        };
        assert!(is_expected, "{length}: {error}");
    }
}

#[test]
fn a_wrong_checksum_is_noticed() {
    let mut compressed = BASE64_STANDARD.decode(&NO_OP[2..]).unwrap();
    *compressed.last_mut().unwrap() ^= 1;
    assert_eq!(error_of(&format!("02{}", BASE64_STANDARD.encode(compressed))), MachineError::Damaged);
}

#[test]
fn nothing_may_follow_the_machine() {
    let bytes = canonical(&states(1)).unwrap();
    assert!(parse(&text_of(&bytes, &[])).is_ok());
    assert_eq!(error_of(&text_of(&bytes, b"abc")), MachineError::TrailingBytes(3));
    let longer = [bytes.as_slice(), &[0]].concat();
    assert!(matches!(error_of(&text_of(&longer, &[])), MachineError::Invalid(_)));
}

#[test]
fn a_bomb_is_not_unpacked() {
    assert_eq!(error_of(&text_of(&vec![0; MAX_DECOMPRESSED + 1], &[])), MachineError::TooLarge);
    assert!(matches!(error_of(&text_of(&vec![0; MAX_DECOMPRESSED], &[])), MachineError::Invalid(_)));
    assert_eq!(error_of(&"0".repeat(MAX_TEXT + 1)), MachineError::TooLong(MAX_TEXT + 1));
}

#[test]
fn states_and_transitions_are_bounded() {
    assert_eq!(validate(&states(MAX_STATES)), Ok(()));
    assert_eq!(validate(&states(MAX_STATES + 1)), Err(MachineError::TooManyStates(MAX_STATES + 1)));
    let everywhere = || (0..1_000).map(|index| Trans(index, 0.000_5)).collect::<Vec<_>>();
    let mut machine = states(1_000);
    for state in &mut machine.states[..16] {
        *state = State::new(enum_map! { Event::NormalSent => everywhere(), _ => vec![] });
    }
    assert_eq!(validate(&machine), Err(MachineError::TooManyTransitions(16_984)));
    machine.states.truncate(1_000);
    machine.states[15] = State::new(enum_map! { _ => vec![] });
    assert_eq!(validate(&machine), Ok(()));
    assert_eq!(parse(&machine.serialize()).unwrap().serialize(), machine.serialize());
}

#[test]
fn a_machine_without_states_or_with_wrong_numbers_is_refused() {
    assert!(matches!(validate(&states(0)), Err(MachineError::Invalid(_))));
    for probability in [0.0, -1.0, 1.5] {
        let mut machine = states(1);
        machine.states[0] = State::new(enum_map! { Event::NormalSent => vec![Trans(0, probability)], _ => vec![] });
        assert!(matches!(validate(&machine), Err(MachineError::Invalid(_))), "{probability}");
    }
    let mut machine = states(1);
    machine.max_padding_frac = 1.5;
    assert!(matches!(validate(&machine), Err(MachineError::Invalid(_))));
}

#[test]
fn what_is_not_a_number_is_refused_wherever_it_is() {
    let nan = |what, state| Err(MachineError::NotFinite { what, state });
    let mut machine = states(1);
    machine.max_padding_frac = f64::NAN;
    assert_eq!(validate(&machine), nan("a maximum of padding", None));
    let mut machine = states(1);
    machine.max_blocking_frac = f64::NAN;
    assert_eq!(validate(&machine), nan("a maximum of blocking", None));
    let mut machine = states(2);
    machine.states[1] = State::new(enum_map! { Event::NormalSent => vec![Trans(0, f32::NAN)], _ => vec![] });
    assert_eq!(validate(&machine), nan("a probability", Some(1)));

    let parameter = nan("a parameter of a distribution", Some(0));
    let wrong = Dist { start: f64::NAN, ..uniform(1.0, 1.0) };
    let fine = uniform(1.0, 1.0);
    assert_eq!(validate(&padding(wrong)), parameter);
    assert_eq!(validate(&padding(Dist { max: f64::NAN, ..fine })), parameter);
    assert_eq!(validate(&padding(Dist { start: f64::INFINITY, ..fine })), parameter);
    assert_eq!(validate(&padding(Dist { max: f64::INFINITY, ..fine })), Ok(()));
    let (bypass, replace, limit) = (true, true, Some(wrong));
    for action in [
        Action::SendPadding { bypass, replace, timeout: fine, limit },
        Action::BlockOutgoing { bypass, replace, timeout: fine, duration: wrong, limit: None },
        Action::BlockOutgoing { bypass, replace, timeout: fine, duration: fine, limit },
        Action::UpdateTimer { replace, duration: wrong, limit: None },
        Action::UpdateTimer { replace, duration: fine, limit },
    ] {
        assert_eq!(validate(&with_action(action)), parameter, "{action}");
    }
    for counters in
        [(Some(Counter::new_dist(Operation::Set, wrong)), None), (None, Some(Counter::new_dist(Operation::Set, wrong)))]
    {
        let mut machine = states(1);
        machine.states[0].counter = counters;
        assert_eq!(validate(&machine), parameter);
    }
}

#[test]
fn the_largest_state_fits_its_bound() {
    let limit = Some(Dist::new(DistType::SkewNormal { location: 0.1, scale: 0.1, shape: 0.1 }, 0.1, 0.1));
    let dist = Dist::new(DistType::SkewNormal { location: 0.1, scale: 0.1, shape: 0.1 }, 0.1, 0.1);
    let mut machine =
        with_action(Action::BlockOutgoing { bypass: true, replace: true, timeout: dist, duration: dist, limit });
    let counter = Some(Counter { operation: Operation::Set, dist: limit, copy: true });
    machine.states[0].counter = (counter, counter);
    let one = canonical(&machine).unwrap().len();
    machine.states.push(machine.states[0].clone());
    let two = canonical(&machine).unwrap().len();
    assert!(two - one <= MAX_STATE_BYTES + MAX_TRANSITION_BYTES, "{}", two - one);
}

proptest! {
    #[test]
    fn any_text_is_a_machine_or_an_error(text in ".{0,64}", bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = parse(&text);
        let _ = parse(&format!("02{text}"));
        for text in [format!("02{}", BASE64_STANDARD.encode(&bytes)), text_of(&bytes, &[])] {
            if let Ok(machine) = parse(&text) {
                prop_assert_eq!(canonical(&machine).unwrap(), canonical(&parse(&machine.serialize()).unwrap()).unwrap());
            }
        }
    }

    #[test]
    fn a_damaged_machine_is_a_machine_or_an_error(at in 0..100usize, flip in 1..=255u8) {
        let mut bytes = canonical(&padding(uniform(1.0, 2.0))).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        if let Ok(machine) = parse(&text_of(&bytes, &[])) {
            prop_assert!(parse(&machine.serialize()).is_ok());
        }
    }
}
