//! The relay: it answers, and does for one client no more work than its rate allows.

use std::time::Instant;

use rand_core::CryptoRng;

use super::common::{Common, Other};
use super::message::{Answer, Fetch, Hello, Message, Proof, Ready, Renew, Started, Stop};
use super::retry::Retry;
use super::transfer::part;
use super::{Agreed, Capabilities, Event, NO_EPOCH, Reason, RenewError, VERSION};
use crate::seed::{NONCE_LENGTH, Nonces};

#[derive(Debug, Default)]
pub(super) struct Relay {
    pending: Option<Pending>,
    active: Option<Agreed>,
    /// Until the client has said that it runs what we run; what it runs until then.
    unconfirmed: Option<(Retry, Option<Proof>)>,
    /// What the client has said last, in this session, that it runs.
    assured: Option<Proof>,
    /// While the client is asked to agree anew on what runs.
    renewal: Option<Retry>,
    /// What the client is told not to run any more, until it has heard that.
    parting: Option<(Stop, Retry)>,
}

/// What was answered to a hello.
#[derive(Debug)]
struct Pending {
    hello: [u8; NONCE_LENGTH],
    answer: Answer,
    agreed: Agreed,
    /// The text of what was drawn, once it was asked for.
    text: Option<String>,
}

impl Relay {
    pub(super) fn active(&self) -> Option<&Agreed> {
        self.active.as_ref()
    }

    pub(super) fn is_confirmed(&self) -> bool {
        self.active.is_some() && self.unconfirmed.is_none()
    }

    pub(super) fn is_assured(&self) -> bool {
        let replaced = self.unconfirmed.as_ref().and_then(|(_, before)| *before);
        let active = self.active.as_ref().map(Agreed::proof);
        active.is_some() && self.assured.is_some() && (self.assured == active || self.assured == replaced)
    }

    pub(super) fn session_started(&mut self, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        self.assured = None;
        if let Some(active) = &self.active {
            common.say(Message::Start(active.proof()));
            // A peer that begins sessions and says nothing in them is not waited for anew in each.
            let waits = self.unconfirmed.take().map(|(retry, _)| retry);
            self.unconfirmed = Some((waits.unwrap_or_else(|| Retry::first(now, rng)), None));
        } else if !common.is_closed {
            self.invite(common);
        }
    }

    /// Says that a client that has given up may call again.
    fn invite(&self, common: &mut Common) {
        common.say_stop(Stop::new(NO_EPOCH, Reason::Unknown));
    }

    /// Forgets what was derived from other keys than there are now. A client that was refused for them may call again.
    pub(super) fn keys_changed(&mut self, common: &mut Common) {
        self.pending = None;
        if self.active.is_none() && !common.is_closed {
            self.invite(common);
        }
    }

    /// Returns what the client may take to be run here.
    pub(super) fn left(&self) -> Option<Proof> {
        let pending = self.pending.as_ref().map(|pending| pending.agreed.proof());
        self.active.as_ref().map(Agreed::proof).or(pending).or(self.parting.as_ref().and_then(|(stop, _)| stop.proof()))
    }

    /// Tells the client not to run this any more, until it has heard that.
    pub(super) fn part(&mut self, stop: Stop, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        common.say_stop(stop);
        self.parting = Some((stop, Retry::first(now, rng)));
    }

    /// Tells whether nothing is left to be said.
    pub(super) fn is_over(&self) -> bool {
        self.parting.is_none()
    }

    /// Asks the client to agree anew, unless it is being asked.
    pub(super) fn renew(
        &mut self,
        common: &mut Common,
        now: Instant,
        rng: &mut impl CryptoRng,
    ) -> Result<(), RenewError> {
        let active = self.active.as_ref().ok_or(RenewError::NothingAgreed)?;
        if !active.capabilities.contains(Capabilities::RENEWAL) {
            return Err(RenewError::Unsupported);
        }
        if self.renewal.is_none() {
            common.say(Message::Renew(Renew { epoch: active.epoch }));
            self.renewal = Some(Retry::first(now, rng));
        }
        Ok(())
    }

    pub(super) fn stop(&mut self, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        let left = self.left();
        (self.active, self.pending) = (None, None);
        (self.unconfirmed, self.renewal) = (None, None);
        if let Some(proof) = left {
            self.part(Stop::of(proof, Reason::Requested), common, now, rng);
        }
    }

    pub(super) fn receive(&mut self, message: Message, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        match message {
            Message::Hello(hello) => self.called(&hello, common, now, rng),
            Message::Ready(ready) => self.ready(&ready, common, now, rng),
            Message::Started(started) => self.started(started, common),
            Message::Fetch(fetch) => self.fetch(fetch, common),
            Message::Stop(stop) => self.stopped(stop, common),
            // What only a relay says.
            Message::Answer(_) | Message::Start(_) | Message::Part(_) | Message::Renew(_) => common.malformed += 1,
            // What both say is taken before.
            Message::Challenge(_) | Message::Echo(_) => {}
        }
    }

    fn called(&mut self, hello: &Hello, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        if common.is_closed {
            common.say_stop(Stop::new(hello.epoch, Reason::Requested));
            return;
        }
        // What it is to run next takes the place of all that it may run.
        self.parting = None;
        if self.active.as_ref().is_some_and(|active| active.epoch != hello.epoch) {
            self.renewal = None;
        }
        if let Some(Pending { hello: nonce, answer, .. }) = &self.pending
            && (*nonce, answer.epoch) == (hello.nonce, hello.epoch)
        {
            common.say(Message::Answer(answer.clone()));
            return;
        }
        let (oldest, newest) = hello.versions;
        if !(oldest..=newest).contains(&VERSION) {
            common.say_stop(Stop::new(hello.epoch, Reason::Version));
            return;
        }
        if !common.may_derive(now) {
            // It will ask again.
            return;
        }
        let nonce = Nonces::draw(rng);
        let nonces = Nonces { client: hello.nonce, relay: nonce };
        let other = Other { capabilities: hello.capabilities, mtu: hello.mtu, masking: hello.masking };
        let mut agreed = common.agree(hello.epoch, nonces, hello.choice, other);
        if matches!(agreed, Err(Reason::Choice)) && common.config.sends_machines {
            // The client has another pool: what we draw from ours, it can fetch.
            agreed = common.agree(hello.epoch, nonces, hello.choice.with_own_pool(), other);
        }
        match agreed {
            Ok(agreed) => {
                let answer = Answer {
                    epoch: hello.epoch,
                    version: VERSION,
                    hello: hello.nonce,
                    nonce,
                    capabilities: agreed.capabilities,
                    choice: agreed.choice,
                    mtu: Some(common.config.mtu),
                };
                common.say(Message::Answer(answer.clone()));
                self.pending = Some(Pending { hello: hello.nonce, answer, agreed, text: None });
            }
            Err(reason) => common.say_stop(Stop::new(hello.epoch, reason)),
        }
    }

    fn ready(&mut self, ready: &Ready, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        let is_of = |agreed: &Agreed| (agreed.proof(), agreed.defense.digest().0) == (ready.proof, ready.digest);
        if self.active.as_ref().is_some_and(is_of) {
            // Our word was lost.
            common.say(Message::Start(ready.proof));
            return;
        }
        let is_pending = |pending: &mut Pending| pending.agreed.epoch == ready.proof.epoch();
        let Some(pending) = self.pending.take_if(is_pending) else {
            common.say_stop(Stop::of(ready.proof, common.absence()));
            return;
        };
        if !is_of(&pending.agreed) {
            if common.config.sends_machines {
                self.pending = Some(pending);
                self.fetch(Fetch { epoch: ready.proof.epoch(), offset: 0 }, common);
                return;
            }
            common.say_stop(Stop::of(ready.proof, Reason::Mismatch));
            if self.active.is_none() {
                common.tell(Event::Alone(Reason::Mismatch));
            }
            return;
        }
        let agreed = pending.agreed;
        common.say(Message::Start(ready.proof));
        common.tell(Event::Run(Box::new(agreed.clone())));
        let before = self.active.replace(agreed).map(|before| before.proof());
        self.unconfirmed = Some((Retry::first(now, rng), before));
    }

    /// Tells a part of what was drawn.
    fn fetch(&mut self, fetch: Fetch, common: &mut Common) {
        let Some(pending) = self.pending.as_mut().filter(|pending| pending.agreed.epoch == fetch.epoch) else {
            common.say_stop(Stop::new(fetch.epoch, common.absence()));
            return;
        };
        if !common.config.sends_machines {
            common.say_stop(Stop::new(fetch.epoch, Reason::Mismatch));
            return;
        }
        let Pending { agreed, text, .. } = pending;
        let text = text.get_or_insert_with(|| agreed.defense.to_toml());
        match part(text, fetch.offset, agreed.proof()) {
            Some(part) => common.say(Message::Part(part)),
            None => common.malformed += 1,
        }
    }

    fn started(&mut self, Started { proof, asks }: Started, common: &mut Common) {
        if self.active.as_ref().is_some_and(|active| active.proof() == proof) {
            self.unconfirmed = None;
            self.assured = Some(proof);
            if asks {
                common.say(Message::Start(proof));
            }
        } else if matches!(self.unconfirmed, Some((_, Some(before))) if before == proof) {
            self.assured = Some(proof);
        } else {
            common.say_stop(Stop::of(proof, common.absence()));
        }
    }

    /// Ends what the client ends, and says that it was heard, for it asks until then.
    fn stopped(&mut self, stop: Stop, common: &mut Common) {
        self.parting.take_if(|(said, _)| said.proof().is_none_or(|proof| stop.names(proof)));
        let was_pending = self.pending.take_if(|pending| pending.agreed.epoch == stop.epoch).is_some();
        let is_all = stop.reason == Reason::Requested;
        let before = self.unconfirmed.as_ref().and_then(|(_, before)| *before);
        let is_known = was_pending || before.is_some_and(|before| stop.names(before));
        // One that names a run that is over was said before the client wanted another.
        let ends = |active: &Agreed| stop.names(active.proof()) || (is_all && (is_known || !stop.is_of_one()));
        if self.active.take_if(|active| ends(active)).is_some() {
            (self.unconfirmed, self.renewal) = (None, None);
            common.tell(Event::Alone(stop.reason));
        } else if is_all && self.active.is_none() {
            // It wants none before there was any: what runs until then is ours alone.
            common.tell(Event::Alone(stop.reason));
        }
        if is_all {
            common.say_stop(stop);
        }
    }

    pub(super) fn handle_timeout(&mut self, common: &mut Common, now: Instant, rng: &mut impl CryptoRng) {
        if let (Some(retry), Some(active)) = (self.renewal.filter(|retry| retry.at <= now), &self.active) {
            self.renewal = retry.again(now, rng);
            if self.renewal.is_some() {
                common.say(Message::Renew(Renew { epoch: active.epoch }));
            }
        }
        if let Some((stop, retry)) = self.parting.filter(|(_, retry)| retry.at <= now) {
            self.parting = retry.again(now, rng).map(|retry| (stop, retry));
            if self.parting.is_some() {
                common.say_stop(stop);
            }
        }
        let Some((retry, _)) = &mut self.unconfirmed else { return };
        if retry.at > now {
            return;
        }
        let proof = self.active.as_ref().map(Agreed::proof);
        match (retry.again(now, rng), &self.active) {
            (Some(next), Some(active)) => {
                *retry = next;
                common.say(Message::Start(active.proof()));
            }
            _ => {
                (self.unconfirmed, self.renewal) = (None, None);
                self.active = None;
                if let Some(proof) = proof {
                    common.say_stop(Stop::of(proof, Reason::Unanswered));
                    common.tell(Event::Alone(Reason::Unanswered));
                }
            }
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let unconfirmed = self.unconfirmed.as_ref().map(|(retry, _)| retry.at);
        let parting = self.parting.map(|(_, retry)| retry.at);
        unconfirmed.into_iter().chain(self.renewal.map(|retry| retry.at)).chain(parting).min()
    }
}
