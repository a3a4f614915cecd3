//! The base pool: pairs of random machines, one for the client and one for the relay, that ephemeral defenses are drawn from.
//!
//! Each file is its version (u8), the number of pairs (u16), where each pair ends behind the index (u32 each), and the pairs:
//! the length of the client's machine (u16), that machine, the relay's. Numbers are big endian; a machine is its text form
//! without the version, and without base64. So one pair is read without the others.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use maybenot::Machine;
use maybenot::constants::VERSION;
use sha2::{Digest as _, Sha256};

use crate::Digest;

/// Pairs in the pool of each tier.
pub const POOL_PAIRS: usize = 1_000;

/// Counts up when the files or the way of drawing change: ends of different versions draw different defenses.
pub const POOL_VERSION: u8 = 1;

/// What kind of machines a defense is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Tier {
    /// No machines: packets of one size, and nothing else.
    Size,
    /// Machines that only pad: nothing is ever delayed.
    #[default]
    Padding,
    /// Machines that also block.
    Blocking,
}

/// How much a defense does, and costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Strength {
    /// The least data.
    Low,
    /// In between.
    #[default]
    Medium,
    /// The most padding.
    High,
}

impl Tier {
    /// Every tier, in the order of what they do.
    pub const ALL: [Self; 3] = [Self::Size, Self::Padding, Self::Blocking];
}

impl Strength {
    /// Every strength, the weakest first.
    pub const ALL: [Self; 3] = [Self::Low, Self::Medium, Self::High];
}

/// Says that a text names no tier, strength or profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct UnknownName(pub(crate) &'static str);

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Size => "size",
            Self::Padding => "padding",
            Self::Blocking => "blocking",
        })
    }
}

impl FromStr for Tier {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let named = Self::ALL.into_iter().find(|tier| tier.to_string() == text);
        named.ok_or(UnknownName("`size`, `padding` or `blocking`"))
    }
}

impl fmt::Display for Strength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        })
    }
}

impl FromStr for Strength {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let named = Self::ALL.into_iter().find(|strength| strength.to_string() == text);
        named.ok_or(UnknownName("`low`, `medium` or `high`"))
    }
}

/// Why bytes are not a pool. That the built-in files are is what a test holds them to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PoolError {
    #[error("the pool ends early")]
    Short,
    #[error("a machine of the pool is damaged")]
    Machine,
}

/// Returns the number of pairs in a tier.
pub(crate) fn len(tier: Tier) -> u32 {
    let bytes = file(tier);
    u32::from(u16::from_be_bytes([bytes[1], bytes[2]]))
}

/// Reads one pair: the client's machine and the relay's.
pub(crate) fn pair(tier: Tier, index: u32) -> Result<[Machine; 2], PoolError> {
    let (bytes, count) = (file(tier), len(tier) as usize);
    let (ends, contents) = bytes[HEADER..].split_at_checked(4 * count).ok_or(PoolError::Short)?;
    let end = |index: usize| ends.chunks_exact(4).nth(index)?.try_into().ok().map(u32::from_be_bytes);
    let index = index as usize;
    let start = if index == 0 { Some(0) } else { end(index - 1) };
    let range = start.zip(end(index)).map(|(start, end)| start as usize..end as usize);
    let entry = range.and_then(|range| contents.get(range)).ok_or(PoolError::Short)?;
    let (length, machines) = entry.split_first_chunk::<2>().ok_or(PoolError::Short)?;
    let (client, relay) = machines.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(PoolError::Short)?;
    // They are our own: a test holds them to what is asked of machines that come from elsewhere.
    let parse = |machine| text(machine).parse().map_err(|_| PoolError::Machine);
    Ok([parse(client)?, parse(relay)?])
}

/// Returns the text form of a machine.
fn text(machine: &[u8]) -> String {
    format!("{VERSION:02}{}", BASE64_STANDARD.encode(machine))
}

/// Names the pool, and the way of drawing from it: ends that have the same draw the same.
pub fn pool_digest() -> Digest {
    static DIGEST: LazyLock<Digest> = LazyLock::new(|| {
        let mut hash = Sha256::new_with_prefix(b"maybetun pool ");
        hash.update([POOL_VERSION]);
        [Tier::Padding, Tier::Blocking].into_iter().for_each(|tier| hash.update(file(tier)));
        Digest(hash.finalize().into())
    });
    *DIGEST
}

fn file(tier: Tier) -> &'static [u8] {
    match tier {
        Tier::Size => &[POOL_VERSION, 0, 0],
        Tier::Padding => include_bytes!("../pool/padding.bin"),
        Tier::Blocking => include_bytes!("../pool/blocking.bin"),
    }
}

/// Bytes before the index: the version and the number of pairs.
const HEADER: usize = 3;

#[cfg(test)]
mod tests {
    use maybenot::action::Action;

    use super::*;
    use crate::machine;

    fn blocks(machine: &Machine) -> bool {
        machine.states.iter().any(|state| matches!(state.action, Some(Action::BlockOutgoing { .. })))
    }

    #[test]
    fn every_pair_is_valid_small_and_bounded() {
        for tier in [Tier::Padding, Tier::Blocking] {
            assert_eq!((file(tier)[0], len(tier) as usize), (POOL_VERSION, POOL_PAIRS));
            for index in 0..len(tier) {
                let pair = pair(tier, index).unwrap_or_else(|error| panic!("{tier} {index}: {error}"));
                for machine in &pair {
                    assert!(machine::parse(&machine.serialize()).is_ok(), "{tier} {index}");
                    assert!(machine.states.len() <= 5, "{tier} {index}");
                    assert!(machine.max_padding_frac > 0.0 && machine.max_padding_frac <= 0.9, "{tier} {index}");
                    let blocking = machine.max_blocking_frac;
                    assert!(!blocks(machine) || (blocking > 0.0 && blocking <= 0.5), "{tier} {index}");
                }
                assert_eq!(pair.iter().any(blocks), tier == Tier::Blocking, "{tier} {index}");
            }
        }
    }

    #[test]
    fn no_two_pairs_are_the_same_and_none_follows_the_last() {
        for tier in [Tier::Padding, Tier::Blocking] {
            let pairs = (0..len(tier)).map(|index| pair(tier, index).unwrap().map(|machine| machine.serialize()));
            assert_eq!(pairs.collect::<std::collections::HashSet<_>>().len(), POOL_PAIRS);
            assert_eq!(pair(tier, len(tier)).err(), Some(PoolError::Short));
        }
    }

    #[test]
    fn the_files_are_small() {
        assert!(file(Tier::Padding).len() + file(Tier::Blocking).len() <= 2 << 20);
    }

    #[test]
    fn names_survive_their_text() {
        for tier in Tier::ALL {
            assert_eq!(tier.to_string().parse(), Ok(tier));
        }
        for strength in Strength::ALL {
            assert_eq!(strength.to_string().parse(), Ok(strength));
        }
        assert_eq!("Low".parse::<Strength>().unwrap_err().to_string(), "expected `low`, `medium` or `high`");
    }
}
