//! What holds of a defense: its settings, and what is usual where they say nothing.

use std::collections::BTreeMap;

use maybetun::settings::{DefenseOptions, DefenseSettings, Scope, Setting, Value};

/// Settings with their values in force, by their members in JSON.
pub(super) type Members = BTreeMap<&'static str, Value>;

/// Returns each of the settings of a scope that every defense has, with its value in force; of a limit, 0 is none.
pub(super) fn in_force(settings: &DefenseSettings, scope: Scope) -> impl Iterator<Item = (&'static Setting, Value)> {
    in_force_of(settings.options(), scope)
}

/// Returns the same of what is said beside a defense.
pub(super) fn in_force_of(options: DefenseOptions, scope: Scope) -> impl Iterator<Item = (&'static Setting, Value)> {
    // A tunnel of another implementation, which tells no role, has no limit that it does not tell.
    let is_ours = options.role.is_some();
    DefenseOptions::SETTINGS.iter().filter(move |setting| setting.scope == scope).filter_map(move |setting| {
        let usual = setting.default()?;
        let usual = if is_ours { usual } else { usual.zero() };
        Some((setting, setting.get(&options).unwrap_or(usual)))
    })
}

/// Returns settings by their members in JSON.
pub(super) fn members(settings: impl Iterator<Item = (&'static Setting, Value)>) -> Members {
    settings.map(|(setting, value)| (setting.member, value)).collect()
}
