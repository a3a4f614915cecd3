//! The defense of a peer as JSON.

use maybetun::settings::{DefenseOptions, DefenseStatistics, DefenseStatus, Scope, Value};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::status::in_force::in_force;

/// A defense that runs.
#[derive(serde::Serialize)]
pub(in crate::status) struct Defense {
    name: String,
    role: Option<String>,
    machines: usize,
    max_padding_frac: f64,
    max_blocking_frac: f64,
    max_actions_per_second: u32,
    limits: Members,
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
            limits: Members(in_force(settings).map(|(setting, value)| (setting.member, value)).collect()),
            statistics: running.statistics,
        }
    }
}

/// Settings as the members of an object.
pub(in crate::status) struct Members(Vec<(&'static str, Value)>);

impl Members {
    /// Returns what only a defense by agreement has.
    pub(in crate::status) fn of_ephemeral(options: &DefenseOptions) -> Self {
        let settings = DefenseOptions::SETTINGS.iter().filter(|setting| setting.scope == Scope::Ephemeral);
        Self(settings.filter_map(|setting| Some((setting.member, setting.get(options)?))).collect())
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (member, value) in &self.0 {
            map.serialize_entry(member, value)?;
        }
        map.end()
    }
}
