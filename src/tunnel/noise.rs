//! The seam to boringtun: the handshakes, sessions and AEAD of one peer.
//!
//! Each attempt of ours, and each initiation that we answer, has an [engine](Engine) of its own. So each session has an
//! index of its own at both ends, and which session is sealed in is the tunnel's to choose. boringtun's own timers are
//! never polled: they would look at what a datagram carried. Sessions end here, 180 s after they were made.
//!
//! One more engine, the guard, sees every initiation first. It remembers the latest timestamp of the peer's, whatever
//! becomes of the sessions, and refuses what is not later. The sessions that it makes for itself are never used.

use std::time::Instant;

use boringtun::noise::{Tunn, TunnResult};
use rand_core::RngCore;

use super::HANDSHAKE_INITIATION;
use super::engine::{Engine, Keys, Stage, take};
use super::indices::SessionIndices;
use crate::keys::{PresharedKey, PrivateKey, PublicKey};

/// Most answers that the peer has not used yet; the oldest goes first.
const MAX_ANSWERED: usize = 3;

/// Most sessions; of those that are not sealed in, the oldest goes first.
const MAX_SESSIONS: usize = 3;

/// Handshakes, sessions and AEAD of one peer.
pub(super) struct Noise {
    keys: Keys,
    indices: SessionIndices,
    owner: u32,
    /// The newest first: at most one that calls, [`MAX_ANSWERED`] and [`MAX_SESSIONS`].
    engines: Vec<Engine>,
    /// The bits of the session that is sealed in.
    sealing: Option<u32>,
    guard: Option<Box<Tunn>>,
}

/// What an authenticated transport data message held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opened {
    /// Bytes of the payload, at the start of the buffer; 0 for a keepalive.
    pub(super) length: usize,
    /// Whether it is the first sign that the peer uses a session that we answered for.
    pub(super) confirms: bool,
}

/// Why a datagram was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Its counter was seen before, or is too old to tell.
    Replayed,
    /// It does not authenticate, or belongs to no session.
    Unauthenticated,
}

/// What came of a handshake message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handshaken {
    /// The peer called; an answer of so many bytes was written.
    Answer(usize),
    /// The peer answered: there is a session. A bare keepalive of so many bytes was written, which would confirm it.
    Session(usize),
    /// A cookie was taken: it goes into the next initiation.
    Cookie,
}

impl Noise {
    /// Makes handshakes under these keys; their indices are `owner`'s in `indices`.
    pub(super) fn new(keys: Keys, indices: SessionIndices, owner: u32) -> Self {
        Self { keys, indices, owner, engines: Vec::new(), sealing: None, guard: None }
    }

    pub(super) fn peer(&self) -> PublicKey {
        self.keys.peer
    }

    pub(super) fn private_key(&self) -> &PrivateKey {
        &self.keys.private
    }

    pub(super) fn preshared_key(&self) -> Option<&PresharedKey> {
        self.keys.preshared.as_ref()
    }

    /// Takes another private key; every session is gone.
    pub(super) fn set_private_key(&mut self, key: &PrivateKey) {
        self.keys = Keys::new(key, self.keys.peer, self.keys.preshared.take());
        self.engines.clear();
        self.sealing = None;
        self.guard = None;
    }

    /// Takes another preshared key, or none, for the handshakes to come; the sessions there are stay.
    pub(super) fn set_preshared_key(&mut self, key: Option<PresharedKey>) {
        self.keys.preshared = key;
        self.forget_handshakes();
    }

    /// Seals no more in the session that there is; what it still brings is opened.
    pub(super) fn stop_sealing(&mut self) {
        self.sealing = None;
    }

    /// Forgets the handshake that we began, and does not wait for the peer to use what we answered; it may all the same.
    pub(super) fn forget_handshakes(&mut self) {
        self.hang_up();
        for engine in &mut self.engines {
            if let Stage::Answered(made) = engine.stage {
                engine.stage = Stage::Session(made);
            }
        }
        self.bound();
    }

    /// Tells whether there is a session to seal in.
    pub(super) fn has_session(&self) -> bool {
        self.sealing.is_some()
    }

    /// Returns when the first session ends, or answer that nobody used.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.engines.iter().filter_map(Engine::ends).min()
    }

    /// Forgets the sessions, and answers that nobody used, that have come to their end.
    pub(super) fn end_sessions(&mut self, now: Instant) {
        // While the system slept the session aged, and the clock that we are told of did not.
        self.engines.retain(|engine| engine.ends().is_none_or(|ends| now + engine.slept(now) <= ends));
        self.sealing = self.sealing.filter(|bits| self.engines.iter().any(|engine| engine.index.bits() == *bits));
    }

    /// Seals `plaintext` into `out`; `None` if there is no session.
    ///
    /// # Panics
    /// Panics if `out` is not at least 32 bytes longer than `plaintext`, and 148.
    pub(super) fn seal(&mut self, plaintext: &[u8], out: &mut [u8]) -> Option<usize> {
        let bits = self.sealing?;
        let engine = self.engines.iter_mut().find(|engine| engine.index.bits() == bits)?;
        match engine.tunn.encapsulate(plaintext, out) {
            TunnResult::WriteToNetwork(datagram) => Some(datagram.len()),
            TunnResult::Done | TunnResult::Err(_) => None,
            TunnResult::WriteToTunnelV4(..) | TunnResult::WriteToTunnelV6(..) => None,
        }
    }

    /// Opens a transport data message for the session `index` into `packet`.
    ///
    /// # Panics
    /// Panics if `packet` is shorter than the datagram.
    pub(super) fn open(
        &mut self,
        index: u32,
        datagram: &[u8],
        now: Instant,
        packet: &mut [u8],
    ) -> Result<Opened, Refused> {
        let engine =
            self.engines.iter_mut().find(|engine| engine.index.names(index)).ok_or(Refused::Unauthenticated)?;
        let length = engine.open(datagram, packet)?;
        let confirms = matches!(engine.stage, Stage::Answered(_));
        if confirms {
            engine.take_into_use(now);
            self.sealing = Some(engine.index.bits());
            self.bound();
        }
        Ok(Opened { length, confirms })
    }

    /// Takes a handshake message, for `index` unless it is an initiation, and writes to `out` what comes of it.
    pub(super) fn take(
        &mut self,
        index: Option<u32>,
        message: &[u8],
        now: Instant,
        rng: &mut impl RngCore,
        out: &mut [u8],
    ) -> Result<Handshaken, Refused> {
        let Some(index) = index else { return self.answer(message, now, rng, out) };
        let is_meant = |engine: &&mut Engine| engine.index.names(index) && engine.stage == Stage::Calling;
        let engine = self.engines.iter_mut().find(is_meant).ok_or(Refused::Unauthenticated)?;
        match engine.take(message, out)? {
            0 => Ok(Handshaken::Cookie),
            length => {
                engine.stage = Stage::Session(now);
                engine.take_into_use(now);
                self.sealing = Some(engine.index.bits());
                self.bound();
                Ok(Handshaken::Session(length))
            }
        }
    }

    fn answer(
        &mut self,
        initiation: &[u8],
        now: Instant,
        rng: &mut impl RngCore,
        out: &mut [u8],
    ) -> Result<Handshaken, Refused> {
        let guard = self.guard.get_or_insert_with(|| self.keys.engine(0));
        if take(guard, initiation, &mut [0; HANDSHAKE_INITIATION])? == 0 {
            return Err(Refused::Unauthenticated);
        }
        let mut engine = Engine::new(&self.keys, self.indices.lease(self.owner, rng), Stage::Answered(now));
        let length = engine.take(initiation, out)?;
        self.engines.insert(0, engine);
        self.bound();
        Ok(Handshaken::Answer(length))
    }

    /// Begins to call: the initiations from now on have an index that nobody has seen.
    pub(super) fn call(&mut self, rng: &mut impl RngCore) {
        self.hang_up();
        let engine = Engine::new(&self.keys, self.indices.lease(self.owner, rng), Stage::Calling);
        self.engines.insert(0, engine);
    }

    /// Writes an initiation of the present call to `out`.
    pub(super) fn initiate(&mut self, out: &mut [u8]) -> Option<usize> {
        let engine = self.engines.iter_mut().find(|engine| engine.stage == Stage::Calling)?;
        match engine.tunn.format_handshake_initiation(out, true) {
            TunnResult::WriteToNetwork(datagram) => Some(datagram.len()),
            TunnResult::Done | TunnResult::Err(_) => None,
            TunnResult::WriteToTunnelV4(..) | TunnResult::WriteToTunnelV6(..) => None,
        }
    }

    /// Forgets the call: an answer to it is not taken any more.
    pub(super) fn hang_up(&mut self) {
        self.engines.retain(|engine| engine.stage != Stage::Calling);
    }

    /// Keeps to the bounds.
    fn bound(&mut self) {
        let (mut answered, mut sessions) = (0, 0);
        let sealing = self.sealing;
        self.engines.retain(|engine| {
            let (count, most) = match engine.stage {
                Stage::Calling => return true,
                Stage::Answered(_) => (&mut answered, MAX_ANSWERED),
                Stage::Session(_) => (&mut sessions, MAX_SESSIONS),
            };
            *count += 1;
            *count <= most || Some(engine.index.bits()) == sealing
        });
    }
}
