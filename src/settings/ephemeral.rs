//! Ephemeral defenses as settings: what a peer's tunnel is told to agree on, and how far it got.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use maybetun_machines::Digest;
pub use maybetun_machines::{Strength, Tier};
use serde::{Serialize, Serializer};

use super::EphemeralSettings;
use crate::negotiation::Reason;
use crate::seed::Fingerprint;

/// The shortest time after which a client asks for another defense.
pub const MIN_RENEWAL: Duration = Duration::from_secs(60);

/// The longest time after which a client asks for another defense: a week.
pub const MAX_RENEWAL: Duration = Duration::from_secs(7 * 24 * 3_600);

/// What becomes of a peer that does not agree on a defense.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum NegotiationPolicy {
    /// No packet of the user's leaves before the peer agreed; once it has refused, they are dropped.
    Require,
    /// This end alone runs a defense that it draws for itself, until the peer agrees.
    #[default]
    Prefer,
    /// The peer is not asked: this end alone runs a defense that it draws for itself.
    Off,
}

impl NegotiationPolicy {
    const ALL: [Self; 3] = [Self::Require, Self::Prefer, Self::Off];
}

impl fmt::Display for NegotiationPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Require => "require",
            Self::Prefer => "prefer",
            Self::Off => "off",
        })
    }
}

/// Says that a text is not the word for one of these settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct UnknownWord(&'static str);

impl FromStr for NegotiationPolicy {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let found = Self::ALL.into_iter().find(|policy| policy.to_string() == text);
        found.ok_or(UnknownWord("`require`, `prefer` or `off`"))
    }
}

/// How far a peer's traffic is protected against traffic analysis: what an app shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protection {
    /// Both ends run what they agreed on.
    Protected,
    /// This end runs a defense; the other is not known to.
    OneSided(Cause),
    /// No defense runs, or one that is required is not agreed on and nothing of the user's leaves.
    NotProtected(Cause),
}

/// Why traffic is not protected in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// No defense is set.
    Off,
    /// The defense is one that is not negotiated.
    NotNegotiated,
    /// The peer was not asked yet, or has not answered yet.
    Negotiating,
    /// The peer did not agree.
    Refused(Reason),
}

impl Protection {
    /// Returns why the traffic is not protected in both directions, if it is not.
    pub fn cause(self) -> Option<Cause> {
        match self {
            Self::Protected => None,
            Self::OneSided(cause) | Self::NotProtected(cause) => Some(cause),
        }
    }

    /// Tells whether it means that nothing of the user's leaves: under `Some(Require)`, not being protected does.
    /// `policy` is that of the peer's ephemeral defense, if it has one.
    pub fn holds_back(self, policy: Option<NegotiationPolicy>) -> bool {
        matches!(self, Self::NotProtected(_)) && policy == Some(NegotiationPolicy::Require)
    }

    /// Returns the protection of this word, as [`word`](Self::word) gives it, and this cause; `None` if there is none such.
    pub fn from_words(word: &str, cause: Option<Cause>) -> Option<Self> {
        match (word, cause) {
            ("protected", None) => Some(Self::Protected),
            ("one-sided", Some(cause)) => Some(Self::OneSided(cause)),
            ("not-protected", Some(cause)) => Some(Self::NotProtected(cause)),
            _ => None,
        }
    }

    /// Returns `protected`, `one-sided` or `not-protected`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Protected => "protected",
            Self::OneSided(_) => "one-sided",
            Self::NotProtected(_) => "not-protected",
        }
    }
}

impl Cause {
    /// Returns the cause in words, as what follows on "because".
    pub fn why(self) -> &'static str {
        match self {
            Self::Off => "no defense runs",
            Self::NotNegotiated => "the peer was not asked to run its side",
            Self::Negotiating => "the peer has not answered yet",
            Self::Refused(Reason::Unanswered) => "the peer does not answer: it does not know how, or is out of reach",
            Self::Refused(Reason::Version) => "the peer speaks another version of the protocol",
            Self::Refused(Reason::Choice) => "the peer does not offer this tier and strength, or has another pool",
            Self::Refused(Reason::Mismatch) => "the peer drew another defense",
            Self::Refused(Reason::Bounds) => "the peer sent machines that may do more than a draw may",
            Self::Refused(Reason::Requested) => "the peer wants no defense",
            Self::Refused(_) => "the peer runs none",
        }
    }
}

/// One word: `off`, `not-negotiated`, `negotiating`, or that of the [`Reason`].
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::NotNegotiated => f.write_str("not-negotiated"),
            Self::Negotiating => f.write_str("negotiating"),
            Self::Refused(reason) => reason.fmt(f),
        }
    }
}

impl FromStr for Cause {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "off" => Ok(Self::Off),
            "not-negotiated" => Ok(Self::NotNegotiated),
            "negotiating" => Ok(Self::Negotiating),
            _ => text.parse().map(Self::Refused).map_err(|_| UnknownWord("the word of a cause")),
        }
    }
}

/// How far the ends of one tunnel got with their agreement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NegotiationStatus {
    /// What was set; the device says the role.
    #[serde(flatten)]
    pub settings: EphemeralSettings,
    /// What is agreed on, if anything is.
    pub epoch: Option<EpochStatus>,
    /// How often one epoch followed on another.
    pub renewals: u64,
}

/// What two ends agreed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EpochStatus {
    /// Counts up, as the client does.
    pub number: u32,
    /// How long it has been in force, in whole seconds where another program tells it.
    #[serde(serialize_with = "as_seconds")]
    pub age: Duration,
    /// What the client asked for.
    #[serde(serialize_with = "as_text")]
    pub tier: Tier,
    /// What the client asked for.
    #[serde(serialize_with = "as_text")]
    pub strength: Strength,
    /// What tells the shared seed from others: the same at both ends, and nobody can tell the seed from it.
    #[serde(serialize_with = "as_text")]
    pub fingerprint: Fingerprint,
    /// The digest of what both run.
    #[serde(serialize_with = "as_text")]
    pub digest: Digest,
}

fn as_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_secs())
}

fn as_text<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_only_where_a_defense_is_required_and_not_there() {
        use NegotiationPolicy::{Off, Prefer, Require};
        let refused = Protection::NotProtected(Cause::Refused(Reason::Requested));
        assert!(refused.holds_back(Some(Require)));
        // A relay whose client wants no defense runs none, and packets leave.
        assert!([Some(Prefer), Some(Off), None].into_iter().all(|policy| !refused.holds_back(policy)));
        for protection in [Protection::Protected, Protection::OneSided(Cause::Negotiating)] {
            assert!(!protection.holds_back(Some(Require)));
        }
    }

    #[test]
    fn words_survive() {
        for policy in NegotiationPolicy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        let reasons = (0..=6).map(|number| Cause::Refused(Reason::from(number)));
        for cause in [Cause::Off, Cause::NotNegotiated, Cause::Negotiating].into_iter().chain(reasons) {
            assert_eq!(cause.to_string().parse(), Ok(cause));
            for protection in [Protection::OneSided(cause), Protection::NotProtected(cause), Protection::Protected] {
                assert_eq!(Protection::from_words(protection.word(), protection.cause()), Some(protection));
            }
        }
        assert!("must".parse::<NegotiationPolicy>().is_err() && "must".parse::<Cause>().is_err());
        assert_eq!(Protection::from_words("protected", Some(Cause::Off)), None);
    }
}
