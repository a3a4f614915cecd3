//! The device that gives TUN interfaces.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, bail};

use crate::exit::{Exit, Failure};

/// The device that gives TUN interfaces.
const TUN: &str = "/dev/net/tun";

/// Checks that TUN devices can be had.
///
/// # Errors
/// When `/dev/net/tun` is missing or may not be opened.
pub(super) fn check() -> anyhow::Result<()> {
    let Err(error) = OpenOptions::new().read(true).write(true).open(TUN) else { return Ok(()) };
    if error.kind() == ErrorKind::NotFound {
        bail!("there is no {TUN}: load the kernel module (modprobe tun), or pass the device to the container");
    }
    if error.kind() == ErrorKind::PermissionDenied {
        let mode = fs::metadata(TUN).map_or(0, |device| device.permissions().mode() & 0o7777);
        return Err(Failure::error(Exit::Permission, explain(mode)));
    }
    Err(error).with_context(|| format!("{TUN} does not work: is the kernel module tun there?"))
}

fn explain(mode: u32) -> String {
    format!(
        "this user may not open {TUN}, whose mode is {mode:04o}. Run the demo as root (sudo maybetun demo), or let every \
         user open the device: sudo chmod 0666 {TUN}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_device_says_what_to_do() {
        let said = explain(0o600);
        assert!(said.contains("whose mode is 0600") && said.contains("chmod 0666 /dev/net/tun"), "{said}");
    }
}
