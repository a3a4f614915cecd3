//! How large plaintexts may be on the way to a peer, sans-IO: what the system says of the path, and probes that the peer answers.
//!
//! Sizes are of plaintexts, in bytes; *full* is what both ends' MTUs allow. An end begins with that and sends less once it
//! knows that the path takes less, never less than its *floor*. Each end says its own size in every frame of this kind, and
//! both use the smaller one.
//!
//! - What the **system** says (an ICMP message said so, genuine or forged) is a hint. From a peer that answers probes nothing is
//!   believed without one: the size in use is tried, and while that is answered it stays, whatever was said. Of a peer that
//!   answers none, such as any other WireGuard, the hint is all there is.
//! - A **probe** has the size that it tries, leaves whole or not at all, and is answered by an echo of the same size. So both
//!   ways are proven at once, and nobody is sent more than he sent. It is sent again a few times; nobody loses as many.
//! - Where the size in use is lost, a smaller one is tried that is sure to pass if any does: what the system said, else the
//!   floor. From the floor the search goes up again, by halves, while the tunnel uses it.
//! - A size below full is looked at again every ten minutes of traffic; the one that a hint contradicts, every fifteen seconds.
//!   New places, and sessions that follow on a silence, are tried at once. An idle tunnel sends no probe.
//!
//! ```text
//!                    ┌──────────── answered: proven, whatever the system says
//! hint, new place,   │
//! silence ──────► Check ── lost ──► Fall ── answered ──► (the floor) Rise, by halves ──► Check: tells the peer
//!                                    │ └─── answered ──► (the hint) ────────────────────► Check
//!                                    └ lost: the hint, then the floor, then nothing changes: it is not the size
//! ```

use std::time::{Duration, Instant};

use rand_core::RngCore;

use crate::traffic::{DATA_OVERHEAD, V6_HEADERS};

/// Bytes of a frame's body.
pub(super) const BODY: usize = 11;

/// The floor until another is named: what a path of 1,280 bytes has room for, the least of IPv6 (RFC 8200, section 5).
const FLOOR: usize = 1_280 - V6_HEADERS - DATA_OVERHEAD;

/// How long the first answer is waited for, a quarter more or less; the second twice, and so on.
const WAIT: Duration = Duration::from_millis(400);

/// How often a size is tried that should pass, and one that may not.
const CHECKS: u32 = 3;
const TRIES: u32 = 2;

/// A search ends when what passes and what does not are no further apart.
const GRAIN: usize = 8;

/// When a size below full is looked at again (RFC 8899, section 5.1.1), and one that the system contradicts.
const RAISE: Duration = Duration::from_secs(600);
const RECHECK: Duration = Duration::from_secs(15);

const PROBE: u8 = 0;
pub(super) const ECHO: u8 = 1;

/// What a probe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// The size in use: it may not pass any more, or the peer does not know ours.
    Check,
    /// A smaller one, for `lost` does not pass.
    Fall { lost: usize },
    /// A larger one: `low` passes, and `high` may be the least that does not. `trusts`: what is said of the path ends the
    /// search, if it passes.
    Rise { low: usize, high: usize, trusts: bool },
}

#[derive(Debug, Clone, Copy)]
struct Probe {
    aim: Aim,
    size: usize,
    number: u32,
    tries: u32,
    /// The own size that it says.
    said: usize,
    /// When it is lost; `None` until it is sent.
    at: Option<Instant>,
}

/// A frame to be sent: its body, the size of its plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PathFrame {
    pub(super) body: [u8; BODY],
    pub(super) size: usize,
}

/// What is known of the way to a peer.
#[derive(Debug)]
pub(super) struct PathSize {
    /// The least size that is used.
    floor: usize,
    /// The largest that this end uses, where that is less than full; what the peer said of itself.
    own: Option<usize>,
    theirs: Option<usize>,
    /// What the system said last, be it less than the floor; what of it is used, and what a probe has refuted.
    room: Option<usize>,
    hint: Option<usize>,
    refuted: Option<usize>,
    /// Whether the size in use, or a larger one, has come back from where the peer is.
    is_proven: bool,
    can_probe: bool,
    /// Whether this end asks in small datagrams, and the size that the peer asks in.
    is_careful: bool,
    asked_in: Option<usize>,
    /// The own size that the peer has shown to know.
    told: Option<usize>,
    probe: Option<Probe>,
    /// The echo that is owed: one at most, however many probes come.
    owed: Option<(u32, usize)>,
    /// The number of the newest frame of ours, and of the peer's in this session.
    number: u32,
    heard: Option<u32>,
    raise_at: Option<Instant>,
    recheck_at: Option<Instant>,
}

impl Default for PathSize {
    fn default() -> Self {
        Self {
            floor: FLOOR,
            own: None,
            theirs: None,
            room: None,
            hint: None,
            refuted: None,
            is_proven: false,
            can_probe: false,
            is_careful: false,
            asked_in: None,
            told: None,
            probe: None,
            owed: None,
            number: 0,
            heard: None,
            raise_at: None,
            recheck_at: None,
        }
    }
}

impl PathSize {
    /// Returns the size that is used.
    pub(super) fn in_use(&self, full: usize) -> usize {
        let size = self.own.unwrap_or(full).min(self.theirs.unwrap_or(full));
        size.max(self.floor).min(full)
    }

    /// Tells whether a smaller size than full is used, at either end's word.
    pub(super) fn is_limited(&self, full: usize) -> bool {
        self.in_use(full) < full
    }

    /// Tells whether datagrams leave whole, whatever the system says of the path: it says nothing else, or a probe has shown
    /// that they pass. Else the system cuts those that it thinks too large. Where it would cut none, all have to leave as
    /// probes do, or those would be told by the identifiers of their headers.
    pub(super) fn leaves_whole(&self, full: usize) -> bool {
        let is_contradicted = self.room.is_some_and(|room| room < self.in_use(full));
        let is_in_doubt = self.probe.is_some_and(|probe| !matches!(probe.aim, Aim::Rise { .. }));
        self.can_probe && (!is_contradicted || (self.is_proven && !is_in_doubt))
    }

    /// Takes what the system says: the largest plaintext that passes whole, and the least that is to be used. Both are
    /// bounded by full where they are used.
    pub(super) fn take_hint(&mut self, hint: usize, floor: usize, full: usize, now: Instant) {
        self.room = Some(hint);
        let hint = hint.max(floor);
        (self.floor, self.hint) = (floor, Some(hint));
        if !self.can_probe {
            self.believe(full);
            return;
        }
        if hint >= self.in_use(full) {
            (self.refuted, self.recheck_at) = (None, None);
        } else if self.refuted != Some(hint) && self.probe.is_none() {
            self.check(full);
        } else {
            self.recheck_at.get_or_insert(now + RECHECK);
        }
    }

    /// Notes whether the peer answers probes. What was believed of the system alone is tried as soon as it does.
    pub(super) fn set_can_probe(&mut self, can_probe: bool, full: usize) {
        if can_probe == self.can_probe {
            return;
        }
        self.can_probe = can_probe;
        (self.probe, self.owed, self.refuted) = (None, None, None);
        self.is_proven = false;
        if !can_probe {
            // What was agreed on is over, and so is what it took.
            self.theirs = None;
            self.believe(full);
            return;
        }
        match self.own {
            Some(own) => self.rise(own, full + 1, true),
            None => self.check(full),
        }
    }

    /// Notes a new session. The peer may have been started anew, and know nothing of ours.
    pub(super) fn session_started(&mut self, full: usize) {
        self.heard = None;
        if self.can_probe && self.probe.is_none() && (!self.is_proven || self.own.is_some()) {
            self.check(full);
        }
    }

    /// Notes that this end or the peer is at another place: nothing is known of the way.
    pub(super) fn moved(&mut self, full: usize) {
        *self = Self { can_probe: self.can_probe, floor: self.floor, number: self.number, ..Self::default() };
        if self.can_probe {
            self.check(full);
        }
    }

    /// Notes that what was sent was not answered: what is in use may not pass any more.
    pub(super) fn doubt(&mut self) {
        self.is_proven = false;
    }

    /// Returns the size of what the ends say to agree, by which they learn that they can probe: until the size in use is
    /// proven, no larger than the peer asks in.
    pub(super) fn size_to_agree_in(&self, full: usize) -> usize {
        let in_use = self.in_use(full);
        if self.is_proven {
            return in_use;
        }
        let careful = self.is_careful.then_some(self.floor);
        careful.into_iter().chain(self.asked_in).fold(in_use, usize::min).max(self.floor.min(full))
    }

    /// Says whether to ask in datagrams of the floor: what was asked in larger ones was not answered.
    pub(super) fn set_careful(&mut self, is_careful: bool) {
        self.is_careful = is_careful;
    }

    /// Notes the size that the peer asks in: it may have a reason to.
    pub(super) fn note_asked_in(&mut self, size: usize) {
        self.asked_in = Some(size);
    }

    /// Uses what the system says: nobody can be asked.
    fn believe(&mut self, full: usize) {
        self.own = self.hint.filter(|size| *size < full);
    }

    /// Tells whether a probe of the peer's is to be answered.
    pub(super) fn owes_echo(&self) -> bool {
        self.owed.is_some()
    }

    /// Tells whether a probe is to be sent.
    pub(super) fn has_probe(&self) -> bool {
        self.probe.is_some_and(|probe| probe.at.is_none())
    }

    /// Returns the next frame, which leaves now.
    pub(super) fn next_frame(&mut self, full: usize, now: Instant, rng: &mut impl RngCore) -> Option<PathFrame> {
        // Nothing larger than both ends' MTU takes ever leaves, whatever was asked, and whatever they took when it was.
        if let Some((number, size)) = self.owed.take() {
            return Some(self.frame(ECHO, number, size.min(full), full));
        }
        let mut probe = self.probe.filter(|probe| probe.at.is_none())?;
        probe.size = probe.size.min(full);
        if probe.tries == 0 {
            probe.number = self.number.wrapping_add(1);
        }
        probe.tries += 1;
        probe.said = self.own.unwrap_or(full);
        let wait = WAIT * probe.tries;
        let part = (wait / 2).mul_f64(f64::from(rng.next_u32()) / f64::from(u32::MAX));
        probe.at = Some(now + wait * 3 / 4 + part);
        self.probe = Some(probe);
        Some(self.frame(PROBE, probe.number, probe.size, full))
    }

    fn frame(&mut self, kind: u8, number: u32, size: usize, full: usize) -> PathFrame {
        self.number = self.number.wrapping_add(1);
        let own = u16::try_from(self.own.unwrap_or(full)).unwrap_or(u16::MAX);
        let mut body = [kind; BODY];
        body[1..5].copy_from_slice(&number.to_be_bytes());
        body[5..9].copy_from_slice(&self.number.to_be_bytes());
        body[9..].copy_from_slice(&own.to_be_bytes());
        PathFrame { body, size }
    }

    /// Takes the body of a frame that came in the newest session, in a plaintext of `size` bytes; `false` if it is none that
    /// this version understands.
    pub(super) fn receive(&mut self, body: &[u8], size: usize, full: usize, now: Instant) -> bool {
        let Some(&[kind, n0, n1, n2, n3, s0, s1, s2, s3, high, low]) = body.first_chunk::<BODY>() else { return false };
        let (number, sent) = (u32::from_be_bytes([n0, n1, n2, n3]), u32::from_be_bytes([s0, s1, s2, s3]));
        if !matches!(kind, PROBE | ECHO) {
            return false;
        }
        if kind == PROBE {
            self.owed = Some((number, size));
        }
        if !self.can_probe {
            // The peer may know of the agreement first.
            return true;
        }
        if self.heard.is_none_or(|heard| sent > heard) {
            self.heard = Some(sent);
            let before = self.in_use(full);
            self.theirs = Some(usize::from(u16::from_be_bytes([high, low])).max(self.floor));
            if self.in_use(full) > before {
                self.is_proven = false;
                if self.probe.is_none() {
                    self.check(full);
                }
            }
        }
        if kind == ECHO && self.probe.is_some_and(|probe| probe.tries > 0 && probe.number == number) {
            self.answered(full, now);
        }
        true
    }

    /// Notes that the newest probe came back.
    fn answered(&mut self, full: usize, now: Instant) {
        let Some(Probe { aim, size, said, .. }) = self.probe.take() else { return };
        self.told = Some(said);
        match aim {
            Aim::Check => {
                self.is_proven = size >= self.in_use(full);
                self.refuted = self.hint.filter(|hint| *hint < size);
                self.recheck_at = self.refuted.map(|_| now + RECHECK);
                if !self.is_proven {
                    self.check(full);
                }
            }
            Aim::Fall { lost } => {
                self.own = Some(size);
                self.is_proven = true;
                self.raise_at = Some(now + RAISE);
                if self.is_said(size) { self.check(full) } else { self.rise(size, lost + 1, true) }
            }
            Aim::Rise { trusts: true, .. } if self.is_said(size) => self.settle(size, full, now),
            Aim::Rise { high, trusts, .. } => self.go_on((size, high), trusts, full, now),
        }
    }

    /// Notes that the newest probe was not answered, however often it was sent.
    fn lost(&mut self, full: usize, now: Instant) {
        let Some(Probe { aim, size, .. }) = self.probe.take() else { return };
        match aim {
            Aim::Check | Aim::Fall { .. } => {
                let lost = if let Aim::Fall { lost } = aim { lost } else { size };
                let smaller = self.said().chain([self.floor]).find(|smaller| *smaller < size);
                self.is_proven = false;
                match smaller.filter(|smaller| *smaller > 0) {
                    Some(smaller) => self.try_size(Aim::Fall { lost: lost.min(size) }, smaller),
                    // Nothing passes: it is not the size. With the next session, or traffic, it is tried anew.
                    None => self.recheck_at = Some(now + RECHECK),
                }
            }
            Aim::Rise { low, trusts: true, .. } if self.is_said(low) => self.settle(low, full, now),
            Aim::Rise { low, trusts, .. } => self.go_on((low, size), trusts, full, now),
        }
    }

    /// Tells whether the system, or the peer, says that the path takes this and no more.
    fn is_said(&self, size: usize) -> bool {
        self.said().any(|said| said == size)
    }

    /// Returns what the system and the peer say. The floor is where a peer begins its search, not what it found.
    fn said(&self) -> impl Iterator<Item = usize> {
        self.hint.into_iter().chain(self.theirs.filter(|theirs| *theirs > self.floor))
    }

    /// Goes on with a search between what passes and what may not: with what was said, else by halves.
    fn go_on(&mut self, (low, high): (usize, usize), trusts: bool, full: usize, now: Instant) {
        let is_between = |size: &usize| (low + 1..high).contains(size);
        let said = self.said().find(|size| trusts && is_between(size));
        match said {
            None if high.saturating_sub(low) <= GRAIN => self.settle(low, full, now),
            said => self.try_size(Aim::Rise { low, high, trusts }, said.unwrap_or(usize::midpoint(low, high))),
        }
    }

    /// Uses what a search has found.
    fn settle(&mut self, size: usize, full: usize, now: Instant) {
        let own = (size < full).then_some(size);
        self.raise_at = own.map(|_| now + RAISE);
        self.is_proven = true;
        self.own = own;
        if self.told != Some(own.unwrap_or(full)) {
            self.check(full);
        }
    }

    fn check(&mut self, full: usize) {
        self.recheck_at = None;
        self.try_size(Aim::Check, self.in_use(full));
    }

    /// Searches for more than `low`, which passes; the largest that is below `high` comes first.
    fn rise(&mut self, low: usize, high: usize, trusts: bool) {
        self.try_size(Aim::Rise { low, high, trusts }, high - 1);
    }

    fn try_size(&mut self, aim: Aim, size: usize) {
        self.probe = Some(Probe { aim, size, number: 0, tries: 0, said: 0, at: None });
    }

    /// Looks at the way again, if that is due: there is traffic.
    pub(super) fn traffic(&mut self, full: usize, now: Instant) {
        if !self.can_probe || self.probe.is_some() {
            return;
        }
        if self.recheck_at.is_some_and(|at| at <= now) {
            self.check(full);
        } else if let Some(own) = self.own.filter(|_| self.raise_at.is_some_and(|at| at <= now)) {
            self.raise_at = Some(now + RAISE);
            // What was said may be old, or a lie.
            self.rise(own, full + 1, false);
        }
    }

    /// Sends a probe again that was not answered in time, or gives it up.
    pub(super) fn handle_timeout(&mut self, full: usize, now: Instant) {
        let Some(probe) = self.probe.as_mut().filter(|probe| probe.at.is_some_and(|at| at <= now)) else { return };
        let most = if probe.aim == Aim::Check { CHECKS } else { TRIES };
        if probe.tries < most { probe.at = None } else { self.lost(full, now) }
    }

    /// Returns when the newest probe is lost.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.probe.and_then(|probe| probe.at)
    }
}

#[cfg(test)]
mod tests;
