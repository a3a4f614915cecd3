//! A band of upload ratios, and percents as they are written.

use std::fmt;
use std::str::FromStr;

use super::Unreadable;
use crate::text;

/// What is the whole, in hundredths of a percent.
pub(super) const WHOLE: u16 = 10_000;

/// A band of upload ratios: outer bytes up over outer bytes down, IP and UDP headers included, in hundredths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Band {
    low: u16,
    high: u16,
}

impl Band {
    /// That of web pages, videos and downloads: 3 to 8 %.
    pub const USUAL: Self = Self { low: 300, high: 800 };

    /// The largest ratio that a band has, in hundredths of a percent: five times as much up as down.
    pub const MAX: u16 = 50_000;

    /// Returns the band from `low` to `high`, in hundredths of a percent: above 0, at most [`MAX`](Self::MAX), and `low` below `high`;
    /// `None` if they are others.
    pub fn new(low: u16, high: u16) -> Option<Self> {
        (low > 0 && low < high && high <= Self::MAX).then_some(Self { low, high })
    }

    /// Returns the lower end, as a fraction.
    pub fn low(self) -> f64 {
        f64::from(self.low) / f64::from(WHOLE)
    }

    /// Returns the upper end, as a fraction.
    pub fn high(self) -> f64 {
        f64::from(self.high) / f64::from(WHOLE)
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

/// Hundredths of a percent, shown as a percent.
pub(super) struct Percent(pub(super) u16);

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

/// The most that is read: 650 %.
const MOST: u16 = 65_000;

/// Reads a percent with at most two digits behind the point, in hundredths; at most 650.
pub(super) fn percent(text: &str) -> Option<u16> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
    let hundredths = match rest.len() {
        1 => text::decimal::<u32>(rest)? * 10,
        2 => rest.bytes().all(|digit| digit.is_ascii_digit()).then(|| rest.parse::<u32>().ok())??,
        _ => return None,
    };
    let all = text::decimal::<u32>(whole)?.checked_mul(100)?.checked_add(hundredths)?;
    u16::try_from(all).ok().filter(|all| *all <= MOST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_band_is_two_percents() {
        assert_eq!("3-8%".parse(), Ok(Band::USUAL));
        assert_eq!("0.5-12.25%".parse(), Ok(Band { low: 50, high: 1_225 }));
        assert!(Band::USUAL.contains(0.03) && Band::USUAL.contains(0.08) && !Band::USUAL.contains(0.081));
        for text in ["", "%", "8-3%", "3-3%", "0-8%", "3-8", "3-501%", "3%", "a-b%", "3--8%", "3.-8%"] {
            assert!(text.parse::<Band>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_the_same(low in 1..49_999u16, width in 1..49_999u16) {
            if let Some(band) = Band::new(low, low.saturating_add(width)) {
                prop_assert_eq!(band.to_string().parse(), Ok(band));
            }
        }

        #[test]
        fn no_text_panics(text in "[0-9.,%/a-zé -]{0,20}") {
            let _ = text.parse::<Band>();
        }
    }
}
