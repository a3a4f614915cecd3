//! Interface names: which are possible, and which exist.

use std::path::Path;

/// Most bytes in the name of an interface: `IFNAMSIZ` of Linux, less its final zero.
const MAX_LENGTH: usize = 15;

/// Takes `text` as an interface name, as wg-quick does: 1 to 15 of letters, digits and `_=+.-`.
///
/// # Errors
/// When the name is of another length or has another character, or is `.` or `..`, which name no socket file.
pub(crate) fn parse_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > MAX_LENGTH {
        return Err(format!("an interface name has 1 to {MAX_LENGTH} characters"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_=+.-".contains(&byte)) {
        return Err("an interface name has only letters, digits and _ = + . -".to_owned());
    }
    if text == "." || text == ".." {
        return Err("not a name for an interface".to_owned());
    }
    Ok(text.to_owned())
}

/// Tells whether an interface called `name` exists in this network namespace.
pub(crate) fn exists(name: &str) -> bool {
    nix::net::if_::if_nametoindex(name).is_ok()
}

/// Where the interfaces of this network namespace are.
const INTERFACES: &str = "/sys/class/net";

/// Tells whether /dev/net/tun has made the interface that is at this place there.
fn is_tun(interface: &Path) -> bool {
    interface.join("tun_flags").exists()
}

/// Tells whether the interface called `name` was made by something else than /dev/net/tun, as far as it can be seen.
pub(crate) fn is_no_tun(name: &str) -> bool {
    let interface = Path::new(INTERFACES).join(name);
    interface.exists() && !is_tun(&interface)
}

/// Returns the names of the TUN interfaces of this network namespace, in order. Every user may see them; what is behind them
/// need not be a tunnel of WireGuard's.
pub(crate) fn tun_names() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(INTERFACES) else { return Vec::new() };
    let tuns = entries.flatten().filter(|entry| is_tun(&entry.path()));
    let mut names: Vec<String> = tuns.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_exists_and_an_impossible_name_does_not() {
        assert!(exists("lo"));
        assert!(!exists("no-such-iface-0"));
    }

    #[test]
    fn names_are_those_of_wg_quick() {
        for name in ["wg0", "a", "cincinnati", "a_b=c+d.e-f", "fifteen-letters"] {
            assert_eq!(parse_name(name).as_deref(), Ok(name));
        }
        for name in ["", "sixteen-letters-", "wg 0", "../wg0", "wg0/", "wg%d", "é", ".", ".."] {
            assert!(parse_name(name).is_err(), "{name}");
        }
    }
}
