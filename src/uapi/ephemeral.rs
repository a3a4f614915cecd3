//! A defense by agreement on the configuration socket: keys of our own.
//!
//! | key | in a set | in the response to a get |
//! |---|---|---|
//! | `maybetun_ephemeral` | the tier, `size`, `padding` or `blocking`: agrees with the peer on a defense that both draw, described by the keys that follow in the peer's block | the same, while one is agreed on or to be |
//! | `maybetun_renew` | `true` agrees anew, now; a relay asks the client to. `errno` 61: the peer is not asked to agree; 107: a relay has nothing to renew; 95: the client does not know how to be asked | left out |
//! | `maybetun_epoch` | not taken | what is agreed on: its number, 0 to 4294967295; left out while nothing is, with the five that follow |
//! | `maybetun_epoch_age_sec` | not taken | for how long, in seconds |
//! | `maybetun_epoch_tier`, `maybetun_epoch_strength` | not taken | what the client asked for |
//! | `maybetun_epoch_fingerprint` | not taken | that of the shared seed: 32 hexadecimal digits |
//! | `maybetun_epoch_digest` | not taken | that of the defense: 64 hexadecimal digits |
//! | `maybetun_renewals` | not taken | how often one epoch followed on another |
//! | `maybetun_protection` | not taken | `protected`, or `one-sided` or `not-protected`, a space and the cause: `off`, `not-negotiated`, `negotiating`, `version`, `choice`, `mismatch`, `unknown`, `unanswered`, `requested`, `bounds` or `other` |
//! | `maybetun_path_mtu` | not taken | the largest IP packet that the peer is sent, in bytes; left out unless the path takes less than the MTU asks for. Also of a peer without a defense |
//!
//! Beside them, each [setting](DefenseOptions::SETTINGS) has a key of its own; a limit that is not set is left out of a
//! response.

use std::time::Duration;

use maybetun_machines::{Digest, Strength, Tier};

use super::keys::{Key, keys};
use crate::secret::SecretBuffer;
use crate::seed::Fingerprint;
use crate::settings::{
    DefenseChange, DefenseOptions, EphemeralSettings, EpochStatus, NegotiationStatus, PeerStatus, Protection, Setting,
    Spelling,
};
use crate::text;

keys! {
    /// What can be set, beside settings. The tier begins a defense.
    EphemeralKey {
        Tier "maybetun_ephemeral",
        Renew "maybetun_renew",
    }
}

keys! {
    /// What is told.
    AgreementKey {
        Epoch "maybetun_epoch",
        Age "maybetun_epoch_age_sec",
        Tier "maybetun_epoch_tier",
        Strength "maybetun_epoch_strength",
        Fingerprint "maybetun_epoch_fingerprint",
        Digest "maybetun_epoch_digest",
        Renewals "maybetun_renewals",
        Protection "maybetun_protection",
        PathMtu "maybetun_path_mtu",
    }
}

const TIER: &str = "size, padding or blocking";

/// Finds a key that can be set.
pub(super) fn key(name: &str) -> Option<Key<EphemeralKey>> {
    let own = EphemeralKey::from_name(name).map(|key| (key, key.name()));
    Key::find(own, name, |setting| Some(setting.ephemeral_key))
}

/// Takes a line of a request into the change of a peer's defense.
///
/// # Errors
/// What the key takes instead.
pub(super) fn set(change: &mut Option<DefenseChange>, key: Key<EphemeralKey>, value: &str) -> Result<(), &'static str> {
    match (key, change) {
        (Key::Own(EphemeralKey::Tier, _), change) => {
            *change = Some(DefenseChange::Ephemeral(begun(value).ok_or(TIER)?));
            Ok(())
        }
        (Key::Own(EphemeralKey::Renew, _), change) => {
            (value == "true").then(|| *change = Some(DefenseChange::Renew)).ok_or("true")
        }
        (Key::Setting(setting, _), Some(DefenseChange::Ephemeral(settings))) => set_option(settings, setting, value),
        (_, _) => Err("maybetun_ephemeral before it"),
    }
}

/// Returns the defense that the tier alone asks for.
fn begun(tier: &str) -> Option<EphemeralSettings> {
    Some(EphemeralSettings { tier: tier.parse().ok()?, ..EphemeralSettings::default() })
}

fn set_option(settings: &mut EphemeralSettings, setting: &Setting, value: &str) -> Result<(), &'static str> {
    let mut options = DefenseOptions::from(&*settings);
    setting.set(&mut options, value, Spelling::Socket)?;
    *settings = options.ephemeral();
    Ok(())
}

/// Writes the lines of a set that agree on such a defense.
pub(super) fn format_settings(text: &mut SecretBuffer, settings: &EphemeralSettings) {
    text.line(EphemeralKey::Tier.name(), "=", settings.tier);
    let options = DefenseOptions::from(settings);
    for setting in DefenseOptions::SETTINGS.iter().filter(|setting| setting.ephemeral_key != EphemeralKey::Tier.name())
    {
        if let Some(value) = setting.get(&options) {
            text.line(setting.ephemeral_key, "=", value.spell(Spelling::Socket));
        }
    }
}

/// Writes the line of a set that agrees anew.
pub(super) fn format_renewal(text: &mut SecretBuffer) {
    text.line(EphemeralKey::Renew.name(), "=", true);
}

/// Writes the lines of a response that tell of an agreement.
pub(super) fn format_status(text: &mut SecretBuffer, peer: &PeerStatus) {
    if let Some(NegotiationStatus { settings, epoch, renewals }) = &peer.negotiation {
        format_settings(text, settings);
        let mut line = |key: AgreementKey, value: &dyn std::fmt::Display| text.line(key.name(), "=", value);
        if let Some(EpochStatus { number, age, tier, strength, fingerprint, digest }) = epoch {
            line(AgreementKey::Epoch, number);
            line(AgreementKey::Age, &age.as_secs());
            line(AgreementKey::Tier, tier);
            line(AgreementKey::Strength, strength);
            line(AgreementKey::Fingerprint, fingerprint);
            line(AgreementKey::Digest, digest);
        }
        line(AgreementKey::Renewals, renewals);
    }
    if let Some(protection) = peer.protection {
        let word = protection.word();
        match protection.cause() {
            Some(cause) => text.line(AgreementKey::Protection.name(), "=", format_args!("{word} {cause}")),
            None => text.line(AgreementKey::Protection.name(), "=", word),
        }
    }
    if let Some(mtu) = peer.path_mtu {
        text.line(AgreementKey::PathMtu.name(), "=", mtu);
    }
}

/// Takes a line of a response into what is told of the settings; `None` if the key cannot have the value, or cannot stand
/// here.
pub(super) fn read(peer: &mut PeerStatus, key: Key<EphemeralKey>, value: &str) -> Option<()> {
    match key {
        Key::Own(EphemeralKey::Tier, _) => {
            peer.negotiation = Some(NegotiationStatus { settings: begun(value)?, epoch: None, renewals: 0 });
            Some(())
        }
        // It is never told.
        Key::Own(EphemeralKey::Renew, _) => None,
        Key::Setting(setting, _) => set_option(&mut peer.negotiation.as_mut()?.settings, setting, value).ok(),
    }
}

/// Takes a line of a response into what is told of an agreement; `None` as above.
pub(super) fn read_agreement(peer: &mut PeerStatus, key: AgreementKey, value: &str) -> Option<()> {
    if key == AgreementKey::Protection {
        let (word, cause) = match value.split_once(' ') {
            Some((word, cause)) => (word, Some(cause.parse().ok()?)),
            None => (value, None),
        };
        peer.protection = Some(Protection::from_words(word, cause)?);
        return Some(());
    }
    if key == AgreementKey::PathMtu {
        peer.path_mtu = Some(text::decimal(value)?);
        return Some(());
    }
    let negotiation = peer.negotiation.as_mut()?;
    match (key, &mut negotiation.epoch) {
        (AgreementKey::Renewals, _) => negotiation.renewals = text::decimal(value)?,
        (AgreementKey::Epoch, epoch) => {
            *epoch = Some(EpochStatus {
                number: text::decimal(value)?,
                age: Duration::ZERO,
                tier: Tier::default(),
                strength: Strength::default(),
                fingerprint: Fingerprint([0; 16]),
                digest: Digest([0; 32]),
            });
        }
        (AgreementKey::Age, Some(epoch)) => epoch.age = Duration::from_secs(text::decimal(value)?),
        (AgreementKey::Tier, Some(epoch)) => epoch.tier = value.parse().ok()?,
        (AgreementKey::Strength, Some(epoch)) => epoch.strength = value.parse().ok()?,
        (AgreementKey::Fingerprint, Some(epoch)) => hex::decode_to_slice(value, &mut epoch.fingerprint.0).ok()?,
        (AgreementKey::Digest, Some(epoch)) => hex::decode_to_slice(value, &mut epoch.digest.0).ok()?,
        (_, _) => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Fraction, Limits, NegotiationPolicy, Role};

    fn read_lines(lines: &[&str]) -> Result<Option<DefenseChange>, (String, &'static str)> {
        let mut change = None;
        for line in lines {
            let (name, value) = line.split_once('=').unwrap();
            let key = key(name).unwrap();
            set(&mut change, key, value).map_err(|expected| ((*line).to_owned(), expected))?;
        }
        Ok(change)
    }

    #[test]
    fn the_tier_begins_and_the_rest_follows() {
        let expected = EphemeralSettings {
            tier: Tier::Blocking,
            strength: Strength::High,
            negotiation: NegotiationPolicy::Require,
            bundling: false,
            renewal: Duration::from_secs(60),
            limits: Limits {
                max_padding_frac: Fraction::new(0.5),
                max_blocking_frac: Fraction::new(0.25),
                ..Limits { max_padding_rate: Some(0), ..Limits::default() }
            },
            ..EphemeralSettings { role: Some(Role::Relay), ..EphemeralSettings::default() }
        };
        let lines = [
            "maybetun_ephemeral=blocking",
            "maybetun_ephemeral_role=relay",
            "maybetun_ephemeral_strength=high",
            "maybetun_negotiation=require",
            "maybetun_bundling=false",
            "maybetun_renewal_sec=60",
            "maybetun_ephemeral_limit_padding_frac=0.5",
            "maybetun_ephemeral_limit_blocking_frac=0.25",
            "maybetun_ephemeral_limit_padding_rate=0",
        ];
        assert_eq!(read_lines(&lines), Ok(Some(DefenseChange::Ephemeral(expected))));
        assert_eq!(read_lines(&["maybetun_renew=true"]), Ok(Some(DefenseChange::Renew)));
    }

    #[test]
    fn other_values_and_other_places_are_refused() {
        for line in [
            "maybetun_ephemeral=off",
            "maybetun_ephemeral_role=server",
            "maybetun_ephemeral_strength=max",
            "maybetun_negotiation=must",
            "maybetun_bundling=1",
            "maybetun_renewal_sec=59",
            "maybetun_renewal_sec=604801",
            "maybetun_ephemeral_limit_padding_frac=-1",
            "maybetun_ephemeral_limit_blocking_frac=nan",
            "maybetun_ephemeral_limit_padding_rate=4M",
            "maybetun_renew=false",
        ] {
            assert_eq!(read_lines(&["maybetun_ephemeral=size", line]).unwrap_err().0, line);
        }
        assert_eq!(read_lines(&["maybetun_negotiation=off"]).unwrap_err().1, "maybetun_ephemeral before it");
    }
}
