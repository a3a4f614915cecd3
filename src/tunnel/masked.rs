//! Masking, as a tunnel has it: by its own settings, or by what the client has asked for and the relay allows.

use std::time::Instant;

use rand_core::RngCore as _;

use super::Tunnel;
use crate::masking::{Masking, MaskingMode, MaskingStatus, Terms};
use crate::negotiation::Capabilities;
use crate::settings::{DefenseSettings, MaskingSettings, Role};

impl Tunnel {
    pub(super) fn masking(&self) -> Option<&Masking> {
        self.defended.as_ref()?.controllers.masking()
    }

    pub(super) fn masking_mut(&mut self) -> Option<&mut Masking> {
        self.defended.as_mut()?.controllers.masking_mut()
    }

    /// Returns how far masking got; `None` where nothing masks.
    pub fn masking_status(&self, now: Instant) -> Option<MaskingStatus> {
        self.masking().filter(|masking| masking.terms().mode != MaskingMode::Off).map(|masking| masking.status(now))
    }

    /// Masks by what holds now: the settings, or what was agreed on. What was spent before counts on.
    pub(super) fn renew_masking(&mut self, now: Instant) {
        let Some(DefenseSettings { role, masking, .. }) = self.defense() else { return };
        let (role, own) = (role.unwrap_or(Role::Client), masking.terms());
        let is_offered = is_offered(masking, role);
        let asked = self.agreed().filter(|agreed| is_offered && agreed.capabilities.contains(Capabilities::MASKING));
        let asked = asked.and_then(|agreed| agreed.masking);
        let terms = match (asked, role) {
            (Some(asked), Role::Relay) => asked.within(&own),
            (Some(_) | None, _) => own,
        };
        let is_mutual = asked.is_some();
        let has_use = !terms.ask_for_nothing() && self.one_size().is_some();
        let Some(defended) = &mut self.defended else { return };
        // Where there is nothing to do for now its books are kept: who switches it off and on spends no more.
        let kept = defended.controllers.take_masking().or_else(|| self.kept_masking.take());
        let kept = kept.filter(|masking| masking.role() == role);
        let mut masking = match kept {
            Some(masking) => masking,
            None if has_use => {
                let mut seed = [0; 32];
                self.rng.fill_bytes(&mut seed);
                Box::new(Masking::new(role, terms, seed, now))
            }
            None => return,
        };
        masking.set_terms(if has_use { terms } else { Terms::default() }, is_mutual);
        defended.controllers.set_masking(Some(masking));
        self.note_path();
    }

    /// Tells masking how large the headers around a datagram are.
    pub(super) fn note_path(&mut self) {
        let is_v6 = self.remote().is_some_and(|remote| remote.is_ipv6());
        if let Some(masking) = self.masking_mut() {
            masking.set_is_v6(is_v6);
        }
    }

    /// Masks by other settings from now on: the peer hears of them with the next exchange, which begins at once.
    pub(super) fn set_masking(&mut self, settings: MaskingSettings, now: Instant) {
        let Some(defended) = &mut self.defended else { return };
        let before = defended.set_masking(settings);
        self.renew_masking(now);
        let is_relay = self.defense().is_some_and(|defense| defense.role == Some(Role::Relay));
        let is_other = is_offered(&before, Role::Relay) != is_offered(&settings, Role::Relay);
        self.tell_masking(is_relay && is_other, now);
    }
}

/// Returns what a client asks its relay for; `None` where it asks for nothing.
pub(super) fn asked_for(settings: &MaskingSettings, role: Role) -> Option<Terms> {
    Some(settings.terms()).filter(|terms| role == Role::Client && terms.mode != MaskingMode::Off)
}

/// Tells whether this end does its part in masking: a client that asks for it, and a relay that was not told otherwise.
pub(super) fn is_offered(settings: &MaskingSettings, role: Role) -> bool {
    match role {
        Role::Client => asked_for(settings, role).is_some(),
        Role::Relay => settings.mode != Some(MaskingMode::Off),
    }
}
