//! What the ends tell each other, and its bytes: a length (u16, big endian) and that many bytes of CBOR (RFC 8949).
//!
//! Keys that a later version adds are passed over, and so is what follows the message: zeros, to the one size of packets.

use maybetun_machines::{Defense, Strength, Tier, pool_digest};
use serde::{Deserialize, Deserializer, Serialize};

use super::path::Token;
use super::{Capabilities, Reason};
use crate::masking::Terms;
use crate::seed::{FINGERPRINT_LENGTH, Fingerprint, NONCE_LENGTH, Seed, Stream};

/// The version that this program speaks, and the oldest that it still understands.
pub const VERSION: u8 = 1;

/// Longest encoded message, in bytes, without its length: a packet of the smallest MTU of IPv6 has room for two.
pub const MAX_MESSAGE: usize = 576;

/// Length of the digests that are compared, in bytes.
pub const DIGEST_LENGTH: usize = 32;

/// Names one run of a defense: the client counts it up.
pub type Epoch = u32;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    /// The client asks for a defense.
    #[serde(rename = "h")]
    Hello(Hello),
    /// The relay says which.
    #[serde(rename = "a")]
    Answer(Answer),
    /// The client has drawn it.
    #[serde(rename = "r")]
    Ready(Ready),
    /// The relay has drawn the same, and runs it from this packet on.
    #[serde(rename = "s")]
    Start(Proof),
    /// So does the client. Also how it asks, in a new session, whether the relay still does.
    #[serde(rename = "c")]
    Started(Started),
    /// The client asks for what the relay has drawn, from a place on.
    #[serde(rename = "f")]
    Fetch(Fetch),
    /// The relay tells a part of it. Also its answer to a ready that shows that the client has drawn something else.
    #[serde(rename = "m")]
    Part(Part),
    /// An end does not run this epoch, or not any more.
    #[serde(rename = "x")]
    Stop(Stop),
    /// The relay asks the client to agree anew.
    #[serde(rename = "n")]
    Renew(Renew),
    /// An end wants to know whether the other is to be reached where this is sent to.
    #[serde(rename = "p")]
    Challenge(Token),
    /// The other end shows that it is.
    #[serde(rename = "q")]
    Echo(Token),
}

/// What the client can do and would like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    #[serde(rename = "e")]
    pub(super) epoch: Epoch,
    /// The oldest and the newest version that the sender speaks.
    #[serde(rename = "v")]
    pub(super) versions: (u8, u8),
    #[serde(rename = "n")]
    pub(super) nonce: [u8; NONCE_LENGTH],
    #[serde(rename = "c")]
    pub(super) capabilities: Capabilities,
    #[serde(rename = "d")]
    pub(super) choice: Choice,
    /// The sender's MTU inside the tunnel, in bytes; not said by the first version.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub(super) mtu: Option<u16>,
    /// What the traffic is to look like, if like anything.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none", deserialize_with = "known")]
    pub(super) masking: Option<Terms>,
}

/// Reads terms; such as this version does not know are none, and keep nobody from agreeing.
fn known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Terms>, D::Error> {
    let value = ciborium::Value::deserialize(deserializer)?;
    Ok(value.deserialized().ok())
}

/// What the relay agrees to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    #[serde(rename = "e")]
    pub(super) epoch: Epoch,
    #[serde(rename = "v")]
    pub(super) version: u8,
    /// The nonce of the hello that is answered.
    #[serde(rename = "h")]
    pub(super) hello: [u8; NONCE_LENGTH],
    #[serde(rename = "n")]
    pub(super) nonce: [u8; NONCE_LENGTH],
    #[serde(rename = "c")]
    pub(super) capabilities: Capabilities,
    #[serde(rename = "d")]
    pub(super) choice: Choice,
    /// The sender's MTU inside the tunnel, in bytes; not said by the first version.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub(super) mtu: Option<u16>,
}

/// What the client has drawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ready {
    #[serde(rename = "p")]
    pub(super) proof: Proof,
    #[serde(rename = "d")]
    pub(super) digest: [u8; DIGEST_LENGTH],
}

/// Shows that the sender has the seed of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Proof {
    #[serde(rename = "e")]
    epoch: Epoch,
    #[serde(rename = "f")]
    fingerprint: [u8; FINGERPRINT_LENGTH],
}

impl Proof {
    pub(super) fn new(epoch: Epoch, fingerprint: Fingerprint) -> Self {
        Self { epoch, fingerprint: fingerprint.0 }
    }

    pub(super) fn epoch(self) -> Epoch {
        self.epoch
    }

    pub(super) fn fingerprint(self) -> Fingerprint {
        Fingerprint(self.fingerprint)
    }
}

/// Says that an epoch runs at the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Started {
    #[serde(rename = "p")]
    pub(super) proof: Proof,
    /// Whether the relay is to say that it runs there too.
    #[serde(rename = "q")]
    pub(super) asks: bool,
}

/// Asks for a part of the text of a defense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fetch {
    #[serde(rename = "e")]
    pub(super) epoch: Epoch,
    /// Where the part begins, in bytes.
    #[serde(rename = "o")]
    pub(super) offset: u32,
}

/// A part of the text of a defense.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    /// What the relay will run.
    #[serde(rename = "p")]
    pub(super) proof: Proof,
    /// Length of the whole text, in bytes: at most [`MAX_TEXT`](super::transfer::MAX_TEXT).
    #[serde(rename = "l")]
    pub(super) length: u32,
    #[serde(rename = "o")]
    pub(super) offset: u32,
    #[serde(rename = "t")]
    pub(super) text: String,
}

/// Says that an epoch is not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stop {
    #[serde(rename = "e")]
    pub(super) epoch: Epoch,
    #[serde(rename = "r")]
    pub(super) reason: Reason,
    /// Which run of that number: an end that was started anew counts anew. Not said by the first version, nor of what has
    /// no seed yet.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    fingerprint: Option<[u8; FINGERPRINT_LENGTH]>,
}

impl Stop {
    /// Stops what has this number.
    pub(super) fn new(epoch: Epoch, reason: Reason) -> Self {
        Self { epoch, reason, fingerprint: None }
    }

    /// Stops this run and no other.
    pub(super) fn of(proof: Proof, reason: Reason) -> Self {
        Self { epoch: proof.epoch, reason, fingerprint: Some(proof.fingerprint) }
    }

    /// Returns the same for another reason.
    pub(super) fn because(self, reason: Reason) -> Self {
        Self { reason, ..self }
    }

    /// Returns the run that it is said of, if it is said of one.
    pub(super) fn proof(self) -> Option<Proof> {
        self.fingerprint.map(|fingerprint| Proof { epoch: self.epoch, fingerprint })
    }

    /// Tells whether it is said of one run and no other.
    pub(super) fn is_of_one(self) -> bool {
        self.fingerprint.is_some()
    }

    /// Tells whether it may be said of this run.
    pub(super) fn names(self, proof: Proof) -> bool {
        self.epoch == proof.epoch && self.fingerprint.is_none_or(|fingerprint| fingerprint == proof.fingerprint)
    }
}

/// Asks for a new epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Renew {
    /// The one that is to be replaced.
    #[serde(rename = "e")]
    pub(super) epoch: Epoch,
}

/// What is to be drawn from the seed. Both ends give it the same meaning if their pools are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Choice {
    /// The tier of machines, by its number.
    #[serde(rename = "t")]
    pub tier: u8,
    /// The strength, by its number.
    #[serde(rename = "s")]
    pub strength: u8,
    /// Names the pool that is drawn from.
    #[serde(rename = "p")]
    pub pool: [u8; DIGEST_LENGTH],
}

impl Choice {
    /// Returns the choice of a tier and a strength from our own pool.
    pub fn new(tier: Tier, strength: Strength) -> Self {
        // The numbers are those of the protocol: a place in the list, and for strengths one more.
        Self { tier: tier as u8, strength: strength as u8 + 1, pool: pool_digest().0 }
    }

    /// Returns the same choice from our own pool.
    pub(super) fn with_own_pool(self) -> Self {
        Self { pool: pool_digest().0, ..self }
    }

    /// Returns the tier and the strength; `None` if this version does not know them.
    pub fn names(self) -> Option<(Tier, Strength)> {
        let tier = Tier::ALL.get(usize::from(self.tier))?;
        Some((*tier, *Strength::ALL.get(usize::from(self.strength).checked_sub(1)?)?))
    }

    /// Tells whether somebody may have drawn this where we ask for the choice: it may do no more than what we would draw.
    pub(super) fn may_be(self, defense: &Defense) -> bool {
        self.names().is_some_and(|(tier, strength)| defense.check_drawn(tier, strength).is_ok())
    }

    /// Draws from the stream of `seed` that is for it; `None` if this version does not know the choice, or has another
    /// pool. This is the usual [`Draw`](super::Draw).
    pub fn draw(seed: &Seed, choice: Self) -> Option<Defense> {
        let (tier, strength) = choice.names().filter(|_| choice == choice.with_own_pool())?;
        Some(maybetun_machines::draw(&mut seed.stream(Stream::Defense), tier, strength))
    }
}

/// Says that a body holds no message that this version understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum DecodeError {
    #[error("the length of the message is over {MAX_MESSAGE} bytes, or over what there is")]
    Length,
    #[error("the message is not one that this version understands")]
    Contents,
}

impl Message {
    /// Appends the message to `body`.
    pub(super) fn encode(&self, body: &mut Vec<u8>) {
        let start = body.len();
        body.extend_from_slice(&[0; 2]);
        ciborium::into_writer(self, &mut *body).expect("a message of fixed fields is written to memory");
        let length = body.len() - start - 2;
        debug_assert!(length <= MAX_MESSAGE);
        body[start..start + 2].copy_from_slice(&(length as u16).to_be_bytes());
    }

    /// Reads the message at the start of `body`.
    pub(super) fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let (length, rest) = body.split_first_chunk::<2>().ok_or(DecodeError::Length)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let encoded = rest.get(..length).filter(|_| length <= MAX_MESSAGE).ok_or(DecodeError::Length)?;
        ciborium::from_reader(encoded).map_err(|_| DecodeError::Contents)
    }
}

#[cfg(test)]
mod tests;
