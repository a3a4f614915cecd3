//! What the two ends say to each other to agree, as the tunnel carries it.
//!
//! Control frames are packets of the one size, sealed like any other; each leaves some milliseconds after it was due, at
//! random, and never while anything blocks. A talk outlives the settings that it began under: who runs something else says
//! so until the peer has heard it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};

use super::departure::{Class, Departure};
use super::{DatagramBatch, Tunnel};
use crate::defense::Bypass;
use crate::negotiation::{Agreed, Event, Negotiation, RenewError};

/// The longest that a control frame waits for nothing but chance: an exchange must not follow on a handshake like clockwork.
const MAX_DELAY: Duration = Duration::from_millis(50);

/// A negotiation, and when what it has to say leaves.
pub(super) struct Talk {
    negotiation: Negotiation,
    rng: ChaCha20Rng,
    /// When the next control frame leaves, if one waits.
    send_at: Option<Instant>,
    /// Where the peer was asked to show that it receives.
    proving: Option<SocketAddr>,
    /// Whether something was said, by the peer or by the user, that is to be acted on.
    has_news: bool,
}

impl Talk {
    /// Decides when the next control frame leaves, if one waits.
    fn schedule(&mut self, now: Instant) {
        if self.negotiation.has_message() && self.send_at.is_none() {
            self.send_at = Some(now + MAX_DELAY.mul_f64(f64::from(self.rng.next_u32()) / f64::from(u32::MAX)));
        }
    }

    /// Tells whether something was said since that was asked last.
    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.has_news)
    }

    pub(super) fn renew(&mut self, now: Instant) -> Result<(), RenewError> {
        self.has_news = true;
        self.negotiation.renew(now, &mut self.rng)
    }

    pub(super) fn session_started(&mut self, now: Instant) {
        self.negotiation.session_started(now, &mut self.rng);
        self.schedule(now);
    }

    /// Takes the body of a control frame, and returns how many messages were not understood.
    pub(super) fn receive(&mut self, body: &[u8], is_fresh: bool, now: Instant) -> usize {
        self.has_news = true;
        let before = self.negotiation.malformed();
        self.negotiation.receive(body, is_fresh, now, &mut self.rng);
        usize::try_from(self.negotiation.malformed() - before).unwrap_or(usize::MAX)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.negotiation.handle_timeout(now, &mut self.rng);
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.negotiation.poll_event()
    }

    pub(super) fn is_assured(&self) -> bool {
        self.negotiation.is_assured()
    }
}

impl Tunnel {
    /// Begins to talk as `negotiation` does, in the place of the talk that there is. `seed` is random, known to nobody.
    pub(super) fn begin_talk(&mut self, mut negotiation: Negotiation, seed: [u8; 32], now: Instant) {
        let mut rng = ChaCha20Rng::from_seed(seed);
        if let Some(before) = self.talk.take() {
            negotiation.succeed(&before.negotiation, now, &mut rng);
        }
        self.talk = Some(Box::new(Talk { negotiation, rng, send_at: None, proving: None, has_news: false }));
    }

    /// Ends the talk: nothing is agreed on any more, which the peer is told until it has heard it.
    pub(super) fn end_talk(&mut self, now: Instant) {
        if let Some(talk) = &mut self.talk {
            talk.negotiation.close(now, &mut talk.rng);
            talk.schedule(now);
        }
        self.forget_talk();
    }

    /// Forgets the talk if nothing is left to be said.
    fn forget_talk(&mut self) {
        self.talk.take_if(|talk| talk.negotiation.is_over());
    }

    /// Returns what is in force by agreement.
    pub(super) fn agreed(&self) -> Option<&Agreed> {
        self.talk.as_ref()?.negotiation.agreed()
    }

    /// Tells whether the peer has said in this session that it runs the same.
    pub(super) fn is_confirmed(&self) -> bool {
        self.talk.as_ref().is_some_and(|talk| talk.negotiation.is_confirmed())
    }

    /// Tells whether the peer is being asked to agree.
    pub(super) fn is_asking(&self) -> bool {
        self.talk.as_ref().is_some_and(|talk| talk.negotiation.is_asking())
    }

    /// Returns when the control frame that waits may leave, if one does.
    pub(super) fn control_at(&self) -> Option<Instant> {
        self.talk.as_ref()?.send_at
    }

    /// Tells the peer of another MTU with the next exchange.
    pub(super) fn renew_mtu(&mut self) {
        if let Some(talk) = &mut self.talk {
            talk.negotiation.set_mtu(u16::try_from(self.mtu).unwrap_or(u16::MAX));
        }
    }

    /// Tells the peer of how the traffic is masked from now on, at once; a relay where it does its part from now on, or not any more:
    /// `is_other_relay`.
    pub(super) fn tell_masking(&mut self, is_other_relay: bool, now: Instant) {
        let Some(brought) = self.brought_to_mask() else { return };
        if let Some(talk) = &mut self.talk {
            let (masking, capabilities) = brought;
            talk.negotiation.set_masking(masking, capabilities);
            if !talk.negotiation.is_masking_agreed() || is_other_relay {
                // A relay whose client cannot be asked tells it with the next exchange.
                let _ = talk.renew(now);
                talk.schedule(now);
            }
        }
    }

    /// Notes new keys, from which the seeds of epochs to come are derived.
    pub(super) fn renew_keys(&mut self, now: Instant) {
        if let Some(talk) = &mut self.talk {
            let (private_key, preshared_key) = (self.noise.private_key().clone(), self.noise.preshared_key().cloned());
            talk.negotiation.set_keys(private_key, preshared_key, now, &mut talk.rng);
            talk.schedule(now);
        }
    }

    /// Notes traffic: a datagram, either way, that is neither a keepalive nor control.
    pub(super) fn note_traffic(&mut self, now: Instant) {
        self.path.traffic(self.full_size(), now);
        if let Some(talk) = &mut self.talk {
            talk.negotiation.traffic(now, &mut talk.rng);
            talk.schedule(now);
        }
    }

    /// Sends the control frames that may leave now.
    pub(super) fn say_what_may_leave(&mut self, now: Instant, out: &mut DatagramBatch) {
        while self.has_control_for(Bypass::No, now) && !out.is_full() {
            self.send_control(Bypass::No, now, out);
        }
        self.forget_talk();
    }

    /// Tells whether a control frame may leave now, in a slot of that kind.
    pub(super) fn has_control_for(&mut self, slot: Bypass, now: Instant) -> bool {
        if let Some(talk) = &mut self.talk {
            talk.schedule(now);
        }
        self.control_at().is_some() && self.departure_in(slot, Class::Control, now) == Departure::Now
    }

    /// Sends the control frame that [may leave](Self::has_control_for).
    pub(super) fn send_control(&mut self, slot: Bypass, now: Instant, out: &mut DatagramBatch) {
        debug_assert!(self.departure_in(slot, Class::Control, now) == Departure::Now);
        self.say_next(now, out);
    }

    /// Sends what is to be said next; `false` if nothing is.
    fn say_next(&mut self, now: Instant, out: &mut DatagramBatch) -> bool {
        let Some(talk) = &mut self.talk else { return false };
        talk.send_at = None;
        let mut body = Vec::new();
        let is_said = talk.negotiation.poll_message(&mut body);
        if is_said {
            self.seal_control(&body, now, out);
        }
        is_said
    }

    /// Says at once what is to be said, as far as anything may leave: later there may be nobody to say it.
    pub(super) fn say_at_once(&mut self, now: Instant, out: &mut DatagramBatch) {
        let may_pass = |tunnel: &Self| tunnel.may_pass(Class::Control);
        while may_pass(self) && !out.is_full() && self.say_next(now, out) {}
    }

    /// Returns when the negotiation has something to do; `None` while it cannot.
    pub(super) fn negotiation_timeout(&self) -> Option<Instant> {
        let talk = self.talk.as_ref()?;
        let own = talk.negotiation.next_timeout();
        match (self.may_pass_in(Bypass::No, Class::Control), self.may_pass_in(Bypass::Yes, Class::Control)) {
            (true, _) => own.into_iter().chain(talk.send_at).min(),
            // What waits leaves with a slot, whenever that comes; what is unanswered is said again.
            (false, true) => own,
            (false, false) => None,
        }
    }

    /// Notes that the peer received what was sent to begin the newest session.
    pub(super) fn note_proof(&mut self) {
        let remote = self.remote();
        if let Some(proven) = self.noise.proven().filter(|proven| Some(*proven) == remote) {
            self.padding.prove(proven);
        }
    }

    /// Asks the peer to show that it receives where it was just heard from.
    pub(super) fn ask_for_proof(&mut self, now: Instant) {
        let Some(remote) = self.remote() else { return };
        if let Some(talk) = &mut self.talk
            && talk.negotiation.prove_path(now, &mut talk.rng)
        {
            talk.proving = Some(remote);
            talk.schedule(now);
        }
    }

    /// Notes that the peer receives where it was asked to show it.
    pub(super) fn note_path_proof(&mut self) {
        let remote = self.remote();
        let proving = self.talk.as_mut().and_then(|talk| talk.proving.take());
        if let Some(proven) = proving.filter(|proving| Some(*proving) == remote) {
            self.padding.prove(proven);
        }
    }
}
