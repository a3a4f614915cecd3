//! The client: it asks, and keeps what was agreed on alive.

use std::time::{Duration, Instant};

use rand_core::CryptoRng;

use super::attempt::Attempt;
use super::common::{Common, Other};
use super::message::{Answer, Hello, Message, Part, Proof, Renew, Started, Stop};
use super::renewal::WORD_PAUSE;
use super::retry::{Retry, jittered};
use super::transfer::{Progress, Transfer};
use super::{Agreed, Choice, Epoch, Event, NO_EPOCH, Reason, VERSION};
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
    /// When a word of the relay's had an exchange begin last, or will have.
    word: Option<Instant>,
    /// Whether the relay has sent what it drew for this epoch.
    has_fetched: bool,
    active: Option<Agreed>,
    /// Until the relay has said, in a new session, that it runs what we run.
    unconfirmed: Option<Retry>,
    /// Whether the relay has said in this session that it runs what we run.
    is_assured: bool,
    /// When to ask, while no attempt is made.
    ask_at: Option<Instant>,
}

impl Client {
    pub(super) fn active(&self) -> Option<&Agreed> {
        self.active.as_ref()
    }

    /// Tells whether the relay is being asked, or will be as soon as its word may have an effect again.
    pub(super) fn is_asking(&self) -> bool {
        self.is_attempting() || (self.ask_at.is_some() && self.ask_at == self.word)
    }

    fn is_attempting(&self) -> bool {
        matches!(self.attempt, Some((Attempt::Calling(_) | Attempt::Fetching(..) | Attempt::Agreeing(_), _)))
    }

    /// Tells whether nothing is left to be said.
    pub(super) fn is_over(&self) -> bool {
        self.attempt.is_none()
    }

    /// Counts on from where another has ended.
    pub(super) fn count_from(&mut self, before: &Self) {
        self.epoch = before.epoch;
    }

    /// Returns what the relay may take to be run here.
    pub(super) fn left(&self) -> impl Iterator<Item = Proof> {
        let attempted = self.attempt.as_ref().and_then(|(attempt, _)| attempt.proof());
        self.active.as_ref().map(Agreed::proof).into_iter().chain(attempted)
    }

    /// Asks anew, where what was asked for cannot be agreed on, or was refused: the keys that seeds are derived from are
    /// others.
    pub(super) fn keys_changed(&mut self, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        if self.is_attempting() || (self.active.is_none() && self.ask_at.is_some()) {
            self.restarts = 0;
            self.begin(common, now, rng);
        }
    }

    #[cfg(test)]
    pub(super) fn is_agreeing(&self) -> bool {
        matches!(self.attempt, Some((Attempt::Agreeing(_), _)))
    }

    pub(super) fn is_confirmed(&self) -> bool {
        self.active.is_some() && self.unconfirmed.is_none()
    }

    pub(super) fn is_assured(&self) -> bool {
        self.active.is_some() && self.is_assured
    }

    pub(super) fn session_started(&mut self, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        self.is_assured = false;
        if let Some(active) = &self.active {
            common.say(Message::Started(Started { proof: active.proof(), asks: true }));
            // A peer that begins sessions and says nothing in them is not waited for anew in each.
            self.unconfirmed.get_or_insert_with(|| Retry::first(now, rng));
        } else if self.attempt.is_none() && self.ask_at.is_none() && !common.is_closed {
            self.call(common, now, rng);
        }
    }

    /// Asks for a new epoch, unless it is being asked for.
    pub(super) fn call(&mut self, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        if self.is_attempting() {
            return;
        }
        self.restarts = 0;
        self.begin(common, now, rng);
    }

    /// Does the same at the relay's word, or puts it off to when that may have an effect again.
    fn call_at_word(&mut self, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        match self.word.map(|word| word + WORD_PAUSE).filter(|at| *at > now) {
            None => {
                self.word = Some(now);
                self.call(common, now, rng);
            }
            Some(at) if self.ask_at.is_none_or(|planned| planned > at) => {
                (self.word, self.ask_at) = (Some(at), Some(at))
            }
            Some(_) => {}
        }
    }

    fn begin(&mut self, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        self.epoch = self.epoch.wrapping_add(1).max(1);
        self.ask_at = None;
        self.has_fetched = false;
        let hello = Hello {
            epoch: self.epoch,
            versions: (VERSION, VERSION),
            nonce: Nonces::draw(rng),
            capabilities: common.config.capabilities,
            choice: common.config.choice,
            mtu: Some(common.config.mtu),
            masking: common.config.masking,
        };
        self.try_first(Attempt::Calling(hello), common, now, rng);
    }

    fn try_first(&mut self, attempt: Attempt, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        common.say(attempt.message());
        self.attempt = Some((attempt, Retry::first(now, rng)));
    }

    pub(super) fn stop(&mut self, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        // The relay runs one or the other, and ends both.
        let newest = self.left().last().map(|proof| Stop::of(proof, Reason::Requested));
        let attempted = self.attempt.take().map(|(attempt, _)| Stop::new(attempt.epoch(), Reason::Requested));
        self.active = None;
        self.ask_at = None;
        (self.unconfirmed, self.is_assured) = (None, false);
        if let Some(stop) = newest.or(attempted) {
            self.try_first(Attempt::Stopping(stop), common, now, rng);
        }
    }

    pub(super) fn receive(&mut self, message: Message, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        match message {
            Message::Answer(answer) => self.answered(&answer, common, now, rng),
            Message::Start(proof) => self.start(proof, common, now, rng),
            Message::Stop(stop) => self.stopped(stop, common, now, rng),
            Message::Part(part) => self.part(&part, common, now, rng),
            Message::Renew(renew) => self.renew(renew, common, now, rng),
            // What only a client says.
            Message::Hello(_) | Message::Ready(_) | Message::Started(_) | Message::Fetch(_) => common.malformed += 1,
            // What both say is taken before.
            Message::Challenge(_) | Message::Echo(_) => {}
        }
    }

    fn answered(&mut self, answer: &Answer, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        let Some((Attempt::Calling(hello), _)) = &self.attempt else { return };
        if (answer.epoch, answer.hello) != (hello.epoch, hello.nonce) || !common.may_derive(now) {
            // It will be asked again.
            return;
        }
        let nonces = Nonces { client: hello.nonce, relay: answer.nonce };
        let is_same = |choice: Choice| (choice.tier, choice.strength) == (answer.choice.tier, answer.choice.strength);
        let agreed = if answer.version != VERSION {
            Err(Reason::Version)
        } else if !is_same(hello.choice) || (answer.choice != hello.choice && !common.config.sends_machines) {
            // A relay that would have us run less than we asked for, or something that we cannot draw.
            Err(Reason::Choice)
        } else {
            let other = Other { capabilities: answer.capabilities, mtu: answer.mtu, masking: hello.masking };
            common.agree(answer.epoch, nonces, hello.choice, other)
        };
        match agreed {
            // Where the relay has another pool, it will see that we drew something else.
            Ok(agreed) => self.try_first(Attempt::Agreeing(Box::new(agreed)), common, now, rng),
            Err(reason) => self.refuse(Stop::new(answer.epoch, reason), common, now, rng),
        }
    }

    /// Takes a part of what the relay has drawn: we drew something else.
    fn part(&mut self, part: &Part, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        let (mut transfer, mut agreed, retry) = match self.attempt.take() {
            Some((Attempt::Fetching(transfer, agreed), retry)) if agreed.epoch == part.proof.epoch() => {
                (transfer, agreed, retry)
            }
            // The relay begins at the start; another part is one that comes late.
            Some((Attempt::Agreeing(agreed), retry)) if agreed.epoch == part.proof.epoch() && part.offset == 0 => {
                let has_fetched = std::mem::replace(&mut self.has_fetched, true);
                match Transfer::new(part).filter(|_| common.config.sends_machines && !has_fetched) {
                    Some(transfer) => (transfer, agreed, retry),
                    None => return self.refuse(Stop::of(agreed.proof(), Reason::Mismatch), common, now, rng),
                }
            }
            attempt => {
                self.attempt = attempt;
                return;
            }
        };
        match transfer.take(part) {
            Progress::Partial => self.try_first(Attempt::Fetching(transfer, agreed), common, now, rng),
            // Who sends it without end does not make this one ask without end.
            Progress::OutOfPlace => self.attempt = Some((Attempt::Fetching(transfer, agreed), retry)),
            Progress::Whole(defense) if !agreed.choice.may_be(&defense) => {
                self.refuse(Stop::of(agreed.proof(), Reason::Bounds), common, now, rng);
            }
            Progress::Whole(defense) => {
                agreed.fingerprint = transfer.proof.fingerprint();
                agreed.defense = *defense;
                self.try_first(Attempt::Agreeing(agreed), common, now, rng);
            }
            Progress::Bad => self.refuse(Stop::of(agreed.proof(), Reason::Mismatch), common, now, rng),
        }
    }

    /// Gives an attempt up, and says so.
    fn refuse(&mut self, stop: Stop, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        common.say_stop(stop);
        self.fail(stop.reason, common, now, rng);
    }

    fn start(&mut self, proof: Proof, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        match self.attempt.take() {
            Some((Attempt::Agreeing(agreed), _)) if agreed.proof() == proof => {
                self.active = Some((*agreed).clone());
                (self.unconfirmed, self.is_assured) = (None, true);
                self.ask_at = Some(now + jittered(common.config.renewal, rng));
                common.tell(Event::Run(agreed));
                common.say(Message::Started(Started { proof, asks: false }));
            }
            attempt => {
                self.attempt = attempt;
                if self.active.as_ref().is_some_and(|active| active.proof() == proof) {
                    (self.unconfirmed, self.is_assured) = (None, true);
                    common.say(Message::Started(Started { proof, asks: false }));
                } else {
                    common.say_stop(Stop::of(proof, Reason::Unknown));
                    if self.active.is_none() && self.attempt.is_none() && self.ask_at.is_some() {
                        // It is there, and would run something.
                        self.call_at_word(common, now, rng);
                    }
                }
            }
        }
    }

    fn stopped(&mut self, stop: Stop, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        if let Some((Attempt::Stopping(_), _)) = &self.attempt {
            self.attempt.take_if(|(attempt, _)| attempt.is_named_by(stop));
        } else if stop.reason == Reason::Requested && stop.is_of_one() {
            // It says so until it knows that we have heard it.
            common.say_stop(stop.because(Reason::Unknown));
        }
        if self.active.as_ref().is_some_and(|active| stop.names(active.proof())) {
            self.end(stop.reason, common, now, rng);
            if self.attempt.is_none() && stop.reason == Reason::Unknown {
                self.call_at_word(common, now, rng);
            }
            return;
        }
        match &self.attempt {
            Some((attempt, _)) if !attempt.is_named_by(stop) => self.check(common, now, rng),
            Some((Attempt::Fetching(..) | Attempt::Agreeing(_), _))
                if stop.reason == Reason::Unknown && self.restarts < MAX_RESTARTS =>
            {
                self.restarts += 1;
                self.begin(common, now, rng);
            }
            Some(_) => self.fail(stop.reason, common, now, rng),
            // It came up since it was asked in vain.
            None if stop.epoch == NO_EPOCH && self.active.is_none() && self.ask_at.is_some() => {
                self.call_at_word(common, now, rng);
            }
            None => self.check(common, now, rng),
        }
    }

    /// Asks the relay whether it runs what we run: what it has just said makes that doubtful.
    fn check(&mut self, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        if let (Some(active), None) = (&self.active, &self.unconfirmed) {
            common.say(Message::Started(Started { proof: active.proof(), asks: true }));
            self.unconfirmed = Some(Retry::first(now, rng));
        }
    }

    /// Agrees anew on what runs, as the relay wishes.
    fn renew(&mut self, renew: Renew, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        if self.attempt.is_none() && self.active.as_ref().is_some_and(|active| active.epoch == renew.epoch) {
            self.call_at_word(common, now, rng);
        }
    }

    /// Notes that what runs here does not run at the relay.
    fn end(&mut self, reason: Reason, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        self.active = None;
        (self.unconfirmed, self.is_assured) = (None, false);
        common.tell(Event::Alone(reason));
        self.ask_at = self.attempt.is_none().then(|| now + jittered(AGAIN, rng));
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
        if let Some(retry) = self.unconfirmed.filter(|retry| retry.at <= now) {
            self.unconfirmed = retry.again(now, rng);
            match (&self.unconfirmed, &self.active) {
                (Some(_), Some(active)) => {
                    common.say(Message::Started(Started { proof: active.proof(), asks: true }));
                }
                _ => self.end(Reason::Unanswered, common, now, rng),
            }
        }
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
        } else if self.active.is_none() && self.ask_at.is_some_and(|at| at <= now) {
            self.call(common, now, rng);
        }
    }

    /// Renews what runs, if that is due.
    pub(super) fn traffic(&mut self, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        if self.active.is_some() && self.attempt.is_none() && self.ask_at.is_some_and(|at| at <= now) {
            self.call(common, now, rng);
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let ask_at = self.ask_at.filter(|_| self.active.is_none());
        let attempt = self.attempt.as_ref().map(|(_, retry)| retry.at).or(ask_at);
        attempt.into_iter().chain(self.unconfirmed.map(|retry| retry.at)).min()
    }
}
