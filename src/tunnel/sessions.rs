//! The life of a tunnel's sessions, as far as the tunnel goes by it: which is in use, whether it is doubted, and the handshake that
//! makes the next. The keys, and what is sealed with them, are [`Noise`](super::noise::Noise)'s.
//!
//! ```text
//!                                      heard from in it
//!                             ┌───────────────────────────────┐
//!                             ▼                               │
//!  ┌──────┐ taken into use ┌────────┐ silent, or called    ┌────────┐
//!  │ none │───────────────▶│ in use │─────────────────────▶│ paused │
//!  └──────┘                └────────┘ from elsewhere       └────────┘
//!     ▲                      │    ▲                           │  │
//!     │                      │    │  the next taken into use  │  │
//!     │                      │    └───────────────────────────┘  │
//!     │  180 s, other keys,  │                                   │
//!     └──another network─────┴───────────────────────────────────┘
//!
//!  The handshake that makes the next:
//!
//!  ┌──────┐ put off    ┌─────┐ sent   ┌─────────┐ answered: taken into use
//!  │ none │───────────▶│ due │───────▶│ calling │ given up after 90 s
//!  └──────┘            └─────┘        └─────────┘
//!     │ the peer calls                ┌──────────┐ used by the peer: taken into use
//!     └──────────────────────────────▶│ answered │ no longer waited for after 5 s
//!                                     └──────────┘
//! ```
//!
//! Both ends may call at once: an end can have answered and be calling. A session that is used for 180 s ends; what forgets the
//! handshakes alone ([`forget_handshakes`](Sessions::forget_handshakes)) leaves it to that.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Endpoint;
use super::timers::{REKEY_ATTEMPT_TIME, REKEY_TIMEOUT};

/// How often the age of sessions is compared with a clock that runs while the system sleeps, at most.
const CHECK: Duration = Duration::from_secs(1);

/// Who began the handshake of a session: that end renews it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    Us,
    Peer,
}

/// A session that something is or was sealed in.
#[derive(Debug, Clone, Copy)]
struct Session {
    started: Instant,
    caller: Caller,
}

/// Why nothing is sealed in a session until the peer is heard from in it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Doubt {
    /// The peer has not been heard from for so long that it may be gone.
    Silent,
    /// It called from elsewhere than here.
    Away { home: Endpoint },
}

/// What is to be done where a session is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// Nothing: a call is under way.
    UnderWay,
    /// Calling now.
    Now,
    /// Calling at this instant, some jitter added: the peer called just now, and ours would cross it.
    After(Instant),
}

/// The sessions of one tunnel.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// The one in use.
    current: Option<Session>,
    /// The one that is doubted, and why; none is in use then.
    paused: Option<(Session, Doubt)>,
    /// Since when we have been calling.
    calling: Option<Instant>,
    /// When we answered an initiation last, until the session is in use.
    answered: Option<Instant>,
    /// Whether a call is to be begun that could not be yet.
    is_call_due: bool,
    last_handshake: Option<Instant>,
    /// When their age was last compared with a clock that runs while the system sleeps.
    checked: Option<Instant>,
}

impl Sessions {
    /// Tells whether there is one to seal in.
    pub(super) fn is_in_use(&self) -> bool {
        self.current.is_some()
    }

    /// Returns when the one in use started.
    pub(super) fn started(&self) -> Option<Instant> {
        self.current.map(|session| session.started)
    }

    /// Tells whether the one in use is ours to renew, and at least `age` old.
    pub(super) fn is_to_renew(&self, age: Duration, now: Instant) -> bool {
        self.current.is_some_and(|session| {
            session.caller == Caller::Us && now.saturating_duration_since(session.started) >= age
        })
    }

    /// Returns when the last handshake completed.
    pub(super) fn last_handshake(&self) -> Option<Instant> {
        self.last_handshake
    }

    /// Tells whether their age is to be looked at again, and not only when one ends.
    pub(super) fn is_check_due(&self, now: Instant) -> bool {
        self.checked.is_none_or(|checked| now.saturating_duration_since(checked) >= CHECK)
    }

    /// Notes that their age is looked at.
    pub(super) fn note_checked(&mut self, now: Instant) {
        self.checked = Some(now);
    }

    /// Takes a session into use. Tells whether a call goes on all the same: the session came of the peer's.
    pub(super) fn start(&mut self, caller: Caller, now: Instant) -> bool {
        (self.answered, self.paused, self.is_call_due) = (None, None, false);
        if caller == Caller::Us {
            self.calling = None;
        }
        // When both began at once, each has a session of either kind: who has begun one goes on to renew it.
        let is_crossing = self.current.is_some_and(|session| {
            session.caller == Caller::Us && now.saturating_duration_since(session.started) < REKEY_TIMEOUT
        });
        let caller = if is_crossing { Caller::Us } else { caller };
        self.current = Some(Session { started: now, caller });
        self.last_handshake = Some(now);
        self.calling.is_some()
    }

    /// Notes that the one in use is doubted.
    pub(super) fn pause(&mut self, doubt: Doubt) {
        // Of all the places that the peer called from, the one before the first is its home.
        let silent = self.paused.filter(|(_, doubt)| matches!(doubt, Doubt::Silent));
        if let Some(session) = self.current.take().or(silent.map(|(session, _)| session)) {
            self.paused = Some((session, doubt));
        }
    }

    /// Tells whether data in the one that is doubted, from `remote`, says that the peer is there. When it called from
    /// elsewhere, data from anywhere but its home may be late.
    pub(super) fn is_doubt_over(&self, remote: SocketAddr) -> bool {
        self.paused.is_some_and(|(_, doubt)| match doubt {
            Doubt::Silent => true,
            Doubt::Away { home } => home.remote == remote,
        })
    }

    /// Takes the one that is doubted into use again, and returns why it was doubted; `None` if there is none.
    pub(super) fn resume(&mut self) -> Option<Doubt> {
        let (session, doubt) = self.paused.take()?;
        self.current = Some(session);
        Some(doubt)
    }

    /// Notes that they are over. Tells whether there was one.
    pub(super) fn end(&mut self) -> bool {
        let (current, paused) = (self.current.take(), self.paused.take());
        current.is_some() || paused.is_some()
    }

    /// Tells whether there is a session, or a handshake that is to make one.
    pub(super) fn is_any(&self) -> bool {
        self.current.is_some()
            || self.paused.is_some()
            || self.is_calling()
            || self.answered.is_some()
            || self.is_call_due
    }

    /// Decides what to do where a session is wanted.
    pub(super) fn call(&mut self, now: Instant) -> Call {
        if self.is_calling() {
            return Call::UnderWay;
        }
        match self.answered.filter(|at| now.saturating_duration_since(*at) < REKEY_TIMEOUT) {
            Some(answered) => {
                self.is_call_due = true;
                Call::After(answered + REKEY_TIMEOUT)
            }
            None => Call::Now,
        }
    }

    /// Tells whether a call is under way.
    pub(super) fn is_calling(&self) -> bool {
        self.calling.is_some()
    }

    /// Tells whether a call has gone unanswered for so long that it is given up.
    pub(super) fn is_call_hopeless(&self, now: Instant) -> bool {
        self.calling.is_some_and(|since| now.saturating_duration_since(since) >= REKEY_ATTEMPT_TIME)
    }

    /// Tells whether a call is to be begun that could not be.
    pub(super) fn is_call_due(&self) -> bool {
        self.is_call_due
    }

    /// Notes that a call cannot be made yet.
    pub(super) fn put_off_call(&mut self) {
        self.is_call_due = true;
    }

    /// Notes that an initiation was sent: a call is under way, if none was.
    pub(super) fn note_called(&mut self, now: Instant) {
        self.is_call_due = false;
        self.calling.get_or_insert(now);
    }

    /// Notes that we answered an initiation: a call of ours is superseded by it.
    pub(super) fn note_answered(&mut self, now: Instant) {
        (self.calling, self.answered) = (None, Some(now));
    }

    /// Gives the call up, or that which is due.
    pub(super) fn hang_up(&mut self) {
        (self.calling, self.is_call_due) = (None, false);
    }

    /// Forgets the handshakes: what they were to make is of no use any more.
    pub(super) fn forget_handshakes(&mut self) {
        self.hang_up();
        self.answered = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(last: u8) -> Endpoint {
        Endpoint::from(SocketAddr::from(([192, 0, 2, last], 51_820)))
    }

    #[test]
    fn a_session_is_renewed_by_who_called() {
        let now = Instant::now();
        for (caller, renews) in [(Caller::Us, true), (Caller::Peer, false)] {
            let mut sessions = Sessions::default();
            sessions.start(caller, now);
            assert!(!sessions.is_to_renew(REKEY_TIMEOUT, now));
            assert_eq!(sessions.is_to_renew(REKEY_TIMEOUT, now + REKEY_TIMEOUT), renews);
        }
        // Both called at once: ours came of our call, and theirs a moment later.
        let mut sessions = Sessions::default();
        sessions.start(Caller::Us, now);
        sessions.start(Caller::Peer, now + REKEY_TIMEOUT / 2);
        assert!(sessions.is_to_renew(REKEY_TIMEOUT, now + 2 * REKEY_TIMEOUT));
        sessions.start(Caller::Peer, now + 4 * REKEY_TIMEOUT);
        assert!(!sessions.is_to_renew(Duration::ZERO, now + 5 * REKEY_TIMEOUT));
    }

    #[test]
    fn a_call_is_one_at_a_time_and_does_not_cross_the_peers() {
        let (mut sessions, now) = (Sessions::default(), Instant::now());
        assert_eq!(sessions.call(now), Call::Now);
        sessions.note_called(now);
        assert_eq!(sessions.call(now), Call::UnderWay);
        assert!(!sessions.is_call_hopeless(now) && sessions.is_call_hopeless(now + REKEY_ATTEMPT_TIME));
        sessions.note_answered(now);
        assert_eq!(sessions.call(now), Call::After(now + REKEY_TIMEOUT));
        assert!(sessions.is_call_due());
        assert_eq!(sessions.call(now + REKEY_TIMEOUT), Call::Now);
        // The session of the peer's call does not end ours.
        sessions.note_called(now + REKEY_TIMEOUT);
        assert!(sessions.start(Caller::Peer, now + REKEY_TIMEOUT) && !sessions.start(Caller::Us, now + REKEY_TIMEOUT));
    }

    #[test]
    fn a_doubt_ends_where_the_peer_was_before_all_places_it_called_from() {
        let (mut sessions, now) = (Sessions::default(), Instant::now());
        sessions.start(Caller::Us, now);
        sessions.pause(Doubt::Silent);
        assert!(sessions.is_doubt_over(place(9).remote) && !sessions.is_in_use());
        for called_from in 1..4 {
            sessions.pause(Doubt::Away { home: place(called_from) });
        }
        assert!(sessions.is_doubt_over(place(1).remote) && !sessions.is_doubt_over(place(3).remote));
        assert!(matches!(sessions.resume(), Some(Doubt::Away { home }) if home == place(1)));
        assert!(sessions.is_in_use() && sessions.resume().is_none());
        assert!(sessions.end() && !sessions.end());
    }

    #[test]
    fn what_forgets_the_handshakes_leaves_the_session() {
        let (mut sessions, now) = (Sessions::default(), Instant::now());
        sessions.start(Caller::Peer, now);
        sessions.note_answered(now);
        sessions.note_called(now);
        sessions.put_off_call();
        sessions.forget_handshakes();
        assert!(sessions.is_in_use() && !sessions.is_calling() && !sessions.is_call_due());
        assert_eq!(sessions.call(now), Call::Now);
    }
}
