//! The user's limits on the configuration socket: the same three keys for each kind of defense.

use std::fmt::Display;

use crate::settings::{Fraction, Limits};
use crate::text;

/// One of the user's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    PaddingFrac,
    BlockingFrac,
    PaddingRate,
}

/// Sets one of the limits.
///
/// # Errors
/// What it takes instead.
pub(super) fn set(limits: &mut Limits, limit: Limit, value: &str) -> Result<(), &'static str> {
    match limit {
        Limit::PaddingFrac => limits.max_padding_frac = Some(fraction(value)?),
        Limit::BlockingFrac => limits.max_blocking_frac = Some(fraction(value)?),
        Limit::PaddingRate => {
            limits.max_padding_rate = Some(text::decimal(value).ok_or("a number of bytes a second")?);
        }
    }
    Ok(())
}

/// Gives `line` each limit that is set, and its value.
pub(super) fn format(limits: &Limits, mut line: impl FnMut(Limit, &dyn Display)) {
    let Limits { max_padding_frac, max_blocking_frac, max_padding_rate } = limits;
    if let Some(fraction) = max_padding_frac {
        line(Limit::PaddingFrac, fraction);
    }
    if let Some(fraction) = max_blocking_frac {
        line(Limit::BlockingFrac, fraction);
    }
    if let Some(rate) = max_padding_rate {
        line(Limit::PaddingRate, rate);
    }
}

/// Reads a fraction.
///
/// # Errors
/// What it takes instead.
pub(super) fn fraction(value: &str) -> Result<Fraction, &'static str> {
    value.parse().map_err(|_| "a number from 0 to 1")
}
