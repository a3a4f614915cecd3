//! When a handshake is begun, sent again, and given up (whitepaper §6.4); and when it is to be made on another network.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::timers::{MAX_JITTER, REKEY_AFTER_TIME, REKEY_ATTEMPT_TIME, REKEY_TIMEOUT, Timer, between};
use super::{Content, DatagramBatch, Endpoint, Event, Role, Session, Tunnel};

/// A handshake that we began, and that neither completed nor was given up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    started: Instant,
}

/// A session that nothing is sealed in until the peer is heard from in it, and why.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paused {
    session: Session,
    doubt: Doubt,
}

/// Why a session is paused.
#[derive(Debug, Clone, Copy)]
pub(super) enum Doubt {
    /// The peer has not been heard from for so long that it may be gone.
    Silent,
    /// It called from elsewhere than here.
    Away { home: Endpoint },
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
            let jitter = self.jitter();
            self.timers.set_first(Timer::HandshakeRetry, answered + REKEY_TIMEOUT + jitter);
            self.is_call_due = true;
            return;
        }
        self.initiate(now, out);
    }

    /// Sends the handshake initiation that is under way again, if one is: the way to the peer may have just opened.
    pub fn resend_handshake(&mut self, now: Instant, out: &mut DatagramBatch) {
        self.run_defense(now, out);
        if self.attempt.is_some() {
            self.initiate(now, out);
        }
    }

    /// Begins a handshake at once if there is a session, or a handshake under way, though what the peer was sent may be lost:
    /// the way to it is another. The session goes on until the peer answers.
    pub fn call_again(&mut self, now: Instant, out: &mut DatagramBatch) {
        self.run_defense(now, out);
        if self.session.is_some() || self.attempt.is_some() {
            self.initiate(now, out);
        }
    }

    /// Notes that this end is on another network: nothing of a session that the old network saw may be seen on the new
    /// one, nor what is in `out`. A handshake comes first, under indices that nobody has seen; packets wait for it. It begins
    /// at once if there was a session, or if something waits; else with the next packet.
    pub fn network_changed(&mut self, now: Instant, out: &mut DatagramBatch) {
        self.run_defense(now, out);
        // What the machines just sent was sealed for the old one.
        out.forget_but_next(0);
        let had_session = self.session.is_some() || self.paused.is_some();
        let is_wanted = had_session || self.attempt.is_some() || self.answered.is_some();
        self.forget_local_address();
        self.path.moved(self.full_size());
        self.noise.forget_sessions();
        self.drop_held();
        (self.attempt, self.answered) = (None, None);
        self.note_sessions();
        self.note_end_of_session();
        if is_wanted || !self.queue.is_empty() || self.persistent_keepalive.is_some() || self.has_to_agree() {
            self.begin_handshake(now, out);
        }
    }

    /// Notes that the peer called from another address than before: if it is on another network, that is not to see a
    /// session that the last one saw. Until it uses the new session, nothing is sealed; should it be heard in the old one from
    /// where it was, somebody else has sent a copy of its call, and all is as before.
    pub(super) fn doubt_place(&mut self, home: Endpoint) {
        self.pause(Doubt::Away { home });
    }

    /// Notes that the peer may be gone: nothing is sealed until it is heard from in the session, from wherever, or uses
    /// a new one.
    pub(super) fn doubt_presence(&mut self) {
        self.pause(Doubt::Silent);
    }

    fn pause(&mut self, doubt: Doubt) {
        self.noise.pause();
        // Of all the places that it called from, the one before the first is its home.
        let silent = self.paused.filter(|paused| matches!(paused.doubt, Doubt::Silent));
        if let Some(session) = self.session.take().or(silent.map(|paused| paused.session)) {
            self.paused = Some(Paused { session, doubt });
        }
    }

    /// Tells whether data in the paused session that comes from `remote` says that the peer is there. When it called from
    /// elsewhere, data from anywhere but its home may be late.
    pub(super) fn is_doubt_over(&self, remote: SocketAddr) -> bool {
        self.paused.is_some_and(|paused| match paused.doubt {
            Doubt::Silent => true,
            Doubt::Away { home } => home.remote == remote,
        })
    }

    /// Seals in the paused session again: the peer was heard from in it.
    pub(super) fn stop_doubting(&mut self) {
        let Some(Paused { session, doubt }) = self.paused.take() else { return };
        self.noise.resume();
        self.session = Some(session);
        match doubt {
            Doubt::Silent => {}
            Doubt::Away { home } => {
                if self.remote() != Some(home.remote) {
                    self.push_event(Event::EndpointChanged(home.remote));
                }
                // Before what came from there is noted: an answer to its call that is held is not dropped, it may go home.
                self.endpoint = Some(home);
            }
        }
    }

    /// Does what is due when a handshake message went unanswered.
    pub(super) fn retry_handshake(&mut self, now: Instant, out: &mut DatagramBatch) {
        self.forget_local_address();
        let Some(Attempt { started }) = self.attempt else {
            // Also what was put off while nothing could leave: renewal.
            self.rekey_if_older(REKEY_AFTER_TIME, now, out);
            if self.is_call_due || (self.session.is_none() && !self.queue.is_empty()) {
                self.begin_handshake(now, out);
            }
            return;
        };
        if now.saturating_duration_since(started) >= REKEY_ATTEMPT_TIME {
            self.give_up();
            return;
        }
        self.initiate(now, out);
        self.timers.set_first(Timer::HandshakeRetry, now + REKEY_TIMEOUT);
    }

    /// Notes that we answered an initiation; an attempt of ours is superseded by it.
    pub(super) fn answered(&mut self, now: Instant) {
        self.attempt = None;
        self.answered = Some(now);
        // Should the answer be lost, and the peer not begin anew, what waits must not wait for ever.
        let jitter = self.jitter();
        self.timers.set(Timer::HandshakeRetry, now + REKEY_TIMEOUT + jitter);
    }

    /// Takes a session into use, and seals what waited for it.
    pub(super) fn start_session(&mut self, role: Role, now: Instant, out: &mut DatagramBatch) {
        (self.answered, self.paused) = (None, None);
        self.is_call_due = false;
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
        self.session = Some(Session { started: now, role });
        self.last_handshake = Some(now);
        self.statistics.handshakes += 1;
        self.push_event(Event::SessionStarted);
        self.note_proof();
        self.open_negotiation(now);
        self.path.session_started(self.full_size());
        self.run_sizing(now, out);
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
        let Some(Endpoint { remote, .. }) = self.endpoint.filter(|_| !out.is_full()) else { return };
        if self.put_off(Timer::HandshakeRetry, now) {
            self.is_call_due = true;
            return;
        }
        if self.attempt.is_none() || !self.noise.is_calling(remote, now) {
            if let Some(behind) = self.noise.setback() {
                self.push_event(Event::ClockSetBack(behind));
            }
            self.noise.call(now, remote, &mut self.rng);
        }
        let Some(length) = self.noise.initiate(now, out.space()) else { return };
        out.commit(length);
        self.note_sessions();
        self.is_call_due = false;
        self.attempt.get_or_insert(Attempt { started: now });
        let jitter = self.jitter();
        self.timers.set(Timer::HandshakeRetry, now + REKEY_TIMEOUT + jitter);
        self.sent(Content::Handshake, length, now);
    }

    pub(super) fn give_up(&mut self) {
        self.attempt = None;
        self.is_call_due = false;
        self.noise.hang_up();
        self.statistics.dropped.no_session += self.queue.clear() as u64;
        self.push_event(Event::HandshakeFailed);
    }

    /// Draws what is added to the time after which an initiation is sent again.
    fn jitter(&mut self) -> Duration {
        between(Duration::ZERO..=MAX_JITTER, &mut self.rng)
    }
}
