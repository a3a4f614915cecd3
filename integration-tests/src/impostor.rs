//! A handshake initiation made by hand, for a sender whose private key need not be known.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use blake2::{Blake2s256, Digest as _};
use rand_core::{OsRng, RngCore as _, TryRngCore as _};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::flood::first_mac;

type Hash = [u8; 32];

/// Makes a handshake initiation (whitepaper §5.4.2) to the peer whose public key is `to`, in base64, from whoever has the
/// public key `from`. What the two agree on is `shared`: of a key of small order that is zeros, whoever the other is, and so
/// anyone can say it.
#[track_caller]
pub fn initiation_from(from: &Hash, shared: &Hash, to: &str) -> [u8; 148] {
    let to: Hash = BASE64.decode(to).expect("a key in base64").try_into().expect("a key");
    let mut ephemeral = [0; 32];
    OsRng.unwrap_err().fill_bytes(&mut ephemeral);
    let ephemeral = StaticSecret::from(ephemeral);

    let mut message = [0; 148];
    message[0] = 1;
    message[4..8].copy_from_slice(&7_u32.to_le_bytes());
    let chain = hash(&[b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"]);
    let transcript = hash(&[&chain, b"WireGuard v1 zx2c4 Jason@zx2c4.com"]);
    let transcript = hash(&[&transcript, &to]);

    let public = PublicKey::from(&ephemeral);
    message[8..40].copy_from_slice(public.as_bytes());
    let transcript = hash(&[&transcript, public.as_bytes()]);
    let [chain, _] = derive(&chain, public.as_bytes());

    let [chain, key] = derive(&chain, ephemeral.diffie_hellman(&PublicKey::from(to)).as_bytes());
    seal(&key, from, &transcript, &mut message[40..88]);
    let transcript = hash(&[&transcript, &message[40..88]]);

    let [_, key] = derive(&chain, shared);
    seal(&key, &timestamp(), &transcript, &mut message[88..116]);
    let mac = first_mac(&to, &message[..116]);
    message[116..132].copy_from_slice(&mac);
    message
}

/// Now, as TAI64N.
fn timestamp() -> [u8; 12] {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    let mut stamp = [0; 12];
    stamp[..8].copy_from_slice(&((1 << 62) + 37 + now.as_secs()).to_be_bytes());
    stamp[8..].copy_from_slice(&now.subsec_nanos().to_be_bytes());
    stamp
}

fn hash(parts: &[&[u8]]) -> Hash {
    parts.iter().fold(Blake2s256::new(), |hash, part| hash.chain_update(part)).finalize().into()
}

/// HMAC (RFC 2104), whose block is BLAKE2s' of 64 bytes.
fn hmac(key: &Hash, parts: &[&[u8]]) -> Hash {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = hash(&[&[&pad(0x36)[..]], parts].concat());
    hash(&[&pad(0x5c), &inner])
}

/// The whitepaper's KDF₂ (§5.4).
fn derive(chain: &Hash, input: &[u8]) -> [Hash; 2] {
    let extracted = hmac(chain, &[input]);
    let first = hmac(&extracted, &[&[1]]);
    [first, hmac(&extracted, &[&first, &[2]])]
}

/// Seals `plaintext` into `sealed`, which is 16 bytes longer.
fn seal(key: &Hash, plaintext: &[u8], transcript: &Hash, sealed: &mut [u8]) {
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("a key of 32 bytes"));
    let (text, tag) = sealed.split_at_mut(plaintext.len());
    text.copy_from_slice(plaintext);
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    let made = key.seal_in_place_separate_tag(nonce, Aad::from(transcript), text).expect("it is not too long");
    tag.copy_from_slice(made.as_ref());
}
