//! What stands for the keys of packets: a checksum as long as the tag of TLS's ciphers, and nothing secret.

use bytes::BytesMut;
use quinn_proto::crypto::{AeadKey, CryptoError, HandshakeTokenKey, HeaderKey, HmacKey, KeyPair, Keys, PacketKey};

/// Bytes of a tag, and of what header protection samples (RFC 9001, sections 5.3 and 5.4.2).
const TAG: usize = 16;

/// Packets that may be sealed and refused under one key, as for AES-128-GCM (RFC 9001, section 6.6).
const SEALED: u64 = 1 << 23;
const REFUSED: u64 = 1 << 52;

/// Which keys of a connection they are: 0 those of its first packets. What was sealed with one generation opens with no other, or else a
/// packet that comes late would be taken for an update of keys.
pub(super) type Generation = u64;

/// Returns a generation of keys.
pub(super) fn keys(generation: Generation) -> Keys {
    let header = || Box::new(Plain) as Box<dyn HeaderKey>;
    Keys { header: KeyPair { local: header(), remote: header() }, packet: packet_keys(generation) }
}

/// Returns those of packets alone.
pub(super) fn packet_keys(generation: Generation) -> KeyPair<Box<dyn PacketKey>> {
    KeyPair { local: Box::new(Checksum(generation)), remote: Box::new(Checksum(generation)) }
}

/// Adds up bytes, so that some that were cut or changed are another sum. It keeps nobody from making one.
fn checksum(start: u64, bytes: &[u8]) -> u64 {
    // An odd number without a pattern: 2⁶⁴ over the golden ratio.
    let add = |sum: u64, word: u64| (sum.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(add(start, bytes.len() as u64), |sum, word| add(sum, u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, byte| add(sum, (*byte).into()))
}

/// A packet's payload as it is, with a checksum.
struct Checksum(Generation);

impl Checksum {
    fn tag(&self, packet: u64, header: &[u8], payload: &[u8]) -> [u8; TAG] {
        let sum = checksum(checksum(checksum(self.0, &packet.to_le_bytes()), header), payload);
        let mut tag = [0; TAG];
        tag[..8].copy_from_slice(&sum.to_le_bytes());
        tag
    }
}

impl PacketKey for Checksum {
    fn encrypt(&self, packet: u64, bytes: &mut [u8], header: usize) {
        let (header, payload) = bytes.split_at_mut(header);
        let (payload, place) = payload.split_at_mut(payload.len() - TAG);
        place.copy_from_slice(&self.tag(packet, header, payload));
    }

    fn decrypt(&self, packet: u64, header: &[u8], payload: &mut BytesMut) -> Result<(), CryptoError> {
        let length = payload.len().checked_sub(TAG).ok_or(CryptoError)?;
        if payload[length..] != self.tag(packet, header, &payload[..length]) {
            return Err(CryptoError);
        }
        payload.truncate(length);
        Ok(())
    }

    fn tag_len(&self) -> usize {
        TAG
    }

    fn confidentiality_limit(&self) -> u64 {
        SEALED
    }

    fn integrity_limit(&self) -> u64 {
        REFUSED
    }
}

/// A header as it is.
struct Plain;

impl HeaderKey for Plain {
    fn decrypt(&self, _: usize, _: &mut [u8]) {}

    fn encrypt(&self, _: usize, _: &mut [u8]) {}

    fn sample_size(&self) -> usize {
        TAG
    }
}

/// What an endpoint makes the tokens of stateless resets from.
pub(super) struct Reset(pub(super) u64);

impl HmacKey for Reset {
    fn sign(&self, data: &[u8], signature: &mut [u8]) {
        for (number, place) in (0..).zip(signature.chunks_mut(8)) {
            place.copy_from_slice(&checksum(self.0 ^ number, data).to_le_bytes()[..place.len()]);
        }
    }

    fn signature_len(&self) -> usize {
        TAG
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let mut expected = [0; TAG];
        self.sign(data, &mut expected);
        if signature == expected { Ok(()) } else { Err(CryptoError) }
    }
}

/// No token of an address is made or known: none is sent, and one that arrives is nobody's.
pub(super) struct NoTokens;

impl HandshakeTokenKey for NoTokens {
    fn aead_from_hkdf(&self, _: &[u8]) -> Box<dyn AeadKey> {
        Box::new(Self)
    }
}

impl AeadKey for NoTokens {
    fn seal(&self, _: &mut Vec<u8>, _: &[u8]) -> Result<(), CryptoError> {
        Err(CryptoError)
    }

    fn open<'a>(&self, _: &'a mut [u8], _: &[u8]) -> Result<&'a mut [u8], CryptoError> {
        Err(CryptoError)
    }
}
