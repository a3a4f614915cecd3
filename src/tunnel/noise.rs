//! The seam to boringtun: handshake, sessions and AEAD of one peer, and what boringtun leaves to its user.
//!
//! boringtun fixes the preshared key when it is made. So that a new key does not cut the session that is in use, the
//! engine that holds it is retired: it seals until the first session under the new key, opens until its own sessions
//! end, and refuses replays of the initiations that it has seen until its successor has seen a later one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use boringtun::noise::errors::WireGuardError;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Tunn, TunnResult};

use super::timers::REJECT_AFTER_TIME;
use super::{DATA_OVERHEAD, HANDSHAKE_INITIATION};
use crate::keys::{PresharedKey, PrivateKey, PublicKey};

/// Most engines that are retired at once; the oldest goes first.
const MAX_RETIRED: usize = 4;

/// Handshake, sessions and AEAD of one peer.
pub(super) struct Noise {
    keys: Keys,
    /// The engine under the keys in force.
    tunn: Tunn,
    /// Whether it has made a session that can be sealed with.
    has_begun: bool,
    /// Whether it has accepted an initiation: its timestamp guards against replays.
    has_answered: bool,
    /// Engines under earlier preshared keys, the newest first.
    retired: Vec<Retired>,
}

struct Keys {
    private: PrivateKey,
    peer: PublicKey,
    preshared: Option<PresharedKey>,
    index: u32,
}

/// An engine whose preshared key is not in force any more.
struct Retired {
    tunn: Tunn,
    /// When its last session ends.
    until: Instant,
    /// Whether it has seen initiations that its successors have not.
    guards: bool,
}

/// What an authenticated transport data message held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opened {
    /// Bytes of the payload, at the start of the buffer; 0 for a keepalive.
    pub(super) length: usize,
    /// Which keys the session was made under.
    pub(super) keys: KeysUsed,
}

/// Whether a session was made under the keys in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeysUsed {
    InForce,
    Earlier,
}

/// Why a datagram was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Its counter was seen before, or is too old to tell.
    Replayed,
    /// It does not authenticate, or belongs to no session.
    Unauthenticated,
}

/// A message that was written to the start of the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: MessageKind,
    pub(super) length: usize,
}

/// The kinds of WireGuard messages (whitepaper §5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MessageKind {
    Initiation,
    Response,
    CookieReply,
    Data,
}

/// What came of time passing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Polled {
    /// A message is to be sent.
    Message(Message),
    /// The handshake was given up, or the last session is long over.
    Expired,
    /// Nothing is to be done.
    Nothing,
}

impl Noise {
    pub(super) fn new(private: &PrivateKey, peer: PublicKey, preshared: Option<&PresharedKey>, index: u32) -> Self {
        let preshared = preshared.filter(|key| !key.is_zero()).cloned();
        let keys = Keys { private: private.clone(), peer, preshared, index };
        Self { tunn: keys.engine(), keys, has_begun: false, has_answered: false, retired: Vec::new() }
    }

    pub(super) fn peer(&self) -> PublicKey {
        self.keys.peer
    }

    pub(super) fn index(&self) -> u32 {
        self.keys.index
    }

    pub(super) fn private_key(&self) -> &PrivateKey {
        &self.keys.private
    }

    pub(super) fn preshared_key(&self) -> Option<&PresharedKey> {
        self.keys.preshared.as_ref()
    }

    /// Takes another private key; every session is gone.
    pub(super) fn set_private_key(&mut self, key: &PrivateKey) {
        self.keys.private = key.clone();
        self.tunn = self.keys.engine();
        self.has_begun = false;
        self.has_answered = false;
        self.retired.clear();
    }

    /// Takes another preshared key, or none, for the handshakes to come; the session in use stays in use.
    pub(super) fn set_preshared_key(&mut self, key: Option<PresharedKey>, now: Instant) {
        self.keys.preshared = key;
        let tunn = std::mem::replace(&mut self.tunn, self.keys.engine());
        let guards = std::mem::take(&mut self.has_answered);
        if std::mem::take(&mut self.has_begun) || guards {
            self.retired.truncate(MAX_RETIRED - 1);
            self.retired.insert(0, Retired { tunn, until: now + REJECT_AFTER_TIME, guards });
        }
    }

    /// Tells whether there is a session to seal with.
    pub(super) fn has_session(&self) -> bool {
        self.sealer().is_some_and(|tunn| tunn.time_since_last_handshake().is_some())
    }

    /// Returns how long ago the last handshake under the keys in force was made, by a clock that runs while the system
    /// sleeps; `None` if there is no session of it.
    pub(super) fn session_age(&self) -> Option<Duration> {
        self.sealer()?.time_since_last_handshake()
    }

    /// Says that a session under the keys in force can be sealed with: retired engines seal no more.
    pub(super) fn session_started(&mut self) {
        self.has_begun = true;
    }

    /// Seals `plaintext` into `out`; `None` if there is no session.
    ///
    /// # Panics
    /// Panics if `out` is not at least 32 bytes longer than `plaintext`, and 148.
    pub(super) fn seal(&mut self, plaintext: &[u8], out: &mut [u8]) -> Option<usize> {
        let sealer = match self.has_begun {
            true => &mut self.tunn,
            false => &mut self.retired.first_mut()?.tunn,
        };
        match sealer.encapsulate(plaintext, out) {
            TunnResult::WriteToNetwork(datagram) => {
                Message::of(datagram).filter(|message| message.kind == MessageKind::Data).map(|message| message.length)
            }
            TunnResult::Done | TunnResult::Err(_) => None,
            TunnResult::WriteToTunnelV4(..) | TunnResult::WriteToTunnelV6(..) => None,
        }
    }

    /// Opens a transport data message into `packet`.
    ///
    /// # Panics
    /// Panics if `packet` is shorter than the datagram.
    pub(super) fn open(&mut self, datagram: &[u8], packet: &mut [u8]) -> Result<Opened, Refused> {
        let refused = match open_with(&mut self.tunn, datagram, packet) {
            Ok(length) => return Ok(Opened { length, keys: KeysUsed::InForce }),
            Err(refused) => refused,
        };
        // The indices of sessions start anew with each engine: another may have one of the same.
        for retired in &mut self.retired {
            if let Ok(length) = open_with(&mut retired.tunn, datagram, packet) {
                return Ok(Opened { length, keys: KeysUsed::Earlier });
            }
        }
        Err(refused)
    }

    /// Takes a handshake message, and writes the answer to `out` if there is one.
    pub(super) fn answer(&mut self, datagram: &[u8], out: &mut [u8]) -> Result<Option<Message>, Refused> {
        let is_initiation = datagram.first() == Some(&1);
        if is_initiation && !self.retired.iter_mut().all(|retired| retired.would_answer(datagram)) {
            return Err(Refused::Replayed);
        }
        let answer = match self.tunn.decapsulate(None, datagram, out) {
            TunnResult::WriteToNetwork(answer) => Message::of(answer),
            TunnResult::Done => None,
            TunnResult::Err(_) => return Err(Refused::Unauthenticated),
            TunnResult::WriteToTunnelV4(..) | TunnResult::WriteToTunnelV6(..) => return Err(Refused::Unauthenticated),
        };
        if is_initiation && answer.is_some() {
            self.has_answered = true;
            for retired in &mut self.retired {
                retired.guards = false;
            }
        }
        Ok(answer)
    }

    /// Writes a handshake initiation to `out`, in the place of one that may be under way.
    pub(super) fn initiate(&mut self, out: &mut [u8]) -> Option<usize> {
        match self.tunn.format_handshake_initiation(out, true) {
            TunnResult::WriteToNetwork(datagram) => Some(datagram.len()),
            TunnResult::Done | TunnResult::Err(_) => None,
            TunnResult::WriteToTunnelV4(..) | TunnResult::WriteToTunnelV6(..) => None,
        }
    }

    /// Lets time pass: retries, rekeying, the end of sessions.
    pub(super) fn poll(&mut self, now: Instant, out: &mut [u8]) -> Polled {
        for retired in &mut self.retired {
            // Only its sessions are to end; whatever else it asks for is for the engine in force to do.
            retired.tunn.update_timers(out);
        }
        self.retired.retain(|retired| retired.guards || retired.until > now);
        match self.tunn.update_timers(out) {
            TunnResult::WriteToNetwork(datagram) => Message::of(datagram).map_or(Polled::Nothing, Polled::Message),
            TunnResult::Err(WireGuardError::ConnectionExpired) => Polled::Expired,
            TunnResult::Err(_) | TunnResult::Done => Polled::Nothing,
            TunnResult::WriteToTunnelV4(..) | TunnResult::WriteToTunnelV6(..) => Polled::Nothing,
        }
    }

    fn sealer(&self) -> Option<&Tunn> {
        if self.has_begun { Some(&self.tunn) } else { self.retired.first().map(|retired| &retired.tunn) }
    }
}

impl Retired {
    /// Tells whether the initiation is later than those this engine has seen.
    fn would_answer(&mut self, initiation: &[u8]) -> bool {
        let mut answer = [0; HANDSHAKE_INITIATION];
        !self.guards || matches!(self.tunn.decapsulate(None, initiation, &mut answer), TunnResult::WriteToNetwork(_))
    }
}

impl Keys {
    fn engine(&self) -> Tunn {
        // The device limits handshakes before they reach a tunnel; here every message is only checked for its mac1.
        let limiter = Arc::new(RateLimiter::new(&self.private.public_key().to_x25519(), u64::MAX));
        let preshared = self.preshared.as_ref().map(|key| *key.as_bytes());
        Tunn::new(self.private.to_x25519(), self.peer.to_x25519(), preshared, None, self.index, Some(limiter))
    }
}

impl Message {
    fn of(datagram: &[u8]) -> Option<Self> {
        let kind = match datagram.first()? {
            1 => MessageKind::Initiation,
            2 => MessageKind::Response,
            3 => MessageKind::CookieReply,
            4 => MessageKind::Data,
            _ => return None,
        };
        Some(Self { kind, length: datagram.len() })
    }
}

/// Opens a transport data message, and returns the length of its payload.
fn open_with(tunn: &mut Tunn, datagram: &[u8], packet: &mut [u8]) -> Result<usize, Refused> {
    match tunn.decapsulate(None, datagram, packet) {
        TunnResult::WriteToTunnelV4(opened, _) | TunnResult::WriteToTunnelV6(opened, _) => Ok(opened.len()),
        TunnResult::Done => Ok(0),
        // boringtun checks that a payload is IP only after it opened it, and leaves the plaintext in the buffer.
        TunnResult::Err(WireGuardError::InvalidPacket) => Ok(datagram.len() - DATA_OVERHEAD),
        TunnResult::Err(WireGuardError::DuplicateCounter | WireGuardError::InvalidCounter) => Err(Refused::Replayed),
        TunnResult::Err(_) | TunnResult::WriteToNetwork(_) => Err(Refused::Unauthenticated),
    }
}
