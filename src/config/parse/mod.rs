//! The parser of configuration files.

mod peer;

use zeroize::Zeroizing;

use super::error::{ConfigError, ask};
use super::key::{self, Key, PeerSection, Reader, Section, Value};
use super::marker;
use super::suggestion;
use super::tables::Tables;
use super::value::MIN_MTU_IPV6;
use super::{Config, Defense, Interface};
use crate::keys::PrivateKey;
use crate::settings::DefenseOptions;
use crate::text;
use peer::Peers;

/// Keys whose values are looked at again.
const MTU: &str = "MTU";
const TABLE: &str = "Table";
const DEFENSE: &str = "Defense";

/// Longest file, in bytes: some 5,000 peers.
pub const MAX_FILE: usize = 1024 * 1024;

/// What a file may name that is not in it.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    /// Routing tables.
    pub tables: &'a Tables,
    /// Says what is wrong with a defense, if it cannot be run.
    pub check_defense: &'a dyn Fn(&Defense) -> Result<(), String>,
}

/// Parses the text of a wg-quick file, as [`parse_with`] does, with the names of tables that Linux itself has. Whether its
/// defenses are there is not looked at.
///
/// # Errors
/// As [`parse_with`].
pub fn parse(text: impl AsRef<[u8]>) -> Result<Config, ConfigError> {
    parse_with(text, Names { tables: &Tables::default(), check_defense: &|_| Ok(()) })
}

/// Parses the text of a wg-quick file, which may name `names`.
///
/// Sections and keys are found in any case. A `#` starts a comment, also within a command; a comment may be any bytes, what
/// stands outside is UTF-8. A key that only we have may stand in a comment that begins with `#maybetun:`. Of what `wg` and
/// `wg-quick` read, the last counts if it is no list.
///
/// # Errors
/// The first thing that is wrong: an unknown section or key, a key in the wrong section, a key of ours that is repeated, a
/// value that is none of its key's, a name that there is not, something missing, or a file longer than [`MAX_FILE`].
pub fn parse_with(text: impl AsRef<[u8]>, names: Names<'_>) -> Result<Config, ConfigError> {
    let text = text.as_ref();
    if text.len() > MAX_FILE {
        return Err(ConfigError::new(1, format!("the file is longer than {MAX_FILE} bytes")));
    }
    let mut file = File::new(names);
    let mut section = None;
    // Some editors start a file with a byte order mark.
    let lines = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text).split(|byte| *byte == b'\n');
    for (line, text) in (1..).zip(lines) {
        let marked = marker::marked(text);
        let text = marked.unwrap_or(text).split(|byte| *byte == b'#').next().unwrap_or_default();
        let Ok(text) = str::from_utf8(text).map(str::trim) else {
            return Err(ConfigError::new(line, "expected UTF-8 text before the comment"));
        };
        if marked.is_some() {
            marker::check(line, text)?;
        }
        if text.is_empty() {
            continue;
        }
        if text.contains(|c: char| c.is_control() && !c.is_whitespace()) {
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
struct File<'a> {
    names: Names<'a>,
    interface: Option<Open<Interface>>,
    peers: Vec<Open<PeerSection>>,
}

/// A section that is being read.
struct Open<T> {
    line: usize,
    /// The keys that were set, by name, and the last lines that did.
    set: Vec<(&'static str, usize)>,
    section: T,
}

impl<T> Open<T> {
    fn new(line: usize, section: T) -> Self {
        Self { line, set: Vec::new(), section }
    }

    /// Notes that `key` is set.
    fn note(&mut self, line: usize, key: &'static str, stands_once: bool) -> Result<(), ConfigError> {
        match self.set.iter_mut().find(|(set, _)| *set == key) {
            Some((_, first)) if stands_once => {
                Err(ConfigError::on_key(line, key, format!("repeated: line {first} has it already")))
            }
            Some((_, last)) => {
                *last = line;
                Ok(())
            }
            None => {
                self.set.push((key, line));
                Ok(())
            }
        }
    }

    fn line_of(&self, key: &str) -> Option<usize> {
        self.set.iter().find(|(set, _)| *set == key).map(|(_, line)| *line)
    }
}

impl<'a> File<'a> {
    fn new(names: Names<'a>) -> Self {
        Self { names, interface: None, peers: Vec::new() }
    }

    fn start_section(&mut self, line: usize, header: &str) -> Result<Section, ConfigError> {
        let (name, is_closed) = header.strip_suffix(']').map_or((header, false), |name| (name.trim(), true));
        let Some(section) = Section::from_name(name).filter(|_| is_closed) else {
            return Err(ConfigError::new(line, unknown_section(name, is_closed)));
        };
        match (section, &self.interface) {
            // It goes on.
            (Section::Interface, Some(_)) => {}
            (Section::Interface, None) => self.interface = Some(Open::new(line, Interface::default())),
            (Section::Peer, _) => self.peers.push(Open::new(line, PeerSection::new())),
        }
        Ok(section)
    }

    fn set(&mut self, line: usize, section: Option<Section>, text: &str) -> Result<(), ConfigError> {
        let Some((name, value)) = text.split_once('=').map(|(name, value)| (name.trim(), value.trim())) else {
            return Err(ConfigError::new(line, "expected KEY = VALUE, or a section in brackets"));
        };
        let of_wg = || Key::find(&without_spaces(name)).filter(|key| key.about().reader == Reader::Wg);
        let Some(key) = Key::find(name).or_else(of_wg) else {
            let unknown = format!("unknown key {}", text::shown_name(name));
            return Err(ConfigError::new(line, ask(unknown, key::meant(name))));
        };
        let home = key.section();
        if let Some(here) = section.filter(|here| *here != home) {
            return Err(ConfigError::on_key(
                line,
                key.name(),
                format!("belongs into a {home} section, this is {here}"),
            ));
        }
        if section.is_none() {
            let message = format!("stands before any section, expected in {home}");
            return Err(ConfigError::on_key(line, key.name(), message));
        }
        self.take(line, key, value)
    }

    fn take(&mut self, line: usize, key: Key, text: &str) -> Result<(), ConfigError> {
        let about = key.about();
        let dense = (about.reader == Reader::Wg).then(|| without_spaces(text));
        let text = dense.as_ref().map_or(text, |text| text.as_str());
        let invalid = |invalid| ConfigError::invalid(line, about.name, invalid);
        match (key, &mut self.interface, self.peers.last_mut()) {
            (Key::Interface(key), Some(open), _) => {
                open.note(line, about.name, about.stands_once())?;
                let tables = self.names.tables;
                (key.set)(&mut open.section, Value { line, text, tables }).map_err(|invalid| {
                    let names: Vec<&str> = if about.name == TABLE { tables.names().collect() } else { Vec::new() };
                    ConfigError::invalid_among(line, about.name, invalid, &names)
                })
            }
            (Key::Peer(key), _, Some(open)) => {
                open.note(line, about.name, about.stands_once())?;
                (key.set)(&mut open.section, text).map_err(invalid)?;
                match &open.section.rest.defense {
                    Some(defense) if about.name == DEFENSE => (self.names.check_defense)(defense)
                        .map_err(|message| ConfigError::on_key(line, about.name, message)),
                    Some(_) | None => Ok(()),
                }
            }
            (Key::Defense(setting), _, Some(open)) => {
                open.note(line, about.name, about.stands_once())?;
                open.section.set_option(setting, text).map_err(invalid)
            }
            // Its section is open.
            (Key::Interface(_) | Key::Peer(_) | Key::Defense(_), _, _) => Ok(()),
        }
    }

    fn finish(self) -> Result<Config, ConfigError> {
        let Some(open) = self.interface else {
            return Err(ConfigError::new(1, "the file has no [Interface] section"));
        };
        let mtu_line = open.line_of(MTU);
        let interface = open.section;
        if let (Some(line), Some(mtu)) = (mtu_line, interface.mtu)
            && mtu < MIN_MTU_IPV6
            && interface.addresses.iter().any(|address| address.addr().is_ipv6())
        {
            let message =
                format!("expected at least {MIN_MTU_IPV6}, because the interface has an IPv6 address, found {mtu}");
            return Err(ConfigError::on_key(line, MTU, message));
        }
        let own = interface.private_key.as_ref().map(PrivateKey::public_key);
        let mut peers = Peers::new(own);
        for open in self.peers {
            check_defense(&open)?;
            let message = "missing from the [Peer] section that starts here";
            let missing = ConfigError::on_key(open.line, "PublicKey", message);
            peers.add(open.section).ok_or(missing)?;
        }
        Ok(Config { interface, peers: peers.finish() })
    }
}

/// Returns `text` as `wg` reads it. It may hold a key.
fn without_spaces(text: &str) -> Zeroizing<String> {
    let mut dense = Zeroizing::new(String::with_capacity(text.len()));
    dense.extend(text.chars().filter(|c| !(c.is_ascii_whitespace() || *c == '\u{b}')));
    dense
}

fn unknown_section(name: &str, is_closed: bool) -> String {
    let [interface, peer] = [Section::Interface, Section::Peer];
    let meant = suggestion::resembling(name, [interface.name(), peer.name()]);
    let message = if is_closed {
        format!("unknown section [{}]: expected {interface} or {peer}", text::shown_name(name))
    } else {
        format!("expected a section: {interface} or {peer}")
    };
    ask(message, meant.map(|name| format!("[{name}]")))
}

/// Makes sure that what is said of a defense is said of one.
fn check_defense(open: &Open<PeerSection>) -> Result<(), ConfigError> {
    let is_ephemeral = match &open.section.rest.defense {
        None => None,
        Some(Defense::Named(_) | Defense::File(_)) => Some(false),
        // What is switched off may have been said in full.
        Some(Defense::Ephemeral | Defense::Off) => Some(true),
    };
    let misplaced = DefenseOptions::SETTINGS.iter().filter_map(|setting| {
        Some((open.line_of(setting.key)?, setting.key, key::missing_beside(setting, is_ephemeral)?))
    });
    misplaced.min().map_or(Ok(()), |(line, key, message)| Err(ConfigError::on_key(line, key, message)))
}

#[cfg(test)]
mod tests;
