//! What an end can do beside the defense.

use serde::{Deserialize, Serialize};

/// What an end can do beside the defense, as bits; those that either end does not know are left out of the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Capabilities(u32);

/// Gives each its bit: a row each.
macro_rules! capabilities {
    ($($(#[$doc:meta])* $name:ident = $bit:literal,)*) => {
        impl Capabilities {
            $($(#[$doc])* pub const $name: Self = Self($bit);)*

            /// All that this version knows.
            pub const ALL: Self = Self(0 $(| $bit)*);
        }
    };
}

capabilities! {
    /// Several small IP packets in one datagram.
    BUNDLES = 1,
    /// WireGuard's timers are driven by datagrams, whatever they carry, and keepalives are frames of their own kind.
    TIMERS = 2,
    /// What is asked of a path is answered: a challenge by its echo.
    PATHS = 4,
    /// The client agrees anew when the relay asks it to.
    RENEWAL = 8,
    /// A probe of the path's size is answered by an echo of the same size, and both ends use what both found.
    SIZES = 16,
    /// The relay pads the download as the client asks for, so that the sum of both directions looks like one client.
    MASKING = 32,
}

impl Capabilities {
    /// Returns these and the others.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns these without the others.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Returns what both can do.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Tells whether all of `other` is among these.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_both_can_do_is_agreed_on() {
        let newer = Capabilities(0xff);
        assert_eq!(newer.and(Capabilities::BUNDLES), Capabilities::BUNDLES);
        assert_eq!(newer.and(Capabilities::ALL), Capabilities::ALL);
        assert!(newer.contains(Capabilities::BUNDLES) && !Capabilities::default().contains(Capabilities::BUNDLES));
        let others = Capabilities::ALL.without(Capabilities::BUNDLES);
        assert!(!others.contains(Capabilities::BUNDLES) && others.contains(Capabilities::SIZES));
        assert_eq!(others.with(Capabilities::BUNDLES), Capabilities::ALL);
    }
}
