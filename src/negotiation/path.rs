//! The proof of a path: that a peer is to be reached where what it sends seems to come from.
//!
//! A datagram that was captured and is sent on from another address is authentic, and says nothing of who is at that
//! address. So an end sends a token that nobody can guess, and waits for its echo.

use std::time::Instant;

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

use super::Event;
use super::common::Common;
use super::message::Message;
use super::retry::Retry;

/// Length of a token, in bytes.
const TOKEN_LENGTH: usize = 16;

/// What is to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Token {
    #[serde(rename = "t")]
    token: [u8; TOKEN_LENGTH],
}

impl Token {
    fn draw(rng: &mut impl CryptoRng) -> Self {
        let mut token = [0; TOKEN_LENGTH];
        rng.fill_bytes(&mut token);
        Self { token }
    }

    #[cfg(test)]
    pub(super) fn new(token: [u8; TOKEN_LENGTH]) -> Self {
        Self { token }
    }
}

/// The newest challenge, while its echo is waited for.
#[derive(Debug, Default)]
pub(super) struct Path {
    challenge: Option<(Token, Retry)>,
}

impl Path {
    pub(super) fn is_challenged(&self) -> bool {
        self.challenge.is_some()
    }

    /// Begins a challenge. Where one goes on, it takes its place when that would be said again: a peer that seems to be elsewhere
    /// with each of its datagrams has nobody asked more often.
    pub(super) fn challenge(&mut self, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        let token = Token::draw(rng);
        if let Some((challenge, _)) = &mut self.challenge {
            *challenge = token;
            // One that was not sent yet is of no use.
            if common.messages.iter().any(|message| matches!(message, Message::Challenge(_))) {
                common.say_newest(Message::Challenge(token));
            }
            return;
        }
        self.challenge = Some((token, Retry::first(now, rng)));
        common.say_newest(Message::Challenge(token));
    }

    /// Ends a challenge.
    pub(super) fn forget(&mut self, common: &mut Common) {
        self.challenge = None;
        common.messages.retain(|message| !matches!(message, Message::Challenge(_)));
    }

    /// Takes an echo; one of an older token proves nothing.
    pub(super) fn echoed(&mut self, token: Token, common: &mut Common) {
        if self.challenge.is_some_and(|(challenge, _)| challenge == token) {
            self.forget(common);
            common.tell(Event::PathProven);
        }
    }

    pub(super) fn handle_timeout(&mut self, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        let Some((token, retry)) = self.challenge.filter(|(_, retry)| retry.at <= now) else { return };
        self.challenge = retry.again(now, rng).map(|retry| (token, retry));
        if self.challenge.is_some() {
            common.say_newest(Message::Challenge(token));
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.challenge.map(|(_, retry)| retry.at)
    }
}
