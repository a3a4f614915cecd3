//! What the user says of masking: what the traffic is to look like, and what that may cost.

use std::fmt;
use std::str::FromStr;

use maybetun_machines::profile::ProfileName;
use serde::{Deserialize, Serialize};

use crate::text;

/// Says that a text is none of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct Unreadable(&'static str);

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

/// A band of upload ratios: outer bytes up over outer bytes down, IP and UDP headers included, in hundredths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Band {
    low: u16,
    high: u16,
}

impl Band {
    /// That of web pages, videos and downloads: 3 to 8 %.
    pub const USUAL: Self = Self { low: 300, high: 800 };

    /// The largest ratio that a band has, in hundredths of a percent: as much up as down.
    pub const MAX: u16 = 10_000;

    /// Returns the band from `low` to `high`, in hundredths of a percent: above 0, at most [`MAX`](Self::MAX), and `low` below `high`;
    /// `None` if they are others.
    pub fn new(low: u16, high: u16) -> Option<Self> {
        (low > 0 && low < high && high <= Self::MAX).then_some(Self { low, high })
    }

    /// Returns the lower end, as a fraction.
    pub fn low(self) -> f64 {
        f64::from(self.low) / f64::from(Self::MAX)
    }

    /// Returns the upper end, as a fraction.
    pub fn high(self) -> f64 {
        f64::from(self.high) / f64::from(Self::MAX)
    }

    /// Returns both ends, in hundredths of a percent.
    pub fn hundredths(self) -> (u16, u16) {
        (self.low, self.high)
    }

    /// Tells whether a ratio is within.
    pub fn contains(self, ratio: f64) -> bool {
        (self.low()..=self.high()).contains(&ratio)
    }
}

impl fmt::Display for Band {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}%", Percent(self.low), Percent(self.high))
    }
}

impl FromStr for Band {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let ends = text.strip_suffix('%').and_then(|text| text.split_once('-'));
        let band = ends.and_then(|(low, high)| Self::new(percent(low)?, percent(high)?));
        band.ok_or(Unreadable("a band of percents, such as `3-8%`"))
    }
}

/// What padding may cost, in bytes of IP packets; all that is said holds at once, and what is not said is no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Allowance {
    /// Bytes in any second.
    pub per_second: Option<u64>,
    /// Bytes in any hour.
    pub per_hour: Option<u64>,
    /// Bytes in any day.
    pub per_day: Option<u64>,
    /// A share of the user's bytes, both ways together, in hundredths of a percent: of all that have passed so far.
    pub of_user: Option<u16>,
    /// A share of the link, in hundredths of a percent: of what the fastest second of the last hour had, both ways together.
    pub of_link: Option<u16>,
}

/// The largest share, in hundredths of a percent: a hundred times as much.
const MAX_SHARE: u32 = 6_500_000;

impl Allowance {
    /// No bound.
    pub const NONE: Self = Self { per_second: None, per_hour: None, per_day: None, of_user: None, of_link: None };

    /// What masking may cost unless the user says otherwise: 30 % of his bytes, and 200 MB a day.
    pub const MASKING: Self = Self { per_day: Some(200_000_000), of_user: Some(3_000), ..Self::NONE };

    /// What all padding together may cost on a metered network unless the user says otherwise: 200 MB a day.
    pub const METERED: Self = Self { per_day: Some(200_000_000), ..Self::NONE };

    /// Returns what holds where both do: the smaller of each.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
            one.into_iter().chain(other).min()
        }
        Self {
            per_second: least(self.per_second, other.per_second),
            per_hour: least(self.per_hour, other.per_hour),
            per_day: least(self.per_day, other.per_day),
            of_user: least(self.of_user, other.of_user),
            of_link: least(self.of_link, other.of_link),
        }
    }

    /// Returns a part of it: `numerator` of `denominator`, rounded down.
    #[must_use]
    pub fn part(self, numerator: u64, denominator: u64) -> Self {
        let of = |bytes: u64| (u128::from(bytes) * u128::from(numerator) / u128::from(denominator.max(1))) as u64;
        let share = |share: u16| of(share.into()) as u16;
        Self {
            per_second: self.per_second.map(of),
            per_hour: self.per_hour.map(of),
            per_day: self.per_day.map(of),
            of_user: self.of_user.map(share),
            of_link: self.of_link.map(share),
        }
    }

    /// Tells whether nothing is bounded.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }
}

/// Units of bytes, the largest first.
const UNITS: [(&str, u64); 4] = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000), ("B", 1)];

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = |bytes: u64, per: &str| {
            let (unit, size) = UNITS.into_iter().find(|(_, size)| bytes.is_multiple_of(*size)).unwrap_or(("B", 1));
            format!("{}{unit}/{per}", bytes / size)
        };
        let terms = [
            self.of_user.map(|share| format!("{}%", Percent(share))),
            self.of_link.map(|share| format!("{}%link", Percent(share))),
            self.per_second.map(|most| bytes(most, "s")),
            self.per_hour.map(|most| bytes(most, "h")),
            self.per_day.map(|most| bytes(most, "d")),
        ];
        let terms: Vec<_> = terms.into_iter().flatten().collect();
        f.write_str(if terms.is_empty() { "off" } else { "" })?;
        f.write_str(&terms.join(","))
    }
}

impl FromStr for Allowance {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let mut allowance = Self::NONE;
        let is_read = text == "off" || text.split(',').all(|term| allowance.take(term.trim()).is_some());
        is_read.then_some(allowance).ok_or(Unreadable("`off`, or terms such as `30%,200MB/d`"))
    }
}

impl Allowance {
    /// Takes a term that was not said before.
    fn take(&mut self, term: &str) -> Option<()> {
        fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
            place.replace(value).is_none().then_some(())
        }
        if let Some(share) = term.strip_suffix("%link") {
            return once(&mut self.of_link, percent(share)?);
        }
        if let Some(share) = term.strip_suffix('%') {
            return once(&mut self.of_user, percent(share)?);
        }
        let (amount, per) = term.split_once('/')?;
        let digits = amount.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        // A file's words come in lower case.
        let (_, size) = UNITS.into_iter().find(|(unit, _)| unit.eq_ignore_ascii_case(&amount[digits.len()..]))?;
        let bytes = text::decimal::<u64>(digits.trim_end())?.checked_mul(size)?;
        match per {
            "s" => once(&mut self.per_second, bytes),
            "h" => once(&mut self.per_hour, bytes),
            "d" => once(&mut self.per_day, bytes),
            _ => None,
        }
    }
}

/// Hundredths of a percent, shown as a percent.
struct Percent(u16);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 100, self.0 % 100);
        match (rest, rest % 10) {
            (0, _) => write!(f, "{whole}"),
            (_, 0) => write!(f, "{whole}.{}", rest / 10),
            _ => write!(f, "{whole}.{rest:02}"),
        }
    }
}

/// Reads a percent with at most two digits behind the point, in hundredths; at most 650.
fn percent(text: &str) -> Option<u16> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
    let hundredths = match rest.len() {
        1 => text::decimal::<u32>(rest)? * 10,
        2 => rest.bytes().all(|digit| digit.is_ascii_digit()).then(|| rest.parse::<u32>().ok())??,
        _ => return None,
    };
    let all = text::decimal::<u32>(whole)?.checked_mul(100)?.checked_add(hundredths)?;
    (all * 100 <= MAX_SHARE).then_some(u16::try_from(all).ok()?)
}

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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_allowance_is_terms_by_commas() {
        for (text, allowance) in [
            ("off", Allowance::NONE),
            ("30%,200MB/d", Allowance::MASKING),
            ("0B/d", Allowance { per_day: Some(0), ..Allowance::NONE }),
            (
                "12.5%link,3kB/s,20GB/h",
                Allowance {
                    per_second: Some(3_000),
                    per_hour: Some(20_000_000_000),
                    of_link: Some(1_250),
                    ..Allowance::NONE
                },
            ),
        ] {
            assert_eq!(text.parse(), Ok(allowance), "{text}");
            assert_eq!(allowance.to_string().parse(), Ok(allowance));
        }
        assert_eq!("200mb/d, 30%".parse(), Ok(Allowance::MASKING));
        for text in [
            "",
            ",",
            "30",
            "30%,30%",
            "200MB",
            "200MB/y",
            "-1MB/d",
            "1.5MB/d",
            "99999999999GB/d",
            "651%",
            "1.234%",
            "é%",
        ] {
            assert!(text.parse::<Allowance>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_band_is_two_percents() {
        assert_eq!("3-8%".parse(), Ok(Band::USUAL));
        assert_eq!("0.5-12.25%".parse(), Ok(Band { low: 50, high: 1_225 }));
        assert!(Band::USUAL.contains(0.03) && Band::USUAL.contains(0.08) && !Band::USUAL.contains(0.081));
        for text in ["", "%", "8-3%", "3-3%", "0-8%", "3-8", "3-101%", "3%", "a-b%", "3--8%", "3.-8%"] {
            assert!(text.parse::<Band>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn where_two_allowances_hold_the_smaller_of_each_does() {
        let one = Allowance { per_day: Some(100), of_user: Some(50), ..Allowance::NONE };
        let other = Allowance { per_day: Some(10), per_hour: Some(7), ..Allowance::NONE };
        let both = Allowance { per_day: Some(10), per_hour: Some(7), of_user: Some(50), ..Allowance::NONE };
        assert_eq!((one.and(other), other.and(one)), (both, both));
        assert_eq!(one.part(1, 4), Allowance { per_day: Some(25), of_user: Some(12), ..Allowance::NONE });
    }

    #[test]
    fn words_are_read_as_they_are_shown() {
        for mode in
            [MaskingMode::Off, MaskingMode::Adaptive].into_iter().chain(ProfileName::ALL.map(MaskingMode::Profile))
        {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert!("on".parse::<MaskingMode>().is_err());
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_the_same(
            bytes in prop::array::uniform3(prop::option::of(any::<u64>())),
            shares in prop::array::uniform2(prop::option::of(0..=65_000u16)),
            low in 1..9_999u16,
            width in 1..9_999u16,
        ) {
            let [per_second, per_hour, per_day] = bytes;
            let allowance = Allowance { per_second, per_hour, per_day, of_user: shares[0], of_link: shares[1] };
            prop_assert_eq!(allowance.to_string().parse(), Ok(allowance));
            if let Some(band) = Band::new(low, low.saturating_add(width)) {
                prop_assert_eq!(band.to_string().parse(), Ok(band));
            }
        }

        #[test]
        fn no_text_panics(text in "[0-9.,%/a-zé -]{0,20}") {
            let _ = (text.parse::<Allowance>(), text.parse::<Band>(), text.parse::<MaskingMode>());
        }
    }
}
