//! The seam to boringtun: handshake, sessions and AEAD of one peer, and what boringtun leaves to its user.
//!
//! boringtun fixes the preshared key when it is made. So that a new key does not cut the session that is in use, the
//! engine that holds it is retired: it seals until the first session under the new key, and opens until its own end.

use std::sync::Arc;
use std::time::Instant;

use boringtun::noise::errors::WireGuardError;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Tunn, TunnResult};

use super::DATA_OVERHEAD;
use super::timers::REJECT_AFTER_TIME;
use crate::keys::{PresharedKey, PrivateKey, PublicKey};

/// Handshake, sessions and AEAD of one peer.
pub(super) struct Noise {
    keys: Keys,
    tunn: Tunn,
    retired: Option<Retired>,
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
    use_: RetiredUse,
}

/// What a retired engine still does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RetiredUse {
    SealAndOpen,
    Open,
}

/// What an authenticated transport data message held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opened {
    /// Nothing: the message is a keepalive.
    Keepalive,
    /// A payload of this many bytes, at the start of the buffer.
    Payload(usize),
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
        Self { tunn: keys.engine(), keys, retired: None }
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
        self.retired = None;
    }

    /// Takes another preshared key, or none, for the handshakes to come; the session in use stays in use.
    pub(super) fn set_preshared_key(&mut self, key: Option<PresharedKey>, now: Instant) {
        self.keys.preshared = key;
        let before = std::mem::replace(&mut self.tunn, self.keys.engine());
        if before.time_since_last_handshake().is_some() {
            self.retired =
                Some(Retired { tunn: before, until: now + REJECT_AFTER_TIME, use_: RetiredUse::SealAndOpen });
        }
    }

    /// Tells whether there is a session to seal with.
    pub(super) fn has_session(&self) -> bool {
        self.sealer().time_since_last_handshake().is_some()
    }

    /// Says that a session under the keys in force was made: a retired engine seals no more.
    pub(super) fn session_started(&mut self) {
        if let Some(retired) = &mut self.retired {
            retired.use_ = RetiredUse::Open;
        }
    }

    /// Seals `plaintext` into `out`; ask [`has_session`](Self::has_session) first.
    ///
    /// # Panics
    /// Panics if `out` is not at least 32 bytes longer than `plaintext`, and 148.
    pub(super) fn seal(&mut self, plaintext: &[u8], out: &mut [u8]) -> Option<usize> {
        match self.sealer_mut().encapsulate(plaintext, out) {
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
        let result = open_with(&mut self.tunn, datagram, packet);
        match (&mut self.retired, result) {
            (Some(retired), Err(Refused::Unauthenticated)) => open_with(&mut retired.tunn, datagram, packet),
            (_, result) => result,
        }
    }

    /// Takes a handshake message, and writes the answer to `out` if there is one.
    pub(super) fn answer(&mut self, datagram: &[u8], out: &mut [u8]) -> Result<Option<Message>, Refused> {
        match self.tunn.decapsulate(None, datagram, out) {
            TunnResult::WriteToNetwork(answer) => Ok(Message::of(answer)),
            TunnResult::Done => Ok(None),
            TunnResult::Err(_) => Err(Refused::Unauthenticated),
            TunnResult::WriteToTunnelV4(..) | TunnResult::WriteToTunnelV6(..) => Err(Refused::Unauthenticated),
        }
    }

    /// Writes a handshake initiation to `out`; `None` if one is under way and [`Initiate::Unless`] was asked for.
    pub(super) fn initiate(&mut self, when: Initiate, out: &mut [u8]) -> Option<usize> {
        match self.tunn.format_handshake_initiation(out, when == Initiate::Again) {
            TunnResult::WriteToNetwork(datagram) => Some(datagram.len()),
            TunnResult::Done | TunnResult::Err(_) => None,
            TunnResult::WriteToTunnelV4(..) | TunnResult::WriteToTunnelV6(..) => None,
        }
    }

    /// Lets time pass: retries, rekeying, the end of sessions.
    pub(super) fn poll(&mut self, now: Instant, out: &mut [u8]) -> Polled {
        if let Some(retired) = &mut self.retired {
            // Only its sessions are to end; whatever else it asks for is for the engine in force to do.
            retired.tunn.update_timers(out);
            if retired.until <= now {
                self.retired = None;
            }
        }
        match self.tunn.update_timers(out) {
            TunnResult::WriteToNetwork(datagram) => Message::of(datagram).map_or(Polled::Nothing, Polled::Message),
            TunnResult::Err(WireGuardError::ConnectionExpired) => Polled::Expired,
            TunnResult::Err(_) | TunnResult::Done => Polled::Nothing,
            TunnResult::WriteToTunnelV4(..) | TunnResult::WriteToTunnelV6(..) => Polled::Nothing,
        }
    }

    fn sealer(&self) -> &Tunn {
        match &self.retired {
            Some(Retired { tunn, use_: RetiredUse::SealAndOpen, .. }) => tunn,
            Some(_) | None => &self.tunn,
        }
    }

    fn sealer_mut(&mut self) -> &mut Tunn {
        match &mut self.retired {
            Some(Retired { tunn, use_: RetiredUse::SealAndOpen, .. }) => tunn,
            Some(_) | None => &mut self.tunn,
        }
    }
}

/// Whether to initiate a handshake while another is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Initiate {
    /// Not then.
    Unless,
    /// Then too, in its place.
    Again,
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

fn open_with(tunn: &mut Tunn, datagram: &[u8], packet: &mut [u8]) -> Result<Opened, Refused> {
    match tunn.decapsulate(None, datagram, packet) {
        TunnResult::WriteToTunnelV4(opened, _) | TunnResult::WriteToTunnelV6(opened, _) => {
            Ok(Opened::Payload(opened.len()))
        }
        TunnResult::Done => Ok(Opened::Keepalive),
        // boringtun checks that a payload is IP only after it opened it, and leaves the plaintext in the buffer.
        TunnResult::Err(WireGuardError::InvalidPacket) => Ok(Opened::Payload(datagram.len() - DATA_OVERHEAD)),
        TunnResult::Err(WireGuardError::DuplicateCounter | WireGuardError::InvalidCounter) => Err(Refused::Replayed),
        TunnResult::Err(_) | TunnResult::WriteToNetwork(_) => Err(Refused::Unauthenticated),
    }
}
