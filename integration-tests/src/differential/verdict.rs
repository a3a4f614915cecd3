//! Whether two outcomes of one file are the same, or differ as they are known to.

use super::grammar::{Line, Mark};
use super::known::{Difference, Refuser};
use super::side::{FILE, LINKS, Outcome};

/// The exit code for a file that is wrong.
const CONFIG: i32 = 3;

/// Bytes that a tunnel adds to a packet, over either IP version.
const OVERHEAD_IPV4: u32 = 60;
const OVERHEAD_IPV6: u32 = 80;

/// What is compared in its own way, or not at all.
const APART: [&str; 4] = ["filter", "wg", "calls", "mark"];

/// Tells whether `ours` is what is to be expected beside `theirs`.
///
/// # Errors
/// What is not.
pub(super) fn judge(lines: &[Line], theirs: &Outcome, ours: &Outcome) -> Result<(), String> {
    let marks = (1..).zip(lines).filter_map(|(number, line)| Some((number, line.mark?)));
    let mut known: Vec<Difference> = Vec::new();
    let mut places = Vec::new();
    for (number, mark) in marks {
        match mark {
            Mark::Known(difference) => known.push(difference),
            Mark::Mistyped(meant) => places.push((number, meant)),
        }
    }
    nothing_is_left(ours)?;
    if ours.code == CONFIG && !names_a_line(&ours.said) {
        return Err(format!("a refusal names no line: {}", ours.said));
    }
    if let Some(difference) = known.iter().find(|difference| difference.side == Refuser::Us) {
        return match ours.code {
            CONFIG => Ok(()),
            code => Err(format!("should have been refused, not ended with {code}: {}", difference.reason)),
        };
    }
    let is_theirs_alone = known.iter().any(|difference| difference.side == Refuser::WgQuick);
    match (theirs.is_up(), ours.is_up()) {
        (true, true) => is_the_same(lines, theirs, ours),
        (false, true) if is_theirs_alone => Ok(()),
        (false, true) => Err(format!("only wg-quick refuses it: {}", theirs.said)),
        (true, false) => Err(format!("only we refuse it: {}", ours.said)),
        (false, false) => match places.first() {
            Some((number, meant)) => is_suggested(*number, meant, &ours.said),
            None => Ok(()),
        },
    }
}

fn names_a_line(said: &str) -> bool {
    let mut places = said.split(FILE).skip(1);
    places.any(|rest| rest.strip_prefix(':').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())))
}

/// Makes sure that a mistyped word is named, and what was meant.
fn is_suggested(line: usize, meant: &str, said: &str) -> Result<(), String> {
    let place = format!("{FILE}:{line}: ");
    if said.contains(&place) && said.contains(&format!("did you mean {meant}?")) {
        return Ok(());
    }
    Err(format!("should say {place} and suggest {meant}: {said}"))
}

/// Makes sure that the host is what it was before. The setting for marks stays, as with `wg-quick`.
fn nothing_is_left(ours: &Outcome) -> Result<(), String> {
    let left = ours.down.without(&["mark", "calls"]).difference(&ours.before.without(&["mark", "calls"]));
    if !left.is_empty() {
        return Err(format!("left behind: {left:#?}\n{}", ours.said));
    }
    if ours.ended != 0 {
        return Err(format!("down ended with {}", ours.ended));
    }
    Ok(())
}

fn is_the_same(lines: &[Line], theirs: &Outcome, ours: &Outcome) -> Result<(), String> {
    let apart = if is_path_followed(theirs, ours) { &[&APART[..], &["link"]].concat()[..] } else { &APART };
    let mut found = theirs.up.without(apart).difference(&ours.up.without(apart));
    found.extend(theirs.up.difference_of_wg(&ours.up, has_port(lines)));
    found.extend(filters(theirs, ours));
    for name in ["calls", "mark"] {
        let (left, right) = (theirs.down.lines(name), ours.down.lines(name));
        if left != right {
            found.push(format!("{name}: {left:?}, and ours {right:?}"));
        }
    }
    if found.is_empty() { Ok(()) } else { Err(format!("{found:#?}")) }
}

/// Tells whether the file says a larger MTU than the path to the peer takes, and ours is what that does take.
fn is_path_followed(theirs: &Outcome, ours: &Outcome) -> bool {
    let [theirs, ours] = [theirs, ours].map(|side| side.up.mtu().unwrap_or_default());
    let paths = LINKS.iter().map(|(_, mtu, ..)| u32::from(*mtu));
    ours < theirs
        && paths
            .flat_map(|path| [OVERHEAD_IPV4, OVERHEAD_IPV6].map(|bytes| path.saturating_sub(bytes)))
            .any(|fits| ours == fits)
}

/// Tells whether the file says which port to listen on: what is drawn differs.
fn has_port(lines: &[Line]) -> bool {
    let said = lines.iter().rev().find_map(|line| {
        let text = String::from_utf8_lossy(&line.text).to_ascii_lowercase();
        let text: String = text.split('#').next()?.chars().filter(|c| !c.is_whitespace()).collect();
        Some(text.strip_prefix("listenport=")?.trim_start_matches('0').to_owned())
    });
    said.is_some_and(|port| !port.is_empty())
}

/// Our packet filter guards every address as soon as there is a default route; `wg-quick` those of its family.
fn filters(theirs: &Outcome, ours: &Outcome) -> Vec<String> {
    let (left, right) = (theirs.up.lines("filter"), ours.up.lines("filter"));
    let missing = left.iter().filter(|line| !right.contains(line)).map(|line| format!("filter - {line}"));
    let is_new = |line: &&String| !left.contains(line) && (left.is_empty() || !line.starts_with("guards"));
    let addresses = ours.up.lines("address");
    let is_of_nobody = |line: &&String| {
        line.strip_prefix("guards ")
            .is_some_and(|guarded| !addresses.iter().any(|address| address.split('/').next() == Some(guarded)))
    };
    let new = right.iter().filter(|line| is_new(line) || is_of_nobody(line)).map(|line| format!("filter + {line}"));
    missing.chain(new).collect()
}
