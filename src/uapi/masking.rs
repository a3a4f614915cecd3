//! Masking on the configuration socket: what it tells. What is set are [settings](crate::settings::DefenseOptions::SETTINGS) of the
//! defense.
//!
//! | key | in the response to a get |
//! |---|---|
//! | `maybetun_masking` | `adaptive` or the name of a profile, while this end masks; the others are left out else |
//! | `maybetun_masking_mutual` | `true` or `false`: whether the other end does its part |
//! | `maybetun_masking_activity` | what the user does: `idle`, `interactive`, `browsing`, `download` or `upload` |
//! | `maybetun_masking_target` | the profile that the traffic is made to look like at present; left out if it is none |
//! | `maybetun_masking_band` | the band of the upload ratio, such as `3-8%` |
//! | `maybetun_masking_ratio` | the upload ratio of the last 10 s, in hundredths of a percent; left out if nothing came down, or less than 30 kB passed |
//! | `maybetun_masking_rates` | bytes a second of the last 10 s, up and down, with a space between |
//! | `maybetun_masking_target_rates` | the same of the target |
//! | `maybetun_masking_visible` | `true` or `false`: whether an observer sees what the user does |
//! | `maybetun_masking_shortfall` | why: `none`, `masking-budget`, `padding-budget` or `limit` |
//! | `maybetun_masking_spent` | bytes of masking's padding that this end has sent in the last day |
//! | `maybetun_masking_allowed` | bytes that it may send in a day; left out if that is not bounded |

use super::keys::keys;
use crate::masking::{Activity, Band, MaskingMode, MaskingStatus, Shortfall};
use crate::secret::SecretBuffer;
use crate::settings::{Spelling, Value};
use crate::text;

keys! {
    /// What is told. The mode begins.
    MaskingKey {
        Mode "maybetun_masking",
        Mutual "maybetun_masking_mutual",
        Activity "maybetun_masking_activity",
        Target "maybetun_masking_target",
        Band "maybetun_masking_band",
        Ratio "maybetun_masking_ratio",
        Rates "maybetun_masking_rates",
        TargetRates "maybetun_masking_target_rates",
        Visible "maybetun_masking_visible",
        Shortfall "maybetun_masking_shortfall",
        Spent "maybetun_masking_spent",
        Allowed "maybetun_masking_allowed",
    }
}

/// Writes the lines of a response that tell of masking.
pub(super) fn format_status(text: &mut SecretBuffer, status: &MaskingStatus) {
    let mut line = |key: MaskingKey, value: &dyn std::fmt::Display| text.line(key.name(), "=", value);
    let switch = |on: bool| Value::Switch(on).spell(Spelling::Socket);
    line(MaskingKey::Mode, &status.mode);
    line(MaskingKey::Mutual, &switch(status.is_mutual));
    line(MaskingKey::Activity, &status.activity);
    if let Some(target) = status.target {
        line(MaskingKey::Target, &target);
    }
    line(MaskingKey::Band, &status.band);
    if let Some(ratio) = status.ratio {
        line(MaskingKey::Ratio, &ratio);
    }
    for (key, [up, down]) in [(MaskingKey::Rates, status.rates), (MaskingKey::TargetRates, status.target_rates)] {
        line(key, &format_args!("{up} {down}"));
    }
    line(MaskingKey::Visible, &switch(status.is_visible));
    line(MaskingKey::Shortfall, &status.shortfall);
    line(MaskingKey::Spent, &status.spent);
    if let Some(allowed) = status.allowed {
        line(MaskingKey::Allowed, &allowed);
    }
}

/// Takes a line of a response into what is told; `None` if the key cannot have the value, or cannot stand here.
pub(super) fn read(masking: &mut Option<MaskingStatus>, key: MaskingKey, value: &str) -> Option<()> {
    if key == MaskingKey::Mode {
        *masking = Some(MaskingStatus {
            mode: value.parse().ok().filter(|mode| *mode != MaskingMode::Off)?,
            is_mutual: false,
            activity: Activity::Idle,
            target: None,
            band: Band::USUAL,
            ratio: None,
            rates: [0; 2],
            target_rates: [0; 2],
            is_visible: false,
            shortfall: Shortfall::None,
            spent: 0,
            allowed: None,
        });
        return Some(());
    }
    let status = masking.as_mut()?;
    let switch = || [true, false].into_iter().find(|on| Value::Switch(*on).spell(Spelling::Socket) == value);
    let rates = || {
        let (up, down) = value.split_once(' ')?;
        Some([text::decimal(up)?, text::decimal(down)?])
    };
    match key {
        MaskingKey::Mode => {}
        MaskingKey::Mutual => status.is_mutual = switch()?,
        MaskingKey::Activity => {
            status.activity = Activity::ALL.into_iter().find(|activity| activity.name() == value)?;
        }
        MaskingKey::Target => status.target = Some(value.parse().ok()?),
        MaskingKey::Band => status.band = value.parse().ok()?,
        MaskingKey::Ratio => status.ratio = Some(text::decimal(value)?),
        MaskingKey::Rates => status.rates = rates()?,
        MaskingKey::TargetRates => status.target_rates = rates()?,
        MaskingKey::Visible => status.is_visible = switch()?,
        MaskingKey::Shortfall => {
            status.shortfall = Shortfall::ALL.into_iter().find(|shortfall| shortfall.name() == value)?;
        }
        MaskingKey::Spent => status.spent = text::decimal(value)?,
        MaskingKey::Allowed => status.allowed = Some(text::decimal(value)?),
    }
    Some(())
}
