//! The limits that hold for a defense.

use maybetun::settings::{DefenseSettings, Limits};

/// Returns the user's limits as they are in force, with a rate.
pub(super) fn in_force(settings: &DefenseSettings) -> Limits {
    // A tunnel of another implementation, which tells no role, has no limit that it does not tell.
    let usual = if settings.role.is_some() { settings.limits.padding_rate() } else { 0 };
    Limits { max_padding_rate: Some(settings.limits.max_padding_rate.unwrap_or(usual)), ..settings.limits }
}
