//! Kernel settings that a tunnel with a default route needs.

use std::fs;
use std::io;
use std::path::Path;

use crate::exit::{self, OrExit as _};

/// Makes the reverse-path filter of IPv4 honour marks, without which a strict one drops the peers' answers.
const SRC_VALID_MARK: &str = "/proc/sys/net/ipv4/conf/all/src_valid_mark";

/// Turns the setting on, unless it is. It stays on: another tunnel may have come to rely on it.
///
/// # Errors
/// When it is off and cannot be written, as in most containers: the message says what to set from outside.
pub(crate) fn honour_marks() -> anyhow::Result<()> {
    honour_marks_by(Path::new(SRC_VALID_MARK))
}

/// Has the addresses of `interface` that share a network with one that goes stay. Otherwise the kernel takes them along, and
/// with the last of them every route.
///
/// Where it cannot be written, as in most containers, what went is added anew.
pub(crate) fn keep_other_addresses(interface: &str) {
    if let Err(error) = fs::write(format!("/proc/sys/net/ipv4/conf/{interface}/promote_secondaries"), "1") {
        tracing::debug!(%error, "other addresses of a network may go with one");
    }
}

fn honour_marks_by(setting: &Path) -> anyhow::Result<()> {
    if fs::read_to_string(setting).is_ok_and(|value| value.trim() == "1") {
        return Ok(());
    }
    fs::write(setting, "1").or_else(|error: io::Error| {
        let exit = exit::of_io(&error);
        let message = "cannot turn on net.ipv4.conf.all.src_valid_mark, which a default route of IPv4 needs: set it to 1 \
                       from outside, for a container with `docker run` or `podman run --sysctl \
                       net.ipv4.conf.all.src_valid_mark=1`";
        Err(error).or_exit(exit, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_setting_that_is_on_is_not_written_and_one_that_is_off_is_turned_on() {
        let directory = tempfile::tempdir().unwrap();
        let setting = directory.path().join("src_valid_mark");
        fs::write(&setting, "1\n").unwrap();
        let written = || fs::metadata(&setting).unwrap().modified().unwrap();
        fs::set_permissions(&setting, fs::Permissions::from_mode(0o400)).unwrap();
        let before = written();
        honour_marks_by(&setting).unwrap();
        assert_eq!((written(), fs::read_to_string(&setting).unwrap().as_str()), (before, "1\n"));
        fs::set_permissions(&setting, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&setting, "0\n").unwrap();
        honour_marks_by(&setting).unwrap();
        assert_eq!(fs::read_to_string(&setting).unwrap(), "1");
    }
}
