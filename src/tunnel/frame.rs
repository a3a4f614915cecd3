//! Frames: payloads of transport data packets that are not IP (padding, bundles, control).
//!
//! A frame is `0xff`, a kind (u8), the length of the whole plaintext (u16, big endian), a body, and zeros. A WireGuard
//! peer that knows no frames drops them as neither IP version 4 nor 6.

/// First byte of every frame: no IP version starts with it.
const MARK: u8 = 0xff;

/// Bytes before the body.
pub(super) const HEADER: usize = 4;

/// The authenticated payload of a transport data packet that starts with the mark of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) kind: FrameKind,
    pub(super) body: &'a [u8],
}

/// Makes the enum of what frames carry: a row for each kind, with its number on the wire and its name in the log of tests.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $number:literal $name:literal,)*) => {
        /// What a frame carries.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum FrameKind {
            $($(#[$doc])* $kind,)*
            /// A kind of a later version, to be ignored.
            Unknown(u8),
        }

        impl From<u8> for FrameKind {
            fn from(kind: u8) -> Self {
                match kind {
                    $($number => Self::$kind,)*
                    other => Self::Unknown(other),
                }
            }
        }

        impl From<FrameKind> for u8 {
            fn from(kind: FrameKind) -> Self {
                match kind {
                    $(FrameKind::$kind => $number,)*
                    FrameKind::Unknown(other) => other,
                }
            }
        }

        impl FrameKind {
            /// Names it.
            pub(super) fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                    Self::Unknown(_) => "other",
                }
            }
        }
    };
}

kinds! {
    /// Nothing: byte for byte the padding of Mullvad's DAITA.
    Padding = 0 "padding",
    /// Several IP packets: see [`bundle`](super::bundle).
    Bundle = 1 "bundle",
    /// A message of the [`negotiation`](crate::negotiation).
    Control = 2 "control",
    /// Nothing, and no answer is due: a keepalive between ends whose timers are alike.
    Keepalive = 3 "keepalive",
    /// A probe of the path's size, or its echo: see [`path_size`](super::path_size).
    Path = 4 "path",
}

impl<'a> Frame<'a> {
    /// Returns the first bytes of a frame of `size` bytes, 4 to 65,535: the body follows, and zeros.
    pub(super) fn header(kind: FrameKind, size: usize) -> [u8; HEADER] {
        let [high, low] = u16::try_from(size).unwrap_or(u16::MAX).to_be_bytes();
        [MARK, kind.into(), high, low]
    }

    /// Returns the kind of the frame that `plaintext` begins with; `None` if it is none.
    pub(super) fn kind_of(plaintext: &[u8]) -> Option<FrameKind> {
        plaintext.first_chunk().and_then(|&[mark, kind]| (mark == MARK).then(|| kind.into()))
    }

    /// Reads a frame; `None` if `payload` is not one, or states a length other than its own.
    pub(super) fn parse(payload: &'a [u8]) -> Option<Self> {
        let (&[mark, kind, high, low], body) = payload.split_first_chunk::<HEADER>()?;
        if mark != MARK || usize::from(u16::from_be_bytes([high, low])) != payload.len() {
            return None;
        }
        Some(Self { kind: kind.into(), body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_of_daita_is_a_frame() {
        let mut payload = vec![0; 1_420];
        payload[..4].copy_from_slice(&[0xff, 0, 0x05, 0x8c]);
        assert_eq!(Frame::parse(&payload).unwrap().kind, FrameKind::Padding);
    }

    #[test]
    fn an_unknown_kind_is_a_frame_to_be_ignored() {
        assert_eq!(Frame::parse(&[0xff, 9, 0, 5, 1]), Some(Frame { kind: FrameKind::Unknown(9), body: &[1] }));
    }

    #[test]
    fn a_short_payload_another_mark_or_a_lying_length_is_no_frame() {
        for payload in [&[][..], &[0xff], &[0xff, 0, 0], &[0xff, 0, 0, 5], &[0xff, 0, 0, 3], &[0x45, 0, 0, 4]] {
            assert_eq!(Frame::parse(payload), None, "{payload:?}");
        }
    }
}
