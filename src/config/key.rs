//! The keys of a configuration file, and the sections they belong to.

use std::fmt;

use super::suggestion;

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

macro_rules! keys {
    ($($section:ident $name:ident { $($key:ident $text:literal),* $(,)? })*) => {
        $(
            /// A key of this section.
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub(super) enum $name { $($key),* }

            impl $name {
                pub(super) const ALL: &[Self] = &[$(Self::$key),*];

                /// Returns the key as the documentation spells it.
                pub(super) const fn name(self) -> &'static str {
                    match self {
                        $(Self::$key => $text,)*
                    }
                }

                /// Finds a key by its name, in any case.
                pub(super) fn from_name(name: &str) -> Option<Self> {
                    Self::ALL.iter().copied().find(|key| key.name().eq_ignore_ascii_case(name))
                }
            }
        )*

        /// Every key as the documentation spells it.
        pub(super) const NAMES: &[&str] = &[$($($text),*),*];

        /// Finds the section that a key belongs to, and the spelling of the key.
        pub(super) fn section_of(name: &str) -> Option<(Section, &'static str)> {
            $(
                if let Some(key) = $name::from_name(name) {
                    return Some((Section::$section, key.name()));
                }
            )*
            None
        }
    };
}

/// What some keys are called elsewhere: in the files of systemd-networkd.
const ELSEWHERE: [(&str, &str); 3] = [("FirewallMark", "FwMark"), ("RouteTable", "Table"), ("Domains", "DNS")];

/// Returns the key that was meant by `name`, which is none.
pub(super) fn meant(name: &str) -> Option<&'static str> {
    let elsewhere = ELSEWHERE.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, key)| *key);
    elsewhere.or_else(|| suggestion::meant(name, NAMES))
}

keys! {
    Interface InterfaceKey {
        PrivateKey "PrivateKey",
        ListenPort "ListenPort",
        FwMark "FwMark",
        Address "Address",
        Dns "DNS",
        Mtu "MTU",
        Table "Table",
        MaxPaddingRate "MaxPaddingRate",
        HandshakesPerSecond "HandshakesPerSecond",
        PreUp "PreUp",
        PostUp "PostUp",
        PreDown "PreDown",
        PostDown "PostDown",
        SaveConfig "SaveConfig",
        KillSwitch "KillSwitch",
        KillSwitchAllow "KillSwitchAllow",
    }
    Peer PeerKey {
        PublicKey "PublicKey",
        PresharedKey "PresharedKey",
        AllowedIps "AllowedIPs",
        Endpoint "Endpoint",
        PersistentKeepalive "PersistentKeepalive",
        Defense "Defense",
        DefenseMaxPaddingFrac "DefenseMaxPaddingFrac",
        DefenseMaxBlockingFrac "DefenseMaxBlockingFrac",
        DefenseMaxPaddingRate "DefenseMaxPaddingRate",
        DefenseRole "DefenseRole",
        DefenseTier "DefenseTier",
        DefenseStrength "DefenseStrength",
        Negotiation "Negotiation",
        Bundling "Bundling",
        DefenseRenewal "DefenseRenewal",
    }
}

impl InterfaceKey {
    /// Tells whether `wg` reads the key, and not `wg-quick`. Spaces count for nothing in it, nor in its value.
    pub(super) fn is_of_wg(self) -> bool {
        [Self::PrivateKey, Self::ListenPort, Self::FwMark].contains(&self)
    }

    /// Tells whether the key may stand but once. Of a key that is no list, the last counts for `wg` and `wg-quick`; of one
    /// that only we have, two are a slip.
    pub(super) fn stands_once(self) -> bool {
        [Self::MaxPaddingRate, Self::HandshakesPerSecond, Self::KillSwitch].contains(&self)
    }
}

impl PeerKey {
    /// Tells whether `wg` reads the key, as [`InterfaceKey::is_of_wg`] does.
    pub(super) fn is_of_wg(self) -> bool {
        [Self::PublicKey, Self::PresharedKey, Self::AllowedIps, Self::Endpoint, Self::PersistentKeepalive]
            .contains(&self)
    }

    /// Tells whether the key may stand but once, as [`InterfaceKey::stands_once`] does.
    pub(super) fn stands_once(self) -> bool {
        !self.is_of_wg()
    }

    /// Tells whether the key has a meaning only beside `Defense = ephemeral`.
    pub(super) fn is_of_ephemeral(self) -> bool {
        [Self::DefenseTier, Self::DefenseStrength, Self::Negotiation, Self::Bundling, Self::DefenseRenewal]
            .contains(&self)
    }

    /// Tells whether the key has a meaning only beside a `Defense`, whichever it is.
    pub(super) fn is_of_any_defense(self) -> bool {
        [Self::DefenseMaxPaddingFrac, Self::DefenseMaxBlockingFrac, Self::DefenseMaxPaddingRate, Self::DefenseRole]
            .contains(&self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case() {
        assert_eq!(Section::from_name("iNTERFACE"), Some(Section::Interface));
        assert_eq!(Section::from_name("Defence"), None);
        assert_eq!(InterfaceKey::from_name("dns"), Some(InterfaceKey::Dns));
        assert_eq!(section_of("allowedips"), Some((Section::Peer, "AllowedIPs")));
        assert_eq!(section_of("AllowedIP"), None);
    }

    #[test]
    fn a_mistyped_key_and_that_of_another_program_are_recognized() {
        for (name, key) in [
            ("AllowedIP", Some("AllowedIPs")),
            ("Adress", Some("Address")),
            ("keepalive", Some("PersistentKeepalive")),
            ("FirewallMark", Some("FwMark")),
            ("Defence", Some("Defense")),
            ("Unheard", None),
        ] {
            assert_eq!(meant(name), key, "{name}");
        }
    }

    #[test]
    fn the_documents_have_a_row_for_each_key_and_no_other() {
        let document = include_str!("../../docs/configuration.md");
        let keys = |section: &str| {
            let (_, rows) = document.split_once(&format!("<!-- rows: {section} -->")).unwrap();
            let rows = rows.split("<!-- end -->").next().unwrap();
            let keys = rows.lines().filter_map(|row| row.strip_prefix("| `")?.split('`').next());
            keys.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(keys("Interface"), InterfaceKey::ALL.iter().map(|key| key.name()).collect::<Vec<_>>());
        assert_eq!(keys("Peer"), PeerKey::ALL.iter().map(|key| key.name()).collect::<Vec<_>>());
    }
}
