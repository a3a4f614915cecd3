//! The parser of configuration files.

use std::collections::HashMap;

use super::error::ConfigError;
use super::key::{InterfaceKey, PeerKey, Section, section_of};
use super::value::{self, Dns, Invalid, MIN_MTU_IPV6};
use super::{Config, Defense, Hook, Interface, Peer};
use crate::keys::{PrivateKey, PublicKey};
use crate::text;

/// Longest file, in bytes: some 5,000 peers.
pub const MAX_FILE: usize = 1024 * 1024;

/// Parses the text of a wg-quick file.
///
/// Sections and keys are found in any case. A `#` starts a comment, also within a command.
///
/// # Errors
/// The first thing that is wrong: an unknown section or key, a key in the wrong section or repeated, a value that is none
/// of its key's, something missing, or a file longer than [`MAX_FILE`].
pub fn parse(text: &str) -> Result<Config, ConfigError> {
    if text.len() > MAX_FILE {
        return Err(ConfigError::new(1, format!("the file is longer than {MAX_FILE} bytes")));
    }
    let mut file = File::default();
    let mut section = None;
    // Some editors start a file with a byte order mark.
    let lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines();
    for (line, text) in (1..).zip(lines) {
        let text = text.split('#').next().unwrap_or_default().trim();
        if text.is_empty() {
            continue;
        }
        if text.contains(|c: char| c.is_control() && c != '\t') {
            return Err(ConfigError::new(line, "unexpected control character"));
        }
        if let Some(header) = text.strip_prefix('[') {
            section = Some(file.start_section(line, header)?);
        } else {
            file.set(line, section, text)?;
        }
    }
    file.finish()
}

/// What has been read so far.
#[derive(Default)]
struct File {
    interface: Option<Open<InterfaceSection>>,
    peers: Vec<Open<PeerSection>>,
    /// The line of each peer's public key.
    public_keys: HashMap<PublicKey, usize>,
}

/// A section whose required key may still come.
struct Open<T> {
    line: usize,
    /// The keys that stand but once and were set, by name, and their lines.
    set: Vec<(&'static str, usize)>,
    section: T,
}

/// Everything of an [`Interface`] except that its key may be missing.
struct InterfaceSection {
    private_key: Option<PrivateKey>,
    rest: Interface,
}

/// Everything of a [`Peer`] except that its key may be missing.
struct PeerSection {
    public_key: Option<PublicKey>,
    rest: Peer,
}

impl<T> Open<T> {
    fn new(line: usize, section: T) -> Self {
        Self { line, set: Vec::new(), section }
    }

    /// Notes that `key`, which stands but once, is set.
    fn note(&mut self, line: usize, key: &'static str) -> Result<(), ConfigError> {
        if let Some(first) = self.line_of(key) {
            return Err(ConfigError::on_key(line, key, format!("repeated: line {first} has it already")));
        }
        self.set.push((key, line));
        Ok(())
    }

    fn line_of(&self, key: &str) -> Option<usize> {
        self.set.iter().find(|(set, _)| *set == key).map(|(_, line)| *line)
    }
}

impl File {
    fn start_section(&mut self, line: usize, header: &str) -> Result<Section, ConfigError> {
        let Some(name) = header.strip_suffix(']').map(str::trim) else {
            return Err(ConfigError::new(line, "expected a section: [Interface] or [Peer]"));
        };
        let Some(section) = Section::from_name(name) else {
            let message = format!("unknown section [{}]: expected [Interface] or [Peer]", text::shown_name(name));
            return Err(ConfigError::new(line, message));
        };
        match (section, &self.interface) {
            (Section::Interface, Some(first)) => {
                let message = format!("repeated section [Interface]: line {} has it already", first.line);
                return Err(ConfigError::new(line, message));
            }
            (Section::Interface, None) => self.interface = Some(Open::new(line, InterfaceSection::new())),
            (Section::Peer, _) => self.peers.push(Open::new(line, PeerSection::new())),
        }
        Ok(section)
    }

    fn set(&mut self, line: usize, section: Option<Section>, text: &str) -> Result<(), ConfigError> {
        let Some((name, value)) = text.split_once('=').map(|(name, value)| (name.trim(), value.trim())) else {
            return Err(ConfigError::new(line, "expected KEY = VALUE, or a section in brackets"));
        };
        let Some((home, key)) = section_of(name) else {
            return Err(ConfigError::new(line, format!("unknown key {}", text::shown_name(name))));
        };
        match (section, home) {
            (Some(Section::Interface), Section::Interface) => self.set_interface(line, name, value),
            (Some(Section::Peer), Section::Peer) => self.set_peer(line, name, value),
            (Some(here), _) => {
                Err(ConfigError::on_key(line, key, format!("belongs into a {home} section, this is {here}")))
            }
            (None, _) => Err(ConfigError::on_key(line, key, format!("stands before any section, expected in {home}"))),
        }
    }

    fn set_interface(&mut self, line: usize, name: &str, value: &str) -> Result<(), ConfigError> {
        let (Some(open), Some(key)) = (&mut self.interface, InterfaceKey::from_name(name)) else { return Ok(()) };
        if !key.is_list() {
            open.note(line, key.name())?;
        }
        open.section.set(key, line, value).map_err(|invalid| ConfigError::invalid(line, key.name(), invalid))
    }

    fn set_peer(&mut self, line: usize, name: &str, value: &str) -> Result<(), ConfigError> {
        let (Some(open), Some(key)) = (self.peers.last_mut(), PeerKey::from_name(name)) else { return Ok(()) };
        if !key.is_list() {
            open.note(line, key.name())?;
        }
        open.section.set(key, value).map_err(|invalid| ConfigError::invalid(line, key.name(), invalid))?;
        if let (PeerKey::PublicKey, Some(public_key)) = (key, open.section.public_key)
            && let Some(first) = self.public_keys.insert(public_key, line)
        {
            return Err(ConfigError::on_key(
                line,
                key.name(),
                format!("line {first} has a peer with this key already"),
            ));
        }
        Ok(())
    }

    fn finish(self) -> Result<Config, ConfigError> {
        let Some(open) = self.interface else {
            return Err(ConfigError::new(1, "the file has no [Interface] section"));
        };
        let mtu_line = open.line_of(InterfaceKey::Mtu.name());
        let Some(private_key) = open.section.private_key else {
            let message = "missing from the [Interface] section that starts here";
            return Err(ConfigError::on_key(open.line, InterfaceKey::PrivateKey.name(), message));
        };
        let interface = Interface { private_key, ..open.section.rest };
        if let (Some(line), Some(mtu)) = (mtu_line, interface.mtu)
            && mtu < MIN_MTU_IPV6
            && interface.addresses.iter().any(|address| address.addr().is_ipv6())
        {
            let message =
                format!("expected at least {MIN_MTU_IPV6}, because the interface has an IPv6 address, found {mtu}");
            return Err(ConfigError::on_key(line, InterfaceKey::Mtu.name(), message));
        }
        let peers = self.peers.into_iter().map(|open| {
            let message = "missing from the [Peer] section that starts here";
            let missing = ConfigError::on_key(open.line, PeerKey::PublicKey.name(), message);
            check_defense(&open)?;
            open.section.public_key.map(|public_key| Peer { public_key, ..open.section.rest }).ok_or(missing)
        });
        Ok(Config { interface, peers: peers.collect::<Result<_, _>>()? })
    }
}

/// Makes sure that what is said of a defense is said of one.
fn check_defense(open: &Open<PeerSection>) -> Result<(), ConfigError> {
    let misplaced = |key: &PeerKey| match &open.section.rest.defense {
        None | Some(Defense::Named(_) | Defense::File(_)) if key.is_of_ephemeral() => {
            Some("expected Defense = ephemeral in the same section")
        }
        None if key.is_of_any_defense() => Some("expected Defense in the same section"),
        // What is switched off may have been said in full.
        None | Some(_) => None,
    };
    let found = PeerKey::ALL.iter().filter_map(|key| Some((open.line_of(key.name())?, key.name(), misplaced(key)?)));
    found.min().map_or(Ok(()), |(line, key, message)| Err(ConfigError::on_key(line, key, message)))
}

impl InterfaceSection {
    fn new() -> Self {
        Self { private_key: None, rest: Interface::new(PrivateKey::generate_from_os()) }
    }

    fn set<'a>(&mut self, key: InterfaceKey, line: usize, value: &'a str) -> Result<(), Invalid<'a>> {
        let rest = &mut self.rest;
        match key {
            InterfaceKey::PrivateKey => self.private_key = Some(value::private_key(value)?),
            InterfaceKey::ListenPort => rest.listen_port = Some(value::listen_port(value)?),
            InterfaceKey::FwMark => rest.fwmark = Some(value::fwmark(value)?),
            InterfaceKey::Address => rest.addresses.extend(value::addresses(value)?),
            InterfaceKey::Dns => {
                for item in value::dns(value)? {
                    match item {
                        Dns::Server(server) => rest.dns_servers.push(server),
                        Dns::Search(domain) => rest.dns_search.push(domain),
                    }
                }
            }
            InterfaceKey::Mtu => rest.mtu = Some(value::mtu(value)?),
            InterfaceKey::Table => rest.table = value::table(value)?,
            InterfaceKey::MaxPaddingRate => rest.max_padding_rate = Some(value::padding_rate(value)?),
            InterfaceKey::HandshakesPerSecond => rest.handshakes_per_second = Some(value::message_rate(value)?),
            InterfaceKey::PreUp => rest.pre_up.push(hook(line, value)?),
            InterfaceKey::PostUp => rest.post_up.push(hook(line, value)?),
            InterfaceKey::PreDown => rest.pre_down.push(hook(line, value)?),
            InterfaceKey::PostDown => rest.post_down.push(hook(line, value)?),
            InterfaceKey::SaveConfig => rest.save_config = value::save_config(value)?,
            InterfaceKey::KillSwitch => rest.kill_switch = value::on_or_off(value)?,
            InterfaceKey::KillSwitchAllow => rest.kill_switch_allow.extend(value::kill_switch_allow(value)?),
        }
        Ok(())
    }
}

fn hook(line: usize, value: &str) -> Result<Hook, Invalid<'_>> {
    if value.is_empty() {
        return Err(Invalid::Plain { expected: "a command", found: value });
    }
    Ok(Hook { line, command: value.to_owned() })
}

impl PeerSection {
    fn new() -> Self {
        Self { public_key: None, rest: Peer::new(PublicKey::BASE_POINT) }
    }

    fn set<'a>(&mut self, key: PeerKey, value: &'a str) -> Result<(), Invalid<'a>> {
        let rest = &mut self.rest;
        match key {
            PeerKey::PublicKey => self.public_key = Some(value::public_key(value)?),
            PeerKey::PresharedKey => rest.preshared_key = value::preshared_key(value)?,
            PeerKey::AllowedIps => rest.allowed_ips.extend(value::allowed_ips(value)?),
            PeerKey::Endpoint => rest.endpoint = Some(value::endpoint(value)?),
            PeerKey::PersistentKeepalive => rest.persistent_keepalive = Some(value::persistent_keepalive(value)?),
            PeerKey::Defense => rest.defense = Some(value::defense(value)?),
            PeerKey::DefenseMaxPaddingFrac => rest.defense_max_padding_frac = Some(value::fraction(value)?),
            PeerKey::DefenseMaxBlockingFrac => rest.defense_max_blocking_frac = Some(value::fraction(value)?),
            PeerKey::DefenseMaxPaddingRate => rest.defense_max_padding_rate = Some(value::padding_rate(value)?),
            PeerKey::DefenseRole => rest.defense_role = Some(value::role(value)?),
            PeerKey::DefenseTier => rest.defense_tier = Some(value::tier(value)?),
            PeerKey::DefenseStrength => rest.defense_strength = Some(value::strength(value)?),
            PeerKey::Negotiation => rest.negotiation = Some(value::negotiation(value)?),
            PeerKey::Bundling => rest.bundling = Some(value::on_or_off(value)?),
            PeerKey::DefenseRenewal => rest.defense_renewal = Some(value::renewal(value)?),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
