//! When a handshake is begun, sent again, and given up (whitepaper §6.4); and when it is to be made on another network.

use std::time::{Duration, Instant};

use super::sessions::{Call, Caller, Doubt};
use super::timers::{MAX_JITTER, REKEY_AFTER_TIME, REKEY_TIMEOUT, Timer, between};
use super::{DatagramBatch, Endpoint, Event, Tunnel};
use crate::traffic::{Direction, Drop, Kind, Traffic};

impl Tunnel {
    /// Begins a handshake unless one is under way or there is nowhere to send it.
    pub fn start_handshake(&mut self, now: Instant, out: &mut DatagramBatch) {
        self.turn(now, out, |tunnel, out| tunnel.begin_handshake(now, out));
    }

    /// Does the same, as part of a turn.
    pub(super) fn begin_handshake(&mut self, now: Instant, out: &mut DatagramBatch) {
        if self.endpoint.is_none() {
            return;
        }
        match self.sessions.call(now) {
            Call::UnderWay => {}
            Call::Now => self.initiate(now, out),
            Call::After(at) => {
                let jitter = self.jitter();
                self.timers.set_first(Timer::HandshakeRetry, at + jitter);
            }
        }
    }

    /// Sends the handshake initiation that is under way again, if one is: the way to the peer may have just opened.
    pub fn resend_handshake(&mut self, now: Instant, out: &mut DatagramBatch) {
        self.turn(now, out, |tunnel, out| {
            if tunnel.sessions.is_calling() {
                tunnel.initiate(now, out);
            }
        });
    }

    /// Begins a handshake at once if there is a session, or a handshake under way, though what the peer was sent may be lost:
    /// the way to it is another. The session goes on until the peer answers.
    pub fn call_again(&mut self, now: Instant, out: &mut DatagramBatch) {
        self.turn(now, out, |tunnel, out| {
            if tunnel.sessions.is_in_use() || tunnel.sessions.is_calling() {
                tunnel.initiate(now, out);
            }
        });
    }

    /// Notes that this end is on another network: nothing of a session that the old network saw may be seen on the new
    /// one, nor what is in `out`. A handshake comes first, under indices that nobody has seen; packets wait for it. It begins
    /// at once if there was a session, or if something waits; else with the next packet.
    pub fn network_changed(&mut self, now: Instant, out: &mut DatagramBatch) {
        self.turn(now, out, |tunnel, out| tunnel.begin_anew(now, out));
    }

    fn begin_anew(&mut self, now: Instant, out: &mut DatagramBatch) {
        // What the machines just sent was sealed for the old one.
        let forgotten = out.forget_but_next(0);
        self.unsent(forgotten);
        let is_wanted = self.sessions.is_any();
        self.forget_local_address();
        self.path.moved(self.full_size());
        self.noise.forget_sessions();
        self.drop_held();
        self.sessions.forget_handshakes();
        self.note_sessions();
        self.note_end_of_session();
        if is_wanted || !self.queue.is_empty() || self.persistent_keepalive.is_some() || self.has_to_agree() {
            self.begin_handshake(now, out);
        }
    }

    /// Seals nothing in the session until the doubt is over, or the peer uses a new one. It is if the peer is heard from in it:
    /// from wherever, where it was only silent. If it called from another address than before, and is on another network, that is
    /// not to see a session that the last one saw; should it be heard where it was, somebody else has sent a copy of its call,
    /// and all is as before.
    pub(super) fn doubt(&mut self, doubt: Doubt) {
        self.noise.pause();
        self.sessions.pause(doubt);
    }

    /// Seals in the paused session again: the peer was heard from in it.
    pub(super) fn stop_doubting(&mut self) {
        let Some(doubt) = self.sessions.resume() else { return };
        self.noise.resume();
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
        if !self.sessions.is_calling() {
            // Also what was put off while nothing could leave: renewal.
            self.rekey_if_older(REKEY_AFTER_TIME, now, out);
            if self.sessions.is_call_due() || (!self.sessions.is_in_use() && !self.queue.is_empty()) {
                self.begin_handshake(now, out);
            }
        } else if self.sessions.is_call_hopeless(now) {
            self.give_up(now);
        } else {
            self.initiate(now, out);
            self.timers.set_first(Timer::HandshakeRetry, now + REKEY_TIMEOUT);
        }
    }

    /// Notes that we answered an initiation; an attempt of ours is superseded by it.
    pub(super) fn answered(&mut self, now: Instant) {
        self.sessions.note_answered(now);
        // Should the answer be lost, and the peer not begin anew, what waits must not wait for ever.
        let jitter = self.jitter();
        self.timers.set(Timer::HandshakeRetry, now + REKEY_TIMEOUT + jitter);
    }

    /// Takes a session into use, and seals what waited for it.
    pub(super) fn start_session(&mut self, caller: Caller, now: Instant, out: &mut DatagramBatch) {
        let is_calling = self.sessions.start(caller, now);
        if !is_calling {
            self.timers.cancel(Timer::HandshakeRetry);
        }
        self.statistics.handshakes += 1;
        self.push_event(Event::SessionStarted);
        self.note_proof();
        self.open_negotiation(now);
        self.path.session_started(self.full_size());
        self.run_sizing(now, out);
        self.flush_now(now, out);
    }

    /// Begins a handshake if the session was ours to begin and is at least `age` old.
    pub(super) fn rekey_if_older(&mut self, age: Duration, now: Instant, out: &mut DatagramBatch) {
        if self.sessions.is_to_renew(age, now) {
            self.begin_handshake(now, out);
        }
    }

    fn initiate(&mut self, now: Instant, out: &mut DatagramBatch) {
        let Some(Endpoint { remote, .. }) = self.endpoint.filter(|_| !out.is_full()) else { return };
        if self.put_off(Timer::HandshakeRetry, now) {
            self.sessions.put_off_call();
            return;
        }
        if !self.sessions.is_calling() || !self.noise.is_calling(remote, now) {
            if let Some(behind) = self.noise.setback() {
                self.push_event(Event::ClockSetBack(behind));
            }
            self.noise.call(now, remote, &mut self.rng);
        }
        let Some(length) = self.noise.initiate(now, out.space()) else { return };
        out.commit(length);
        self.note_sessions();
        self.sessions.note_called(now);
        let jitter = self.jitter();
        self.timers.set(Timer::HandshakeRetry, now + REKEY_TIMEOUT + jitter);
        self.sent(Traffic::datagram(Kind::Handshake, Direction::Sent, length, now));
    }

    pub(super) fn give_up(&mut self, now: Instant) {
        self.sessions.hang_up();
        self.noise.hang_up();
        let given_up = self.queue.clear();
        self.note_dropped(Drop::NoSession, given_up, now);
        self.push_event(Event::HandshakeFailed);
    }

    /// Draws what is added to the time after which an initiation is sent again.
    fn jitter(&mut self) -> Duration {
        between(Duration::ZERO..=MAX_JITTER, &mut self.rng)
    }
}
