//! The client: it asks, and keeps what was agreed on alive.

use std::time::{Duration, Instant};

use rand_core::CryptoRng;

use super::message::{Answer, Hello, Message, Proof, Ready, Stop};
use super::retry::{Retry, jittered};
use super::{Agreed, Common, Epoch, Event, Reason, VERSION};
use crate::seed::Nonces;

/// When a peer that did not agree is asked again.
const AGAIN: Duration = Duration::from_secs(600);

/// How often one call begins anew because the relay has forgotten it.
const MAX_RESTARTS: u32 = 3;

#[derive(Debug, Default)]
pub(super) struct Client {
    /// The last epoch that was asked for.
    epoch: Epoch,
    attempt: Option<(Attempt, Retry)>,
    restarts: u32,
    active: Option<Agreed>,
    /// When to ask, while no attempt is made.
    ask_at: Option<Instant>,
}

/// What is waited for.
#[derive(Debug)]
enum Attempt {
    /// An answer to a hello.
    Calling(Hello),
    /// The start of what was drawn.
    Agreeing(Ready, Box<Agreed>),
    /// Word that a stop was heard.
    Stopping(Stop),
}

impl Attempt {
    fn epoch(&self) -> Epoch {
        match self {
            Self::Calling(hello) => hello.epoch,
            Self::Agreeing(ready, _) => ready.proof.epoch(),
            Self::Stopping(stop) => stop.epoch,
        }
    }

    fn message(&self) -> Message {
        match self {
            Self::Calling(hello) => Message::Hello(hello.clone()),
            Self::Agreeing(ready, _) => Message::Ready(ready.clone()),
            Self::Stopping(stop) => Message::Stop(*stop),
        }
    }
}

impl Client {
    pub(super) fn active(&self) -> Option<&Agreed> {
        self.active.as_ref()
    }

    pub(super) fn session_started(&mut self, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        if let Some(active) = &self.active {
            common.say(Message::Started(active.proof()));
        } else if self.attempt.is_none() && self.ask_at.is_none() {
            self.call(common, now, rng);
        }
    }

    /// Asks for a new epoch, unless it is being asked for.
    pub(super) fn call(&mut self, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        if matches!(self.attempt, Some((Attempt::Calling(_) | Attempt::Agreeing(..), _))) {
            return;
        }
        self.restarts = 0;
        self.begin(common, now, rng);
    }

    fn begin(&mut self, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        self.epoch = self.epoch.wrapping_add(1);
        self.ask_at = None;
        let hello = Hello {
            epoch: self.epoch,
            versions: (VERSION, VERSION),
            nonce: Nonces::draw(rng),
            capabilities: common.config.capabilities,
            choice: common.config.choice,
        };
        self.try_first(Attempt::Calling(hello), common, now, rng);
    }

    fn try_first(&mut self, attempt: Attempt, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        common.say(attempt.message());
        self.attempt = Some((attempt, Retry::first(now, rng)));
    }

    pub(super) fn stop(&mut self, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        let attempted = self.attempt.take().map(|(attempt, _)| attempt.epoch());
        let running = self.active.take().map(|active| active.epoch);
        self.ask_at = None;
        // The relay runs one or the other, and ends both.
        if let Some(epoch) = attempted.or(running) {
            let stop = Stop { epoch, reason: Reason::Requested };
            self.try_first(Attempt::Stopping(stop), common, now, rng);
        }
    }

    pub(super) fn receive(&mut self, message: Message, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        match message {
            Message::Answer(answer) => self.answered(&answer, common, now, rng),
            Message::Start(proof) => self.start(proof, common, now, rng),
            Message::Stop(stop) => self.stopped(stop, common, now, rng),
            // What only a client says.
            Message::Hello(_) | Message::Ready(_) | Message::Started(_) => common.malformed += 1,
        }
    }

    fn answered(&mut self, answer: &Answer, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        let Some((Attempt::Calling(hello), _)) = &self.attempt else { return };
        if (answer.epoch, answer.hello) != (hello.epoch, hello.nonce) {
            return;
        }
        let nonces = Nonces { client: hello.nonce, relay: answer.nonce };
        let agreed = if answer.version != VERSION {
            Err(Reason::Version)
        } else if answer.choice != hello.choice {
            // A relay that would have us run less than we asked for.
            Err(Reason::Choice)
        } else {
            common.agree(answer.epoch, nonces, answer.choice, answer.capabilities)
        };
        match agreed {
            Ok(agreed) => {
                let ready = Ready { proof: agreed.proof(), digest: agreed.digest };
                self.try_first(Attempt::Agreeing(ready, Box::new(agreed)), common, now, rng);
            }
            Err(reason) => {
                common.say_stop(answer.epoch, reason);
                self.fail(reason, common, now, rng);
            }
        }
    }

    fn start(&mut self, proof: Proof, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        match self.attempt.take() {
            Some((Attempt::Agreeing(ready, agreed), _)) if ready.proof == proof => {
                self.active = Some((*agreed).clone());
                self.ask_at = Some(now + jittered(common.config.renewal, rng));
                common.tell(Event::Run(agreed));
                common.say(Message::Started(proof));
            }
            attempt => {
                self.attempt = attempt;
                if self.active.as_ref().is_some_and(|active| active.proof() == proof) {
                    common.say(Message::Started(proof));
                } else {
                    common.say_stop(proof.epoch(), Reason::Unknown);
                }
            }
        }
    }

    fn stopped(&mut self, stop: Stop, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        if self.active.as_ref().is_some_and(|active| active.epoch == stop.epoch) {
            self.active = None;
            self.ask_at = None;
            common.tell(Event::Alone(stop.reason));
            if self.attempt.is_none() {
                if stop.reason == Reason::Unknown {
                    self.call(common, now, rng);
                } else {
                    self.ask_at = Some(now + jittered(AGAIN, rng));
                }
            }
            return;
        }
        match &self.attempt {
            Some((attempt, _)) if attempt.epoch() != stop.epoch => {}
            Some((Attempt::Stopping(_), _)) => self.attempt = None,
            Some((Attempt::Agreeing(..), _)) if stop.reason == Reason::Unknown && self.restarts < MAX_RESTARTS => {
                self.restarts += 1;
                self.begin(common, now, rng);
            }
            Some(_) => self.fail(stop.reason, common, now, rng),
            None => {}
        }
    }

    /// Gives an attempt up. What runs goes on.
    fn fail(&mut self, reason: Reason, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        let was_stopping = matches!(self.attempt.take(), Some((Attempt::Stopping(_), _)));
        if was_stopping {
            return;
        }
        if self.active.is_none() {
            common.tell(Event::Alone(reason));
        }
        self.ask_at = Some(now + jittered(AGAIN, rng));
    }

    pub(super) fn handle_timeout(&mut self, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        if let Some((attempt, retry)) = &mut self.attempt {
            if retry.at > now {
                return;
            }
            match retry.again(now, rng) {
                Some(next) => {
                    *retry = next;
                    common.say(attempt.message());
                }
                None => self.fail(Reason::Unanswered, common, now, rng),
            }
        } else if self.ask_at.is_some_and(|at| at <= now) {
            self.call(common, now, rng);
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.attempt.as_ref().map(|(_, retry)| retry.at).or(self.ask_at)
    }
}
