//! What a tunnel does as time passes, and the books it keeps for that.

use std::time::{Duration, Instant};

use super::noise::{MessageKind, Polled};
use super::timers::{FORGET_AFTER, REJECT_AFTER_TIME, SILENCE_TIMEOUT, Timer, Timers};
use super::{Content, DatagramBatch, Endpoint, Event, MAX_SESSIONS, Tunnel};

/// boringtun's own view of time is brought up to date when it is older than this.
const TICK: Duration = Duration::from_secs(1);

use crate::defense::Gate;

impl Tunnel {
    /// Does what has become due: retries, keepalives, the end of sessions.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut DatagramBatch) {
        self.run_defense(now, out);
        self.run_negotiation(now, out);
        while !out.is_full() {
            let timer = if self.gate() == Gate::Closed {
                self.timers.expire_only(Timer::Forget, now)
            } else {
                self.timers.expire(now)
            };
            let Some(timer) = timer else { return };
            match timer {
                Timer::HandshakeRetry => self.retry_handshake(now, out),
                Timer::Keepalive => self.send_keepalive(now, out),
                Timer::PersistentKeepalive => {
                    if let Some(interval) = self.persistent_keepalive {
                        self.timers.set(Timer::PersistentKeepalive, now + interval);
                        self.send_keepalive(now, out);
                    }
                }
                Timer::Silence => {
                    self.forget_local_address();
                    self.begin_handshake(now, out);
                }
                Timer::Forget => self.poll_boringtun(now, out),
            }
        }
    }

    /// Does what is due while nothing can be sent: keys are forgotten in time, and nothing else. What is in `out`
    /// afterwards is to be thrown away.
    pub fn handle_timeout_mute(&mut self, now: Instant, out: &mut DatagramBatch) {
        while let Some(timer) = self.timers.expire(now) {
            if timer == Timer::Forget && !out.is_full() {
                self.poll_boringtun(now, out);
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
        let machines = self.defended.as_ref().and_then(|defended| defended.engine.next_timeout());
        let own = if self.gate() == Gate::Closed { self.timers.get(Timer::Forget) } else { self.timers.next() };
        machines.into_iter().chain(own).chain(self.negotiation_timeout()).min()
    }

    /// Lets boringtun end the sessions that are too old to be used.
    ///
    /// It is polled for nothing else while data flows: it takes any packet sent after a silence for an unanswered one.
    pub(super) fn end_old_sessions(&mut self, now: Instant, out: &mut DatagramBatch) {
        if out.is_full() {
            return;
        }
        if self.checked.is_none_or(|checked| now.saturating_duration_since(checked) >= TICK) {
            self.checked = Some(now);
            if self.noise.session_age().is_some_and(|age| age > REJECT_AFTER_TIME) {
                // The system slept, and the clock we are told of with it.
                self.started.clear();
                self.poll_boringtun(now, out);
                return;
            }
        }
        let is_old = |started: &Instant| now.saturating_duration_since(*started) > REJECT_AFTER_TIME;
        if self.started.front().is_none_or(|started| !is_old(started)) {
            return;
        }
        self.started.retain(|started| !is_old(started));
        self.poll_boringtun(now, out);
    }

    /// Brings boringtun's view of time up to date, before it makes or reads a handshake message.
    pub(super) fn tick(&mut self, now: Instant, out: &mut DatagramBatch) {
        if self.ticked.is_none_or(|ticked| now.saturating_duration_since(ticked) >= TICK) && !out.is_full() {
            self.poll_boringtun(now, out);
        }
    }

    fn poll_boringtun(&mut self, now: Instant, out: &mut DatagramBatch) {
        self.ticked = Some(now);
        match self.noise.poll(now, out.space()) {
            Polled::Message(message) if self.endpoint.is_some() => {
                match message.kind {
                    // A bare keepalive would stand out by its size.
                    MessageKind::Data if self.defended.is_some() => self.send_covert_keepalive(now, out),
                    MessageKind::Data => {
                        out.commit(message.length);
                        self.sent(Content::Keepalive, message.length, now);
                    }
                    MessageKind::Initiation | MessageKind::Response | MessageKind::CookieReply => {
                        self.emit_handshake(message.length, out);
                        self.initiated(now);
                        self.sent(Content::Handshake, message.length, now);
                    }
                }
            }
            Polled::Message(_) | Polled::Nothing => {}
            Polled::Expired => self.handshake_expired(now, out),
        }
        if self.session.is_some() && !self.noise.has_session() {
            self.session = None;
            self.timers.cancel(Timer::Keepalive);
            self.timers.cancel(Timer::Silence);
            self.push_event(Event::SessionEnded);
        }
    }

    /// Notes that a session was made, so that it ends in time.
    pub(super) fn remember_session(&mut self, now: Instant) {
        if self.started.len() == MAX_SESSIONS {
            self.started.pop_front();
        }
        self.started.push_back(now);
        self.timers.set(Timer::Forget, now + FORGET_AFTER + TICK);
    }

    /// Keeps the books for a datagram that was sealed.
    pub(super) fn sent(&mut self, content: Content, length: usize, now: Instant) {
        self.statistics.sent_bytes += length as u64;
        self.timers.cancel(Timer::Keepalive);
        self.padding_since_sent = 0;
        if let Some(interval) = self.persistent_keepalive {
            self.timers.set(Timer::PersistentKeepalive, now + interval);
        }
        match content {
            Content::Data => self.timers.set_first(Timer::Silence, now + SILENCE_TIMEOUT),
            Content::Handshake | Content::Keepalive => {}
        }
    }

    /// Keeps the books for a datagram that authenticated.
    pub(super) fn received(&mut self, length: usize, from: Endpoint, now: Instant) {
        self.statistics.received_bytes += length as u64;
        if self.endpoint.map(|endpoint| endpoint.remote) != Some(from.remote) {
            self.push_event(Event::EndpointChanged(from.remote));
        }
        self.endpoint = Some(from);
        self.timers.cancel(Timer::Silence);
        if let Some(interval) = self.persistent_keepalive {
            self.timers.set(Timer::PersistentKeepalive, now + interval);
        }
    }

    /// Forgets every session and what was due for it.
    pub(super) fn forget_sessions(&mut self, now: Instant) {
        self.session = None;
        self.unconfirmed.clear();
        self.answered = None;
        self.attempt = None;
        self.started.clear();
        self.ticked = None;
        self.timers = Timers::default();
        if !self.queue.is_empty() {
            self.timers.set(Timer::HandshakeRetry, now);
        }
        self.set_persistent_keepalive(self.persistent_keepalive(), now);
    }
}
