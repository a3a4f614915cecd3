//! What both roles need: what they bring, what waits to be said and told, and how they come to a seed.

use std::collections::VecDeque;
use std::mem;
use std::time::{Duration, Instant};

use super::message::{Message, Stop};
use super::{Agreed, Capabilities, Choice, Config, Epoch, Event, Reason};
use crate::masking::Terms;
use crate::seed::{Nonces, Seed};

/// How often the other end may have a seed derived and a defense drawn.
const DERIVATION_PAUSE: Duration = Duration::from_millis(500);

/// Most messages that wait to be sent, and most events that wait to be read; the oldest go first.
pub(super) const MAX_WAITING: usize = 8;

/// What both roles need.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) config: Config,
    /// Messages to be sent.
    pub(super) messages: VecDeque<Message>,
    pub(super) events: VecDeque<Event>,
    /// Whether this end agrees on nothing any more, and only says so.
    pub(super) is_closed: bool,
    /// Messages that were not understood.
    pub(super) malformed: u64,
    /// When a seed was derived last.
    pub(super) derived: Option<Instant>,
}

impl Common {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            messages: VecDeque::new(),
            events: VecDeque::new(),
            is_closed: false,
            malformed: 0,
            derived: None,
        }
    }

    pub(super) fn say(&mut self, message: Message) {
        if self.messages.back() == Some(&message) {
            return;
        }
        if self.messages.len() == MAX_WAITING {
            self.messages.pop_front();
        }
        self.messages.push_back(message);
    }

    /// Says this in the place of all that waits of its kind.
    pub(super) fn say_newest(&mut self, message: Message) {
        let kind = mem::discriminant(&message);
        self.messages.retain(|waiting| mem::discriminant(waiting) != kind);
        self.say(message);
    }

    pub(super) fn say_stop(&mut self, stop: Stop) {
        self.say(Message::Stop(stop));
    }

    /// Returns why something that the peer knows is not run here.
    pub(super) fn absence(&self) -> Reason {
        if self.is_closed { Reason::Requested } else { Reason::Unknown }
    }

    pub(super) fn tell(&mut self, event: Event) {
        if self.is_closed {
            // The owner runs something else by now.
            return;
        }
        if self.events.len() == MAX_WAITING {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// Tells whether a seed may be derived now, and notes that it is.
    pub(super) fn may_derive(&mut self, now: Instant) -> bool {
        let is_soon = self.derived.is_some_and(|derived| now.saturating_duration_since(derived) < DERIVATION_PAUSE);
        if !is_soon {
            self.derived = Some(now);
        }
        !is_soon
    }

    /// Derives the seed of `nonces` and draws from it.
    pub(super) fn agree(&self, epoch: Epoch, nonces: Nonces, choice: Choice, other: Other) -> Result<Agreed, Reason> {
        let Config { role, private_key, peer, preshared_key, capabilities, draw, .. } = &self.config;
        let seed = Seed::derive(*role, private_key, peer, preshared_key.as_ref(), &nonces);
        let defense = draw(&seed, choice).ok_or(Reason::Choice)?;
        let fingerprint = seed.fingerprint();
        let Other { capabilities: theirs, mtu, masking } = other;
        Ok(Agreed { epoch, seed, fingerprint, choice, defense, capabilities: capabilities.and(theirs), mtu, masking })
    }
}

/// What the other end says of itself, and what the client asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Other {
    pub(super) capabilities: Capabilities,
    pub(super) mtu: Option<u16>,
    pub(super) masking: Option<Terms>,
}
