//! What an end masks by: what the traffic is to look like, and what that may cost.

use std::fmt;
use std::str::FromStr;

use maybetun_machines::profile::ProfileName;
use serde::{Deserialize, Serialize};

use super::{Allowance, Band};

/// Says that a text is none of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct Unreadable(pub(super) &'static str);

/// Whether padding follows the user's traffic, and what it makes of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum MaskingMode {
    /// It does not.
    #[default]
    Off,
    /// What the traffic is made to look like depends on what the user does.
    Adaptive,
    /// It is made to look like this, whatever he does.
    Profile(ProfileName),
}

impl fmt::Display for MaskingMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Adaptive => f.write_str("adaptive"),
            Self::Profile(name) => name.fmt(f),
        }
    }
}

impl FromStr for MaskingMode {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        match text {
            "off" => Ok(Self::Off),
            "adaptive" => Ok(Self::Adaptive),
            _ => text.parse().map(Self::Profile).map_err(|_| Unreadable("`off`, `adaptive` or a profile")),
        }
    }
}

/// The least upper end of a band that a relay is asked for: two in a hundred. A narrower one asks for a download without end.
const LEAST_HIGH: f64 = 0.02;

/// The part of masking's budget that holds on a metered network: a quarter.
const METERED: (u64, u64) = (1, 4);

/// What an end masks by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "Wire", try_from = "Wire")]
pub struct Terms {
    /// What the traffic is made to look like.
    pub mode: MaskingMode,
    /// The band that the upload ratio is kept in; `None` is the target's own.
    pub band: Option<Band>,
    /// What masking's own padding may cost, of both ends together.
    pub masking_budget: Allowance,
    /// What everything that is not the user's may cost, both ways together; `None` if nothing is said of it.
    pub padding_budget: Option<Allowance>,
    /// Whether the network is metered: masking may cost a quarter, and all padding 200 MB a day where nothing else was said.
    pub is_metered: bool,
    /// Whether wakeups are batched: at most one a second, and none while the user does nothing.
    pub saves_battery: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            mode: MaskingMode::Off,
            band: None,
            masking_budget: Allowance::MASKING,
            padding_budget: None,
            is_metered: false,
            saves_battery: false,
        }
    }
}

impl Terms {
    /// Tells whether there is anything to do: to mask, or to keep a budget.
    pub fn ask_for_nothing(&self) -> bool {
        self.mode == MaskingMode::Off && self.padding_allowance().is_none()
    }

    /// Returns what masking's padding may cost on this network, of both ends together.
    pub fn masking_allowance(&self) -> Allowance {
        if self.is_metered { self.masking_budget.part(METERED.0, METERED.1) } else { self.masking_budget }
    }

    /// Returns what all padding may cost on this network.
    pub fn padding_allowance(&self) -> Allowance {
        let usual = if self.is_metered { Allowance::METERED } else { Allowance::NONE };
        self.padding_budget.unwrap_or(usual)
    }

    /// Returns what a relay does that a client asks for this, where its operator allows no more than `own`.
    #[must_use]
    pub fn within(self, own: &Self) -> Self {
        Self {
            band: self.band.filter(|band| band.high() >= LEAST_HIGH),
            masking_budget: self.masking_allowance().and(own.masking_allowance()),
            padding_budget: Some(self.padding_allowance().and(own.padding_allowance())),
            is_metered: false,
            ..self
        }
    }
}

/// What goes over the wire: the numbers of what an end masks by.
#[derive(Serialize, Deserialize)]
struct Wire(u8, Option<(u16, u16)>, Amounts, Option<Amounts>, bool, bool);

#[derive(Serialize, Deserialize)]
struct Amounts(Option<u64>, Option<u64>, Option<u64>, Option<u16>, Option<u16>);

impl From<Allowance> for Amounts {
    fn from(allowance: Allowance) -> Self {
        let Allowance { per_second, per_hour, per_day, of_user, of_link } = allowance;
        Self(per_second, per_hour, per_day, of_user, of_link)
    }
}

impl From<Amounts> for Allowance {
    fn from(Amounts(per_second, per_hour, per_day, of_user, of_link): Amounts) -> Self {
        Self { per_second, per_hour, per_day, of_user, of_link }
    }
}

impl From<Terms> for Wire {
    fn from(terms: Terms) -> Self {
        let mode = match terms.mode {
            MaskingMode::Off => 0,
            MaskingMode::Adaptive => 1,
            MaskingMode::Profile(name) => {
                2 + ProfileName::ALL.iter().position(|of| *of == name).unwrap_or_default() as u8
            }
        };
        let budgets = (terms.masking_budget.into(), terms.padding_budget.map(Amounts::from));
        Self(mode, terms.band.map(Band::hundredths), budgets.0, budgets.1, terms.is_metered, terms.saves_battery)
    }
}

impl TryFrom<Wire> for Terms {
    type Error = Unreadable;

    fn try_from(Wire(mode, band, masking, padding, is_metered, saves_battery): Wire) -> Result<Self, Unreadable> {
        let mode = match mode {
            0 => MaskingMode::Off,
            1 => MaskingMode::Adaptive,
            // One that a later version has is none of ours: what the user does is looked at, then.
            number => {
                let name = ProfileName::ALL.get(usize::from(number) - 2);
                name.map_or(MaskingMode::Adaptive, |name| MaskingMode::Profile(*name))
            }
        };
        let band = match band {
            Some((low, high)) => Some(Band::new(low, high).ok_or(Unreadable("a band"))?),
            None => None,
        };
        let (masking_budget, padding_budget) = (masking.into(), padding.map(Allowance::from));
        Ok(Self { mode, band, masking_budget, padding_budget, is_metered, saves_battery })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_shown() {
        for mode in
            [MaskingMode::Off, MaskingMode::Adaptive].into_iter().chain(ProfileName::ALL.map(MaskingMode::Profile))
        {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert!("on".parse::<MaskingMode>().is_err());
    }
}
