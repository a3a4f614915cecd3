//! A defense by agreement on the configuration socket: keys of our own.
//!
//! | key | in a set | in the response to a get |
//! |---|---|---|
//! | `maybetun_ephemeral` | the tier, `size`, `padding` or `blocking`: agrees with the peer on a defense that both draw, described by the keys that follow in the peer's block | the same, while one is agreed on or to be |
//! | `maybetun_ephemeral_role` | `client` or `relay`: which end we are | the same |
//! | `maybetun_ephemeral_strength` | `low`, `medium` (the default) or `high` | the same |
//! | `maybetun_negotiation` | `require`, `prefer` (the default) or `off` | the same |
//! | `maybetun_bundling` | `true` (the default) or `false` | the same |
//! | `maybetun_renewal_sec` | 60 to 604800: after how many seconds, a quarter more or less, the client asks anew; 3600 by default | the same |
//! | `maybetun_ephemeral_limit_padding_frac` | the user's limit on padding: a fraction of packets sent, 0 (no limit) to 1 | the same; left out if it is not set |
//! | `maybetun_ephemeral_limit_blocking_frac` | the user's limit on blocking: a fraction of time, 0 (no limit) to 1 | the same; left out if it is not set |
//! | `maybetun_ephemeral_limit_padding_rate` | the user's limit on padding: bytes a second, 0 for no limit | the same; left out if it is not set |
//! | `maybetun_renew` | `true` agrees anew, now; a relay asks the client to. `errno` 61: the peer is not asked to agree; 107: a relay has nothing to renew; 95: the client does not know how to be asked | left out |
//! | `maybetun_epoch` | not taken | what is agreed on: its number, 0 to 4294967295; left out while nothing is, with the five that follow |
//! | `maybetun_epoch_age_sec` | not taken | for how long, in seconds |
//! | `maybetun_epoch_tier`, `maybetun_epoch_strength` | not taken | what the client asked for |
//! | `maybetun_epoch_fingerprint` | not taken | that of the shared seed: 32 hexadecimal digits |
//! | `maybetun_epoch_digest` | not taken | that of the defense: 64 hexadecimal digits |
//! | `maybetun_renewals` | not taken | how often one epoch followed on another |
//! | `maybetun_protection` | not taken | `protected`, or `one-sided` or `not-protected`, a space and the cause: `off`, `not-negotiated`, `negotiating`, `version`, `choice`, `mismatch`, `unknown`, `unanswered`, `requested`, `bounds` or `other` |
//! | `maybetun_path_mtu` | not taken | the largest IP packet that the peer is sent, in bytes; left out unless the path takes less than the MTU asks for. Also of a peer without a defense |

use std::time::Duration;

use maybetun_machines::{Digest, Strength, Tier};

use super::keys::keys;
use super::limits::{self, Limit};
use crate::secret::SecretBuffer;
use crate::seed::Fingerprint;
use crate::settings::{
    DefenseChange, EphemeralSettings, EpochStatus, NegotiationStatus, PeerStatus, Protection, renewal, role_from_name,
};
use crate::text;

keys! {
    /// What can be set.
    EphemeralKey {
        Tier "maybetun_ephemeral",
        Role "maybetun_ephemeral_role",
        Strength "maybetun_ephemeral_strength",
        Negotiation "maybetun_negotiation",
        Bundling "maybetun_bundling",
        Renewal "maybetun_renewal_sec",
        LimitPaddingFrac "maybetun_ephemeral_limit_padding_frac",
        LimitBlockingFrac "maybetun_ephemeral_limit_blocking_frac",
        LimitPaddingRate "maybetun_ephemeral_limit_padding_rate",
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

/// Takes a line of a request into the change of a peer's defense.
///
/// # Errors
/// What the key takes instead.
pub(super) fn set(change: &mut Option<DefenseChange>, key: EphemeralKey, value: &str) -> Result<(), &'static str> {
    match (key, change) {
        (EphemeralKey::Tier, change) => {
            let tier = value.parse().map_err(|_| TIER)?;
            *change = Some(DefenseChange::Ephemeral(EphemeralSettings { tier, ..EphemeralSettings::default() }));
            Ok(())
        }
        (EphemeralKey::Renew, change) => (value == "true").then(|| *change = Some(DefenseChange::Renew)).ok_or("true"),
        (key, Some(DefenseChange::Ephemeral(settings))) => set_setting(settings, key, value),
        (_, _) => Err("maybetun_ephemeral before it"),
    }
}

fn set_setting(settings: &mut EphemeralSettings, key: EphemeralKey, value: &str) -> Result<(), &'static str> {
    match key {
        EphemeralKey::Tier => settings.tier = value.parse().map_err(|_| TIER)?,
        EphemeralKey::Role => settings.role = Some(role_from_name(value).ok_or("client or relay")?),
        EphemeralKey::Strength => settings.strength = value.parse().map_err(|_| "low, medium or high")?,
        EphemeralKey::Negotiation => settings.negotiation = value.parse().map_err(|_| "require, prefer or off")?,
        EphemeralKey::Bundling => settings.bundling = value.parse().map_err(|_| "true or false")?,
        EphemeralKey::Renewal => settings.renewal = renewal(value).ok_or("seconds, 60 to 604800")?,
        EphemeralKey::LimitPaddingFrac => limits::set(&mut settings.limits, Limit::PaddingFrac, value)?,
        EphemeralKey::LimitBlockingFrac => limits::set(&mut settings.limits, Limit::BlockingFrac, value)?,
        EphemeralKey::LimitPaddingRate => limits::set(&mut settings.limits, Limit::PaddingRate, value)?,
        EphemeralKey::Renew => {}
    }
    Ok(())
}

/// Writes the lines of a set that agree on such a defense.
pub(super) fn format_settings(text: &mut SecretBuffer, settings: &EphemeralSettings) {
    let EphemeralSettings { role, tier, strength, negotiation, bundling, renewal, limits } = settings;
    let mut line = |key: EphemeralKey, value: &dyn std::fmt::Display| text.line(key.name(), "=", value);
    line(EphemeralKey::Tier, tier);
    if let Some(role) = role {
        line(EphemeralKey::Role, role);
    }
    line(EphemeralKey::Strength, strength);
    line(EphemeralKey::Negotiation, negotiation);
    line(EphemeralKey::Bundling, bundling);
    line(EphemeralKey::Renewal, &renewal.as_secs());
    limits::format(limits, |limit, value| {
        let key = match limit {
            Limit::PaddingFrac => EphemeralKey::LimitPaddingFrac,
            Limit::BlockingFrac => EphemeralKey::LimitBlockingFrac,
            Limit::PaddingRate => EphemeralKey::LimitPaddingRate,
        };
        line(key, value);
    });
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
pub(super) fn read(peer: &mut PeerStatus, key: EphemeralKey, value: &str) -> Option<()> {
    if key == EphemeralKey::Tier {
        let settings = EphemeralSettings { tier: value.parse().ok()?, ..EphemeralSettings::default() };
        peer.negotiation = Some(NegotiationStatus { settings, epoch: None, renewals: 0 });
        return Some(());
    }
    set_setting(&mut peer.negotiation.as_mut()?.settings, key, value).ok()
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
            let key = EphemeralKey::from_name(name).unwrap();
            set(&mut change, key, value).map_err(|expected| ((*line).to_owned(), expected))?;
        }
        Ok(change)
    }

    #[test]
    fn the_tier_begins_and_the_rest_follows() {
        let expected = EphemeralSettings {
            role: Some(Role::Relay),
            tier: Tier::Blocking,
            strength: Strength::High,
            negotiation: NegotiationPolicy::Require,
            bundling: false,
            renewal: Duration::from_secs(60),
            limits: Limits {
                max_padding_frac: Fraction::new(0.5),
                max_blocking_frac: Fraction::new(0.25),
                max_padding_rate: Some(0),
            },
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
