//! The limits that hold for a defense.

use maybetun::settings::{DefenseOptions, DefenseSettings, Scope, Setting, Value};

/// Returns each of the user's limits with its value in force; 0 is no limit.
pub(super) fn in_force(settings: &DefenseSettings) -> impl Iterator<Item = (&'static Setting, Value)> {
    let options = DefenseOptions::from(settings.limits);
    // A tunnel of another implementation, which tells no role, has no limit that it does not tell.
    let is_ours = settings.role.is_some();
    DefenseOptions::SETTINGS.iter().filter(|setting| setting.scope == Scope::Limit).filter_map(move |setting| {
        let usual = setting.default()?;
        let usual = if is_ours { usual } else { usual.zero() };
        Some((setting, setting.get(&options).unwrap_or(usual)))
    })
}
