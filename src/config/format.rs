//! The text of a configuration file.

use std::fmt::Display;

use zeroize::Zeroizing;

use super::key::{InterfaceKey, PeerKey, Section};
use super::{Config, Peer, Table};
use crate::secret::SecretBuffer;

/// Returns the text of a file that says what `config` says, which [`parse`](super::parse()) reads back; it is wiped when
/// dropped. The lines of hooks are those of the new text.
pub fn format(config: &Config) -> Zeroizing<String> {
    let mut text = SecretBuffer::with_capacity(4096);
    text.line("", "", Section::Interface);
    say_interface(&config.interface, |key, value| text.line(key.name(), " = ", value));
    for peer in &config.peers {
        text.push(b"\n");
        text.line("", "", Section::Peer);
        say_peer(peer, |key, value| text.line(key.name(), " = ", value));
    }
    text.into_text()
}

/// Hands each key of the section that is said to `line`, with its value; what is a list, item by item.
pub(super) fn say_interface(interface: &super::Interface, mut line: impl FnMut(InterfaceKey, &dyn Display)) {
    if let Some(key) = &interface.private_key {
        line(InterfaceKey::PrivateKey, &Zeroizing::new(key.to_base64()).as_str());
    }
    if let Some(port) = interface.listen_port {
        line(InterfaceKey::ListenPort, &port);
    }
    if let Some(mark) = interface.fwmark {
        line(InterfaceKey::FwMark, &format_args!("{mark:#x}"));
    }
    for address in &interface.addresses {
        line(InterfaceKey::Address, address);
    }
    for server in &interface.dns_servers {
        line(InterfaceKey::Dns, server);
    }
    for domain in &interface.dns_search {
        line(InterfaceKey::Dns, domain);
    }
    if let Some(mtu) = interface.mtu {
        line(InterfaceKey::Mtu, &mtu);
    }
    match interface.table {
        Table::Auto => {}
        Table::Off => line(InterfaceKey::Table, &"off"),
        Table::Number(number) => line(InterfaceKey::Table, &number),
    }
    if let Some(rate) = interface.max_padding_rate {
        line(InterfaceKey::MaxPaddingRate, &rate);
    }
    if let Some(rate) = interface.handshakes_per_second {
        line(InterfaceKey::HandshakesPerSecond, &rate);
    }
    for (key, hooks) in [
        (InterfaceKey::PreUp, &interface.pre_up),
        (InterfaceKey::PostUp, &interface.post_up),
        (InterfaceKey::PreDown, &interface.pre_down),
        (InterfaceKey::PostDown, &interface.post_down),
    ] {
        for hook in hooks {
            line(key, &hook.command);
        }
    }
    if interface.save_config {
        line(InterfaceKey::SaveConfig, &true);
    }
    if interface.kill_switch {
        line(InterfaceKey::KillSwitch, &"on");
    }
    for network in &interface.kill_switch_allow {
        line(InterfaceKey::KillSwitchAllow, network);
    }
}

/// Hands each key of the section that is said to `line`, as [`say_interface`] does.
pub(super) fn say_peer(peer: &Peer, mut line: impl FnMut(PeerKey, &dyn Display)) {
    line(PeerKey::PublicKey, &peer.public_key);
    if let Some(key) = &peer.preshared_key {
        line(PeerKey::PresharedKey, &Zeroizing::new(key.to_base64()).as_str());
    }
    for prefix in &peer.allowed_ips {
        line(PeerKey::AllowedIps, prefix);
    }
    if let Some(endpoint) = &peer.endpoint {
        line(PeerKey::Endpoint, endpoint);
    }
    if let Some(seconds) = peer.persistent_keepalive {
        line(PeerKey::PersistentKeepalive, &seconds);
    }
    if let Some(defense) = &peer.defense {
        line(PeerKey::Defense, defense);
    }
    if let Some(fraction) = peer.defense_max_padding_frac {
        line(PeerKey::DefenseMaxPaddingFrac, &fraction);
    }
    if let Some(fraction) = peer.defense_max_blocking_frac {
        line(PeerKey::DefenseMaxBlockingFrac, &fraction);
    }
    if let Some(rate) = peer.defense_max_padding_rate {
        line(PeerKey::DefenseMaxPaddingRate, &rate);
    }
    if let Some(role) = peer.defense_role {
        line(PeerKey::DefenseRole, &role);
    }
    if let Some(tier) = peer.defense_tier {
        line(PeerKey::DefenseTier, &tier);
    }
    if let Some(strength) = peer.defense_strength {
        line(PeerKey::DefenseStrength, &strength);
    }
    if let Some(policy) = peer.negotiation {
        line(PeerKey::Negotiation, &policy);
    }
    if let Some(bundling) = peer.bundling {
        line(PeerKey::Bundling, &if bundling { "on" } else { "off" });
    }
    if let Some(renewal) = peer.defense_renewal {
        line(PeerKey::DefenseRenewal, &renewal.as_secs());
    }
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
