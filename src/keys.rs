//! The keys of a tunnel: parsed from hex (UAPI) or base64 (configuration files), wiped on drop, never shown by `Debug`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rand_core::{CryptoRng, OsRng, TryRngCore as _};
use x25519_dalek::StaticSecret;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Length of every WireGuard key, in bytes.
pub const KEY_LENGTH: usize = 32;

/// Explains why a text is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is not 44 characters of base64 that decode to 32 bytes.
    #[error("not a key: expected 44 characters of base64")]
    Base64,
    /// The text is not 64 hexadecimal digits.
    #[error("not a key: expected 64 hexadecimal digits")]
    Hex,
}

fn decode_base64(text: &str) -> Result<[u8; KEY_LENGTH], KeyError> {
    let mut key = [0; KEY_LENGTH];
    match BASE64.decode_slice(text, &mut key) {
        Ok(KEY_LENGTH) => Ok(key),
        _ => {
            key.zeroize();
            Err(KeyError::Base64)
        }
    }
}

fn decode_hex(text: &str) -> Result<[u8; KEY_LENGTH], KeyError> {
    let mut key = [0; KEY_LENGTH];
    if hex::decode_to_slice(text, &mut key).is_err() {
        key.zeroize();
        return Err(KeyError::Hex);
    }
    Ok(key)
}

macro_rules! text_forms {
    ($name:ident) => {
        impl $name {
            /// Parses the base64 form used by configuration files and `wg`.
            ///
            /// # Errors
            /// [`KeyError::Base64`] unless `text` is the padded base64 of 32 bytes.
            pub fn from_base64(text: &str) -> Result<Self, KeyError> {
                decode_base64(text).map(Self::from_bytes)
            }

            /// Parses the hexadecimal form used by WireGuard's configuration socket.
            ///
            /// # Errors
            /// [`KeyError::Hex`] unless `text` is 64 hexadecimal digits of either case.
            pub fn from_hex(text: &str) -> Result<Self, KeyError> {
                decode_hex(text).map(Self::from_bytes)
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

/// The secret half of a peer's static key pair.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct PrivateKey([u8; KEY_LENGTH]);

text_forms!(PrivateKey);

impl PrivateKey {
    /// Takes 32 bytes as a private key, clamped as Curve25519 asks (RFC 7748 §5), as `wg genkey` does.
    pub fn from_bytes(mut bytes: [u8; KEY_LENGTH]) -> Self {
        bytes[0] &= 0xf8;
        bytes[31] = (bytes[31] & 0x7f) | 0x40;
        let key = Self(bytes);
        bytes.zeroize();
        key
    }

    /// Draws a new private key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = [0; KEY_LENGTH];
        rng.fill_bytes(&mut bytes);
        Self::from_bytes(bytes)
    }

    /// Draws a new private key from the operating system's generator.
    pub fn generate_from_os() -> Self {
        Self::generate(&mut OsRng.unwrap_err())
    }

    /// Returns the public half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey::from_bytes(*x25519_dalek::PublicKey::from(&self.to_x25519()).as_bytes())
    }

    /// Returns the raw bytes.
    pub fn as_bytes(&self) -> &[u8; KEY_LENGTH] {
        &self.0
    }

    /// Returns the key in the form that the handshake takes.
    pub fn to_x25519(&self) -> StaticSecret {
        StaticSecret::from(self.0)
    }
}

impl PartialEq for PrivateKey {
    fn eq(&self, other: &Self) -> bool {
        constant_time_eq(&self.0, &other.0)
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

text_forms!(PublicKey);

impl PublicKey {
    /// Takes 32 bytes as a public key.
    pub const fn from_bytes(bytes: [u8; KEY_LENGTH]) -> Self {
        Self(bytes)
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

/// A symmetric key that both peers hold beside their key pairs (whitepaper §5.2). All zeros means none.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct PresharedKey([u8; KEY_LENGTH]);

text_forms!(PresharedKey);

impl PresharedKey {
    /// Takes 32 bytes as a preshared key.
    pub fn from_bytes(bytes: [u8; KEY_LENGTH]) -> Self {
        Self(bytes)
    }

    /// Draws a new preshared key from the operating system's generator.
    pub fn generate_from_os() -> Self {
        let mut bytes = [0; KEY_LENGTH];
        rand_core::RngCore::fill_bytes(&mut OsRng.unwrap_err(), &mut bytes);
        Self(bytes)
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
mod tests {
    use super::*;

    #[test]
    fn private_key_gives_the_public_key_of_rfc_7748() {
        // RFC 7748 §6.1, Bob's key pair.
        let private = PrivateKey::from_hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb").unwrap();
        assert_eq!(private.public_key().to_hex(), "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
    }

    #[test]
    fn text_forms_round_trip() {
        let key = PrivateKey::generate_from_os();
        assert_eq!(PrivateKey::from_base64(&key.to_base64()).unwrap(), key);
        assert_eq!(PrivateKey::from_hex(&key.to_hex()).unwrap(), key);
    }

    #[test]
    fn text_of_another_length_or_alphabet_is_refused() {
        for text in ["", "AAAA", "not base64 at all", &"A".repeat(43), &"A".repeat(44), &"A".repeat(4096)] {
            assert_eq!(PublicKey::from_base64(text), Err(KeyError::Base64), "{text}");
        }
        for text in ["", "00", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64)] {
            assert_eq!(PublicKey::from_hex(text), Err(KeyError::Hex), "{text}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = PrivateKey::generate_from_os();
        assert_eq!(format!("{key:?}"), "PrivateKey(hidden)");
        let preshared = PresharedKey::generate_from_os();
        assert_eq!(format!("{preshared:?}"), "PresharedKey(hidden)");
    }
}
