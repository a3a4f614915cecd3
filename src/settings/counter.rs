//! Counters, a row each: the row is all that any surface needs to know of one.

/// What is to be known of a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// Its member in JSON.
    pub member: &'static str,
    /// What it counts.
    pub unit: &'static str,
    /// Its key in the response of the configuration socket.
    pub key: &'static str,
    /// How a text tells of it.
    pub told: Told,
    pub(super) doc: &'static str,
}

/// How a text tells of a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Unless it is 0, in the line of this label, with these words behind the number.
    Among(&'static str, &'static str),
    /// In a line that is made for it and others.
    Composed,
    /// Not at all.
    Unsaid,
}

impl Counter {
    /// Says what it means.
    pub fn about(&self) -> &'static str {
        self.doc.trim_start()
    }
}

/// What is counted together.
///
/// Serialized, it is an object with a member for each counter; durations are whole microseconds.
pub trait Counters {
    /// Hands each counter and its value to `see`, those of parts first.
    fn each(&self, see: &mut dyn FnMut(&'static Counter, u64));

    /// Returns each counter, those of parts first.
    fn all() -> Vec<&'static Counter>;

    /// Gives the counter of this `key` another value; `false` if there is none such.
    fn set(&mut self, key: &str, value: u64) -> bool;
}

/// A counter and where its value lives.
pub(super) struct Row<T> {
    pub(super) counter: Counter,
    pub(super) get: fn(&T) -> u64,
    pub(super) set: fn(&mut T, u64),
}

/// What a counter may be made of.
pub(super) trait Quantity: Copy {
    fn to_number(self) -> u64;
    fn of_number(number: u64) -> Self;
}

impl Quantity for u64 {
    fn to_number(self) -> u64 {
        self
    }

    fn of_number(number: u64) -> Self {
        number
    }
}

/// In whole microseconds.
impl Quantity for std::time::Duration {
    fn to_number(self) -> u64 {
        u64::try_from(self.as_micros()).unwrap_or(u64::MAX)
    }

    fn of_number(number: u64) -> Self {
        Self::from_micros(number)
    }
}

/// Declares what is counted together: for each counter its field, member in JSON, unit, key on the configuration socket and
/// how a text tells of it. `parts` are counters too, and objects of their own in JSON; `beside` is what is no counter.
macro_rules! counters {
    ($(
        $(#[$about:meta])*
        $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $field:ident $(as $member:literal)?: $type:ty, $unit:literal, $key:literal, $told:expr;
            )*
            $(parts { $($(#[doc = $part_doc:literal])+ $part:ident: $part_type:ident;)* })?
            $(beside { $($(#[doc = $other_doc:literal])+ $other:ident as $other_member:literal: $other_type:ty;)* })?
        }
    )*) => {$(
        $(#[$about])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $name {
            $($($(#[doc = $other_doc])+ pub $other: $other_type,)*)?
            $($(#[doc = $doc])+ pub $field: $type,)*
            $($($(#[doc = $part_doc])+ pub $part: $part_type,)*)?
        }

        impl $name {
            const ROWS: &'static [$crate::settings::counter::Row<Self>] = &[$($crate::settings::counter::Row {
                counter: $crate::settings::counter::Counter {
                    member: $crate::settings::counter::member!($field $($member)?),
                    unit: $unit,
                    key: $key,
                    told: $told,
                    doc: concat!($($doc),+),
                },
                get: |of| $crate::settings::counter::Quantity::to_number(of.$field),
                set: |of, number| of.$field = $crate::settings::counter::Quantity::of_number(number),
            }),*];
        }

        impl $crate::settings::Counters for $name {
            fn each(&self, see: &mut dyn FnMut(&'static $crate::settings::Counter, u64)) {
                $($(self.$part.each(see);)*)?
                Self::ROWS.iter().for_each(|row| see(&row.counter, (row.get)(self)));
            }

            fn all() -> Vec<&'static $crate::settings::Counter> {
                #[allow(unused_mut, reason = "not everything has parts")]
                let mut all = Vec::new();
                $($(all.extend($part_type::all());)*)?
                all.extend(Self::ROWS.iter().map(|row| &row.counter));
                all
            }

            fn set(&mut self, key: &str, value: u64) -> bool {
                $($(
                    if self.$part.set(key, value) {
                        return true;
                    }
                )*)?
                let row = Self::ROWS.iter().find(|row| row.counter.key == key);
                row.is_some_and(|row| {
                    (row.set)(self, value);
                    true
                })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap as _;
                let mut map = serializer.serialize_map(None)?;
                $($(map.serialize_entry($other_member, &self.$other)?;)*)?
                for row in Self::ROWS {
                    map.serialize_entry(row.counter.member, &(row.get)(self))?;
                }
                $($(map.serialize_entry(stringify!($part), &self.$part)?;)*)?
                map.end()
            }
        }
    )*};
}

/// Returns the member in JSON: the name of the field, unless it has another.
macro_rules! member {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $member:literal) => {
        $member
    };
}

pub(super) use {counters, member};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::super::{DefenseStatistics, DeviceDrops, Drops, HandshakeLoad, PaddingDrops, Statistics};
    use super::*;
    use crate::documents;

    fn rows<T: Counters>(object: &str, parts: &[(&str, Vec<&'static Counter>)]) -> String {
        let rows = T::all().into_iter().map(|counter| {
            let part = parts.iter().find(|(_, of)| of.contains(&counter)).map_or(object, |(part, _)| part);
            let Counter { member, unit, key, .. } = counter;
            format!("| `{part}{member}` | {unit} | {} | `{key}` |\n", counter.about().trim_end_matches('.'))
        });
        rows.collect()
    }

    #[test]
    fn the_documents_have_a_row_for_each_counter() {
        const HEAD: &str = "| member | unit | meaning | configuration socket |\n|---|---|---|---|\n";
        let of_peer = rows::<Statistics>("", &[("dropped.", Drops::all())]);
        let of_defense = rows::<DefenseStatistics>("", &[("padding_dropped.", PaddingDrops::all())]);
        let of_interface = rows::<DeviceDrops>("dropped.", &[]) + &rows::<HandshakeLoad>("handshake_load.", &[]);
        for (of, rows) in [("an interface", of_interface), ("a peer", of_peer), ("a defense", of_defense)] {
            documents::hold("docs/machine-readable.md", &format!("counters of {of}"), &format!("{HEAD}{rows}"));
        }
    }

    #[test]
    fn each_counter_has_a_key_of_its_own_and_a_value() {
        fn hold<T: Counters + Default>() {
            let keys: BTreeSet<_> = T::all().iter().map(|counter| counter.key).collect();
            assert_eq!(keys.len(), T::all().len());
            let mut counters = T::default();
            for (value, counter) in (1..).zip(T::all()) {
                assert!(counters.set(counter.key, value));
            }
            let mut expected = 1..;
            counters.each(&mut |_, value| assert_eq!(Some(value), expected.next()));
            assert!(!counters.set("unheard of", 7));
        }
        hold::<Statistics>();
        hold::<DeviceDrops>();
        hold::<HandshakeLoad>();
        hold::<DefenseStatistics>();
        let mut statistics = DefenseStatistics::default();
        statistics.set("maybetun_defense_blocked_us", 7);
        assert_eq!(statistics.blocked, Duration::from_micros(7));
    }
}
