//! The keys of a configuration file, a row each, and the sections they belong to.
//!
//! A new key is a row of [`interface::KEYS`] or [`peer::KEYS`]; one of a defense is a row of
//! [`DefenseOptions::SETTINGS`], which files have without more.

/// Makes what is to be known of a key of what its row says.
macro_rules! about {
    ($name:literal, $reader:ident, $list:ident, $takes:literal, $without:literal) => {
        $crate::config::key::About {
            name: $name,
            reader: $crate::config::key::Reader::$reader,
            list: $crate::config::key::List::$list,
            #[cfg(test)]
            takes: $takes,
            #[cfg(test)]
            without: $without,
        }
    };
}

mod interface;
mod peer;

use std::fmt::{self, Display};

use super::suggestion;
use super::tables::Tables;
use super::value::Invalid;
use super::{Interface, Peer};
use crate::settings::{DefenseOptions, Scope, Setting, Spelling};
pub(super) use peer::PeerSection;

/// A section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Interface,
    Peer,
}

impl Section {
    /// Finds a section by the text between its brackets, in any case.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::Interface, Self::Peer].into_iter().find(|section| section.name().eq_ignore_ascii_case(name))
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Interface => "Interface",
            Self::Peer => "Peer",
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.name())
    }
}

/// What is to be known of a key, whichever section it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct About {
    /// How the documentation spells it.
    pub(super) name: &'static str,
    pub(super) reader: Reader,
    pub(super) list: List,
    /// What its values are, for the documents.
    #[cfg(test)]
    takes: &'static str,
    /// What holds without it, for the documents.
    #[cfg(test)]
    without: &'static str,
}

/// Who reads a key beside us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// `wg`: spaces count for nothing in the key, nor in its value.
    Wg,
    /// `wg-quick`, but not `wg`.
    WgQuick,
    /// Nobody.
    Ours,
}

/// Whether a key has many values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    /// One: of lines that repeat it, the last counts for `wg` and `wg-quick`; of a key that is ours, two are a slip.
    No,
    /// Many, in whatever order.
    Set,
    /// Many, in their order.
    Sequence,
}

impl About {
    /// Tells whether the key may stand but once.
    pub(super) fn stands_once(&self) -> bool {
        self.reader == Reader::Ours && self.list == List::No
    }
}

/// How a tunnel that runs takes another value of a key of `[Interface]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Live {
    /// The device is told.
    Device,
    /// Whoever set the interface up applies it.
    Command,
    /// It stays as it is until the tunnel ends.
    Kept,
    /// It has had its time.
    AtStart,
}

/// A value, and what it may name.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    pub(super) line: usize,
    pub(super) text: &'a str,
    pub(super) tables: &'a Tables,
}

/// Where the values of a section go to, one after another; of lists, item by item.
pub(super) type Say<'a> = &'a mut dyn FnMut(&dyn Display);

/// A key of `[Interface]`.
pub(super) struct InterfaceKey {
    pub(super) about: About,
    pub(super) live: Live,
    pub(super) set: for<'a> fn(&mut Interface, Value<'a>) -> Result<(), Invalid<'a>>,
    pub(super) say: fn(&Interface, Say<'_>),
}

/// A key of `[Peer]`, but for those of a defense.
pub(super) struct PeerKey {
    pub(super) about: About,
    pub(super) set: for<'a> fn(&mut PeerSection, &'a str) -> Result<(), Invalid<'a>>,
    pub(super) say: fn(&Peer, Say<'_>),
}

/// Any key.
#[derive(Clone, Copy)]
pub(super) enum Key {
    Interface(&'static InterfaceKey),
    Peer(&'static PeerKey),
    Defense(&'static Setting),
}

impl Key {
    /// Returns every key, in the order in which they are said.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let of_interface = interface::KEYS.iter().map(Self::Interface);
        of_interface.chain(peer::KEYS.iter().map(Self::Peer)).chain(DefenseOptions::SETTINGS.iter().map(Self::Defense))
    }

    /// Finds a key by its name, in any case.
    pub(super) fn find(name: &str) -> Option<Self> {
        Self::all().find(|key| key.about().name.eq_ignore_ascii_case(name))
    }

    pub(super) fn section(self) -> Section {
        match self {
            Self::Interface(_) => Section::Interface,
            Self::Peer(_) | Self::Defense(_) => Section::Peer,
        }
    }

    pub(super) fn about(self) -> About {
        match self {
            Self::Interface(key) => key.about,
            Self::Peer(key) => key.about,
            Self::Defense(setting) => About {
                name: setting.key,
                reader: Reader::Ours,
                list: List::No,
                #[cfg(test)]
                takes: setting.about,
                #[cfg(test)]
                without: setting.without,
            },
        }
    }

    pub(super) fn name(self) -> &'static str {
        self.about().name
    }
}

/// Hands each key of the section that is said to `line`, with its value; what is a list, item by item.
pub(super) fn say_interface(interface: &Interface, mut line: impl FnMut(&'static str, &dyn Display)) {
    for key in interface::KEYS {
        (key.say)(interface, &mut |value| line(key.about.name, value));
    }
}

/// Hands each key of the section that is said to `line`, as [`say_interface`] does.
pub(super) fn say_peer(peer: &Peer, mut line: impl FnMut(&'static str, &dyn Display)) {
    for key in peer::KEYS {
        (key.say)(peer, &mut |value| line(key.about.name, value));
    }
    for setting in DefenseOptions::SETTINGS {
        if let Some(value) = setting.get(&peer.defense_options) {
            line(setting.key, &value.spell(Spelling::File));
        }
    }
}

/// Says what is missing beside a key of a defense; `None` if nothing is. `is_ephemeral` tells which defense there is, if one
/// is.
pub(super) fn missing_beside(setting: &Setting, is_ephemeral: Option<bool>) -> Option<&'static str> {
    match (setting.scope, is_ephemeral) {
        (Scope::Ephemeral, None | Some(false)) => Some("expected Defense = ephemeral in the same section"),
        (Scope::Masking, None) => {
            Some("expected Defense in the same section, such as Defense = ephemeral: masking needs packets of one size")
        }
        (Scope::Any | Scope::Limit, None) => Some("expected Defense in the same section"),
        (Scope::Ephemeral | Scope::Any | Scope::Limit | Scope::Masking, Some(_)) => None,
    }
}

/// What some keys are called elsewhere: in the files of systemd-networkd.
const ELSEWHERE: [(&str, &str); 3] = [("FirewallMark", "FwMark"), ("RouteTable", "Table"), ("Domains", "DNS")];

/// Returns the key that was meant by `name`, which is none.
pub(super) fn meant(name: &str) -> Option<&'static str> {
    let elsewhere = ELSEWHERE.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, key)| *key);
    elsewhere.or_else(|| suggestion::meant(name, &Key::all().map(Key::name).collect::<Vec<_>>()))
}

impl Interface {
    /// Returns the keys of which a tunnel that runs takes another value in the way of `live`, as far as this section and
    /// `after` say differently.
    pub fn changed(&self, after: &Self, live: Live) -> Vec<&'static str> {
        let said = |interface: &Self, key: &InterfaceKey| {
            let mut values = Vec::new();
            (key.say)(interface, &mut |value| values.push(value.to_string()));
            values
        };
        let keys = interface::KEYS.iter().filter(|key| key.live == live && said(self, key) != said(after, key));
        keys.map(|key| key.about.name).collect()
    }
}

#[cfg(test)]
mod tests;
