//! What a setting may be, and how it is read and shown.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::{Fraction, MAX_RENEWAL, MIN_RENEWAL, NegotiationPolicy, Role, Strength, Tier, role_from_name};
use crate::masking::{Allowance, Band, MaskingMode};
use crate::text;

/// The value of a setting, whatever its type.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// One of some words.
    Word(String),
    /// On or off.
    Switch(bool),
    /// A fraction, 0 to 1.
    Fraction(f64),
    /// A time in seconds.
    Seconds(u64),
    /// A number of bytes.
    Bytes(u64),
    /// A number of something else.
    Number(u64),
}

/// Where a value is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// In a file, or on the command line.
    File,
    /// On the configuration socket.
    Socket,
}

impl Value {
    /// Spells it as it is read.
    pub fn spell(&self, spelling: Spelling) -> String {
        match self {
            Self::Word(word) => word.clone(),
            Self::Switch(on) if spelling == Spelling::File => if *on { "on" } else { "off" }.to_owned(),
            Self::Switch(on) => on.to_string(),
            Self::Fraction(fraction) => fraction.to_string(),
            Self::Seconds(number) | Self::Bytes(number) | Self::Number(number) => number.to_string(),
        }
    }

    /// Tells whether it is no limit.
    pub fn is_zero(&self) -> bool {
        match self {
            Self::Word(_) | Self::Switch(_) => false,
            Self::Fraction(fraction) => *fraction == 0.0,
            Self::Seconds(number) | Self::Bytes(number) | Self::Number(number) => *number == 0,
        }
    }

    /// Returns what no limit is, in its place.
    #[must_use]
    pub fn zero(&self) -> Self {
        match self {
            Self::Word(_) | Self::Switch(_) => self.clone(),
            Self::Fraction(_) => Self::Fraction(0.0),
            Self::Seconds(_) => Self::Seconds(0),
            Self::Bytes(_) => Self::Bytes(0),
            Self::Number(_) => Self::Number(0),
        }
    }
}

/// A number, a text or a boolean.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Word(word) => serializer.serialize_str(word),
            Self::Switch(on) => serializer.serialize_bool(*on),
            Self::Fraction(fraction) => serializer.serialize_f64(*fraction),
            Self::Seconds(number) | Self::Bytes(number) | Self::Number(number) => serializer.serialize_u64(*number),
        }
    }
}

/// What values of one type are: how a text becomes one, and what is told of it.
pub(super) struct Kind<T> {
    /// What takes the place of a value in a usage.
    pub(super) values: &'static str,
    /// What is expected of a text; what may be a word of its own stands in quotes.
    pub(super) expected: &'static str,
    /// What JSON has of it.
    pub(super) json: &'static str,
    /// Texts that are taken, of each form.
    pub(super) examples: &'static [&'static str],
    pub(super) read: fn(&str, Spelling) -> Option<T>,
    pub(super) value: fn(&T) -> Value,
}

fn word<T: FromStr>(text: &str, _: Spelling) -> Option<T> {
    text.parse().ok()
}

/// Returns the kind of what is one of some words: in a usage, in quotes as a message has them, and one by one.
const fn words<T: Display>(
    values: &'static str,
    quoted: &'static str,
    examples: &'static [&'static str],
    read: fn(&str, Spelling) -> Option<T>,
) -> Kind<T> {
    Kind { values, expected: quoted, json: quoted, examples, read, value: |value| Value::Word(value.to_string()) }
}

pub(super) const ROLE: Kind<Role> =
    words("client|relay", r#""client" or "relay""#, &["client", "relay"], |text, _| role_from_name(text));

pub(super) const TIER: Kind<Tier> =
    words("size|padding|blocking", r#""size", "padding" or "blocking""#, &["size", "padding", "blocking"], word);

pub(super) const STRENGTH: Kind<Strength> =
    words("low|medium|high", r#""low", "medium" or "high""#, &["low", "medium", "high"], word);

pub(super) const POLICY: Kind<NegotiationPolicy> =
    words("require|prefer|off", r#""require", "prefer" or "off""#, &["require", "prefer", "off"], word);

pub(super) const SWITCH: Kind<bool> = Kind {
    values: "on|off",
    expected: "\"on\" or \"off\"",
    json: "boolean",
    examples: &["on", "off"],
    read: |text, spelling| [true, false].into_iter().find(|on| Value::Switch(*on).spell(spelling) == text),
    value: |on| Value::Switch(*on),
};

pub(super) const FRACTION: Kind<Fraction> = Kind {
    values: "F",
    expected: "a number from 0 to 1",
    json: "number from 0 to 1",
    examples: &["0", "0.25", "1", "1e-3", "0.1234567890123456"],
    read: word,
    value: |fraction| Value::Fraction(fraction.get()),
};

pub(super) const BYTE_RATE: Kind<u64> = Kind {
    values: "BYTES",
    expected: "bytes per second, a whole number, 0 for no limit",
    json: "bytes a second",
    examples: &["0", "65536", "18446744073709551615"],
    read: |text, _| text::decimal(text),
    value: |bytes| Value::Bytes(*bytes),
};

pub(super) const MASKING: Kind<MaskingMode> = words(
    "off|adaptive|PROFILE",
    r#""off", "adaptive", "web", "video", "voice", "gaming", "download" or "mixed""#,
    &["off", "adaptive", "web", "video", "voice", "gaming", "download", "mixed"],
    word,
);

pub(super) const BAND: Kind<Band> = Kind {
    values: "LOW-HIGH%",
    expected: "a band of percents, such as 3-8%",
    json: r#"string, such as "3-8%""#,
    examples: &["3-8%", "0.5-12.25%", "99-100%"],
    read: word,
    value: |band| Value::Word(band.to_string()),
};

pub(super) const ALLOWANCE: Kind<Allowance> = Kind {
    values: "BUDGET",
    expected: "off, or terms such as 30%,200MB/d",
    json: r#"string, such as "30%,200MB/d""#,
    examples: &["30%,200MB/d", "off", "0B/d", "12.5%,10%link,1MB/s,20MB/h,2GB/d"],
    read: word,
    value: |allowance| Value::Word(allowance.to_string()),
};

pub(super) const RENEWAL: Kind<Duration> = Kind {
    values: "SECONDS",
    expected: "seconds, 60 to 604800",
    json: "seconds",
    examples: &["60", "3600", "604800"],
    read: |text, _| {
        let renewal = Duration::from_secs(text::decimal(text)?);
        (MIN_RENEWAL..=MAX_RENEWAL).contains(&renewal).then_some(renewal)
    },
    value: |renewal| Value::Seconds(renewal.as_secs()),
};

#[cfg(test)]
mod tests {
    use super::*;

    fn hold<T>(kind: &Kind<T>) {
        for text in kind.examples {
            let value = (kind.value)(&(kind.read)(text, Spelling::File).unwrap());
            for spelling in [Spelling::File, Spelling::Socket] {
                let spelled = value.spell(spelling);
                assert_eq!((kind.value)(&(kind.read)(&spelled, spelling).unwrap()), value, "{spelled}");
            }
        }
        for text in ["", "unheard of", "-1", "é", "RELAY"] {
            assert!((kind.read)(text, Spelling::Socket).is_none(), "{text}");
        }
    }

    #[test]
    fn every_kind_reads_what_it_shows_and_nothing_else() {
        hold(&ROLE);
        hold(&TIER);
        hold(&STRENGTH);
        hold(&POLICY);
        hold(&SWITCH);
        hold(&FRACTION);
        hold(&BYTE_RATE);
        hold(&RENEWAL);
        hold(&MASKING);
        hold(&BAND);
        hold(&ALLOWANCE);
        for text in ["59", "604801"] {
            assert!((RENEWAL.read)(text, Spelling::File).is_none(), "{text}");
        }
    }
}
