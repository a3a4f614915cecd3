//! `nft`: the names it takes, and running it.

use std::fmt::Write as _;

use super::{find_program, output_of, run_program};

const PROGRAM: &str = "nft";

/// Tells whether it is installed.
pub(super) fn is_installed() -> bool {
    find_program(PROGRAM).is_some()
}

/// Has it load `script` as one transaction: all of it, or nothing.
///
/// # Errors
/// When it is not installed, or it or the kernel refuses the script.
pub(super) async fn load(script: &str) -> anyhow::Result<()> {
    run_program(PROGRAM, &["-f".to_owned(), "-".to_owned()], script).await
}

/// Returns the names of all tables and chains of the family `inet`, without their rules, as it lists them.
///
/// # Errors
/// When it is not installed, or may not look.
pub(super) async fn list_chains() -> anyhow::Result<String> {
    output_of(PROGRAM, &["list", "chains", "inet"]).await
}

/// Returns an identifier for what belongs to `interface`. No two interfaces have the same one.
pub(super) fn identifier(prefix: &str, interface: &str) -> String {
    // Names in nft have letters, digits and _ only; `=`, `+`, `-`, `.` and `_` itself become their codes.
    interface.bytes().fold(prefix.to_owned(), |mut name, byte| {
        if byte.is_ascii_alphanumeric() {
            name.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(name, "_{byte:02x}");
        }
        name
    })
}

/// Returns the interface that [`identifier`] made `identifier` for; `None` if it made it for none.
pub(super) fn interface_of(prefix: &str, identifier: &str) -> Option<String> {
    let mut parts = identifier.strip_prefix(prefix)?.split('_');
    let mut interface = parts.next()?.to_owned();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        interface.push(char::from(u8::from_str_radix(code, 16).ok()?));
        interface.push_str(rest);
    }
    Some(interface).filter(|interface| self::identifier(prefix, interface) == identifier)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_have_identifiers_of_their_own_which_lead_back_to_them() {
        let interfaces = ["wg0", "wg-0", "wg.0", "wg_0", "wg_2d0", "_=+.-"];
        let identifiers = interfaces.map(|interface| identifier("t_", interface));
        let distinct: std::collections::BTreeSet<_> = identifiers.iter().collect();
        assert_eq!(distinct.len(), identifiers.len(), "{identifiers:?}");
        for (interface, identifier) in interfaces.iter().zip(&identifiers) {
            assert_eq!(interface_of("t_", identifier).as_deref(), Some(*interface));
        }
    }

    #[test]
    fn what_is_no_identifier_leads_nowhere() {
        for text in ["wg0", "t_wg_", "t_wg_2", "t_wg_zz", "t_wg_61", "t_wg_é0", "t_wg-0", "u_wg0"] {
            assert_eq!(interface_of("t_", text), None, "{text}");
        }
    }
}
