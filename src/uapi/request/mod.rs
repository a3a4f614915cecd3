//! The text of a request: a strict parser, and the form that [`client`](super::client) sends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use nix::errno::Errno;
use zeroize::Zeroizing;

use super::defense;
use super::ephemeral;
use super::keys::keys;
use crate::keys::{KEY_LENGTH, KeyError, PresharedKey, PrivateKey, PublicKey};
use crate::secret::SecretBuffer;
use crate::settings::{AllowedIpChange, PeerAction, PeerUpdate, Update};
use crate::text;

/// Longest request, in bytes: some 60,000 peers, each with an endpoint and two allowed IPs.
pub const MAX_REQUEST: usize = 16 * 1024 * 1024;

/// Longest line of a request, in bytes: more than a machine has. All others that mean anything have fewer than 100.
pub const MAX_LINE: usize = 64 * 1024;

const _: () = assert!(MAX_LINE > "daita_machine=".len() + maybetun_machines::machine::MAX_TEXT);

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// The state of the device.
    Get,
    /// A change to the device.
    Set(Update),
}

/// Explains why a text is not a request. Values are never repeated: they may be keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The text is not UTF-8.
    #[error("the request is not text")]
    NotText,
    /// The text is longer than [`MAX_REQUEST`].
    #[error("the request is longer than {MAX_REQUEST} bytes")]
    TooLong,
    /// A line is longer than [`MAX_LINE`].
    #[error("a line of the request is longer than {MAX_LINE} bytes")]
    LineTooLong,
    /// The text does not end with an empty line.
    #[error("the request does not end with an empty line")]
    Unfinished,
    /// The first line is neither `get=1` nor `set=1`.
    #[error("unknown operation: expected get=1 or set=1")]
    UnknownOperation,
    /// Lines follow `get=1`, or the empty line that ends a request.
    #[error("the request goes on after its end")]
    Trailing,
    /// A line has no `=`.
    #[error("line {line}: expected key=value")]
    NotAssignment {
        /// The line, counted from 1.
        line: usize,
    },
    /// The protocol has no such key.
    #[error("line {line}: unknown key {key}")]
    UnknownKey {
        /// The line, counted from 1.
        line: usize,
        /// The key, if it looks like one.
        key: String,
    },
    /// A key of the device follows a `public_key`, or a key of a peer precedes the first.
    #[error("line {line}: {key}: {expected}")]
    Misplaced {
        /// The line, counted from 1.
        line: usize,
        /// The key.
        key: &'static str,
        /// Where the key belongs.
        expected: &'static str,
    },
    /// The key does not take this value.
    #[error("line {line}: {key}: expected {expected}")]
    Value {
        /// The line, counted from 1.
        line: usize,
        /// The key.
        key: &'static str,
        /// What the key takes.
        expected: &'static str,
    },
}

impl RequestError {
    /// Returns the error number for the response: positive, as in `errno.h`.
    ///
    /// `EPROTO` where there is no request to speak of, `EMSGSIZE` where it is too long, `EINVAL` where a key is at fault.
    pub fn errno(&self) -> i32 {
        let errno = match self {
            Self::NotText | Self::Unfinished | Self::UnknownOperation | Self::NotAssignment { .. } => Errno::EPROTO,
            Self::TooLong | Self::LineTooLong => Errno::EMSGSIZE,
            Self::Trailing | Self::UnknownKey { .. } | Self::Misplaced { .. } | Self::Value { .. } => Errno::EINVAL,
        };
        errno as i32
    }
}

keys! {
    /// Keys of the device.
    DeviceKey {
        PrivateKey "private_key",
        ListenPort "listen_port",
        Fwmark "fwmark",
        ReplacePeers "replace_peers",
    }
}

keys! {
    /// Keys of a peer.
    PeerKey {
        PublicKey "public_key",
        Remove "remove",
        UpdateOnly "update_only",
        PresharedKey "preshared_key",
        Endpoint "endpoint",
        PersistentKeepalive "persistent_keepalive_interval",
        ReplaceAllowedIps "replace_allowed_ips",
        AllowedIp "allowed_ip",
        ProtocolVersion "protocol_version",
    }
}

/// Parses a whole request, with the empty line that ends it.
///
/// `zone_index` gives the index of a network interface by name, for endpoints such as `[fe80::1%eth0]:51820`; zones that
/// are numbers already do not need it.
///
/// Lines count in order, as if each were applied by itself: the last of several equal keys holds, and
/// `replace_allowed_ips` discards the allowed IPs listed before it. Host bits of allowed IPs are cleared.
///
/// # Errors
/// When anything at all is not as the protocol says.
pub fn parse(request: &str, zone_index: impl Fn(&str) -> Option<u32>) -> Result<Request, RequestError> {
    if request.len() > MAX_REQUEST {
        return Err(RequestError::TooLong);
    }
    let Some(body) = request.strip_suffix("\n\n") else {
        return Err(RequestError::Unfinished);
    };
    let mut lines = body.split('\n').zip(1..);
    match lines.next() {
        Some(("get=1", _)) => match lines.next() {
            None => Ok(Request::Get),
            Some(_) => Err(RequestError::Trailing),
        },
        Some(("set=1", _)) => parse_update(lines, &zone_index).map(Request::Set),
        _ => Err(RequestError::UnknownOperation),
    }
}

fn parse_update<'a>(
    lines: impl Iterator<Item = (&'a str, usize)>,
    zone_index: &dyn Fn(&str) -> Option<u32>,
) -> Result<Update, RequestError> {
    let mut update = Update::default();
    let mut weight = defense::MAX_WEIGHT;
    for (text, line) in lines {
        if text.is_empty() {
            return Err(RequestError::Trailing);
        }
        if text.len() > MAX_LINE {
            return Err(RequestError::LineTooLong);
        }
        let Some((name, value)) = text.split_once('=') else {
            return Err(RequestError::NotAssignment { line });
        };
        if let Some(key) = DeviceKey::from_name(name) {
            if !update.peers.is_empty() {
                let expected = "a key of the device, expected before the first public_key";
                return Err(RequestError::Misplaced { line, key: key.name(), expected });
            }
            set_device_key(&mut update, key, value).map_err(|expected| RequestError::Value {
                line,
                key: key.name(),
                expected,
            })?;
        } else if let Some(key) = PeerKey::from_name(name) {
            let invalid = |expected| RequestError::Value { line, key: key.name(), expected };
            if let PeerKey::PublicKey = key {
                update
                    .peers
                    .push(PeerUpdate::new(PublicKey::from_hex(value).map_err(|error| invalid(error.expected()))?));
                continue;
            }
            let peer = last_peer(&mut update, line, key.name())?;
            set_peer_key(peer, key, value, zone_index).map_err(invalid)?;
        } else if let Some(key) = defense::key(name) {
            let peer = last_peer(&mut update, line, key.name())?;
            defense::set(&mut peer.defense, key, value, &mut weight).map_err(|expected| RequestError::Value {
                line,
                key: key.name(),
                expected,
            })?;
        } else if let Some(key) = ephemeral::key(name) {
            let peer = last_peer(&mut update, line, key.name())?;
            ephemeral::set(&mut peer.defense, key, value).map_err(|expected| RequestError::Value {
                line,
                key: key.name(),
                expected,
            })?;
        } else {
            return Err(RequestError::UnknownKey { line, key: text::shown_name(name).to_owned() });
        }
    }
    Ok(update)
}

/// Returns the peer that a key belongs to: the last that was named.
fn last_peer<'a>(update: &'a mut Update, line: usize, key: &'static str) -> Result<&'a mut PeerUpdate, RequestError> {
    update.peers.last_mut().ok_or(RequestError::Misplaced { line, key, expected: OF_PEER })
}

const TRUE: &str = "true";
const OF_PEER: &str = "a key of a peer, expected after a public_key";

fn set_device_key(update: &mut Update, key: DeviceKey, value: &str) -> Result<(), &'static str> {
    match key {
        DeviceKey::PrivateKey => update.private_key = Some(private_key(value)?),
        DeviceKey::ListenPort => update.listen_port = Some(text::decimal(value).ok_or("a port, 0 to 65535")?),
        DeviceKey::Fwmark => {
            let mark = if value.is_empty() { Some(0) } else { text::decimal_or_hex(value) };
            update.fwmark = Some(mark.ok_or("a mark, 0 to 4294967295 or 0x0 to 0xffffffff")?);
        }
        DeviceKey::ReplacePeers => {
            only_true(value)?;
            update.replace_peers = true;
        }
    }
    Ok(())
}

fn set_peer_key(
    peer: &mut PeerUpdate,
    key: PeerKey,
    value: &str,
    zone_index: &dyn Fn(&str) -> Option<u32>,
) -> Result<(), &'static str> {
    match key {
        // It starts the next peer, which the caller does.
        PeerKey::PublicKey => {}
        PeerKey::Remove => {
            only_true(value)?;
            peer.action = PeerAction::Remove;
        }
        PeerKey::UpdateOnly => {
            only_true(value)?;
            if peer.action != PeerAction::Remove {
                peer.action = PeerAction::UpdateOnly;
            }
        }
        PeerKey::PresharedKey => peer.preshared_key = Some(PresharedKey::from_hex(value).map_err(KeyError::expected)?),
        PeerKey::Endpoint => {
            peer.endpoint = Some(endpoint(value, zone_index).ok_or("IPV4:PORT or [IPV6]:PORT, the port 1 to 65535")?)
        }
        PeerKey::PersistentKeepalive => {
            peer.persistent_keepalive = Some(text::decimal(value).ok_or("seconds, 0 to 65535")?);
        }
        PeerKey::ReplaceAllowedIps => {
            only_true(value)?;
            peer.replace_allowed_ips = true;
            peer.allowed_ips.clear();
        }
        PeerKey::AllowedIp => peer.allowed_ips.push(allowed_ip(value).ok_or("ADDRESS/LENGTH or -ADDRESS/LENGTH")?),
        PeerKey::ProtocolVersion => {
            if value != "1" {
                return Err("1");
            }
        }
    }
    Ok(())
}

fn only_true(value: &str) -> Result<(), &'static str> {
    if value == TRUE { Ok(()) } else { Err(TRUE) }
}

/// Parses a private key; one of zeros stands for none.
pub(super) fn private_key(value: &str) -> Result<Option<PrivateKey>, &'static str> {
    if value.len() == 2 * KEY_LENGTH && value.bytes().all(|digit| digit == b'0') {
        return Ok(None);
    }
    PrivateKey::from_hex(value).map(Some).map_err(KeyError::expected)
}

/// Parses `IPV4:PORT` or `[IPV6]:PORT`, the latter with an optional zone; the port is 1 to 65535.
pub(super) fn endpoint(value: &str, zone_index: &dyn Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    let (host, port) = host_and_port(value).filter(|(_, port)| *port != 0)?;
    if !value.starts_with('[') {
        return Some(SocketAddr::new(IpAddr::V4(host.parse::<Ipv4Addr>().ok()?), port));
    }
    let (address, zone) = match host.split_once('%') {
        Some((address, zone)) => (address, text::decimal(zone).or_else(|| zone_index(zone))?),
        None => (host, 0),
    };
    Some(SocketAddr::V6(SocketAddrV6::new(address.parse::<Ipv6Addr>().ok()?, port, 0, zone)))
}

/// Splits `HOST:PORT` and `[HOST]:PORT`. A host with a colon must stand in brackets, and only such a one may.
fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once("]:")?;
        if !host.contains(':') {
            return None;
        }
        (host, port)
    } else {
        let (host, port) = text.split_once(':')?;
        (host, port)
    };
    if host.is_empty() {
        return None;
    }
    Some((host, text::decimal(port)?))
}

fn allowed_ip(value: &str) -> Option<AllowedIpChange> {
    match value.strip_prefix('-') {
        Some(prefix) => text::prefix(prefix).map(|prefix| AllowedIpChange::Remove(prefix.trunc())),
        None => text::prefix(value).map(|prefix| AllowedIpChange::Add(prefix.trunc())),
    }
}

/// Returns the text of a request, which [`parse`] reads back; it is wiped when dropped.
pub fn format(request: &Request) -> Zeroizing<String> {
    let mut text = SecretBuffer::with_capacity(4096);
    match request {
        Request::Get => text.line("get", "=", 1),
        Request::Set(update) => {
            text.line("set", "=", 1);
            format_update(&mut text, update);
        }
    }
    text.push(b"\n");
    text.into_text()
}

fn format_update(text: &mut SecretBuffer, update: &Update) {
    let mut device = |key: DeviceKey, value: &dyn std::fmt::Display| text.line(key.name(), "=", value);
    if let Some(key) = &update.private_key {
        let hex = Zeroizing::new(key.as_ref().map_or_else(|| "0".repeat(2 * KEY_LENGTH), PrivateKey::to_hex));
        device(DeviceKey::PrivateKey, &hex.as_str());
    }
    if let Some(port) = update.listen_port {
        device(DeviceKey::ListenPort, &port);
    }
    if let Some(mark) = update.fwmark {
        device(DeviceKey::Fwmark, &mark);
    }
    if update.replace_peers {
        device(DeviceKey::ReplacePeers, &TRUE);
    }
    for peer in &update.peers {
        format_peer(text, peer);
    }
}

fn format_peer(text: &mut SecretBuffer, peer: &PeerUpdate) {
    let mut line = |key: PeerKey, value: &dyn std::fmt::Display| text.line(key.name(), "=", value);
    line(PeerKey::PublicKey, &peer.public_key.to_hex());
    match peer.action {
        PeerAction::AddOrUpdate => {}
        PeerAction::UpdateOnly => line(PeerKey::UpdateOnly, &TRUE),
        PeerAction::Remove => line(PeerKey::Remove, &TRUE),
    }
    if let Some(key) = &peer.preshared_key {
        line(PeerKey::PresharedKey, &Zeroizing::new(key.to_hex()).as_str());
    }
    if let Some(endpoint) = peer.endpoint {
        line(PeerKey::Endpoint, &endpoint);
    }
    if let Some(seconds) = peer.persistent_keepalive {
        line(PeerKey::PersistentKeepalive, &seconds);
    }
    if peer.replace_allowed_ips {
        line(PeerKey::ReplaceAllowedIps, &TRUE);
    }
    for change in &peer.allowed_ips {
        match change {
            AllowedIpChange::Add(prefix) => line(PeerKey::AllowedIp, &prefix.trunc()),
            AllowedIpChange::Remove(prefix) => line(PeerKey::AllowedIp, &format_args!("-{}", prefix.trunc())),
        }
    }
    if let Some(change) = &peer.defense {
        defense::format_change(text, change);
    }
}

#[cfg(test)]
mod tests;
