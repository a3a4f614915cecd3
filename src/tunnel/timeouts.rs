//! What a tunnel does as time passes, and the books it keeps for that.

use std::time::{Duration, Instant};

use super::departure::Class;
use super::sessions::Doubt;
use super::timers::{
    KEEPALIVE_TIMEOUT, KEEPALIVE_TIMEOUTS, MAX_SILENCE, SILENCE_TIMEOUT, SILENCE_TIMEOUTS, Timer, Timers, between,
};
use super::{DatagramBatch, Endpoint, Event, Tunnel};
use crate::traffic::{Kind, Traffic};

/// A session may be used at the instant it ends, and is forgotten after it.
const TICK: Duration = Duration::from_nanos(1);

impl Tunnel {
    /// Does what has become due: retries, keepalives, the end of sessions.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut DatagramBatch) {
        self.turn(now, out, |tunnel, out| tunnel.do_what_is_due(now, out));
    }

    fn do_what_is_due(&mut self, now: Instant, out: &mut DatagramBatch) {
        self.run_negotiation(now, out);
        self.run_sizing(now, out);
        self.run_gathering(now, out);
        while !out.is_full() {
            let timer = if self.may_pass(Class::Handshake) {
                self.timers.expire(now)
            } else {
                self.timers.expire_only(Timer::Forget, now)
            };
            let Some(timer) = timer else { return };
            match timer {
                Timer::HandshakeRetry => self.retry_handshake(now, out),
                Timer::Keepalive => self.answer_by_keepalive(now, out),
                Timer::PersistentKeepalive => {
                    if let Some(interval) = self.persistent_keepalive {
                        self.timers.set(Timer::PersistentKeepalive, now + interval);
                        self.keep_alive(now, out);
                    }
                }
                Timer::Silence => {
                    self.doubt_size();
                    self.forget_local_address();
                    self.begin_handshake(now, out);
                }
                Timer::Lost => self.stop_talking(now, out),
                Timer::Settle => self.noise.disclaim(),
                Timer::Expire => self.expire_packets(now),
                Timer::Forget => self.forget_old_sessions(now),
            }
        }
    }

    /// Does what is due while nothing can be sent: keys are forgotten in time, and nothing else.
    pub fn handle_timeout_mute(&mut self, now: Instant) {
        while let Some(timer) = self.timers.expire(now) {
            match timer {
                Timer::Forget => self.forget_old_sessions(now),
                Timer::Settle => self.noise.disclaim(),
                Timer::Expire => self.expire_packets(now),
                Timer::HandshakeRetry
                | Timer::Keepalive
                | Timer::PersistentKeepalive
                | Timer::Silence
                | Timer::Lost => {}
            }
        }
    }

    /// Returns when [`handle_timeout_mute`](Self::handle_timeout_mute) should be called next, while nothing can be sent.
    pub fn next_timeout_mute(&self) -> Option<Instant> {
        self.timers.get(Timer::Forget)
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) should be called next; `None` if an idle tunnel may sleep
    /// until something is sent or received.
    pub fn next_timeout(&self) -> Option<Instant> {
        let machines = self.defended.as_ref().and_then(|defended| defended.controllers.next_timeout());
        let own = if self.may_pass(Class::Handshake) { self.timers.next() } else { self.timers.get(Timer::Forget) };
        let talk = self.negotiation_timeout().into_iter().chain(self.sizing_timeout()).chain(self.gathering_timeout());
        machines.into_iter().chain(own).chain(talk).min()
    }

    /// Ends the sessions that are too old to be used.
    pub(super) fn end_old_sessions(&mut self, now: Instant) {
        // A clock that runs while the system sleeps is looked at once a second.
        if self.sessions.is_check_due(now) || self.timers.get(Timer::Forget).is_some_and(|at| at <= now) {
            self.forget_old_sessions(now);
        }
    }

    fn forget_old_sessions(&mut self, now: Instant) {
        self.sessions.note_checked(now);
        self.noise.end_sessions(now);
        self.note_sessions();
        if !self.noise.has_session() && !self.noise.has_paused() {
            self.note_end_of_session();
        }
    }

    /// Sees to it that each session ends in time.
    pub(super) fn note_sessions(&mut self) {
        match self.noise.next_end() {
            Some(end) => self.timers.set(Timer::Forget, end + TICK),
            None => self.timers.cancel(Timer::Forget),
        }
    }

    /// Notes that there is no session to seal in any more, nor one that is paused.
    pub(super) fn note_end_of_session(&mut self) {
        if self.sessions.end() {
            self.timers.cancel(Timer::Keepalive);
            self.timers.cancel(Timer::Silence);
            self.timers.cancel(Timer::Lost);
            self.push_event(Event::SessionEnded);
        }
    }

    /// Keeps the books for a datagram that was sealed.
    pub(super) fn sent(&mut self, traffic: Traffic) {
        self.note(&traffic);
        let now = traffic.at;
        self.timers.cancel(Timer::Keepalive);
        self.padding_since_sent = 0;
        if let Some(interval) = self.persistent_keepalive {
            self.timers.set(Timer::PersistentKeepalive, now + interval);
        }
        let is_alike = self.has_alike_timers();
        let is_awaited = match traffic.kind {
            Kind::Normal => true,
            Kind::Padding | Kind::Control => is_alike,
            Kind::Handshake | Kind::Keepalive | Kind::Unknown => false,
        };
        if is_awaited && self.timers.get(Timer::Silence).is_none() {
            let wait = if is_alike { between(SILENCE_TIMEOUTS, &mut self.rng) } else { SILENCE_TIMEOUT };
            self.timers.set(Timer::Silence, now + wait);
        }
        if is_awaited && is_alike {
            self.timers.set_first(Timer::Lost, now + MAX_SILENCE);
        }
    }

    /// Keeps the books for a datagram that authenticated, and shows where the peer is.
    pub(super) fn received_from(&mut self, length: usize, from: Endpoint, now: Instant) {
        let is_elsewhere = self.remote() != Some(from.remote);
        if is_elsewhere {
            // An answer that was held was for another place.
            self.drop_held();
            self.push_event(Event::EndpointChanged(from.remote));
            self.path.moved(self.full_size());
        }
        self.endpoint = Some(from);
        if is_elsewhere {
            self.note_path();
        }
        if self.padding.received(length, from.remote) {
            self.ask_for_proof(now);
        }
        self.received(now);
    }

    /// Keeps the books for a datagram that authenticated.
    pub(super) fn received(&mut self, now: Instant) {
        self.padding.note_heard();
        self.timers.cancel(Timer::Lost);
        self.timers.cancel(Timer::Silence);
        if let Some(interval) = self.persistent_keepalive {
            self.timers.set(Timer::PersistentKeepalive, now + interval);
        }
    }

    /// Sends nothing more in the session until the peer is heard from, in that or in the next: a call is under way.
    fn stop_talking(&mut self, now: Instant, out: &mut DatagramBatch) {
        if self.has_alike_timers() && self.sessions.is_in_use() {
            self.doubt(Doubt::Silent);
            self.begin_handshake(now, out);
        }
    }

    /// Keeps the books for a datagram that carried data to the timers: an answer is due.
    pub(super) fn await_answer(&mut self, now: Instant) {
        if self.timers.get(Timer::Keepalive).is_none() {
            let is_alike = self.has_alike_timers();
            let wait = if is_alike { between(KEEPALIVE_TIMEOUTS, &mut self.rng) } else { KEEPALIVE_TIMEOUT };
            self.timers.set(Timer::Keepalive, now + wait);
        }
    }

    /// Forgets every session and what was due for it.
    pub(super) fn forget_sessions(&mut self, now: Instant) {
        self.note_end_of_session();
        self.sessions.forget_handshakes();
        self.timers = Timers::default();
        self.bound_wait();
        if !self.queue.is_empty() {
            self.timers.set(Timer::HandshakeRetry, now);
        }
        self.set_persistent_keepalive(self.persistent_keepalive(), now);
    }
}
