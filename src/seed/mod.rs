//! The seed that both peers share without sending it, and its independent streams of random numbers.
//!
//! `ikm = X25519(own private key, peer's public key) ‖ preshared key` (32 zeros without one), `salt = client's nonce ‖
//! relay's nonce`, and a key is extracted by HKDF-SHA-256 (RFC 5869). Each [`Stream`] is ChaCha20 (RFC 8439, as
//! `rand_chacha` runs it) keyed by an expansion of its own; the fingerprint is another. The info of an expansion is the
//! version, the label, and both public keys, the client's first: who is which matters.
//!
//! Whoever knows only what was on the wire, nonces included, knows nothing of the seed. Whoever has a private key and the
//! nonces knows it all: nonces belong inside the tunnel, where the session's forward secrecy covers them.
//!
//! ```
//! use maybetun::keys::PrivateKey;
//! use maybetun::seed::{Nonces, Seed, Stream};
//! use maybetun_machines::Role;
//! use rand_core::RngCore as _;
//!
//! let (client, relay) = (PrivateKey::generate_from_os(), PrivateKey::generate_from_os());
//! let nonces = Nonces { client: [1; 32], relay: [2; 32] };
//! let at_client = Seed::derive(Role::Client, &client, &relay.public_key(), None, &nonces);
//! let at_relay = Seed::derive(Role::Relay, &relay, &client.public_key(), None, &nonces);
//! assert_eq!(at_client.fingerprint(), at_relay.fingerprint());
//! assert_eq!(at_client.stream(Stream::Defense).next_u64(), at_relay.stream(Stream::Defense).next_u64());
//! ```

use std::fmt;
use std::sync::Arc;

use hkdf::Hkdf;
use maybetun_machines::Role;
use rand_chacha::ChaCha20Rng;
use rand_core::{CryptoRng, SeedableRng as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::keys::{KEY_LENGTH, PresharedKey, PrivateKey, PublicKey};
use crate::secret::on_wiped_stack;

/// Length of a nonce, in bytes.
pub const NONCE_LENGTH: usize = 32;

/// Length of a fingerprint, in bytes.
pub const FINGERPRINT_LENGTH: usize = 16;

/// What every info begins with: another way to derive is another version.
const VERSION: &[u8] = b"maybetun seed 1 ";

/// The two numbers that make each epoch's seed another, one drawn by each end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonces {
    /// The client's.
    pub client: [u8; NONCE_LENGTH],
    /// The relay's.
    pub relay: [u8; NONCE_LENGTH],
}

impl Nonces {
    /// Draws the nonce of one end.
    pub fn draw(rng: &mut impl CryptoRng) -> [u8; NONCE_LENGTH] {
        let mut nonce = [0; NONCE_LENGTH];
        rng.fill_bytes(&mut nonce);
        nonce
    }
}

/// What a stream of random numbers is for. Drawing from one never moves another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// The framework of the client's machines.
    ClientFramework,
    /// The framework of the relay's machines.
    RelayFramework,
    /// The choice of the defense.
    Defense,
    /// The schedule of sessions that masking keeps.
    Sessions,
}

impl Stream {
    fn label(self) -> &'static [u8] {
        match self {
            Self::ClientFramework => b"client framework",
            Self::RelayFramework => b"relay framework",
            Self::Defense => b"defense",
            Self::Sessions => b"sessions",
        }
    }
}

/// The secret of one epoch, wiped on drop. `Debug` shows its fingerprint only.
#[derive(Clone)]
pub struct Seed {
    key: Arc<Zeroizing<[u8; KEY_LENGTH]>>,
    /// The client's and the relay's.
    public_keys: [PublicKey; 2],
}

impl Seed {
    /// Derives the seed at the end whose role is `role`; the other end, in the other role, derives the same. A preshared
    /// key of zeros is none.
    pub fn derive(
        role: Role,
        own: &PrivateKey,
        peer: &PublicKey,
        preshared_key: Option<&PresharedKey>,
        nonces: &Nonces,
    ) -> Self {
        let key = on_wiped_stack(|| Arc::new(extract(own, peer, preshared_key, nonces)));
        let own = own.public_key();
        let public_keys = match role {
            Role::Client => [own, *peer],
            Role::Relay => [*peer, own],
        };
        Self { key, public_keys }
    }

    /// Returns a stream from its beginning: each call returns the same numbers.
    pub fn stream(&self, stream: Stream) -> ChaCha20Rng {
        ChaCha20Rng::from_seed(*self.stream_key(stream))
    }

    /// Returns the key of a stream: what [`Tunnel::set_defense`](crate::tunnel::Tunnel::set_defense) takes for the
    /// framework's.
    pub fn stream_key(&self, stream: Stream) -> Zeroizing<[u8; KEY_LENGTH]> {
        self.expand(stream.label())
    }

    /// Returns what may be shown and compared; it tells nothing of the seed.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(*self.expand(b"fingerprint"))
    }

    fn expand<const LENGTH: usize>(&self, label: &[u8]) -> Zeroizing<[u8; LENGTH]> {
        let mut output = Zeroizing::new([0; LENGTH]);
        let [client, relay] = self.public_keys.each_ref().map(|key| &key.as_bytes()[..]);
        let hkdf = Hkdf::<Sha256>::from_prk(&self.key[..]).expect("the key is as long as a hash");
        hkdf.expand_multi_info(&[VERSION, label, client, relay], &mut output[..]).expect("less than 255 hashes");
        output
    }
}

/// Extracts the key of a seed. It is moved by value, as all that it comes of.
fn extract(
    own: &PrivateKey,
    peer: &PublicKey,
    preshared_key: Option<&PresharedKey>,
    nonces: &Nonces,
) -> Zeroizing<[u8; KEY_LENGTH]> {
    let mut ikm = Zeroizing::new([0; 2 * KEY_LENGTH]);
    ikm[..KEY_LENGTH].copy_from_slice(own.as_x25519().diffie_hellman(&peer.to_x25519()).as_bytes());
    if let Some(key) = preshared_key {
        ikm[KEY_LENGTH..].copy_from_slice(key.as_bytes());
    }
    let mut salt = [0; 2 * NONCE_LENGTH];
    salt[..NONCE_LENGTH].copy_from_slice(&nonces.client);
    salt[NONCE_LENGTH..].copy_from_slice(&nonces.relay);
    let (extracted, _) = Hkdf::<Sha256>::extract(Some(&salt), &ikm[..]);
    Zeroizing::new(extracted.into())
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Seed").field(&self.fingerprint()).finish()
    }
}

/// What tells seeds apart. Displays as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; FINGERPRINT_LENGTH]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
