//! Files as the manual pages of `wg` and `wg-quick` let them be written, drawn from a seed.

use super::dice::Dice;
use super::known::Difference;
use super::{interface, peer};

/// A line of a file.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) text: Vec<u8>,
    pub(super) mark: Option<Mark>,
}

/// What is to be expected of a line.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mark {
    /// One side refuses it, on purpose.
    Known(Difference),
    /// Both sides refuse it, and we say what was meant.
    Mistyped(&'static str),
}

/// A key and its value, before they are spelled.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: &'static str,
    pub(super) value: String,
    pub(super) mark: Option<Mark>,
}

impl Entry {
    pub(super) fn new(key: &'static str, value: impl Into<String>) -> Self {
        Self { key, value: value.into(), mark: None }
    }

    pub(super) fn known(key: &'static str, value: impl Into<String>, difference: Difference) -> Self {
        Self { mark: Some(Mark::Known(difference)), ..Self::new(key, value) }
    }

    pub(super) fn mistyped(key: &'static str, value: impl Into<String>, meant: &'static str) -> Self {
        Self { mark: Some(Mark::Mistyped(meant)), ..Self::new(key, value) }
    }
}

/// The keys that `wg` reads, which passes over spaces everywhere.
const OF_WG: [&str; 8] = [
    "PrivateKey",
    "ListenPort",
    "FwMark",
    "PublicKey",
    "PresharedKey",
    "AllowedIPs",
    "Endpoint",
    "PersistentKeepalive",
];

/// Draws the file of a seed. At most one of its lines has something odd about it, and most have none.
pub(super) fn draw(seed: u64) -> Vec<Line> {
    let mut dice = Dice::new(seed);
    let mut lines = Vec::new();
    let odd = dice.chance(35);
    let odd_interface = odd && dice.chance(50);
    let odd_section = odd && !odd_interface && dice.chance(12);
    let odd_end = odd && !odd_interface && !odd_section && dice.chance(10);

    let entries = interface::entries(&mut dice, odd_interface);
    let mut sections = vec![("Interface", entries)];
    if dice.chance(8) {
        let mut more = interface::entries(&mut dice, false);
        more.retain(|entry| entry.key != "PrivateKey" && entry.key != "Address");
        sections.push(("Interface", more));
    }
    let peers = dice.below(4);
    let odd_peer =
        if odd && !odd_interface && !odd_section && !odd_end { dice.below(peers.max(1)) } else { usize::MAX };
    for number in 0..peers {
        sections.push(("Peer", peer::entries(&mut dice, number == odd_peer)));
    }
    if dice.chance(10) {
        dice.shuffle(&mut sections);
    }
    if dice.chance(10) {
        lines.push(comment(&mut dice));
    }
    let odd_at = if odd_section { dice.below(sections.len()) } else { usize::MAX };
    for (at, (name, entries)) in sections.into_iter().enumerate() {
        if at == odd_at {
            lines.push(odd_header(&mut dice, name));
        } else {
            lines.push(header(&mut dice, name));
        }
        for entry in entries {
            lines.push(spelled(&mut dice, entry));
            if dice.chance(6) {
                lines.push(comment(&mut dice));
            }
        }
        if dice.chance(70) {
            lines.push(Line { text: Vec::new(), mark: None });
        }
    }
    if odd_end {
        lines.push(end_of_file(&mut dice));
    }
    if dice.chance(2) && lines[0].mark.is_none() && !odd {
        lines[0].text.splice(0..0, "\u{feff}".bytes());
        lines[0].mark = Some(Mark::Known(super::known::BYTE_ORDER_MARK));
    }
    lines
}

/// Tells whether a file has the section without which it is another file.
pub(super) fn has_interface(lines: &[Line]) -> bool {
    lines.iter().any(|line| {
        let text = String::from_utf8_lossy(&line.text).to_ascii_lowercase();
        text.trim_start_matches(['\u{feff}', ' ', '\t']).starts_with("[int")
    })
}

/// Returns the bytes of a file.
pub(super) fn text(lines: &[Line]) -> Vec<u8> {
    let mut text = Vec::new();
    for line in lines {
        text.extend_from_slice(&line.text);
        text.push(b'\n');
    }
    // The last line of a file may have no end.
    if lines.len().is_multiple_of(5) {
        text.pop();
    }
    text
}

fn header(dice: &mut Dice, name: &'static str) -> Line {
    let name = cased(dice, name);
    let (before, after) = (blank(dice), end(dice));
    Line { text: [before.as_bytes(), b"[", name.as_bytes(), b"]", &after].concat(), mark: None }
}

fn odd_header(dice: &mut Dice, name: &'static str) -> Line {
    let known = |text: &str, difference| Line { text: text.into(), mark: Some(Mark::Known(difference)) };
    let mistyped = |text: &str, meant| Line { text: text.into(), mark: Some(Mark::Mistyped(meant)) };
    match (name, dice.below(4)) {
        ("Interface", 0) => known("[ Interface ]", super::known::SECTION_SPACES),
        ("Interface", 1) => mistyped("[Inteface]", "[Interface]"),
        ("Interface", 2) => mistyped("[Interfaces]", "[Interface]"),
        ("Interface", _) => mistyped("[Interface", "[Interface]"),
        (_, 0) => Line { text: "[ Peer\t]".into(), mark: None },
        (_, 1) => mistyped("[Pear]", "[Peer]"),
        (_, 2) => mistyped("[peers]", "[Peer]"),
        (_, _) => mistyped("[Peer", "[Peer]"),
    }
}

/// Draws what makes any file one that we refuse.
fn end_of_file(dice: &mut Dice) -> Line {
    let ends: [(&[u8], Difference); 3] = [
        (b"[Interface]\nDNS", super::known::NO_EQUALS),
        (b"[Interface]\nPostUp = true caf\xe9", super::known::NOT_UTF8),
        (b"[Interface]\nMTU = 1000\nAddress = fd77:77::1/64", super::known::SMALL_MTU_IPV6),
    ];
    let (text, difference) = dice.pick(&ends);
    Line { text: text.to_vec(), mark: Some(Mark::Known(difference)) }
}

fn comment(dice: &mut Dice) -> Line {
    let texts: [&[u8]; 8] = [
        b"# a comment",
        b"  #PrivateKey = x",
        b"\t# [Peer]",
        b"# caf\xe9 in Latin-1",
        b"#\xff\xfe\xc3",
        "# für später".as_bytes(),
        b"   ",
        b"#",
    ];
    Line { text: dice.pick(&texts).to_vec(), mark: None }
}

fn spelled(dice: &mut Dice, entry: Entry) -> Line {
    let Entry { key, mut value, mark } = entry;
    let is_known = mark.is_none();
    let mut key = if is_known { cased(dice, key) } else { key.to_owned() };
    if is_known && OF_WG.iter().any(|name| name.eq_ignore_ascii_case(&key)) {
        if dice.chance(3) {
            let at = 1 + dice.below(key.len() - 1);
            key.insert(at, ' ');
        }
        if dice.chance(3) && value.is_ascii() && !value.is_empty() {
            let at = dice.below(value.len());
            value.insert_str(at, dice.pick(&[" ", "\t", "  ", "\r"]));
        }
    }
    let separator = dice.pick(&[" = ", " = ", " = ", " = ", "=", " =", "= ", "\t=\t", "  =   "]);
    let (before, after) = (blank(dice), end(dice));
    Line { text: [before.as_bytes(), key.as_bytes(), separator.as_bytes(), value.as_bytes(), &after].concat(), mark }
}

/// Draws what stands before something.
fn blank(dice: &mut Dice) -> String {
    if dice.chance(85) { String::new() } else { dice.pick(&["  ", "\t", " \t ", "    "]).to_owned() }
}

/// Draws what stands behind something.
fn end(dice: &mut Dice) -> Vec<u8> {
    if dice.chance(75) {
        return Vec::new();
    }
    let ends: [&[u8]; 8] =
        [b" ", b"\t", b"\r", b" # comment", b"# = [Peer]", b" # \xe4\xf6\xfc", " # größer".as_bytes(), b" \r"];
    dice.pick(&ends).to_vec()
}

/// Draws the case of a word.
fn cased(dice: &mut Dice, word: &str) -> String {
    match dice.below(10) {
        0 => word.to_ascii_lowercase(),
        1 => word.to_ascii_uppercase(),
        2 => word
            .chars()
            .map(|letter| if dice.chance(50) { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() })
            .collect(),
        _ => word.to_owned(),
    }
}

/// Draws between `least` and `most` of what `item` draws, and what stands between them.
pub(super) fn list(
    dice: &mut Dice,
    least: usize,
    most: usize,
    between: &[&str],
    mut item: impl FnMut(&mut Dice) -> String,
) -> String {
    let mut text = String::new();
    for number in 0..least + dice.below(most - least + 1) {
        if number > 0 {
            text.push_str(dice.pick(between));
        }
        text.push_str(&item(dice));
    }
    text
}
