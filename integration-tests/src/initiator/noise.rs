//! The handshake of WireGuard as its initiator plays it (whitepaper §5.4), with every field for the caller to say.

use std::time::{SystemTime, UNIX_EPOCH};

use blake2::digest::Mac;
use blake2::digest::consts::U16;
use blake2::{Blake2s256, Blake2sMac, Digest as _};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, XChaCha20Poly1305};
use hkdf::SimpleHkdf;
use rand_core::{OsRng, RngCore as _, TryRngCore as _};
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};

const CONSTRUCTION: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

/// Size of a handshake initiation, in bytes.
pub const INITIATION: usize = 148;

/// Sizes of a handshake response and a cookie reply, in bytes.
const RESPONSE: usize = 92;
const COOKIE_REPLY: usize = 64;

/// Bytes of a message's end that its MACs take.
const MACS: usize = 32;

/// Seconds of TAI64 at the Unix epoch, without leap seconds, as implementations of WireGuard have it.
const TAI64_BASE: u64 = (1 << 62) + 10;

/// The fields of a handshake initiation that may be lied about.
#[derive(Debug, Clone, Copy)]
pub struct Initiation {
    /// The sender's index.
    pub sender: u32,
    /// The ephemeral key.
    pub ephemeral: KeyPair,
    /// The timestamp, as TAI64N.
    pub timestamp: [u8; 12],
}

/// A key pair of a handshake.
#[derive(Debug, Clone, Copy)]
pub enum KeyPair {
    /// One of the initiator's, by its secret half.
    Secret([u8; 32]),
    /// A public key whose secret half the initiator has not got: it says that both agree on zeros, as everyone does with a
    /// key of small order.
    Claimed([u8; 32]),
}

impl KeyPair {
    /// Returns the secret half.
    ///
    /// # Panics
    /// Panics if the initiator has not got it.
    #[track_caller]
    pub fn secret(self) -> [u8; 32] {
        match self {
            Self::Secret(secret) => secret,
            Self::Claimed(_) => panic!("the secret half is not known"),
        }
    }

    fn public(self) -> [u8; 32] {
        match self {
            Self::Secret(secret) => x25519(secret, X25519_BASEPOINT_BYTES),
            Self::Claimed(public) => public,
        }
    }

    fn agree(self, public: [u8; 32]) -> [u8; 32] {
        match self {
            Self::Secret(secret) => x25519(secret, public),
            Self::Claimed(_) => [0; 32],
        }
    }
}

impl Initiation {
    /// Returns an honest one: everything is drawn, and the timestamp is the present.
    pub fn honest() -> Self {
        Self { sender: random_u32(), ephemeral: KeyPair::Secret(random()), timestamp: timestamp_now() }
    }
}

/// The keys of an initiator, and the public key of its responder.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// The initiator's key pair.
    pub own: KeyPair,
    /// The responder's public key.
    pub peer: [u8; 32],
    /// The preshared key; zeros if there is none.
    pub preshared: [u8; 32],
}

/// What an initiator remembers of its initiation until it is answered.
#[derive(Debug, Clone, Copy)]
pub struct Pending {
    identity: Identity,
    fields: Initiation,
    state: State,
    mac1: [u8; 16],
}

/// The keys of a session.
#[derive(Debug, Clone, Copy)]
pub struct TransportKeys {
    /// The index by which the responder knows the session.
    pub receiver: u32,
    /// Seals what the initiator sends.
    pub sending: [u8; 32],
    /// Opens what it receives.
    pub receiving: [u8; 32],
}

/// The chaining key and the hash of a handshake.
#[derive(Debug, Clone, Copy)]
struct State {
    chain: [u8; 32],
    hash: [u8; 32],
}

impl State {
    fn mix_hash(&mut self, data: &[u8]) {
        self.hash = hash(&[&self.hash, data]);
    }

    /// Mixes a secret into the chain, and derives `N` keys beside it.
    fn mix_key<const N: usize>(&mut self, secret: &[u8]) -> [[u8; 32]; N] {
        let mut okm = vec![0; 32 * (N + 1)];
        let derive = SimpleHkdf::<Blake2s256>::new(Some(&self.chain), secret);
        derive.expand(&[], &mut okm).expect("three keys are within the bounds of HKDF");
        let mut keys = okm.chunks_exact(32).map(|key| key.try_into().expect("a chunk of 32 bytes"));
        self.chain = keys.next().expect("the first of the keys");
        std::array::from_fn(|_| keys.next().expect("as many as were derived"))
    }

    /// Seals the only message of a key, and mixes in what comes of it.
    fn seal(&mut self, key: [u8; 32], plaintext: &[u8]) -> Vec<u8> {
        let sealed = seal(&key, 0, plaintext, &self.hash);
        self.mix_hash(&sealed);
        sealed
    }
}

impl Identity {
    /// Returns an initiator without a preshared key, and the public key of its responder.
    pub fn new(own: KeyPair, peer: [u8; 32]) -> Self {
        Self { own, peer, preshared: [0; 32] }
    }

    /// Writes an initiation, with a valid first MAC, and a second one if a cookie is given.
    pub fn initiate(&self, fields: Initiation, cookie: Option<[u8; 16]>) -> ([u8; INITIATION], Pending) {
        let chain = hash(&[CONSTRUCTION]);
        let mut state = State { chain, hash: hash(&[&chain, IDENTIFIER]) };
        state.mix_hash(&self.peer);
        let ephemeral = fields.ephemeral.public();
        let [] = state.mix_key(&ephemeral);
        state.mix_hash(&ephemeral);
        let [key] = state.mix_key(&fields.ephemeral.agree(self.peer));
        let sealed_static = state.seal(key, &self.own.public());
        let [key] = state.mix_key(&self.own.agree(self.peer));
        let sealed_timestamp = state.seal(key, &fields.timestamp);

        let mut message = [0; INITIATION];
        message[0] = 1;
        message[4..8].copy_from_slice(&fields.sender.to_le_bytes());
        message[8..40].copy_from_slice(&ephemeral);
        message[40..88].copy_from_slice(&sealed_static);
        message[88..116].copy_from_slice(&sealed_timestamp);
        let mac1 = write_macs(&mut message, &self.peer, cookie);
        (message, Pending { identity: *self, fields, state, mac1 })
    }
}

impl Pending {
    /// Reads the response; `None` if the datagram is none, or not to this initiation.
    pub fn complete(mut self, response: &[u8]) -> Option<TransportKeys> {
        if response.len() != RESPONSE || response[0] != 2 || response[8..12] != self.fields.sender.to_le_bytes() {
            return None;
        }
        let Self { identity, fields, state, .. } = &mut self;
        let theirs: [u8; 32] = response[12..44].try_into().ok()?;
        let [] = state.mix_key(&theirs);
        state.mix_hash(&theirs);
        let [] = state.mix_key(&fields.ephemeral.agree(theirs));
        let [] = state.mix_key(&identity.own.agree(theirs));
        let [mixed, key] = state.mix_key(&identity.preshared);
        state.mix_hash(&mixed);
        let empty = Payload { msg: &response[44..60], aad: &state.hash };
        ChaCha20Poly1305::new(&key.into()).decrypt(&nonce(0), empty).ok()?;
        let [receiving] = state.mix_key(&[]);
        let keys = TransportKeys {
            receiver: u32::from_le_bytes(response[4..8].try_into().ok()?),
            sending: state.chain,
            receiving,
        };
        Some(keys)
    }

    /// Reads a cookie; `None` if the datagram is none, or not for this initiation.
    pub fn cookie(&self, reply: &[u8]) -> Option<[u8; 16]> {
        if reply.len() != COOKIE_REPLY || reply[0] != 3 || reply[4..8] != self.fields.sender.to_le_bytes() {
            return None;
        }
        let key = hash(&[b"cookie--", &self.identity.peer]);
        let sealed = Payload { msg: &reply[32..], aad: &self.mac1 };
        let cookie = XChaCha20Poly1305::new(&key.into()).decrypt(reply[8..32].into(), sealed).ok()?;
        cookie.try_into().ok()
    }
}

/// Writes the MACs at the end of a handshake message for the responder with this public key, and returns the first. The
/// second is zeros without a cookie.
pub fn write_macs(message: &mut [u8], responder: &[u8; 32], cookie: Option<[u8; 16]>) -> [u8; 16] {
    let (first, second) = (message.len() - MACS, message.len() - MACS / 2);
    let mac1 = mac(&hash(&[b"mac1----", responder]), &message[..first]);
    message[first..second].copy_from_slice(&mac1);
    let mac2 = cookie.map_or([0; 16], |cookie| mac(&cookie, &message[..second]));
    message[second..].copy_from_slice(&mac2);
    mac1
}

/// Seals a message with a counter, as transport data are.
pub fn seal(key: &[u8; 32], counter: u64, plaintext: &[u8], associated: &[u8]) -> Vec<u8> {
    let payload = Payload { msg: plaintext, aad: associated };
    ChaCha20Poly1305::new(key.into()).encrypt(&nonce(counter), payload).expect("far less than the bound of the cipher")
}

/// Opens such a message; `None` if it is not authentic.
pub fn open(key: &[u8; 32], counter: u64, sealed: &[u8]) -> Option<Vec<u8>> {
    ChaCha20Poly1305::new(key.into()).decrypt(&nonce(counter), sealed).ok()
}

/// Returns the present as TAI64N.
pub fn timestamp_now() -> [u8; 12] {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    let mut timestamp = [0; 12];
    timestamp[..8].copy_from_slice(&(TAI64_BASE + now.as_secs()).to_be_bytes());
    timestamp[8..].copy_from_slice(&now.subsec_nanos().to_be_bytes());
    timestamp
}

/// Returns random bytes.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    OsRng.unwrap_err().fill_bytes(&mut bytes);
    bytes
}

fn random_u32() -> u32 {
    u32::from_le_bytes(random())
}

fn nonce(counter: u64) -> chacha20poly1305::Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce.into()
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    parts.iter().fold(Blake2s256::new(), |hash, part| hash.chain_update(part)).finalize().into()
}

fn mac(key: &[u8], message: &[u8]) -> [u8; 16] {
    let mac = <Blake2sMac<U16> as Mac>::new_from_slice(key).expect("a key of at most 32 bytes");
    mac.chain_update(message).finalize().into_bytes().into()
}
