//! Keys of the protocol: those that mean something of their own as enums, and those of settings by their rows.

use crate::settings::{DefenseOptions, Setting};

/// A key that is its scope's own, or that of a setting.
#[derive(Clone, Copy)]
pub(super) enum Key<K> {
    /// This, spelled so.
    Own(K, &'static str),
    /// That of a row.
    Setting(&'static Setting, &'static str),
}

impl<K> Key<K> {
    /// Finds a key: `own` if there is one, else that of the setting whose key `key_of` says is `name`.
    pub(super) fn find(
        own: Option<(K, &'static str)>,
        name: &str,
        key_of: impl Fn(&Setting) -> Option<&'static str>,
    ) -> Option<Self> {
        own.map(|(key, name)| Self::Own(key, name)).or_else(|| {
            DefenseOptions::SETTINGS
                .iter()
                .find_map(|setting| Some(Self::Setting(setting, key_of(setting).filter(|key| *key == name)?)))
        })
    }

    pub(super) fn name(&self) -> &'static str {
        let (Self::Own(_, name) | Self::Setting(_, name)) = self;
        name
    }
}

/// Declares an enum of keys, each with its spelling.
macro_rules! keys {
    ($(#[$about:meta])* $scope:ident { $($key:ident $text:literal),* $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum $scope { $($key),* }

        impl $scope {
            pub(super) fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($text => Some(Self::$key),)*
                    _ => None,
                }
            }

            pub(super) fn name(self) -> &'static str {
                match self {
                    $(Self::$key => $text,)*
                }
            }
        }
    };
}

pub(super) use keys;
