//! Keys that need not be secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use x25519_dalek::{PublicKey, StaticSecret};

/// A key of zeros.
pub(super) const ZEROS: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// Returns the private key of a number, clamped as `wg genkey` does it.
pub(super) fn private(number: usize) -> String {
    let mut bytes = bytes(number);
    bytes[0] &= 248;
    bytes[31] = bytes[31] & 127 | 64;
    BASE64.encode(bytes)
}

/// Returns the private key of a number as it was drawn.
pub(super) fn unclamped(number: usize) -> String {
    let mut bytes = bytes(number);
    bytes[0] |= 7;
    bytes[31] |= 128;
    BASE64.encode(bytes)
}

/// Returns the public key of the private key of a number.
pub(super) fn public(number: usize) -> String {
    BASE64.encode(PublicKey::from(&StaticSecret::from(bytes(number))).as_bytes())
}

/// Returns a preshared key.
pub(super) fn preshared(number: usize) -> String {
    BASE64.encode(bytes(number + 100))
}

fn bytes(number: usize) -> [u8; 32] {
    let seed = u8::try_from(number % 251).expect("less than 256");
    std::array::from_fn(|at| seed.wrapping_mul(37).wrapping_add(u8::try_from(at).unwrap_or(0).wrapping_mul(11)) ^ 0x5a)
}
