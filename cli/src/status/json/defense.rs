//! The defense of a peer as JSON.

use maybetun::settings::{DefenseStatistics, DefenseStatus, Scope};
use serde::Serialize;

use crate::status::in_force::{Members, in_force, members};

/// A defense that runs.
#[derive(Serialize)]
pub(in crate::status) struct Defense {
    name: String,
    role: Option<String>,
    machines: usize,
    max_padding_frac: f64,
    max_blocking_frac: f64,
    max_actions_per_second: u32,
    limits: Members,
    masking_settings: Members,
    #[serde(flatten)]
    statistics: DefenseStatistics,
}

impl Defense {
    pub(in crate::status) fn of(running: &DefenseStatus) -> Self {
        let settings = &running.settings;
        Self {
            name: settings.name.clone(),
            role: settings.role.map(|role| role.to_string()),
            machines: settings.plan.machines().len(),
            max_padding_frac: settings.plan.max_padding_frac(),
            max_blocking_frac: settings.plan.max_blocking_frac(),
            max_actions_per_second: settings.plan.max_actions_per_second(),
            limits: members(in_force(settings, Scope::Limit)),
            masking_settings: members(in_force(settings, Scope::Masking)),
            statistics: running.statistics,
        }
    }
}
