//! Keys of the protocol as enums.

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
