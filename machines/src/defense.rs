//! A defense: what both ends of a tunnel run, and what is known of it.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::machine;
use crate::{DefenseError, Limits, Role, Side};

/// Longest name in characters.
pub const MAX_NAME: usize = 64;

/// Longest description in characters.
pub const MAX_DESCRIPTION: usize = 256;

/// Longest source in characters.
pub const MAX_SOURCE: usize = 512;

/// What a configuration says instead of a name to have no defense.
const RESERVED: &str = "off";

/// What the digest begins with, so that it never equals that of something else.
const DIGEST_LABEL: &[u8] = b"maybetun defense 1";

/// Expected cost, measured on page loads as the crate's README describes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overhead {
    /// Padding packets that the client sends for each normal packet that it sends; 0 or more.
    pub upload: f64,
    /// Padding packets that the relay sends for each normal packet that it sends; 0 or more.
    pub download: f64,
    /// How much longer a page load takes, as a fraction of its time without the defense; 0 or more.
    pub delay: f64,
}

/// A digest of what a defense runs. Displays as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What both ends run: machines and limits for the client, machines and limits for the relay.
///
/// Always valid: the name has 1 to [`MAX_NAME`] of `a-z 0-9 -`, texts are one bounded line, the sides are valid. Cheap to
/// clone. Two defenses are equal if all their texts and numbers are.
#[derive(Clone)]
pub struct Defense {
    name: String,
    description: String,
    source: String,
    overhead: Option<Overhead>,
    client: Side,
    relay: Side,
    digest: Digest,
}

impl Defense {
    /// Makes a defense of its own, as one that another program hands over, from what the ends run.
    ///
    /// # Errors
    /// When the name or a side is not valid; the key is that of the text form.
    pub fn from_machines(name: &str, client: Side, relay: Side) -> Result<Self, DefenseError> {
        check_name(name)?;
        for (role, side) in [(Role::Client, &client), (Role::Relay, &relay)] {
            side.validate().map_err(|error| error.under(role.table()))?;
        }
        let digest = digest(&client, &relay)?;
        let (description, source) = (String::new(), String::new());
        Ok(Self { name: name.to_owned(), description, source, overhead: None, client, relay, digest })
    }

    /// Says what the defense does and where it comes from.
    ///
    /// # Errors
    /// When a text is too long or not one line of printable characters.
    pub fn with_texts(mut self, description: &str, source: &str) -> Result<Self, DefenseError> {
        check_line("description", description, MAX_DESCRIPTION)?;
        check_line("source", source, MAX_SOURCE)?;
        (self.description, self.source) = (description.to_owned(), source.to_owned());
        Ok(self)
    }

    /// Says what the defense costs; `None` if that is not known.
    ///
    /// # Errors
    /// When a number is negative or not finite.
    pub fn with_overhead(mut self, overhead: Option<Overhead>) -> Result<Self, DefenseError> {
        let Some(Overhead { upload, download, delay }) = overhead else {
            self.overhead = None;
            return Ok(self);
        };
        for (key, ratio) in [("upload", upload), ("download", download), ("delay", delay)] {
            if !(ratio.is_finite() && ratio >= 0.0) {
                let message = format_args!("{ratio} is not a finite number of at least 0");
                return Err(DefenseError::new(key, message).under("overhead"));
            }
        }
        self.overhead = overhead;
        Ok(self)
    }

    /// Returns the same defense under other limits on one end. Its digest is another then.
    ///
    /// # Errors
    /// When a limit is out of its range.
    pub fn with_limits(mut self, role: Role, limits: Limits) -> Result<Self, DefenseError> {
        limits.validate().map_err(|error| error.under("limits").under(role.table()))?;
        match role {
            Role::Client => self.client.limits = limits,
            Role::Relay => self.relay.limits = limits,
        }
        self.digest = digest(&self.client, &self.relay)?;
        Ok(self)
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what the defense does, in one line; empty if it does not say.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Returns the paper or address that the defense comes from; empty if it does not say.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns the expected cost, if it was measured.
    pub fn overhead(&self) -> Option<Overhead> {
        self.overhead
    }

    /// Returns what an end runs.
    pub fn side(&self, role: Role) -> &Side {
        match role {
            Role::Client => &self.client,
            Role::Relay => &self.relay,
        }
    }

    /// Returns what the client runs.
    pub fn client(&self) -> &Side {
        &self.client
    }

    /// Returns what the relay runs.
    pub fn relay(&self) -> &Side {
        &self.relay
    }

    /// Returns the digest of what both ends run: machines and limits. Neither the texts nor how the machines were
    /// compressed matters, so two ends with the same digest run the same.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl PartialEq for Defense {
    fn eq(&self, other: &Self) -> bool {
        let known = |defense: &Self| (defense.digest, defense.overhead);
        let texts = |defense: &Self| [defense.name.clone(), defense.description.clone(), defense.source.clone()];
        known(self) == known(other) && texts(self) == texts(other)
    }
}

impl fmt::Debug for Defense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, client, relay, digest, .. } = self;
        let defense = &mut f.debug_struct("Defense");
        defense.field("name", name).field("client", client).field("relay", relay);
        defense.field("digest", digest).finish_non_exhaustive()
    }
}

fn check_name(name: &str) -> Result<(), DefenseError> {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(1..=MAX_NAME).contains(&name.len()) || !name.bytes().all(is_allowed) {
        return Err(DefenseError::new("name", format_args!("expected 1 to {MAX_NAME} of a-z, 0-9 and `-`")));
    }
    if name == RESERVED {
        return Err(DefenseError::new("name", format_args!("`{RESERVED}` means no defense, expected another name")));
    }
    Ok(())
}

fn check_line(key: &str, text: &str, most: usize) -> Result<(), DefenseError> {
    let length = text.chars().count();
    if length > most {
        return Err(DefenseError::new(key, format_args!("{length} characters, expected at most {most}")));
    }
    if text.contains(char::is_control) {
        return Err(DefenseError::new(key, "expected one line of printable characters"));
    }
    Ok(())
}

/// Hashes each side: its limits as IEEE 754 bits, how many machines there are, then the length and the decompressed bytes
/// of each; all numbers big endian.
fn digest(client: &Side, relay: &Side) -> Result<Digest, DefenseError> {
    let mut hash = Sha256::new_with_prefix(DIGEST_LABEL);
    for (role, side) in [(Role::Client, client), (Role::Relay, relay)] {
        let Limits { max_padding_frac, max_blocking_frac, max_actions_per_second } = side.limits;
        for limit in [max_padding_frac, max_blocking_frac, max_actions_per_second] {
            // -0 is 0 to every comparison, and has other bits.
            hash.update((limit + 0.0).to_be_bytes());
        }
        hash.update((side.machines.len() as u64).to_be_bytes());
        for machine in side.machines.iter() {
            let bytes = machine::canonical(machine).map_err(|error| DefenseError::new(role.table(), error))?;
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        }
    }
    Ok(Digest(hash.finalize().into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::tests_support::{NO_OP, states};

    fn side(machines: &[&str]) -> Side {
        Side::parse(machines, Limits::default()).unwrap()
    }

    fn empty(name: &str) -> Result<Defense, DefenseError> {
        Defense::from_machines(name, Side::default(), Side::default())
    }

    #[test]
    fn a_name_is_short_and_plain() {
        for name in ["a", "front", "break-pad", "7", &"x".repeat(MAX_NAME)] {
            assert_eq!(empty(name).unwrap().name(), name);
        }
        for name in ["", "Front", "a b", "a/b", "..", "ä", "off", &"x".repeat(MAX_NAME + 1)] {
            assert_eq!(empty(name).unwrap_err().key(), "name", "{name:?}");
        }
    }

    #[test]
    fn texts_are_one_bounded_line() {
        let defense = empty("a").unwrap();
        assert!(defense.clone().with_texts(&"ä".repeat(MAX_DESCRIPTION), &"ä".repeat(MAX_SOURCE)).is_ok());
        let key = |description: &str, source: &str| {
            defense.clone().with_texts(description, source).unwrap_err().key().to_owned()
        };
        assert_eq!(key(&"a".repeat(MAX_DESCRIPTION + 1), ""), "description");
        assert_eq!(key("bell\u{7}", ""), "description");
        assert_eq!(key("", &"a".repeat(MAX_SOURCE + 1)), "source");
        assert_eq!(key("", "two\nlines"), "source");
    }

    #[test]
    fn overhead_is_finite_and_not_negative() {
        let overhead = Overhead { upload: 1.5, download: 0.0, delay: 20.0 };
        let defense = empty("a").unwrap().with_overhead(Some(overhead)).unwrap();
        assert_eq!(defense.overhead(), Some(overhead));
        assert_eq!(defense.clone().with_overhead(None).unwrap().overhead(), None);
        for wrong in [-0.1, f64::NAN, f64::INFINITY] {
            let error = defense.clone().with_overhead(Some(Overhead { delay: wrong, ..overhead })).unwrap_err();
            assert_eq!(error.key(), "overhead.delay");
        }
    }

    #[test]
    fn a_wrong_side_is_named() {
        let wrong = Side { machines: vec![states(machine::MAX_STATES + 1)].into(), limits: Limits::default() };
        let error = Defense::from_machines("a", Side::default(), wrong).unwrap_err();
        assert_eq!(error.to_string(), "relay.machines[0]: the machine has 1025 states, expected at most 1024");
    }

    #[test]
    fn the_digest_is_of_what_runs_and_on_which_end() {
        let digest =
            |client: &[&str], relay: &[&str]| Defense::from_machines("a", side(client), side(relay)).unwrap().digest();
        let one = digest(&[NO_OP], &[]);
        assert_eq!(one, Defense::from_machines("b", side(&[NO_OP]), side(&[])).unwrap().digest());
        for other in [digest(&[], &[]), digest(&[], &[NO_OP]), digest(&[NO_OP, NO_OP], &[]), digest(&[NO_OP], &[NO_OP])]
        {
            assert_ne!(one, other);
        }
        assert_eq!(one.to_string().len(), 64);
    }

    #[test]
    fn the_digest_of_nothing_stays() {
        // Ends of different releases compare it: a change here is a change of the label.
        let expected = "557b7cc310d2e163341ad4c7fcf61a1b2b44896e1a770d35612566bf16f66cfa";
        assert_eq!(empty("a").unwrap().digest().to_string(), expected);
    }

    #[test]
    fn other_limits_are_another_digest() {
        let defense = empty("a").unwrap();
        let limits = Limits { max_padding_frac: 0.5, ..Limits::default() };
        let client = defense.clone().with_limits(Role::Client, limits).unwrap();
        let relay = defense.clone().with_limits(Role::Relay, limits).unwrap();
        assert!(client != defense && relay != defense && client != relay);
        assert_eq!(client.side(Role::Client).limits, limits);
        assert_eq!(client.side(Role::Relay).limits, Limits::default());
        let minus_zero = Limits { max_padding_frac: -0.0, ..Limits::default() };
        assert_eq!(defense.clone().with_limits(Role::Relay, minus_zero).unwrap().digest(), defense.digest());
        let wrong = Limits { max_padding_frac: 7.0, ..limits };
        let error = defense.with_limits(Role::Relay, wrong).unwrap_err();
        assert_eq!(error.key(), "relay.limits.max_padding_frac");
    }
}
