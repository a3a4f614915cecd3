//! Kernel settings that a tunnel with a default route needs.

use std::fs;

use anyhow::Context as _;

/// Makes the reverse-path filter honour marks, without which a strict one drops the peers' answers.
const SRC_VALID_MARK: &str = "/proc/sys/net/ipv4/conf/all/src_valid_mark";

/// Turns the setting on. It stays on: another tunnel may have come to rely on it.
///
/// # Errors
/// When it is off and cannot be written.
pub(crate) fn honour_marks() -> anyhow::Result<()> {
    if fs::read_to_string(SRC_VALID_MARK).is_ok_and(|value| value.trim() == "1") {
        return Ok(());
    }
    fs::write(SRC_VALID_MARK, "1").with_context(|| format!("cannot write {SRC_VALID_MARK}"))
}
