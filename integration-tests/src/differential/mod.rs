//! `wg-quick` beside maybetun: the same file, on two hosts that are alike.

mod dice;
mod grammar;
mod interface;
mod keys;
mod known;
mod observed;
mod peer;
mod side;
mod verdict;

use std::path::Path;

use crate::daemon::maybetun_program;
use grammar::Line;
use side::{Outcome, Side};

/// The two sides.
#[derive(Debug)]
pub struct Differential {
    wg_quick: Side,
    maybetun: Side,
}

impl Differential {
    /// Makes two hosts. `ranked` has Debian's resolvconf rank interfaces on both.
    #[track_caller]
    pub fn new(ranked: bool) -> Self {
        Self { wg_quick: Side::new(Path::new("wg-quick"), ranked), maybetun: Side::new(&maybetun_program(), ranked) }
    }

    /// Compares what both make of the file of `seed`.
    ///
    /// # Errors
    /// What differs that should not, and the smallest file that still shows a difference.
    #[track_caller]
    pub fn compare(&mut self, seed: u64) -> Result<(), String> {
        let lines = grammar::draw(seed);
        let Err(first) = self.judge(&lines) else { return Ok(()) };
        let smallest = self.smallest(lines, &first);
        let difference = self.judge(&smallest).err().unwrap_or(first);
        let text = grammar::text(&smallest);
        Err(format!("seed {seed}: {difference}\n{}", String::from_utf8_lossy(&text)))
    }

    #[track_caller]
    fn judge(&mut self, lines: &[Line]) -> Result<(), String> {
        let (theirs, ours) = self.outcomes(&grammar::text(lines));
        verdict::judge(lines, &theirs, &ours)
    }

    #[track_caller]
    fn outcomes(&mut self, text: &[u8]) -> (Outcome, Outcome) {
        self.wg_quick.start(text);
        self.maybetun.start(text);
        (self.wg_quick.outcome(), self.maybetun.outcome())
    }

    /// Takes lines away as long as there is a difference of the same kind.
    #[track_caller]
    fn smallest(&mut self, mut lines: Vec<Line>, difference: &str) -> Vec<Line> {
        let kind = kind(difference);
        let mut at = lines.len();
        while at > 0 {
            at -= 1;
            let mut fewer = lines.clone();
            fewer.remove(at);
            if grammar::has_interface(&fewer)
                && self.judge(&fewer).is_err_and(|difference| self::kind(&difference) == kind)
            {
                lines = fewer;
            }
        }
        lines
    }
}

/// Returns the words of a difference that are the same for others of its kind.
fn kind(difference: &str) -> String {
    difference.chars().take(20).collect()
}
