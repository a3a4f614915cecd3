//! `genkey`, `pubkey` and `genpsk`: keys in base64, as `wg` writes and reads them.

use std::io::{self, Read as _, Write as _};

use anyhow::Context as _;
use maybetun::keys::{PresharedKey, PrivateKey};
use zeroize::Zeroizing;

/// Most bytes read from standard input: a key, its line end, and one more to notice that there is too much.
const MAX_INPUT: u64 = 47;

/// Prints a new private key.
pub(crate) fn genkey() -> anyhow::Result<()> {
    print(Zeroizing::new(PrivateKey::generate_from_os().to_base64()))
}

/// Prints a new preshared key.
pub(crate) fn genpsk() -> anyhow::Result<()> {
    print(Zeroizing::new(PresharedKey::generate_from_os().to_base64()))
}

/// Prints the public key of the private key on standard input.
pub(crate) fn pubkey() -> anyhow::Result<()> {
    let mut input = Zeroizing::new(String::with_capacity(MAX_INPUT as usize));
    io::stdin().take(MAX_INPUT).read_to_string(&mut input).context("cannot read standard input")?;
    print(Zeroizing::new(public_of(&input)?))
}

/// Returns the public key of `input`: one key and at most one line end, nothing else.
fn public_of(input: &str) -> anyhow::Result<String> {
    let line = input.strip_suffix('\n').unwrap_or(input);
    let line = line.strip_suffix('\r').unwrap_or(line);
    let key = PrivateKey::from_base64(line).context("standard input holds no private key")?;
    Ok(key.public_key().to_base64())
}

fn print(key: Zeroizing<String>) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{}", key.as_str()).context("cannot write to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7748 §6.1, Alice's key pair.
    const PRIVATE: &str = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
    const PUBLIC: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

    #[test]
    fn a_key_with_or_without_a_line_end_has_its_public_key() {
        for end in ["", "\n", "\r\n"] {
            assert_eq!(public_of(&format!("{PRIVATE}{end}")).unwrap(), PUBLIC);
        }
    }

    #[test]
    fn anything_beside_the_key_is_refused() {
        for input in
            ["", "\n", &format!(" {PRIVATE}"), &format!("{PRIVATE}\n\n"), &format!("{PRIVATE}\nx"), &PRIVATE[1..]]
        {
            assert!(public_of(input).is_err(), "{input:?}");
        }
    }
}
