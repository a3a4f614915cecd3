//! When a handshake is begun, sent again, and given up (whitepaper §6.4).
//!
//! boringtun makes the messages and has timers of its own for them. It gives up 90 s after the *first* of several
//! initiations it counts together, or 9 minutes after its last session, and then drops every session. So the tunnel
//! keeps its own count, and begins again when boringtun gives up too early.

use std::time::{Duration, Instant};

use super::timers::{REKEY_AFTER_TIME, REKEY_ATTEMPT_TIME, REKEY_TIMEOUT, Timer};
use super::{Content, DatagramBatch, Event, MAX_SESSIONS, Role, Session, Tunnel};

/// Spread of the retries, in milliseconds, so that two peers that start together do not stay in step.
const MAX_JITTER_MS: u32 = 333;

/// A handshake that we began, and that neither completed nor was given up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    pub(super) started: Instant,
    /// Initiations sent so far.
    sent: u32,
}

impl Tunnel {
    /// Begins a handshake unless one is under way or there is nowhere to send it.
    pub fn start_handshake(&mut self, now: Instant, out: &mut DatagramBatch) {
        self.run_defense(now, out);
        self.begin_handshake(now, out);
    }

    /// Does the same, after the machines had their turn.
    pub(super) fn begin_handshake(&mut self, now: Instant, out: &mut DatagramBatch) {
        if self.endpoint.is_none() || self.attempt.is_some() {
            return;
        }
        if let Some(answered) = self.answered.filter(|at| now.saturating_duration_since(*at) < REKEY_TIMEOUT) {
            // The peer began one just now; ours would cross it.
            self.timers.set_first(Timer::HandshakeRetry, answered + REKEY_TIMEOUT + self.jitter());
            return;
        }
        self.tick(now, out);
        if self.attempt.is_none() {
            self.initiate(now, out);
        }
    }

    /// Sends the handshake initiation that is under way again, if one is: the way to the peer may have just opened.
    pub fn resend_handshake(&mut self, now: Instant, out: &mut DatagramBatch) {
        self.run_defense(now, out);
        if self.attempt.is_some() {
            self.initiate(now, out);
        }
    }

    /// Does what is due when a handshake message went unanswered.
    pub(super) fn retry_handshake(&mut self, now: Instant, out: &mut DatagramBatch) {
        self.forget_local_address();
        let Some(Attempt { started, sent }) = self.attempt else {
            // Also what was put off while nothing could leave: renewal.
            self.rekey_if_older(REKEY_AFTER_TIME, now, out);
            if self.session.is_none() && !self.queue.is_empty() {
                self.begin_handshake(now, out);
            }
            return;
        };
        if now.saturating_duration_since(started) >= REKEY_ATTEMPT_TIME {
            self.give_up();
            return;
        }
        self.tick(now, out);
        // boringtun may have sent it just now by itself.
        if self.attempt.is_some_and(|attempt| attempt.sent == sent) {
            self.initiate(now, out);
        }
        if self.attempt.is_some() {
            self.timers.set_first(Timer::HandshakeRetry, now + REKEY_TIMEOUT);
        }
    }

    /// Goes on with a handshake that boringtun gave up.
    pub(super) fn handshake_expired(&mut self, now: Instant, out: &mut DatagramBatch) {
        let Some(attempt) = self.attempt else { return };
        if now.saturating_duration_since(attempt.started) >= REKEY_ATTEMPT_TIME {
            self.give_up();
        } else {
            self.initiate(now, out);
        }
    }

    /// Notes that a handshake initiation of ours was sealed.
    pub(super) fn initiated(&mut self, now: Instant) {
        let attempt = self.attempt.get_or_insert(Attempt { started: now, sent: 0 });
        attempt.sent += 1;
        self.timers.set(Timer::HandshakeRetry, now + REKEY_TIMEOUT + self.jitter());
    }

    /// Notes that we answered an initiation, with the session index `index`; an attempt of ours is superseded by it.
    pub(super) fn answered(&mut self, index: u32, now: Instant) {
        self.attempt = None;
        self.answered = Some(now);
        if self.unconfirmed.len() == MAX_SESSIONS {
            self.unconfirmed.remove(0);
        }
        self.unconfirmed.push(index);
        // Should the answer be lost, and the peer not begin anew, what waits must not wait for ever.
        self.timers.set(Timer::HandshakeRetry, now + REKEY_TIMEOUT + self.jitter());
    }

    /// Takes a session into use, and seals what waited for it.
    pub(super) fn start_session(&mut self, role: Role, now: Instant, out: &mut DatagramBatch) {
        self.answered = None;
        if role == Role::Initiator {
            self.attempt = None;
        }
        if self.attempt.is_none() {
            self.timers.cancel(Timer::HandshakeRetry);
        }
        // When both began at once, each has a session of either role: who has begun one goes on to renew it.
        let is_crossing = |session: &Session| {
            session.role == Role::Initiator && now.saturating_duration_since(session.started) < REKEY_TIMEOUT
        };
        let role = if self.session.as_ref().is_some_and(is_crossing) { Role::Initiator } else { role };
        self.noise.session_started();
        self.session = Some(Session { started: now, role });
        self.last_handshake = Some(now);
        self.statistics.handshakes += 1;
        self.push_event(Event::SessionStarted);
        self.open_negotiation(now);
        self.flush(now, out);
    }

    /// Begins a handshake if the session was ours to begin and is at least `age` old.
    pub(super) fn rekey_if_older(&mut self, age: Duration, now: Instant, out: &mut DatagramBatch) {
        let Some(session) = self.session else { return };
        if session.role == Role::Initiator && now.saturating_duration_since(session.started) >= age {
            self.begin_handshake(now, out);
        }
    }

    fn initiate(&mut self, now: Instant, out: &mut DatagramBatch) {
        if self.endpoint.is_none() || out.is_full() || self.put_off(Timer::HandshakeRetry, now) {
            return;
        }
        let Some(length) = self.noise.initiate(out.space()) else { return };
        out.commit(length);
        self.initiated(now);
        self.sent(Content::Handshake, length, now);
    }

    fn give_up(&mut self) {
        self.attempt = None;
        self.statistics.dropped.no_session += self.queue.clear() as u64;
        self.push_event(Event::HandshakeFailed);
    }

    /// Returns up to 333 ms that differ from one tunnel and attempt to the next.
    fn jitter(&self) -> Duration {
        let sent = self.attempt.map_or(0, |attempt| attempt.sent);
        let mixed = (self.index() ^ sent.rotate_left(16)).wrapping_mul(0x9e37_79b1);
        Duration::from_millis(u64::from((mixed >> 8) % (MAX_JITTER_MS + 1)))
    }
}
