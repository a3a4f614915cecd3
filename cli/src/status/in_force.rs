//! The limits that hold for a defense.

use maybetun::settings::{DefenseOptions, DefenseSettings, Scope, Setting, Value};

/// Returns each of the settings of a scope that every defense has, with its value in force; of a limit, 0 is none.
pub(super) fn in_force(settings: &DefenseSettings, scope: Scope) -> impl Iterator<Item = (&'static Setting, Value)> {
    let options = settings.options();
    // A tunnel of another implementation, which tells no role, has no limit that it does not tell.
    let is_ours = settings.role.is_some();
    DefenseOptions::SETTINGS.iter().filter(move |setting| setting.scope == scope).filter_map(move |setting| {
        let usual = setting.default()?;
        let usual = if is_ours { usual } else { usual.zero() };
        Some((setting, setting.get(&options).unwrap_or(usual)))
    })
}
