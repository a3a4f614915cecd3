//! The keys of a tunnel: parsed from hex (UAPI) or base64 (configuration files), each in one place in memory that is wiped,
//! never shown by `Debug`.
//!
//! What would give a secret that everybody has is no key: a public key of small order, a private key of zeros. So no type
//! here ever holds one, wherever it came from.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use curve25519_dalek::montgomery::MontgomeryPoint;
use curve25519_dalek::scalar::clamp_integer;
use curve25519_dalek::traits::IsIdentity as _;
use rand_core::{CryptoRng, OsRng, TryRngCore as _};
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

use crate::secret::on_wiped_stack;

/// Length of every WireGuard key, in bytes.
pub const KEY_LENGTH: usize = 32;

/// Explains why a text, or bytes, are not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {}", self.expected())]
pub enum KeyError {
    /// The text is not 44 characters of base64 that decode to 32 bytes.
    Base64,
    /// The text is not 64 hexadecimal digits.
    Hex,
    /// The public key is of small order: with it, everyone agrees on the same secret (RFC 7748 §6.1).
    SmallOrder,
    /// The private key is all zeros, but for the bits that are the same in every private key.
    Zero,
}

impl KeyError {
    /// Says what would have been right; it repeats nothing of what was found.
    pub(crate) const fn expected(self) -> &'static str {
        match self {
            Self::Base64 => "a key: 44 characters of base64",
            Self::Hex => "a key: 64 hexadecimal digits",
            Self::SmallOrder => {
                "a public key as `wg pubkey` gives: this one is of small order, and keeps nothing secret"
            }
            Self::Zero => "a private key as `wg genkey` gives: this one is all zeros",
        }
    }
}

type Bytes = Zeroizing<[u8; KEY_LENGTH]>;

fn decode_base64(text: &str) -> Result<Bytes, KeyError> {
    let mut key = Bytes::default();
    match BASE64.decode_slice(text, &mut *key) {
        Ok(KEY_LENGTH) => Ok(key),
        _ => Err(KeyError::Base64),
    }
}

fn decode_hex(text: &str) -> Result<Bytes, KeyError> {
    let mut key = Bytes::default();
    hex::decode_to_slice(text, &mut *key).map_err(|_| KeyError::Hex)?;
    Ok(key)
}

/// Gives a type the text forms of a key; `$more` are the errors of its `from_bytes`.
macro_rules! text_forms {
    ($name:ident, $from_bytes:expr, $(#[$more:meta])*) => {
        impl $name {
            /// Parses the base64 form used by configuration files and `wg`.
            ///
            /// # Errors
            /// [`KeyError::Base64`] unless `text` is the padded base64 of 32 bytes.
            $(#[$more])*
            pub fn from_base64(text: &str) -> Result<Self, KeyError> {
                on_wiped_stack(|| decode_base64(text).and_then(|bytes| $from_bytes(&bytes)))
            }

            /// Parses the hexadecimal form used by WireGuard's configuration socket.
            ///
            /// # Errors
            /// [`KeyError::Hex`] unless `text` is 64 hexadecimal digits of either case.
            $(#[$more])*
            pub fn from_hex(text: &str) -> Result<Self, KeyError> {
                on_wiped_stack(|| decode_hex(text).and_then(|bytes| $from_bytes(&bytes)))
            }

            /// Returns the base64 form.
            pub fn to_base64(&self) -> String {
                BASE64.encode(self.as_bytes())
            }

            /// Returns the lower-case hexadecimal form.
            pub fn to_hex(&self) -> String {
                hex::encode(self.as_bytes())
            }
        }
    };
}

/// The secret half of a peer's static key pair. Clones share one place in memory, which is wiped with the last of them.
#[derive(Clone)]
pub struct PrivateKey(Arc<StaticSecret>);

text_forms!(
    PrivateKey,
    Self::from_bytes,
    /// [`KeyError::Zero`] if the key is all zeros.
);

impl PrivateKey {
    /// Takes 32 bytes as a private key, clamped as Curve25519 asks (RFC 7748 §5), as `wg genkey` does. Wiping `bytes` is
    /// for the caller.
    ///
    /// # Errors
    /// [`KeyError::Zero`] if all bits are zero that clamping leaves as they are.
    pub fn from_bytes(bytes: &[u8; KEY_LENGTH]) -> Result<Self, KeyError> {
        on_wiped_stack(|| {
            let clamped = Zeroizing::new(clamp_integer(*bytes));
            if constant_time_eq(&clamped, &clamp_integer([0; KEY_LENGTH])) {
                return Err(KeyError::Zero);
            }
            Ok(Self(Arc::new(StaticSecret::from(*clamped))))
        })
    }

    /// Draws a new private key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        on_wiped_stack(|| {
            let mut bytes = Bytes::default();
            loop {
                rng.fill_bytes(&mut *bytes);
                if let Ok(key) = Self::from_bytes(&bytes) {
                    return key;
                }
            }
        })
    }

    /// Draws a new private key from the operating system's generator.
    pub fn generate_from_os() -> Self {
        Self::generate(&mut OsRng.unwrap_err())
    }

    /// Returns the public half.
    pub fn public_key(&self) -> PublicKey {
        // Never of small order: a private key is a multiple of 8, not 0, and less than 8 times the order of the base point.
        on_wiped_stack(|| PublicKey(*x25519_dalek::PublicKey::from(&*self.0).as_bytes()))
    }

    /// Returns the raw bytes.
    pub fn as_bytes(&self) -> &[u8; KEY_LENGTH] {
        self.0.as_bytes()
    }

    /// Returns the key in the form that the handshake takes. Who needs it by value takes it [`on_wiped_stack`].
    pub(crate) fn as_x25519(&self) -> &StaticSecret {
        &self.0
    }
}

impl PartialEq for PrivateKey {
    fn eq(&self, other: &Self) -> bool {
        constant_time_eq(self.as_bytes(), other.as_bytes())
    }
}

impl Eq for PrivateKey {}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(hidden)")
    }
}

/// The public half of a peer's static key pair: the peer's name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; KEY_LENGTH]);

text_forms!(
    PublicKey,
    Self::from_bytes,
    /// [`KeyError::SmallOrder`] if the key is of small order.
);

impl PublicKey {
    /// The base point of Curve25519 (RFC 7748 §4.1): a point of large order that is nobody's key, for where one is not known
    /// yet.
    pub(crate) const BASE_POINT: Self = Self(x25519_dalek::X25519_BASEPOINT_BYTES);

    /// Takes 32 bytes as a public key.
    ///
    /// # Errors
    /// [`KeyError::SmallOrder`] if an exchange with it would give zeros whatever the private key (RFC 7748 §6.1), in
    /// whichever of its encodings: one that is not reduced, or that sets the bit that does not count.
    pub fn from_bytes(bytes: &[u8; KEY_LENGTH]) -> Result<Self, KeyError> {
        // Every point of small order, of the curve and of its twist, is of an order that divides 8 (RFC 7748 §4.1), and every
        // private key is a multiple of 8 (§5).
        let eightfold = MontgomeryPoint(*bytes).mul_bits_be([true, false, false, false].into_iter());
        if eightfold.is_identity() { Err(KeyError::SmallOrder) } else { Ok(Self(*bytes)) }
    }

    /// Returns the raw bytes.
    pub const fn as_bytes(&self) -> &[u8; KEY_LENGTH] {
        &self.0
    }

    /// Returns the key in the form that the handshake takes.
    pub fn to_x25519(self) -> x25519_dalek::PublicKey {
        x25519_dalek::PublicKey::from(self.0)
    }
}

/// What a stranger names is looked up as it is: it need not be a key.
impl Borrow<[u8; KEY_LENGTH]> for PublicKey {
    fn borrow(&self) -> &[u8; KEY_LENGTH] {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base64())
    }
}

impl fmt::Debug for PublicKey {
    /// Writes the first characters only: enough to tell peers apart in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}…)", &self.to_base64()[..8])
    }
}

/// A symmetric key that both peers hold beside their key pairs (whitepaper §5.2). All zeros means none. Clones share one
/// place in memory, which is wiped with the last of them.
#[derive(Clone)]
pub struct PresharedKey(Arc<Bytes>);

text_forms!(PresharedKey, |bytes: &Bytes| Ok(Self::from_bytes(bytes)),);

impl PresharedKey {
    /// Takes 32 bytes as a preshared key. Wiping `bytes` is for the caller.
    pub fn from_bytes(bytes: &[u8; KEY_LENGTH]) -> Self {
        on_wiped_stack(|| Self(Arc::new(Zeroizing::new(*bytes))))
    }

    /// Draws a new preshared key from the operating system's generator.
    pub fn generate_from_os() -> Self {
        on_wiped_stack(|| {
            let mut bytes = Bytes::default();
            rand_core::RngCore::fill_bytes(&mut OsRng.unwrap_err(), &mut *bytes);
            Self::from_bytes(&bytes)
        })
    }

    /// Returns the raw bytes.
    pub fn as_bytes(&self) -> &[u8; KEY_LENGTH] {
        &self.0
    }

    /// Tells whether the key is all zeros, which stands for "no preshared key".
    pub fn is_zero(&self) -> bool {
        constant_time_eq(&self.0, &[0; KEY_LENGTH])
    }
}

impl PartialEq for PresharedKey {
    fn eq(&self, other: &Self) -> bool {
        constant_time_eq(&self.0, &other.0)
    }
}

impl Eq for PresharedKey {}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(hidden)")
    }
}

/// Compares without an early exit, so that time tells nothing of where two keys differ.
fn constant_time_eq(a: &[u8; KEY_LENGTH], b: &[u8; KEY_LENGTH]) -> bool {
    std::hint::black_box(a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y))) == 0
}

#[cfg(test)]
mod tests;
