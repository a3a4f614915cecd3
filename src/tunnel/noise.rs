//! The seam to boringtun: the handshakes, sessions and AEAD of one peer.
//!
//! Each attempt of ours, and each initiation that we answer, has an [engine](Engine) of its own. So each session has an
//! index of its own at both ends, and which session is sealed in is said here. boringtun's
//! own timers are never polled: they would look at what a datagram carried. Sessions end here, 180 s after they were made.
//!
//! One more engine, the guard, sees every initiation first. It remembers the latest timestamp of the peer's, whatever
//! becomes of sessions and keys, and refuses what is not later. The sessions that it makes for itself are never used.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use boringtun::noise::{Tunn, TunnResult};
use rand_core::RngCore;

use super::HANDSHAKE_INITIATION;
use super::clock;
use super::engine::{CALL_TIME, Engine, Keys, Stage, initiate, take};
use super::indices::SessionIndices;
use super::timers::REKEY_TIMEOUT;
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
    /// The bits of the newest session that is sealed in.
    sealing: Option<u32>,
    /// The bits of the last session in which the peer has confirmed what both agreed on, while that stands: what it
    /// carried goes on in it until a newer one is confirmed, too.
    assured: Option<u32>,
    /// The bits of the session that was assured when the newest one was taken into use. What comes in it, or in an older one,
    /// may be late: the peer may have been started anew since.
    stale: Option<u32>,
    /// The bits of the session that was assured when the one below was paused.
    assured_before: Option<u32>,
    /// The bits of the session that was sealed in until it was paused.
    paused: Option<u32>,
    /// The latest timestamp of an initiation of ours.
    stamped: Duration,
    guard: Option<Box<Tunn>>,
}

/// What an authenticated transport data message held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opened {
    /// Bytes of the payload, at the start of the buffer; 0 for a keepalive.
    pub(super) length: usize,
    pub(super) session: Which,
    /// The bits of the session.
    pub(super) bits: u32,
}

/// Which session a message came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// One that we answered for: this is the first sign that the peer uses it. It is sealed in from now on.
    New,
    /// The one that is sealed in.
    Current,
    /// The one that was sealed in until it was paused.
    Paused,
    /// One that a newer has replaced, or that was never to be sealed in.
    Old,
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
        Self {
            keys,
            indices,
            owner,
            engines: Vec::new(),
            sealing: None,
            assured: None,
            stale: None,
            assured_before: None,
            paused: None,
            stamped: Duration::ZERO,
            guard: None,
        }
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
        self.stamped = Duration::ZERO;
        self.forget_sessions();
        if let Some(guard) = &mut self.guard {
            self.keys.give(guard);
        }
    }

    /// Takes another preshared key, or none, for the handshakes to come; the sessions there are stay.
    pub(super) fn set_preshared_key(&mut self, key: Option<PresharedKey>) {
        self.keys.preshared = key;
        self.supersede(0);
    }

    /// Forgets every session and every handshake under way.
    pub(super) fn forget_sessions(&mut self) {
        self.engines.clear();
        (self.sealing, self.assured, self.paused) = (None, None, None);
        (self.stale, self.assured_before) = (None, None);
    }

    /// Seals no more in the session that there is until [`resume`](Self::resume) is called, or another one comes: the peer
    /// seems to be elsewhere, by the initiation that was just answered, or gone. What was begun before the newest handshake
    /// leads nowhere.
    pub(super) fn pause(&mut self) {
        self.paused = self.sealing.take().or(self.paused);
        self.assured_before = self.assured.take().or(self.assured_before);
        self.supersede(1);
    }

    /// Seals again in the session that was paused.
    pub(super) fn resume(&mut self) {
        self.sealing = self.paused.take();
        self.assured = self.assured_before.take();
    }

    /// Tells whether there is a session to seal in.
    pub(super) fn has_session(&self) -> bool {
        self.sealing.is_some()
    }

    /// Tells whether there is one that is paused.
    pub(super) fn has_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// Returns when the first session, or handshake, is over.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.engines.iter().map(Engine::ends).min()
    }

    /// Forgets the sessions and handshakes that are over.
    pub(super) fn end_sessions(&mut self, now: Instant) {
        self.engines.retain(|engine| !engine.is_over(now));
        let is_there = |bits: &u32| self.engines.iter().any(|engine| engine.index.bits() == *bits);
        self.sealing = self.sealing.filter(is_there);
        self.assured = self.assured.filter(is_there);
        self.assured_before = self.assured_before.filter(is_there);
        self.paused = self.paused.filter(is_there);
    }

    /// Tells whether what comes in the session of these bits was said since the newest one began: it is not older, or both
    /// ends called at once and each takes another for the newest.
    pub(super) fn is_fresh(&self, bits: u32) -> bool {
        self.stale.is_none_or(|stale| self.is_newer(bits, stale))
    }

    /// Notes that the peer has confirmed, in the session of these bits, what both agreed on: all goes on in that, unless it
    /// does in a newer one.
    pub(super) fn assure(&mut self, bits: u32) {
        if self.sealing.is_some() && self.assured.is_none_or(|assured| self.is_newer(bits, assured)) {
            self.assured = Some(bits);
        }
    }

    fn is_newer(&self, bits: u32, other: u32) -> bool {
        // The newest come first; one that is gone is older than any.
        let place = |bits| self.engines.iter().position(|engine| engine.index.bits() == bits).unwrap_or(usize::MAX);
        place(bits) < place(other)
    }

    /// Notes that what was confirmed does not stand any more, or is not waited for: all goes on in the newest session.
    pub(super) fn disclaim(&mut self) {
        (self.assured, self.assured_before) = (None, None);
    }

    /// Tells whether there is a session in which the peer has confirmed what both agreed on.
    pub(super) fn is_assured(&self) -> bool {
        self.assured.is_some()
    }

    /// Tells whether there is one, and it is not the newest.
    pub(super) fn is_lagging(&self) -> bool {
        self.assured.is_some() && self.assured != self.sealing
    }

    /// Seals `plaintext` into `out`, in the session that the peer has confirmed, or else the newest; `None` if there is no
    /// session.
    ///
    /// # Panics
    /// Panics if `out` is not at least 32 bytes longer than `plaintext`, and 148.
    pub(super) fn seal(&mut self, plaintext: &[u8], out: &mut [u8]) -> Option<usize> {
        self.seal_in(self.assured.or(self.sealing)?, plaintext, out)
    }

    /// Does the same in the newest session: what the ends say to confirm it.
    pub(super) fn seal_in_newest(&mut self, plaintext: &[u8], out: &mut [u8]) -> Option<usize> {
        self.seal_in(self.sealing?, plaintext, out)
    }

    fn seal_in(&mut self, bits: u32, plaintext: &[u8], out: &mut [u8]) -> Option<usize> {
        let engine = self.engines.iter_mut().find(|engine| engine.index.bits() == bits)?;
        match engine.tunn.encapsulate(plaintext, out) {
            TunnResult::WriteToNetwork(datagram) => {
                engine.receiver = datagram[4..8].try_into().ok().map(u32::from_le_bytes);
                Some(datagram.len())
            }
            TunnResult::Done | TunnResult::Err(_) => None,
            TunnResult::WriteToTunnelV4(..) | TunnResult::WriteToTunnelV6(..) => None,
        }
    }

    /// Tells whether data was sealed for this index of the peer's, in a session that there still is.
    pub(super) fn seals_for(&self, receiver: u32) -> bool {
        self.engines.iter().any(|engine| engine.receiver == Some(receiver))
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
        let position = self.position_of(index)?;
        let engine = &mut self.engines[position];
        let length = engine.open(datagram, packet)?;
        let (bits, stage) = (engine.index.bits(), engine.stage);
        let session = match stage {
            // An answer that was never used has no other clock that ran while the system slept.
            Stage::Answered(_) if engine.is_over(now) => return Err(Refused::Unauthenticated),
            Stage::Answered(at) => {
                engine.stage = Stage::Session(at);
                self.take_into_use(position, now);
                Which::New
            }
            Stage::Calling(_) | Stage::Session(_) if Some(bits) == self.sealing => Which::Current,
            Stage::Calling(_) | Stage::Session(_) if Some(bits) == self.paused => Which::Paused,
            Stage::Calling(_) | Stage::Session(_) => Which::Old,
        };
        Ok(Opened { length, session, bits })
    }

    /// Takes a handshake message, for `index` unless it is an initiation, and writes to `out` what comes of it.
    pub(super) fn take(
        &mut self,
        index: Option<u32>,
        message: &[u8],
        now: Instant,
        from: SocketAddr,
        rng: &mut impl RngCore,
        out: &mut [u8],
    ) -> Result<Handshaken, Refused> {
        let Some(index) = index else { return self.answer(message, now, from, rng, out) };
        let position = self.position_of(index)?;
        let engine = &mut self.engines[position];
        let Stage::Calling(at) = engine.stage else { return Err(Refused::Unauthenticated) };
        let length = take(&mut engine.tunn, message, out)?;
        if length == 0 {
            return Ok(Handshaken::Cookie);
        }
        engine.stage = Stage::Session(at);
        if now > at + CALL_TIME || engine.is_over(now) {
            return Err(Refused::Unauthenticated);
        }
        self.take_into_use(position, now);
        Ok(Handshaken::Session(length))
    }

    fn answer(
        &mut self,
        initiation: &[u8],
        now: Instant,
        from: SocketAddr,
        rng: &mut impl RngCore,
        out: &mut [u8],
    ) -> Result<Handshaken, Refused> {
        let guard = self.guard.get_or_insert_with(|| self.keys.guard());
        if take(guard, initiation, &mut [0; HANDSHAKE_INITIATION])? == 0 {
            return Err(Refused::Unauthenticated);
        }
        let mut engine = Engine::new(&self.keys, self.indices.lease(self.owner, rng), Stage::Answered(now), from, now);
        let length = take(&mut engine.tunn, initiation, out)?;
        self.engines.insert(0, engine);
        self.bound();
        Ok(Handshaken::Answer(length))
    }

    /// Returns how far a call that begins now is behind an earlier one, by more than the time in which an initiation is sent
    /// again.
    pub(super) fn setback(&self) -> Option<Duration> {
        Some(self.stamped.saturating_sub(clock::wall())).filter(|&behind| behind > REKEY_TIMEOUT)
    }

    /// Begins to call at `remote`: the initiations from now on have an index that nobody has seen.
    pub(super) fn call(&mut self, now: Instant, remote: SocketAddr, rng: &mut impl RngCore) {
        self.hang_up();
        let engine = Engine::new(&self.keys, self.indices.lease(self.owner, rng), Stage::Calling(now), remote, now);
        self.engines.insert(0, engine);
    }

    /// Tells whether a call at `remote` can be taken up again.
    pub(super) fn is_calling(&self, remote: SocketAddr, now: Instant) -> bool {
        let mut calls = self.engines.iter().filter(|engine| matches!(engine.stage, Stage::Calling(_)));
        calls.any(|engine| engine.sent_to == remote && !engine.is_behind(now))
    }

    /// Returns where the handshake message was sent that the newest session is the answer to: that address receives.
    pub(super) fn proven(&self) -> Option<SocketAddr> {
        let engine = self.engines.iter().find(|engine| Some(engine.index.bits()) == self.sealing)?;
        Some(engine.sent_to)
    }

    /// Writes an initiation of the present call to `out`.
    pub(super) fn initiate(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        let engine = self.engines.iter_mut().find(|engine| matches!(engine.stage, Stage::Calling(_)))?;
        engine.stage = Stage::Calling(now);
        self.stamped = self.stamped.max(engine.timestamp(now));
        initiate(&mut engine.tunn, out)
    }

    /// Forgets the call: an answer to it is not taken any more.
    pub(super) fn hang_up(&mut self) {
        self.engines.retain(|engine| !matches!(engine.stage, Stage::Calling(_)));
    }

    fn position_of(&self, index: u32) -> Result<usize, Refused> {
        let position = self.engines.iter().position(|engine| engine.index.names(index));
        position.ok_or(Refused::Unauthenticated)
    }

    /// Takes the session of the engine at `position` into use: all that was begun before it leads nowhere.
    fn take_into_use(&mut self, position: usize, now: Instant) {
        let is_of_another_time =
            |engine: &&Engine| Some(engine.index.bits()) == self.assured && engine.is_older(REKEY_TIMEOUT, now);
        if let Some(assured) = self.engines.iter().find(is_of_another_time) {
            self.stale = Some(assured.index.bits());
        }
        self.sealing = Some(self.engines[position].index.bits());
        self.paused = None;
        self.supersede(position + 1);
    }

    /// Has the handshakes under way, from the engine at `from` on, make no session to be sealed in; what we answered may
    /// still bring something.
    fn supersede(&mut self, from: usize) {
        for engine in self.engines.iter_mut().skip(from) {
            if let Stage::Answered(at) = engine.stage {
                engine.stage = Stage::Session(at);
            }
        }
        let mut position = 0;
        self.engines.retain(|engine| {
            position += 1;
            position <= from || !matches!(engine.stage, Stage::Calling(_))
        });
        self.bound();
    }

    /// Keeps to the bounds.
    fn bound(&mut self) {
        let (mut answered, mut sessions) = (0, 0);
        let kept = [self.sealing, self.assured, self.paused, self.assured_before];
        self.engines.retain(|engine| {
            let (count, most) = match engine.stage {
                Stage::Calling(_) => return true,
                Stage::Answered(_) => (&mut answered, MAX_ANSWERED),
                Stage::Session(_) => (&mut sessions, MAX_SESSIONS),
            };
            *count += 1;
            *count <= most || kept.contains(&Some(engine.index.bits()))
        });
    }
}
