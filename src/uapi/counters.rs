//! Counters in the response to a get: keys that WireGuard's protocol does not have; `wg` ignores them. One of ours that is 0
//! is left out. Those that gotatun tells too, by its names, are told even if they are 0, as it does.

use crate::secret::SecretBuffer;
use crate::settings::Counters;
use crate::text;

/// Writes the lines of counters, but for those that are WireGuard's own.
pub(super) fn format(text: &mut SecretBuffer, counters: &impl Counters) {
    counters.each(&mut |counter, value| {
        let is_ours = counter.key.starts_with("maybetun_");
        if (is_ours && value != 0) || counter.key.starts_with("daita_") {
            text.line(counter.key, "=", value);
        }
    });
}

/// Takes a line into the counter called `key`. Returns `false` if there is none such.
///
/// # Errors
/// What it is, when the value is not a number.
pub(super) fn read<T: Counters>(counters: &mut T, key: &str, value: &str) -> Result<bool, &'static str> {
    match text::decimal(value) {
        Some(value) => Ok(counters.set(key, value)),
        None if T::all().iter().any(|counter| counter.key == key) => Err("counter"),
        None => Ok(false),
    }
}
