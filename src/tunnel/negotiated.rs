//! A tunnel that agrees with its peer on what it runs.
//!
//! Until the peer agreed, this end runs a defense that it draws for itself, or, where agreement is required, holds back every
//! normal packet.

use std::sync::Arc;
use std::time::Instant;

use maybetun_machines::EPHEMERAL;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};

use super::departure::{Agreement, Class};
use super::frame::HEADER;
use super::masked::{asked_for, is_offered};
use super::timers::{AGREEMENT_TIME, SETTLE_TIME, Timer};
use super::{DatagramBatch, Ecn, Tunnel};
use crate::defense::Plan;
use crate::masking::Terms;
use crate::negotiation::{Agreed, Capabilities, Choice, Config, Event, Negotiation, Reason, RenewError};
use crate::seed::Stream;
use crate::settings::{
    Cause, DefenseSettings, EphemeralSettings, EpochStatus, MAX_RENEWAL, MIN_RENEWAL, NegotiationPolicy,
    NegotiationStatus, Protection, Role,
};
use crate::traffic::Drop;

/// The least MTU of the peer's that is taken at its word, in bytes: what every IPv4 host takes (RFC 791, section 3.1).
const MIN_SIZE: usize = 576;

/// What a tunnel has that agrees with its peer, and another has not.
pub(super) struct Negotiated {
    settings: EphemeralSettings,
    role: Role,
    rng: ChaCha20Rng,
    /// Whether what runs was drawn, by this end alone or by both.
    is_drawn: bool,
    agreed_at: Option<Instant>,
    /// How often something was agreed on.
    epochs: u64,
    /// Why nothing is agreed on, while nothing is.
    cause: Cause,
    /// Whether the peer's timers treat every datagram alike, as it said last. That an agreement was not confirmed takes
    /// nothing back: who drops what the peer says must not learn more than before.
    has_alike_timers: bool,
}

impl Negotiated {
    fn is_required(&self) -> bool {
        self.settings.negotiation == NegotiationPolicy::Require
    }

    fn is_asked(&self) -> bool {
        self.settings.negotiation != NegotiationPolicy::Off
    }
}

impl Tunnel {
    /// Agrees with the peer on a defense that both draw, now if there is a session, else as soon as there is one; until
    /// then packets have the one size. Whatever ran before does not any more.
    pub(super) fn start_ephemeral(
        &mut self,
        settings: EphemeralSettings,
        role: Role,
        seed: [u8; 32],
        now: Instant,
        out: &mut DatagramBatch,
    ) {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let running = DefenseSettings {
            name: EPHEMERAL.to_owned(),
            role: Some(role),
            plan: Plan::default(),
            limits: settings.limits,
            masking: settings.masking,
        };
        self.run_plan(running, random(&mut rng), now);
        self.set_limits(&settings.limits, now);
        // What the peer has confirmed was something else.
        self.noise.disclaim();
        let is_asked = settings.negotiation != NegotiationPolicy::Off;
        if is_asked {
            let negotiation = Negotiation::new(self.brought(&settings, role));
            self.begin_talk(negotiation, random(&mut rng), now);
        } else {
            self.end_talk(now);
        }
        // Until the peer has agreed anew, or heard that it will not, its timers are as they were.
        let has_alike_timers = is_asked && self.has_alike_timers();
        self.negotiated = Some(Box::new(Negotiated {
            settings,
            role,
            rng,
            is_drawn: false,
            agreed_at: None,
            epochs: 0,
            cause: if is_asked { Cause::Negotiating } else { Cause::NotNegotiated },
            has_alike_timers,
        }));
        if self.sessions.is_in_use() {
            self.open_negotiation(now);
            self.run_negotiation(now, out);
        }
        self.renew_masking(now);
        self.flush_queue(now, out);
        self.bound_wait();
        self.note_protection();
    }

    /// Returns what this end brings to a negotiation under `settings`.
    fn brought(&self, settings: &EphemeralSettings, role: Role) -> Config {
        Config {
            role,
            private_key: self.noise.private_key().clone(),
            peer: self.noise.peer(),
            preshared_key: self.noise.preshared_key().cloned(),
            capabilities: capabilities(settings, role),
            masking: asked_for(&settings.masking, role),
            mtu: u16::try_from(self.mtu).unwrap_or(u16::MAX),
            choice: Choice::new(settings.tier, settings.strength),
            renewal: settings.renewal.clamp(MIN_RENEWAL, MAX_RENEWAL),
            draw: Arc::new(Choice::draw),
            sends_machines: settings.negotiation == NegotiationPolicy::Prefer,
        }
    }

    /// Returns what this end asks for to mask, and what it can do.
    pub(super) fn brought_to_mask(&self) -> Option<(Option<Terms>, Capabilities)> {
        let Negotiated { settings, role, .. } = self.negotiated.as_deref()?;
        Some((asked_for(&settings.masking, *role), capabilities(settings, *role)))
    }

    /// Masks in another way where all else is as it is; `false`, with nothing done, if more differs.
    pub(super) fn mask_by_agreement(&mut self, settings: &EphemeralSettings, now: Instant) -> bool {
        let masking = settings.masking;
        let Some(negotiated) = self.negotiated.as_mut() else { return false };
        let is_all = EphemeralSettings { masking, ..negotiated.settings.clone() } == *settings;
        if is_all {
            negotiated.settings.masking = masking;
            self.set_masking(masking, now);
        }
        is_all
    }

    /// Agrees on a new epoch now: both draw anew. A relay asks the client to begin.
    ///
    /// # Errors
    /// When the peer is not asked to agree, and at a relay when there is nothing to renew, or the client's version does not
    /// know how to be asked. Nothing happens then.
    pub(super) fn renew(&mut self, now: Instant) -> Result<(), RenewError> {
        self.negotiated.as_ref().filter(|negotiated| negotiated.is_asked()).ok_or(RenewError::NotAsked)?;
        self.talk.as_mut().ok_or(RenewError::NotAsked)?.renew(now)
    }

    /// Returns how far the traffic is protected.
    pub fn protection(&self) -> Protection {
        match &self.negotiated {
            Some(negotiated) => match self.agreement() {
                // It is not confirmed.
                Agreement::Required if self.agreed().is_some() => Protection::NotProtected(Cause::Negotiating),
                Agreement::Required | Agreement::Refused => Protection::NotProtected(negotiated.cause),
                Agreement::Free if self.agreed().is_some() => Protection::Protected,
                Agreement::Free if self.one_size().is_none() => Protection::NotProtected(negotiated.cause),
                Agreement::Free => Protection::OneSided(negotiated.cause),
            },
            None if self.is_defended() => Protection::OneSided(Cause::NotNegotiated),
            None => Protection::NotProtected(Cause::Off),
        }
    }

    /// Returns how far the ends got with their agreement; `None` if they were not told to agree.
    pub fn negotiation_status(&self, now: Instant) -> Option<NegotiationStatus> {
        let negotiated = self.negotiated.as_ref()?;
        let epoch = self.agreed().zip(negotiated.agreed_at).and_then(|(agreed, at)| {
            let (tier, strength) = agreed.choice.names()?;
            Some(EpochStatus {
                number: agreed.epoch,
                age: now.saturating_duration_since(at),
                tier,
                strength,
                fingerprint: agreed.fingerprint,
                digest: agreed.defense.digest(),
            })
        });
        let renewals = negotiated.epochs.saturating_sub(1);
        Some(NegotiationStatus { settings: negotiated.settings.clone(), epoch, renewals })
    }

    /// Tells whether this end has a peer to ask for an agreement, and should turn to it without being given a packet.
    pub fn has_to_agree(&self) -> bool {
        let asks = |negotiated: &Negotiated| negotiated.is_asked() && negotiated.role == Role::Client;
        !self.sessions.is_in_use() && self.negotiated.as_ref().is_some_and(|negotiated| asks(negotiated))
    }

    /// Tells whether packets of the user's may leave as far as the peer's agreement goes.
    pub(super) fn agreement(&self) -> Agreement {
        match &self.negotiated {
            Some(negotiated) if negotiated.is_required() && !self.noise.is_assured() => match negotiated.cause {
                Cause::Refused(_) if self.agreed().is_none() && !self.is_asking() => Agreement::Refused,
                Cause::Refused(_) | Cause::Negotiating | Cause::NotNegotiated | Cause::Off => Agreement::Required,
            },
            Some(_) | None => Agreement::Free,
        }
    }

    /// Sees to it that what waits does not wait for an agreement for ever.
    pub(super) fn bound_wait(&mut self) {
        if self.negotiated.as_ref().is_some_and(|negotiated| negotiated.is_required())
            && let Some(oldest) = self.queue.oldest()
        {
            self.timers.set_first(Timer::Expire, oldest + AGREEMENT_TIME);
        }
    }

    /// Gives up the packets that have waited too long, if it is an agreement that they wait for.
    pub(super) fn expire_packets(&mut self, now: Instant) {
        if self.agreement() == Agreement::Free {
            // They wait for a gate to open, however long that takes; if that ends, for an agreement from then on.
            if !self.queue.is_empty() {
                self.timers.set(Timer::Expire, now + AGREEMENT_TIME);
            }
            return;
        }
        if let Some(limit) = now.checked_sub(AGREEMENT_TIME) {
            let expired = self.queue.expire(limit);
            self.note_dropped(Drop::Unprotected, expired, now);
        }
        self.bound_wait();
    }

    /// Tells whether the peer takes bundles: it has said so in the session that packets are sealed in.
    pub(super) fn peer_takes_bundles(&self) -> bool {
        let knows = |agreed: &Agreed| agreed.capabilities.contains(Capabilities::BUNDLES);
        self.agreed().is_some_and(knows) && (self.is_confirmed() || self.noise.is_lagging())
    }

    /// Tells whether both ends' timers treat every datagram alike, whatever it carries: they agreed to.
    pub(super) fn has_alike_timers(&self) -> bool {
        self.negotiated.as_ref().is_some_and(|negotiated| negotiated.has_alike_timers)
    }

    /// Returns what is to be passed inward of the mark of an outer header. Between ends that agreed on a defense nothing is:
    /// their datagrams are not ECN-capable, so only somebody who wants to find them again behind the tunnel sets a mark.
    pub fn pass_mark(&mut self, outer: Ecn) -> Ecn {
        if outer == Ecn::NotCapable || self.agreed().is_none() {
            return outer;
        }
        if let Some(defended) = &mut self.defended {
            defended.statistics.marks_ignored += 1;
        }
        Ecn::NotCapable
    }

    /// Returns the largest size of plaintexts: the smaller of both ends' MTU, as far as they told each other.
    pub(super) fn full_size(&self) -> usize {
        let theirs = self.agreed().and_then(|agreed| agreed.mtu).map_or(usize::MAX, usize::from);
        self.mtu.min(theirs.max(MIN_SIZE))
    }

    /// Returns the size of plaintexts while a defense runs: the largest, or what the path takes.
    pub(super) fn size(&self) -> usize {
        self.path.in_use(self.full_size())
    }

    /// Begins to talk: there is a new session.
    pub(super) fn open_negotiation(&mut self, now: Instant) {
        if let Some(talk) = &mut self.talk {
            talk.session_started(now);
        }
        let Some(negotiated) = &mut self.negotiated else { return };
        if self.noise.is_lagging() && !negotiated.is_required() {
            self.timers.set(Timer::Settle, now + SETTLE_TIME);
        }
        if !negotiated.is_drawn && negotiated.settings.negotiation != NegotiationPolicy::Require {
            let EphemeralSettings { tier, strength, .. } = negotiated.settings;
            let mut own = ChaCha20Rng::from_seed(random(&mut negotiated.rng));
            let seed = random(&mut negotiated.rng);
            let defense = maybetun_machines::draw(&mut own, tier, strength);
            self.run_drawn(&defense, seed, now);
        }
    }

    /// Takes the body of a control frame that came in the session of these bits.
    pub(super) fn receive_control(&mut self, body: &[u8], session: u32, now: Instant) {
        let is_fresh = self.noise.is_fresh(session);
        self.path.note_asked_in(body.len() + HEADER);
        let Some(talk) = &mut self.talk else { return };
        let malformed = talk.receive(body, is_fresh, now);
        let is_assured = talk.is_assured();
        self.note_refused(Drop::Malformed, malformed, now);
        if is_fresh && is_assured {
            // Whoever can say so in that session runs what was agreed on, and opens what is sealed in it.
            self.timers.cancel(Timer::Settle);
            self.noise.assure(session);
        }
    }

    /// Does what the negotiation asks for.
    pub(super) fn run_negotiation(&mut self, now: Instant, out: &mut DatagramBatch) {
        if self.talk.is_none() {
            return;
        }
        if self.sessions.is_in_use()
            && let Some(talk) = &mut self.talk
        {
            talk.handle_timeout(now);
        }
        while let Some(event) = self.talk.as_mut().and_then(|talk| talk.poll_event()) {
            match event {
                Event::Run(agreed) => self.run_agreed(&agreed, now, out),
                Event::Alone(reason) => self.be_alone(reason, now),
                Event::PathProven => self.note_path_proof(),
            }
        }
        self.note_protection();
        self.run_sizing(now, out);
        if self.may_pass(Class::User) {
            // What waited for the peer's word.
            self.flush_queue(now, out);
        }
        self.say_what_may_leave(now, out);
    }

    fn run_agreed(&mut self, agreed: &Agreed, now: Instant, out: &mut DatagramBatch) {
        let Some(negotiated) = &mut self.negotiated else { return };
        negotiated.agreed_at = Some(now);
        negotiated.epochs += 1;
        negotiated.has_alike_timers = agreed.capabilities.contains(Capabilities::TIMERS);
        let framework = match negotiated.role {
            Role::Client => Stream::ClientFramework,
            Role::Relay => Stream::RelayFramework,
        };
        self.run_drawn(&agreed.defense, *agreed.seed.stream_key(framework), now);
        self.renew_masking(now);
        // It may have been asked for something else since the exchange began.
        self.tell_masking(false, now);
        if !self.padding.is_proven(self.remote()) {
            // It moved while there was nobody to ask.
            self.ask_for_proof(now);
        }
        // What waited for the end of the last epoch's blocking.
        self.flush_queue(now, out);
    }

    fn run_drawn(&mut self, defense: &maybetun_machines::Defense, seed: [u8; 32], now: Instant) {
        let Some(negotiated) = &mut self.negotiated else { return };
        negotiated.is_drawn = true;
        let EphemeralSettings { limits, masking, .. } = negotiated.settings;
        let settings = DefenseSettings::of(defense, negotiated.role).limited(limits).masked(masking);
        self.run_plan(settings, seed, now);
    }

    fn be_alone(&mut self, reason: Reason, now: Instant) {
        self.noise.disclaim();
        self.path.set_careful(false);
        let Some(negotiated) = &mut self.negotiated else { return };
        negotiated.agreed_at = None;
        negotiated.cause = Cause::Refused(reason);
        negotiated.has_alike_timers &= reason != Reason::Requested;
        // A client that wants no defense does not pay for ours.
        if negotiated.role == Role::Relay && reason == Reason::Requested && !negotiated.is_required() {
            self.stand_down(now);
        }
        self.renew_masking(now);
        if self.agreement() == Agreement::Refused {
            let given_up = self.queue.clear();
            self.note_dropped(Drop::Unprotected, given_up, now);
        }
    }
}

/// Returns what an end can do under `settings`.
fn capabilities(settings: &EphemeralSettings, role: Role) -> Capabilities {
    let mut unwanted = Capabilities::default();
    if !settings.bundling {
        unwanted = unwanted.with(Capabilities::BUNDLES);
    }
    if !is_offered(&settings.masking, role) {
        unwanted = unwanted.with(Capabilities::MASKING);
    }
    Capabilities::ALL.without(unwanted)
}

fn random(rng: &mut ChaCha20Rng) -> [u8; 32] {
    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    bytes
}
