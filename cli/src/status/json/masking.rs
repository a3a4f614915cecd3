//! The masking of a peer as JSON.

use maybetun::settings::MaskingStatus;
use serde::Serialize;

/// How far masking got. Ratios are in percent, rates bytes a second, up and down.
#[derive(Serialize)]
pub(in crate::status) struct Masking {
    mode: String,
    mutual: bool,
    activity: &'static str,
    target: Option<String>,
    band: [f64; 2],
    ratio: Option<f64>,
    rates: [u64; 2],
    target_rates: [u64; 2],
    visible: bool,
    shortfall: &'static str,
    spent: u64,
    allowed: Option<u64>,
}

impl Masking {
    pub(in crate::status) fn of(status: &MaskingStatus) -> Self {
        let MaskingStatus {
            mode,
            is_mutual,
            activity,
            target,
            band,
            ratio,
            rates,
            target_rates,
            is_visible,
            shortfall,
            spent,
            allowed,
        } = *status;
        let (low, high) = band.hundredths();
        Self {
            mode: mode.to_string(),
            mutual: is_mutual,
            activity: activity.name(),
            target: target.map(|target| target.to_string()),
            band: [percent(low.into()), percent(high.into())],
            ratio: ratio.map(percent),
            rates,
            target_rates,
            visible: is_visible,
            shortfall: shortfall.name(),
            spent,
            allowed,
        }
    }
}

fn percent(hundredths: u32) -> f64 {
    f64::from(hundredths) / 100.0
}
