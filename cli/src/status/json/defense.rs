//! The defense of a peer as JSON.

use maybetun::settings::{self, DefenseStatistics, DefenseStatus, Fraction};
use serde::Serialize;

use crate::status::in_force::in_force;

/// A defense that runs.
#[derive(Serialize)]
pub(in crate::status) struct Defense {
    name: String,
    role: Option<String>,
    machines: usize,
    max_padding_frac: f64,
    max_blocking_frac: f64,
    max_actions_per_second: u32,
    limits: Limits,
    normal_received_bytes: u64,
    normal_sent_bytes: u64,
    constant_size_received_bytes: u64,
    constant_size_sent_bytes: u64,
    padding_received_packets: u64,
    padding_received_bytes: u64,
    padding_sent_packets: u64,
    padding_sent_bytes: u64,
    padding_dropped: PaddingDrops,
    too_large: u64,
    marks_ignored: u64,
    padding_actions: u64,
    blocking_actions: u64,
    actions_capped: u64,
    queue_high_water: u64,
    bundles_sent: u64,
    bundled_sent_packets: u64,
    bundles_received: u64,
    bundled_received_packets: u64,
    blocked_us: u64,
    lateness_p50_us: u64,
    lateness_p99_us: u64,
}

/// The user's limits in force.
#[derive(Serialize)]
struct Limits {
    max_padding_frac: f64,
    max_blocking_frac: f64,
    max_padding_rate: u64,
}

#[derive(Serialize)]
struct PaddingDrops {
    no_session: u64,
    queue_full: u64,
    no_room: u64,
    over_frac: u64,
    over_rate: u64,
    over_device_rate: u64,
    unproven: u64,
    silent: u64,
}

impl Defense {
    pub(in crate::status) fn of(running: &DefenseStatus) -> Self {
        let settings = &running.settings;
        let DefenseStatistics {
            normal_sent_bytes,
            normal_received_bytes,
            constant_size_sent_bytes,
            constant_size_received_bytes,
            padding_sent_packets,
            padding_sent_bytes,
            padding_received_packets,
            padding_received_bytes,
            padding_dropped,
            too_large,
            marks_ignored,
            bundles_sent,
            bundled_sent_packets,
            bundles_received,
            bundled_received_packets,
            padding_actions,
            blocking_actions,
            actions_capped,
            blocked,
            queue_high_water,
            lateness_p50,
            lateness_p99,
        } = running.statistics;
        let [blocked_us, lateness_p50_us, lateness_p99_us] = [blocked, lateness_p50, lateness_p99]
            .map(|duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
        Self {
            name: settings.name.clone(),
            role: settings.role.map(|role| role.to_string()),
            machines: settings.plan.machines().len(),
            max_padding_frac: settings.plan.max_padding_frac(),
            max_blocking_frac: settings.plan.max_blocking_frac(),
            max_actions_per_second: settings.plan.max_actions_per_second(),
            limits: Limits::of(in_force(settings)),
            normal_received_bytes,
            normal_sent_bytes,
            constant_size_received_bytes,
            constant_size_sent_bytes,
            padding_received_packets,
            padding_received_bytes,
            padding_sent_packets,
            padding_sent_bytes,
            padding_dropped: PaddingDrops::of(padding_dropped),
            too_large,
            marks_ignored,
            padding_actions,
            blocking_actions,
            actions_capped,
            queue_high_water,
            bundles_sent,
            bundled_sent_packets,
            bundles_received,
            bundled_received_packets,
            blocked_us,
            lateness_p50_us,
            lateness_p99_us,
        }
    }
}

impl Limits {
    fn of(limits: settings::Limits) -> Self {
        let settings::Limits { max_padding_frac, max_blocking_frac, max_padding_rate: _ } = limits;
        Self {
            max_padding_frac: max_padding_frac.map_or(0.0, Fraction::get),
            max_blocking_frac: max_blocking_frac.map_or(0.0, Fraction::get),
            max_padding_rate: limits.padding_rate(),
        }
    }
}

impl PaddingDrops {
    fn of(drops: settings::PaddingDrops) -> Self {
        let settings::PaddingDrops {
            no_session,
            queue_full,
            no_room,
            over_frac,
            over_rate,
            over_device_rate,
            unproven,
            silent,
        } = drops;
        Self { no_session, queue_full, no_room, over_frac, over_rate, over_device_rate, unproven, silent }
    }
}
