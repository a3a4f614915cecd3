//! A defense on its way in parts, where the ends cannot draw the same: the client asks for one part after the other.

use maybetun_machines::Defense;

use super::Epoch;
use super::message::{Fetch, Part, Proof};

/// Longest text of a defense that is sent, in bytes: many times that of the strongest draw.
pub(super) const MAX_TEXT: usize = 64 << 10;

/// Longest part, in bytes: with what goes with it, less than [`MAX_MESSAGE`](super::MAX_MESSAGE).
const PART: usize = 400;

/// Returns the part of `text` that begins at `offset`; `None` if there is none.
pub(super) fn part(text: &str, offset: u32, proof: Proof) -> Option<Part> {
    let start = usize::try_from(offset).ok()?;
    let end = text.len().min(start.checked_add(PART)?);
    // The text is ASCII: machines in base64, and numbers.
    let part = text.get(start..end).filter(|part| !part.is_empty() && text.len() <= MAX_TEXT)?;
    Some(Part { proof, length: text.len() as u32, offset, text: part.to_owned() })
}

/// What has come of a defense.
#[derive(Debug)]
pub(super) struct Transfer {
    /// What the relay will run.
    pub(super) proof: Proof,
    length: usize,
    text: String,
}

/// What becomes of a transfer with a part.
#[derive(Debug)]
pub(super) enum Progress {
    /// More is to come.
    Partial,
    /// The part was not the next: nothing happened.
    OutOfPlace,
    /// All has come.
    Whole(Box<Defense>),
    /// The relay contradicts itself, or sends what is not a defense.
    Bad,
}

impl Transfer {
    pub(super) fn new(part: &Part) -> Option<Self> {
        let length = usize::try_from(part.length).ok().filter(|length| (1..=MAX_TEXT).contains(length))?;
        Some(Self { proof: part.proof, length, text: String::new() })
    }

    /// Asks for the next part.
    pub(super) fn fetch(&self, epoch: Epoch) -> Fetch {
        Fetch { epoch, offset: self.text.len() as u32 }
    }

    pub(super) fn take(&mut self, part: &Part) -> Progress {
        if (part.proof, part.length as usize) != (self.proof, self.length) {
            return Progress::Bad;
        }
        if part.offset as usize != self.text.len() || part.text.is_empty() {
            return Progress::OutOfPlace;
        }
        if self.text.len() + part.text.len() > self.length {
            return Progress::Bad;
        }
        self.text.push_str(&part.text);
        if self.text.len() < self.length {
            return Progress::Partial;
        }
        Defense::parse(&self.text).map_or(Progress::Bad, |defense| Progress::Whole(Box::new(defense)))
    }
}
