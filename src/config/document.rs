//! The lines of a configuration file, with all their bytes, and changes of single lines.

use std::ops::Range;

use zeroize::Zeroizing;

use super::key::{Key, Section};
use super::marker::{self, MARKER};
use crate::keys::PublicKey;
use crate::secret::SecretBuffer;

/// A file, as lines that give its bytes again.
pub(super) struct Document {
    /// What stands before the first section, then the sections in order.
    blocks: Vec<Block>,
    /// How its lines end.
    ending: &'static str,
    /// Whether its last line ends too.
    is_ended: bool,
    /// Whether it says a key of ours in a comment.
    is_marked: bool,
}

/// A section, with the comments right above its header.
#[derive(Default)]
struct Block {
    section: Option<Section>,
    lines: Vec<Line>,
}

struct Line {
    /// All of it, with its end.
    bytes: Zeroizing<Vec<u8>>,
    content: Content,
}

#[derive(PartialEq, Eq)]
enum Content {
    Blank,
    Comment,
    Header(Option<Section>),
    /// A key as the documentation spells it, and where its value is in the line.
    Said {
        key: &'static str,
        value: Range<usize>,
    },
}

/// What a key is said of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Interface,
    Peer(PublicKey),
}

impl Document {
    /// Reads a file that the parser takes.
    pub(super) fn read(text: &[u8]) -> Self {
        let mut document = Self {
            blocks: vec![Block::default()],
            ending: if text.windows(2).any(|pair| pair == b"\r\n") { "\r\n" } else { "\n" },
            is_ended: text.ends_with(b"\n"),
            is_marked: false,
        };
        for bytes in text.split_inclusive(|byte| *byte == b'\n') {
            let mut line = Line::read(bytes);
            if !bytes.ends_with(b"\n") {
                // Taken off again in the end.
                line.bytes = Zeroizing::new([bytes, document.ending.as_bytes()].concat());
            }
            document.is_marked |= matches!(line.content, Content::Said { .. }) && marker::marked(bytes).is_some();
            document.push(line);
        }
        document
    }

    fn push(&mut self, line: Line) {
        if let Content::Header(section) = line.content {
            let above = self.blocks.last_mut().map(Block::take_comments).unwrap_or_default();
            self.blocks.push(Block { section, lines: above });
        }
        if let Some(block) = self.blocks.last_mut() {
            block.lines.push(line);
        }
    }

    /// Returns the bytes of the file.
    pub(super) fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        let lines = || self.blocks.iter().flat_map(|block| &block.lines);
        let length = lines().map(|line| line.bytes.len()).sum();
        // Whole at once: a buffer that grew would leave copies of keys behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(length));
        lines().for_each(|line| bytes.extend_from_slice(&line.bytes));
        // An empty line without its end would be none.
        let is_empty = lines().last().is_some_and(|line| *line.bytes == self.ending.as_bytes());
        if !self.is_ended && !is_empty && bytes.ends_with(self.ending.as_bytes()) {
            let shorter = bytes.len() - self.ending.len();
            bytes.truncate(shorter);
        }
        bytes
    }

    /// Gives a key that stands once another value: of lines that repeat it the last counts.
    pub(super) fn set(&mut self, place: Place, key: &'static str, value: &str) {
        let last = self.lines_mut(place).filter(|line| line.says(key)).last();
        match last {
            Some(line) => line.set(value),
            None => self.add(place, key, value),
        }
    }

    /// Takes a key out.
    pub(super) fn remove(&mut self, place: Place, key: &'static str) {
        for block in self.blocks_mut(place) {
            block.lines.retain(|line| !line.says(key));
        }
    }

    /// Takes those items out of a list that `is_gone` is said of.
    pub(super) fn remove_items(&mut self, place: Place, key: &'static str, is_gone: impl Fn(&str) -> bool) {
        for block in self.blocks_mut(place) {
            block.lines.retain_mut(|line| {
                !line.says(key) || {
                    let value = line.value();
                    let all = items(&value);
                    let kept: Vec<&str> = all.iter().copied().filter(|item| !is_gone(item)).collect();
                    let is_left = !kept.is_empty() || all.is_empty();
                    if is_left && kept.len() < all.len() {
                        let joined = kept.join(separator(&value));
                        line.set(&joined);
                    }
                    is_left
                }
            });
        }
    }

    /// Adds a line that says a key: after the last that does, in its form; or as the last of its section, in the form of
    /// the file.
    pub(super) fn add(&mut self, place: Place, key: &'static str, value: &str) {
        let (ending, is_marked) = (self.ending, self.is_marked && marker::is_ours(key));
        let mut blocks = self.blocks_mut(place);
        // A key that is said where there are two sections of one peer is said again in the same.
        let Some(mut block) = blocks.next() else { return };
        for other in blocks {
            if other.position(key).is_some() || block.position(key).is_none() {
                block = other;
            }
        }
        let mut text = SecretBuffer::with_capacity(256);
        let after = match block.position(key) {
            Some(sibling) => {
                let line = &block.lines[sibling];
                if let Content::Said { value, .. } = &line.content {
                    text.push(&line.bytes[..value.start]);
                }
                sibling
            }
            None => {
                let last = block.lines.iter().rposition(Line::is_said).unwrap_or_default();
                let bytes = &block.lines[last].bytes;
                text.push(&bytes[..bytes.len() - bytes.trim_ascii_start().len()]);
                if is_marked {
                    text.push(format!("{MARKER} ").as_bytes());
                }
                text.push(format!("{key} = ").as_bytes());
                last
            }
        };
        text.push(value.as_bytes());
        text.push(ending.as_bytes());
        block.lines.insert(after + 1, Line::read(text.into_text().as_bytes()));
    }

    /// Adds the section of a peer, at the end.
    pub(super) fn add_peer(&mut self, peer: PublicKey, lines: &[(&'static str, Zeroizing<String>)]) {
        let ending = self.ending;
        if self.blocks.last().and_then(|block| block.lines.last()).is_some_and(|line| line.content != Content::Blank) {
            self.push(Line::read(ending.as_bytes()));
        }
        self.push(Line::read(format!("[Peer]{ending}").as_bytes()));
        self.push(Line::read(format!("PublicKey = {peer}{ending}").as_bytes()));
        for (key, value) in lines.iter().filter(|(key, _)| *key != "PublicKey") {
            self.add(Place::Peer(peer), key, value);
        }
    }

    /// Takes the sections of a peer out, each with the comments right above it and among its keys. What stands apart below
    /// them stays.
    pub(super) fn remove_peer(&mut self, peer: PublicKey) {
        while let Some(index) = self.blocks.iter().position(|block| block.is_at(Place::Peer(peer))) {
            let removed = self.blocks.remove(index);
            let said = removed.lines.iter().rposition(Line::is_said).map_or(0, |last| last + 1);
            let below = removed.lines.into_iter().skip(said);
            let mut kept: Vec<Line> = below.skip_while(|line| line.content != Content::Blank).collect();
            let Some(before) = index.checked_sub(1).and_then(|before| self.blocks.get_mut(before)) else { continue };
            // One blank line is enough between what was on its two sides.
            if before.lines.last().is_some_and(|line| line.content == Content::Blank) {
                if kept.is_empty() {
                    before.lines.pop();
                } else {
                    kept.remove(0);
                }
            }
            before.lines.append(&mut kept);
        }
    }

    fn blocks_mut(&mut self, place: Place) -> impl Iterator<Item = &mut Block> {
        self.blocks.iter_mut().filter(move |block| block.is_at(place))
    }

    fn lines_mut(&mut self, place: Place) -> impl Iterator<Item = &mut Line> {
        self.blocks_mut(place).flat_map(|block| &mut block.lines)
    }
}

impl Block {
    /// Takes the comments at the end, which are about the section that follows, if nothing but they stand after a blank
    /// line.
    fn take_comments(&mut self) -> Vec<Line> {
        let comments = self.lines.iter().rev().take_while(|line| line.content == Content::Comment).count();
        let start = self.lines.len() - comments;
        match start.checked_sub(1).map(|above| &self.lines[above].content) {
            None | Some(Content::Blank | Content::Said { .. } | Content::Header(_)) => self.lines.split_off(start),
            Some(Content::Comment) => Vec::new(),
        }
    }

    fn is_at(&self, place: Place) -> bool {
        match place {
            Place::Interface => self.section == Some(Section::Interface),
            Place::Peer(peer) => self.section == Some(Section::Peer) && self.peer() == Some(peer),
        }
    }

    fn peer(&self) -> Option<PublicKey> {
        let key = self.lines.iter().rfind(|line| line.says("PublicKey"))?;
        // `wg` reads a key with spaces in it.
        let dense: String = key.value().chars().filter(|c| !c.is_whitespace()).collect();
        PublicKey::from_base64(&dense).ok()
    }

    /// Finds the last line that says `key`.
    fn position(&self, key: &str) -> Option<usize> {
        self.lines.iter().rposition(|line| line.says(key))
    }
}

impl Line {
    fn read(bytes: &[u8]) -> Self {
        Self { bytes: Zeroizing::new(bytes.to_vec()), content: Content::read(bytes) }
    }

    fn says(&self, key: &str) -> bool {
        matches!(&self.content, Content::Said { key: said, .. } if *said == key)
    }

    /// Tells whether it is a header or a key.
    fn is_said(&self) -> bool {
        matches!(self.content, Content::Said { .. } | Content::Header(_))
    }

    fn value(&self) -> Zeroizing<String> {
        let value = match &self.content {
            Content::Said { value, .. } => &self.bytes[value.clone()],
            Content::Blank | Content::Comment | Content::Header(_) => &[],
        };
        Zeroizing::new(String::from_utf8_lossy(value).into_owned())
    }

    /// Replaces the value, and nothing around it.
    fn set(&mut self, value: &str) {
        if let Content::Said { value: place, .. } = &self.content {
            let (before, after) = (&self.bytes[..place.start], &self.bytes[place.end..]);
            *self = Self::read(&Zeroizing::new([before, value.as_bytes(), after].concat()));
        }
    }
}

impl Content {
    fn read(line: &[u8]) -> Self {
        let marked = marker::marked(line);
        // A byte order mark is none of the first line's text.
        let start = marked.or(line.strip_prefix("\u{feff}".as_bytes())).unwrap_or(line);
        let text = start.split(|byte| *byte == b'#').next().unwrap_or_default();
        // The end of the line is part of no value, not even of an empty one.
        let text = str::from_utf8(text).unwrap_or_default().trim_end();
        if text.trim().is_empty() {
            return if start.trim_ascii().is_empty() { Self::Blank } else { Self::Comment };
        }
        if let Some(header) = text.trim().strip_prefix('[') {
            return Self::Header(Section::from_name(header.trim_end_matches(']').trim()));
        }
        let Some((name, rest)) = text.split_once('=') else { return Self::Comment };
        // `wg` reads a key with spaces in it.
        let dense: String = name.chars().filter(|c| !c.is_whitespace()).collect();
        let Some(key) = Key::find(&dense).map(Key::name) else { return Self::Comment };
        let before = line.len() - start.len() + name.len() + 1;
        let from = before + rest.len() - rest.trim_start().len();
        Self::Said { key, value: from..from + rest.trim().len() }
    }
}

/// Splits a list at commas and spaces.
fn items(value: &str) -> Vec<&str> {
    value.split(|c: char| c == ',' || c.is_whitespace()).filter(|item| !item.is_empty()).collect()
}

/// Returns what stands between the first two items of a list.
fn separator(value: &str) -> &str {
    let is_between = |c: char| c == ',' || c.is_whitespace();
    let Some(start) = value.find(is_between) else { return ", " };
    let rest = &value[start..];
    &rest[..rest.find(|c| !is_between(c)).unwrap_or(rest.len())]
}
