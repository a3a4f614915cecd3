//! The keys of a configuration file, and the sections they belong to.

use std::fmt;

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

    fn name(self) -> &'static str {
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
    /// Tells whether the key may stand more than once, each time adding to the last.
    pub(super) fn is_list(self) -> bool {
        match self {
            Self::Address
            | Self::Dns
            | Self::PreUp
            | Self::PostUp
            | Self::PreDown
            | Self::PostDown
            | Self::KillSwitchAllow => true,
            Self::PrivateKey
            | Self::ListenPort
            | Self::FwMark
            | Self::Mtu
            | Self::Table
            | Self::MaxPaddingRate
            | Self::HandshakesPerSecond
            | Self::SaveConfig
            | Self::KillSwitch => false,
        }
    }
}

impl PeerKey {
    /// Tells whether the key may stand more than once, each time adding to the last.
    pub(super) fn is_list(self) -> bool {
        match self {
            Self::AllowedIps => true,
            Self::PublicKey
            | Self::PresharedKey
            | Self::Endpoint
            | Self::PersistentKeepalive
            | Self::Defense
            | Self::DefenseMaxPaddingFrac
            | Self::DefenseMaxBlockingFrac
            | Self::DefenseMaxPaddingRate
            | Self::DefenseRole
            | Self::DefenseTier
            | Self::DefenseStrength
            | Self::Negotiation
            | Self::Bundling
            | Self::DefenseRenewal => false,
        }
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
}
