//! The command's answers to what is wrong: the file and the place, and 1.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn lab(arguments: &[&str], directory: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_maybetun-lab")).args(arguments).current_dir(directory).output().unwrap()
}

/// Makes sure that a command fails by itself, and returns what it says.
#[track_caller]
fn refused(arguments: &[&str], directory: &Path, code: i32) -> String {
    let output = lab(arguments, directory);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    said
}

#[test]
fn what_is_wrong_with_a_file_is_told_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let done = lab(&["traces", "none", "a.npz", "--sites", "2", "--visits", "2", "--reading", "0"], at);
    assert!(done.status.success(), "{done:?}");
    let whole = fs::read(at.join("a.npz")).unwrap();
    fs::write(at.join("cut.npz"), &whole[..whole.len() / 2]).unwrap();
    fs::write(at.join("bad.csv"), "label,visit\n1,x\n").unwrap();
    fs::write(at.join("bad.trace"), "5,s\n3,q\n").unwrap();
    fs::write(at.join("short.pcapng"), [0x0a, 0x0d, 0x0d, 0x0a, 0xff]).unwrap();
    for file in ["cut.npz", "bad.csv", "bad.trace", "short.pcapng", "none.csv", "a.png"] {
        let said = refused(&["attack", file], at, 1);
        assert!(said.starts_with("error: cannot read the traces: ") && said.contains(file), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    assert!(refused(&["attack", "bad.trace"], at, 1).contains("line 2"));
    assert!(refused(&["convert", "a.npz", "b.trace"], at, 1).contains("4 traces: expected 1"));
    assert!(refused(&["convert", "a.npz", "b.trace", "--only", "4"], at, 1).contains("the file has 4 traces"));
    assert!(refused(&["traces", "none", "/nowhere/a.npz"], at, 1).contains("/nowhere/a.npz"));
    assert!(refused(&["table", "--html", "/nowhere/a.html"], at, 1).contains("/nowhere/a.html"));
}

#[test]
fn what_no_network_is_and_what_is_too_little_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    for (arguments, code, expected) in [
        (&["table", "nosuch"][..], 2, "no defense"),
        (&["table", "--down", "1e9"], 1, "1000000000 Mbit/s: expected 0.01 to 100000"),
        (&["table", "--loss", "1"], 1, "--loss 1: expected 0 to less than 1"),
        (&["table", "--change", "2:5"], 2, "expected SECONDS:DOWN:UP"),
        (&["table", "--windows", "9"], 1, "--windows 9: expected 0, or at least 10"),
        (&["table", "--chromium", "/bin/false"], 1, "with --real"),
        (&["table", "--visits", "9"], 1, "--visits 9: expected at least 10"),
        (&["table", "--sites", "1"], 2, "--sites"),
        (&["table", "--protocol", "h9"], 2, "--protocol"),
        (&["table", "--har", "nosuch.har"], 1, "nosuch.har: "),
        (&["table", "nosuch.machines"], 2, "nosuch.machines: "),
        (&["table", "--real", "--maybetun", "nosuch"], 1, "--maybetun nosuch: build it"),
        (&["validate", "--maybetun", "/bin/false", "--chromium", "nosuch"], 1, "--chromium nosuch: it is not there"),
        (&["delays", "--maybetun", "nosuch"], 1, "--maybetun nosuch: build it"),
        (&["shape", "--json", "/nowhere/a.json"], 1, "/nowhere/a.json"),
    ] {
        let said = refused(arguments, at, code);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}

#[test]
fn each_subcommand_has_one_screen_of_help() {
    let directory = tempfile::tempdir().unwrap();
    for subcommand in ["table", "validate", "delays", "shape", "traces", "attack", "convert"] {
        let help = lab(&[subcommand, "-h"], directory.path());
        let lines = String::from_utf8(help.stdout).unwrap().lines().count();
        assert!(help.status.success() && lines <= 48, "{subcommand}: {lines} lines");
    }
}

#[test]
fn a_set_goes_from_one_program_to_another() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    for line in [
        "traces padding/low a.csv --sites 2 --visits 4 --reading 0 --rtt 20 --down 50 --up 10",
        "convert a.csv a.npz",
        "convert a.csv one.pcapng --only 3",
        "convert one.pcapng one.trace",
    ] {
        let done = lab(&line.split(' ').collect::<Vec<_>>(), at);
        assert!(done.status.success(), "{line}: {done:?}");
    }
    let attack =
        lab(&["attack", "a.npz", "--folds", "2", "--features", "shape", "--confusion", "--json", "a.json"], at);
    let said = String::from_utf8(attack.stdout).unwrap();
    assert!(said.starts_with("8 traces of 2 labels\n") && said.contains("a guess 50.0 %"), "{said}");
    let json = fs::read_to_string(at.join("a.json")).unwrap();
    assert!(json.starts_with('{') && json.contains("\"chance\":0.5") && json.contains("\"version\":1"), "{json}");
}

#[test]
fn pages_that_a_browser_has_exported_are_loaded_in_place_of_drawn_ones() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    for (name, size) in [("small.har", 1_000), ("large.har", 300_000)] {
        let entry = format!(
            r#"{{"startedDateTime":"2026-11-27T10:00:00.000Z","time":50,"request":{{"url":"https://a.test/","headersSize":300,"bodySize":0}},
            "response":{{"status":200,"httpVersion":"h2","headersSize":200,"bodySize":{size}}},"timings":{{}}}}"#
        );
        fs::write(at.join(name), format!(r#"{{"log":{{"entries":[{entry}]}}}}"#)).unwrap();
    }
    let line = "traces none a.csv --har small.har --har large.har --visits 2 --reading 0 --protocol h3";
    let done = lab(&line.split(' ').collect::<Vec<_>>(), at);
    assert!(done.status.success(), "{done:?}");
    let traces = fs::read_to_string(at.join("a.csv")).unwrap();
    let down = |label: &str| {
        let lines = traces.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let sizes = lines.filter(|fields| fields[1] == label && fields[5] == "down").map(|fields| fields[6].to_owned());
        sizes.map(|size| size.parse::<u64>().unwrap()).sum::<u64>()
    };
    assert!((2_000..60_000).contains(&down("0")), "{}", down("0"));
    assert!((600_000..750_000).contains(&down("1")), "{}", down("1"));
    assert_eq!(traces.lines().last().unwrap().split(',').nth(1), Some("1"), "two sites");
}
