//! What padding may cost, as the user says it.

use std::fmt;
use std::str::FromStr;

use super::Unreadable;
use super::band::{Percent, percent};
use crate::text;

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
    fn where_two_allowances_hold_the_smaller_of_each_does() {
        let one = Allowance { per_day: Some(100), of_user: Some(50), ..Allowance::NONE };
        let other = Allowance { per_day: Some(10), per_hour: Some(7), ..Allowance::NONE };
        let both = Allowance { per_day: Some(10), per_hour: Some(7), of_user: Some(50), ..Allowance::NONE };
        assert_eq!((one.and(other), other.and(one)), (both, both));
        assert_eq!(one.part(1, 4), Allowance { per_day: Some(25), of_user: Some(12), ..Allowance::NONE });
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_the_same(
            bytes in prop::array::uniform3(prop::option::of(any::<u64>())),
            shares in prop::array::uniform2(prop::option::of(0..=65_000u16)),
        ) {
            let [per_second, per_hour, per_day] = bytes;
            let allowance = Allowance { per_second, per_hour, per_day, of_user: shares[0], of_link: shares[1] };
            prop_assert_eq!(allowance.to_string().parse(), Ok(allowance));
        }

        #[test]
        fn no_text_panics(text in "[0-9.,%/a-zé -]{0,20}") {
            let _ = text.parse::<Allowance>();
        }
    }
}
