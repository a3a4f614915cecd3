//! The text of a configuration file.

use zeroize::Zeroizing;

use super::Config;
use super::key::{Section, say_interface, say_peer};
use crate::secret::SecretBuffer;

/// Returns the text of a file that says what `config` says, which [`parse`](super::parse()) reads back; it is wiped when
/// dropped. The lines of hooks are those of the new text.
pub fn format(config: &Config) -> Zeroizing<String> {
    let mut text = SecretBuffer::with_capacity(4096);
    text.line("", "", Section::Interface);
    say_interface(&config.interface, |key, value| text.line(key, " = ", value));
    for peer in &config.peers {
        text.push(b"\n");
        text.line("", "", Section::Peer);
        say_peer(peer, |key, value| text.line(key, " = ", value));
    }
    text.into_text()
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    #[test]
    fn it_says_what_was_parsed() {
        let text = "[Interface]\nPrivateKey = CAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEA=\nListenPort = 51820\n\
                    FwMark = 0xca6c\nAddress = 10.0.0.2/24\nAddress = fd00::2/64\nDNS = 10.0.0.1\nDNS = corp.example\n\
                    MTU = 1420\nTable = off\nMaxPaddingRate = 67108864\nHandshakesPerSecond = 500\nPreUp = a\nPostUp = b\nPreDown = c\nPostDown = d %i\nSaveConfig = true\n\
                    KillSwitch = on\nKillSwitchAllow = 192.168.0.0/16\nKillSwitchAllow = fd00::/8\n\n\
                    [Peer]\nPublicKey = AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n\
                    PresharedKey = AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\nAllowedIPs = 0.0.0.0/0\nAllowedIPs = ::/0\n\
                    Endpoint = relay.example:51820\nPersistentKeepalive = 25\nDefense = front\n\
                    DefenseMaxPaddingFrac = 0.5\nDefenseMaxBlockingFrac = 0\nDefenseMaxPaddingRate = 4194304\nDefenseRole = relay\n\n\
                    [Peer]\nPublicKey = AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\nDefense = ephemeral\n\
                    DefenseMaxPaddingFrac = 0.25\nDefenseMaxPaddingRate = 0\nDefenseTier = blocking\nDefenseStrength = high\nNegotiation = require\nBundling = off\nDefenseRenewal = 60\n";
        assert_eq!(*format(&parse(text).unwrap()), text);
    }
}
