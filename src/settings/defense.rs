//! Defenses as settings: what a peer's tunnel is told to run, and what it says that it runs.

use std::fmt;
use std::str::FromStr;

pub use maybetun_machines::Role;
use maybetun_machines::Side;

use super::{DefenseOptions, DefenseStatistics, EphemeralSettings, Limits, MaskingSettings};
use crate::defense::Plan;

/// Longest name of a defense, in bytes.
pub const MAX_DEFENSE_NAME: usize = maybetun_machines::MAX_NAME;

/// A change to the defense of a peer's tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DefenseChange {
    /// Runs none.
    Off,
    /// Runs this one, in the place of whatever ran. Where the same runs already, it goes on undisturbed.
    On(DefenseSettings),
    /// Agrees with the peer on one that both draw. Where the same is agreed on, or being so, it goes on undisturbed.
    Ephemeral(EphemeralSettings),
    /// Agrees anew on what was agreed on, now; an error if that cannot be.
    Renew,
}

/// A defense as one end runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefenseSettings {
    /// What the user knows it by; see [`is_defense_name`]. It changes nothing in what runs.
    pub name: String,
    /// Which end the machines are for; `None` lets the device say: a client where the peer's endpoint was set, a relay
    /// where it was learnt. It changes nothing in what runs.
    pub role: Option<Role>,
    /// The machines of this end, and the defense's own limits on them.
    pub plan: Plan,
    /// The user's limits.
    pub limits: Limits,
    /// How the traffic is masked.
    pub masking: MaskingSettings,
}

impl DefenseSettings {
    /// Returns what `defense` asks of the end that is `role`.
    pub fn of(defense: &maybetun_machines::Defense, role: Role) -> Self {
        let Side { machines, limits } = defense.side(role).clone();
        // Validated: above 0, at most a million.
        let actions = limits.max_actions_per_second.ceil() as u32;
        let plan = Plan::new(machines).and_then(|plan| plan.limited(limits.max_padding_frac, limits.max_blocking_frac));
        let plan = plan.expect("a defense was validated, by the same rules and narrower bounds").capped(actions);
        Self {
            name: defense.name().to_owned(),
            role: Some(role),
            plan,
            limits: Limits::default(),
            masking: MaskingSettings::default(),
        }
    }

    /// Sets the user's limits.
    #[must_use]
    pub fn limited(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Sets how the traffic is masked.
    #[must_use]
    pub fn masked(self, masking: MaskingSettings) -> Self {
        Self { masking, ..self }
    }

    /// Returns what is said beside the defense.
    pub fn options(&self) -> DefenseOptions {
        DefenseOptions::of(self.role, self.limits, self.masking)
    }

    /// Tells whether it differs from `other` in nothing but how the traffic is masked.
    pub fn is_but_for_masking(&self, other: &Self) -> bool {
        self.clone().masked(other.masking) == *other
    }
}

/// The defense that a peer's tunnel runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefenseStatus {
    /// What runs; the device says the role.
    pub settings: DefenseSettings,
    /// What it has counted.
    pub statistics: DefenseStatistics,
}

/// Tells whether a defense can have this name: 1 to [`MAX_DEFENSE_NAME`] of `a-z 0-9 -`, and not `off`.
pub fn is_defense_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=MAX_DEFENSE_NAME).contains(&name.len()) && name.bytes().all(is_allowed) && name != "off"
}

/// Finds a role by its name: `client` or `relay`.
pub(crate) fn role_from_name(name: &str) -> Option<Role> {
    [Role::Client, Role::Relay].into_iter().find(|role| role.to_string() == name)
}

/// A fraction from 0 to 1, as the limits of a defense take it, where 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fraction(f64);

impl Fraction {
    /// No limit.
    pub const NONE: Self = Self(0.0);

    /// Takes a number from 0 to 1; `None` if it is another, or none.
    pub fn new(number: f64) -> Option<Self> {
        // The sum makes the negative zero positive.
        (0.0..=1.0).contains(&number).then_some(Self(number + 0.0))
    }

    /// Returns the number.
    pub fn get(self) -> f64 {
        self.0
    }
}

// A fraction is a number, so it equals itself.
impl Eq for Fraction {}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Explains why a text is no [`Fraction`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a number from 0 to 1")]
pub struct NotAFraction;

impl FromStr for Fraction {
    type Err = NotAFraction;

    fn from_str(text: &str) -> Result<Self, NotAFraction> {
        text.parse().ok().and_then(Self::new).ok_or(NotAFraction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_numbers_from_0_to_1() {
        for (text, number) in [("0", 0.0), ("1", 1.0), ("0.25", 0.25), ("-0", 0.0), ("1e-3", 0.001)] {
            assert_eq!(text.parse(), Ok(Fraction(number)), "{text}");
        }
        assert_eq!("-0".parse::<Fraction>().map(|fraction| fraction.to_string()), Ok("0".to_owned()));
        for text in ["", "1.01", "-0.1", "nan", "inf", "-inf", "0,5", " 0.5", "50%"] {
            assert_eq!(text.parse::<Fraction>(), Err(NotAFraction), "{text:?}");
        }
    }

    #[test]
    fn names_are_those_of_the_catalogue() {
        for entry in maybetun_machines::catalogue() {
            assert!(is_defense_name(entry.name()), "{}", entry.name());
        }
        for name in ["", "off", "Front", "a b", "a\n", "a/b", "é", &"a".repeat(MAX_DEFENSE_NAME + 1)] {
            assert!(!is_defense_name(name), "{name:?}");
        }
    }

    #[test]
    fn an_end_runs_its_own_side_under_the_limits_given() {
        let front = maybetun_machines::find("front").unwrap();
        for role in [Role::Client, Role::Relay] {
            let settings = DefenseSettings::of(front, role);
            assert_eq!(settings.plan.machines().len(), front.side(role).machines.len());
            assert_eq!((settings.name.as_str(), settings.role), ("front", Some(role)));
            assert_eq!(settings.clone().limited(Limits::default()), settings);
            let limits = Limits { max_padding_frac: Fraction::new(0.5), ..Limits::default() };
            let limited = settings.clone().limited(limits);
            assert_eq!(limited.plan, settings.plan);
            assert_ne!(limited, settings);
        }
    }
}
