use proptest::prelude::*;

use super::*;
use crate::machine::tests_support::NO_OP;
use crate::{MAX_ACTIONS_PER_SECOND, Role};

const FULL: &str = r#"
name = "a-1"
description = "A \"quoted\" one"
source = "https://example.org/paper"

[overhead]
upload = 1
download = 0.25
delay = 0.0

[client]
machines = ["02eNpjYEAHjOgCAAA0AAI="]

[client.limits]
max_padding_frac = 0.5
max_actions_per_second = 1000

[relay]
machines = []
"#;

fn error_of(text: &str) -> String {
    Defense::parse(text).unwrap_err().to_string()
}

fn replaced(from: &str, to: &str) -> String {
    assert!(FULL.contains(from));
    error_of(&FULL.replace(from, to))
}

#[test]
fn every_member_is_read() {
    let defense: Defense = FULL.parse().unwrap();
    assert_eq!(defense.name(), "a-1");
    assert_eq!(defense.description(), "A \"quoted\" one");
    assert_eq!(defense.source(), "https://example.org/paper");
    assert_eq!(defense.overhead(), Some(Overhead { upload: 1.0, download: 0.25, delay: 0.0 }));
    assert_eq!(defense.side(Role::Client).texts(), [NO_OP]);
    let limits = Limits { max_padding_frac: 0.5, max_actions_per_second: 1000.0, ..Limits::default() };
    assert_eq!(defense.client().limits, limits);
    assert!(defense.relay().machines.is_empty());
    assert_eq!(defense.relay().limits, Limits::default());
}

#[test]
fn only_the_name_must_be_there() {
    let defense = Defense::parse("name = \"x\"").unwrap();
    assert!(defense.client().machines.is_empty() && defense.relay().machines.is_empty());
    assert_eq!(defense.overhead(), None);
    assert_eq!(error_of("source = \"x\""), "line 1: missing field `name`");
}

#[test]
fn an_error_names_the_key_and_the_line() {
    assert_eq!(replaced("\"a-1\"", "7"), "name: line 2: invalid type: integer `7`, expected a string");
    assert_eq!(replaced("\"a-1\"", "\"A\""), "name: expected 1 to 64 of a-z, 0-9 and `-`");
    assert_eq!(replaced("0.25", "-0.25"), "overhead.download: -0.25 is not a finite number of at least 0");
    assert_eq!(replaced("0.25", "nan"), "overhead.download: NaN is not a finite number of at least 0");
    assert_eq!(replaced("0.5", "1.5"), "client.limits.max_padding_frac: 1.5 is not a fraction from 0 to 1");
    assert_eq!(replaced("0.5", "\"all\"").split(": ").next(), Some("client.limits.max_padding_frac"));
    assert_eq!(replaced("[]", "[1]").split(": ").next(), Some("relay.machines[0]"));
    assert_eq!(replaced("[]", "[\"03e\"]"), "relay.machines[0]: the machine begins with \"03\", expected version 02");
    assert_eq!(
        replaced("0AAI=", "0AAI"),
        "client.machines[0]: the machine is cut off or damaged: expected base64 after the version"
    );
}

#[test]
fn keys_that_a_defense_has_not_are_refused() {
    for (from, to, key) in [
        ("name", "nam = 1\nname", "nam"),
        ("upload", "uplode = 1\nupload", "overhead.uplode"),
        ("[client]", "[client]\nmachine = 1", "client.machine"),
        ("max_padding_frac", "max_frac = 1\nmax_padding_frac", "client.limits.max_frac"),
    ] {
        let error = replaced(from, to);
        assert!(error.starts_with(&format!("{key}: line ")) && error.contains("unknown field"), "{error}");
    }
}

#[test]
fn what_is_not_toml_is_told_with_its_line() {
    assert!(error_of("name = \"x\"\n[client").starts_with("line 2: "), "{}", error_of("name = \"x\"\n[client"));
    assert!(error_of("name = \"x\"\nname = \"y\"").contains("line 2: "));
    assert!(!error_of("\"\\u001b[2J\" = 1\nname = 1").contains('\u{1b}'));
}

#[test]
fn a_text_has_a_bound() {
    let text = format!("name = \"x\"\n#{}", "x".repeat(MAX_FILE));
    assert_eq!(error_of(&text[..MAX_FILE + 1]), format!("{} bytes, expected at most {MAX_FILE}", MAX_FILE + 1));
    assert!(Defense::parse(&text[..MAX_FILE]).is_ok());
    // Deep nesting must not exhaust the stack.
    assert!(Defense::parse(&format!("name = {}", "[".repeat(100_000))).is_err());
    assert!(Defense::parse(&format!("name = {}", "{a=".repeat(100_000))).is_err());
}

prop_compose! {
    fn side()(machines in 0..=MAX_MACHINES, padding in 0.0..=1.0, blocking in 0.0..=1.0,
              actions in 0.001..=MAX_ACTIONS_PER_SECOND) -> Side {
        let limits =
            Limits { max_padding_frac: padding, max_blocking_frac: blocking, max_actions_per_second: actions };
        Side::parse(&vec![NO_OP; machines], limits).unwrap()
    }
}

prop_compose! {
    fn overhead()(upload in 0.0..1e9, download in 0.0..1e9, delay in 0.0..1e9) -> Overhead {
        Overhead { upload, download, delay }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        name in "[a-z0-9-]{1,64}", description in "\\PC{0,256}", source in "\\PC{0,512}",
        overhead in prop::option::of(overhead()), client in side(), relay in side(),
    ) {
        prop_assume!(name != "off");
        let defense = Defense::from_machines(&name, client, relay).unwrap();
        let defense = defense.with_texts(&description, &source).unwrap().with_overhead(overhead).unwrap();
        let text = defense.to_toml();
        let again = Defense::parse(&text).unwrap();
        prop_assert_eq!(&again, &defense);
        prop_assert_eq!(again.digest(), defense.digest());
        prop_assert_eq!(again.to_toml(), text);
    }

    #[test]
    fn any_text_is_a_defense_or_an_error(text in "\\PC{0,200}", cut in 0..FULL.len(), flip in 1..128u8) {
        let _ = Defense::parse(&text);
        let _ = Defense::parse(&format!("name = \"x\"\n{text}"));
        let mut damaged = FULL.as_bytes().to_vec();
        damaged[cut] ^= flip;
        if let Ok(damaged) = String::from_utf8(damaged) {
            let _ = Defense::parse(&damaged);
        }
        let _ = Defense::parse(&FULL[..cut]);
    }
}
