//! What is a key, and what is none.

use proptest::prelude::*;

use super::*;

/// Every encoding of a point of small order, less the bit that does not count: of the orders 1, 2, 4 and 8 on the curve and
/// its twist, and where it fits the same plus 2²⁵⁵ − 19. As libsodium refuses them, `has_small_order()` in
/// crypto_scalarmult/curve25519/ref10/x25519_ref10.c.
const SMALL_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

/// Returns the points of small order with the highest bit as it is, and set.
fn small_order() -> impl Iterator<Item = [u8; KEY_LENGTH]> {
    let decode = |text| <[u8; KEY_LENGTH]>::try_from(hex::decode(text).unwrap()).unwrap();
    SMALL_ORDER.into_iter().map(decode).flat_map(|point| {
        let mut other = point;
        other[31] |= 0x80;
        [point, other]
    })
}

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
    let key = PresharedKey::generate_from_os();
    assert_eq!(PresharedKey::from_base64(&key.to_base64()).unwrap(), key);
    assert_eq!(PresharedKey::from_hex(&key.to_hex()).unwrap(), key);
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
fn a_point_of_small_order_is_no_public_key_in_any_form() {
    for point in small_order() {
        assert_eq!(PublicKey::from_bytes(&point), Err(KeyError::SmallOrder), "{point:x?}");
        assert_eq!(PublicKey::from_hex(&hex::encode(point)), Err(KeyError::SmallOrder), "{point:x?}");
        assert_eq!(PublicKey::from_base64(&BASE64.encode(point)), Err(KeyError::SmallOrder), "{point:x?}");
    }
}

#[test]
fn the_base_point_is_of_large_order() {
    assert_eq!(PublicKey::from_bytes(PublicKey::BASE_POINT.as_bytes()), Ok(PublicKey::BASE_POINT));
}

#[test]
fn zeros_are_no_private_key_whatever_clamping_makes_of_them() {
    let clamped_away = {
        let mut bytes = [0; KEY_LENGTH];
        (bytes[0], bytes[31]) = (7, 0xc0);
        bytes
    };
    for bytes in [[0; KEY_LENGTH], clamp_integer([0; KEY_LENGTH]), clamped_away] {
        assert_eq!(PrivateKey::from_bytes(&bytes), Err(KeyError::Zero), "{bytes:x?}");
        assert_eq!(PrivateKey::from_hex(&hex::encode(bytes)), Err(KeyError::Zero), "{bytes:x?}");
        assert_eq!(PrivateKey::from_base64(&BASE64.encode(bytes)), Err(KeyError::Zero), "{bytes:x?}");
    }
    let mut least = [0; KEY_LENGTH];
    least[0] = 8;
    assert!(PrivateKey::from_bytes(&least).is_ok());
}

#[test]
fn zeros_are_no_preshared_key() {
    assert!(PresharedKey::from_hex(&"0".repeat(64)).unwrap().is_zero());
    assert!(!PresharedKey::generate_from_os().is_zero());
}

#[test]
fn a_generator_that_begins_with_zeros_is_asked_again() {
    /// Zeros at first, then ones.
    struct Late(u8);
    impl rand_core::RngCore for Late {
        fn next_u32(&mut self) -> u32 {
            rand_core::impls::next_u32_via_fill(self)
        }
        fn next_u64(&mut self) -> u64 {
            rand_core::impls::next_u64_via_fill(self)
        }
        fn fill_bytes(&mut self, bytes: &mut [u8]) {
            bytes.fill(self.0);
            self.0 = 1;
        }
    }
    impl CryptoRng for Late {}
    assert_eq!(PrivateKey::generate(&mut Late(0)), PrivateKey::from_bytes(&[1; KEY_LENGTH]).unwrap());
}

#[test]
fn an_error_says_what_was_expected_and_no_more() {
    let said = PublicKey::from_bytes(&[0; KEY_LENGTH]).unwrap_err().to_string();
    assert_eq!(
        said,
        "expected a public key as `wg pubkey` gives: this one is of small order, and keeps nothing secret"
    );
}

#[test]
fn clones_share_one_place_in_memory() {
    let (key, preshared) = (PrivateKey::generate_from_os(), PresharedKey::generate_from_os());
    assert!(std::ptr::eq(key.as_bytes(), key.clone().as_bytes()));
    assert!(std::ptr::eq(preshared.as_bytes(), preshared.clone().as_bytes()));
}

#[test]
fn debug_shows_no_secret() {
    let key = PrivateKey::generate_from_os();
    assert_eq!(format!("{key:?}"), "PrivateKey(hidden)");
    let preshared = PresharedKey::generate_from_os();
    assert_eq!(format!("{preshared:?}"), "PresharedKey(hidden)");
}

/// Bytes of any kind, many of them near a point of small order.
fn bytes() -> impl Strategy<Value = [u8; KEY_LENGTH]> {
    let near =
        (prop::sample::select(small_order().collect::<Vec<_>>()), 0..KEY_LENGTH, prop_oneof![Just(0), any::<u8>()])
            .prop_map(|(mut point, position, difference)| {
                point[position] ^= difference;
                point
            });
    prop_oneof![any::<[u8; KEY_LENGTH]>(), near]
}

proptest! {
    #[test]
    fn a_public_key_is_what_an_exchange_with_contributes(bytes in bytes(), private in any::<[u8; KEY_LENGTH]>()) {
        let exchanged = StaticSecret::from(private).diffie_hellman(&x25519_dalek::PublicKey::from(bytes));
        prop_assert_eq!(PublicKey::from_bytes(&bytes).is_ok(), exchanged.was_contributory());
    }

    #[test]
    fn every_private_key_has_a_public_key(bytes in any::<[u8; KEY_LENGTH]>()) {
        let key = PrivateKey::from_bytes(&bytes).unwrap().public_key();
        prop_assert_eq!(PublicKey::from_bytes(key.as_bytes()), Ok(key));
    }
}
