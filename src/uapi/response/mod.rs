//! The text of a response: the form that the server sends, and a parser for the client.

use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use zeroize::Zeroizing;

use super::counters;
use super::defense;
use super::ephemeral::{self, AgreementKey};
use super::keys::keys;
use super::masking::{self, MaskingKey};
use super::request;
use crate::keys::{KEY_LENGTH, PresharedKey, PublicKey};
use crate::secret::SecretBuffer;
use crate::settings::{PeerStatus, Statistics, Status, role_from_name};
use crate::text;

/// Nanoseconds of a second.
const SECOND: u32 = 1_000_000_000;

/// Explains why a text is not a response, or that it is one of refusal. Values are never repeated: they may be keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// The other side answered with this error number: positive, as in `errno.h`.
    #[error("refused: {}", std::io::Error::from_raw_os_error(*.0))]
    Refused(i32),
    /// The text is not lines of `key=value` that end with an empty one.
    #[error("the response is cut short, or is not lines of key=value")]
    Malformed,
    /// No line says `errno`.
    #[error("the response has no errno")]
    NoErrno,
    /// A key has a value that it cannot have, or stands where it cannot stand.
    #[error("line {line} of the response: {key}: unexpected value or place")]
    Value {
        /// The line, counted from 1.
        line: usize,
        /// The key.
        key: &'static str,
    },
}

/// Returns the response to a get; it is wiped when dropped. The order of keys is that of wireguard-go; our own keys come
/// last of the device's and last of each peer's.
pub fn format(status: &Status) -> Zeroizing<String> {
    // About the length of a peer with one allowed IP.
    let mut text = SecretBuffer::with_capacity(256 + 512 * status.peers.len());
    if let Some(key) = &status.private_key {
        text.line("private_key", "=", Zeroizing::new(key.to_hex()).as_str());
    }
    if status.listen_port != 0 {
        text.line("listen_port", "=", status.listen_port);
    }
    if status.fwmark != 0 {
        text.line("fwmark", "=", status.fwmark);
    }
    counters::format(&mut text, &status.dropped);
    if status.handshakes.is_under_load {
        text.line(StatusKey::UnderLoad.name(), "=", 1);
    }
    counters::format(&mut text, &status.handshakes);
    for peer in &status.peers {
        format_peer(&mut text, peer);
    }
    text.line("errno", "=", 0);
    text.push(b"\n");
    text.into_text()
}

fn format_peer(text: &mut SecretBuffer, peer: &PeerStatus) {
    let preshared_key = peer.preshared_key.as_ref().map_or_else(|| "0".repeat(2 * KEY_LENGTH), PresharedKey::to_hex);
    let last_handshake =
        peer.last_handshake.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok()).unwrap_or_default();
    text.line("public_key", "=", peer.public_key.to_hex());
    text.line("preshared_key", "=", Zeroizing::new(preshared_key).as_str());
    text.line("protocol_version", "=", 1);
    if let Some(endpoint) = peer.endpoint {
        text.line("endpoint", "=", endpoint);
    }
    text.line("last_handshake_time_sec", "=", last_handshake.as_secs());
    text.line("last_handshake_time_nsec", "=", last_handshake.subsec_nanos());
    text.line("tx_bytes", "=", peer.statistics.sent_bytes);
    text.line("rx_bytes", "=", peer.statistics.received_bytes);
    text.line("persistent_keepalive_interval", "=", peer.persistent_keepalive);
    for prefix in &peer.allowed_ips {
        text.line("allowed_ip", "=", prefix);
    }
    counters::format(text, &peer.statistics);
    if let Some(role) = peer.role {
        text.line(StatusKey::Role.name(), "=", role);
    }
    if let Some(defense) = &peer.defense {
        defense::format_status(text, defense);
    }
    ephemeral::format_status(text, peer);
    if let Some(status) = &peer.masking {
        masking::format_status(text, status);
    }
}

/// Returns the response to a set, or to a request that could not be read.
///
/// `errno` is 0, or positive as in `errno.h`. It is sent negated: `wg` shows the message of the negated value, and
/// wireguard-go sends it so.
pub fn format_errno(errno: i32) -> String {
    format!("errno={}\n\n", -i64::from(errno))
}

/// Parses the response to a set.
///
/// # Errors
/// [`ResponseError::Refused`] when the other side refused the set, otherwise when the text is not a response.
pub fn parse_errno(response: &str) -> Result<(), ResponseError> {
    let mut errno = None;
    for (line, key, value) in lines(response)? {
        if key == "errno" {
            errno = Some(parse_errno_value(value).ok_or(ResponseError::Value { line, key: "errno" })?);
        }
    }
    check_errno(errno)
}

/// Parses the response to a get. Keys that are not known are ignored: other implementations have some of their own.
///
/// `zone_index` gives the index of a network interface by name: others write the zone of an endpoint so.
///
/// [`PeerStatus::last_handshake_age`] stays `None`, because it depends on a clock; so does everything that the protocol
/// does not carry.
///
/// # Errors
/// [`ResponseError::Refused`] when the other side refused the get, otherwise when the text is not a response.
pub fn parse(response: &str, zone_index: impl Fn(&str) -> Option<u32>) -> Result<Status, ResponseError> {
    let mut status = Status::default();
    let mut errno = None;
    for (line, key, value) in lines(response)? {
        let mut of_peer = |key, read: &dyn Fn(&mut PeerStatus) -> Option<()>| {
            status.peers.last_mut().and_then(read).ok_or(ResponseError::Value { line, key })
        };
        if let Some(key) = defense::key(key) {
            of_peer(key.name(), &|peer| defense::read(&mut peer.defense, key, value))?;
            continue;
        }
        if let Some(key) = ephemeral::key(key) {
            of_peer(key.name(), &|peer| ephemeral::read(peer, key, value))?;
            continue;
        }
        if let Some(key) = AgreementKey::from_name(key) {
            of_peer(key.name(), &|peer| ephemeral::read_agreement(peer, key, value))?;
            continue;
        }
        if let Some(key) = MaskingKey::from_name(key) {
            of_peer(key.name(), &|peer| masking::read(&mut peer.masking, key, value))?;
            continue;
        }
        let Some(key) = StatusKey::from_name(key) else {
            read_counter(&mut status, key, value).map_err(|key| ResponseError::Value { line, key })?;
            continue;
        };
        let read = if let StatusKey::Errno = key {
            errno = parse_errno_value(value);
            errno.map(drop)
        } else {
            read_key(&mut status, key, value, &zone_index)
        };
        if read.is_none() {
            return Err(ResponseError::Value { line, key: key.name() });
        }
    }
    check_errno(errno)?;
    for peer in &mut status.peers {
        // A handshake at the epoch itself is how "never" is spelled.
        peer.last_handshake = peer.last_handshake.filter(|at| *at != SystemTime::UNIX_EPOCH);
    }
    Ok(status)
}

fn lines(response: &str) -> Result<impl Iterator<Item = (usize, &str, &str)>, ResponseError> {
    let Some(body) = response.strip_suffix("\n\n") else {
        return Err(ResponseError::Malformed);
    };
    if body.split('\n').any(|line| !line.contains('=')) {
        return Err(ResponseError::Malformed);
    }
    Ok(body.split('\n').zip(1..).filter_map(|(text, line)| text.split_once('=').map(|(key, value)| (line, key, value))))
}

/// Takes either sign: implementations differ.
fn parse_errno_value(value: &str) -> Option<i32> {
    text::decimal(value.strip_prefix('-').unwrap_or(value))
}

fn check_errno(errno: Option<i32>) -> Result<(), ResponseError> {
    match errno {
        Some(0) => Ok(()),
        Some(errno) => Err(ResponseError::Refused(errno)),
        None => Err(ResponseError::NoErrno),
    }
}

keys! {
    /// The keys of a response that WireGuard itself has, and our role.
    StatusKey {
    PrivateKey "private_key",
    ListenPort "listen_port",
    Fwmark "fwmark",
    PublicKey "public_key",
    PresharedKey "preshared_key",
    ProtocolVersion "protocol_version",
    Endpoint "endpoint",
    LastHandshakeSeconds "last_handshake_time_sec",
    LastHandshakeNanoseconds "last_handshake_time_nsec",
    SentBytes "tx_bytes",
    ReceivedBytes "rx_bytes",
    PersistentKeepalive "persistent_keepalive_interval",
    AllowedIp "allowed_ip",
    UnderLoad "maybetun_handshakes_under_load",
    Role "maybetun_role",
    Errno "errno",
    }
}

/// Takes `value` into `status`; `None` if the key cannot have it, or cannot stand here.
fn read_key(status: &mut Status, key: StatusKey, value: &str, zone_index: &dyn Fn(&str) -> Option<u32>) -> Option<()> {
    match (key, status.peers.last_mut()) {
        (StatusKey::PrivateKey, None) => status.private_key = request::private_key(value).ok()?,
        (StatusKey::ListenPort, None) => status.listen_port = text::decimal(value)?,
        (StatusKey::Fwmark, None) => status.fwmark = text::decimal(value)?,
        (StatusKey::UnderLoad, None) => status.handshakes.is_under_load = value == "1",
        (StatusKey::PublicKey, _) => status.peers.push(new_peer(PublicKey::from_hex(value).ok()?)),
        (StatusKey::PresharedKey, Some(peer)) => {
            peer.preshared_key = Some(PresharedKey::from_hex(value).ok()?).filter(|key| !key.is_zero());
        }
        // Version 1 is the only one there is, and nothing of the status depends on it.
        (StatusKey::ProtocolVersion, Some(_)) | (StatusKey::Errno, _) => {}
        (StatusKey::Endpoint, Some(peer)) => peer.endpoint = Some(request::endpoint(value, zone_index)?),
        (StatusKey::LastHandshakeSeconds, Some(peer)) => {
            add_to_handshake(peer, Duration::from_secs(text::decimal(value)?))?;
        }
        (StatusKey::LastHandshakeNanoseconds, Some(peer)) => {
            let nanoseconds = text::decimal(value).filter(|nanoseconds: &u32| *nanoseconds < SECOND)?;
            add_to_handshake(peer, Duration::from_nanos(nanoseconds.into()))?;
        }
        (StatusKey::SentBytes, Some(peer)) => peer.statistics.sent_bytes = text::decimal(value)?,
        (StatusKey::ReceivedBytes, Some(peer)) => peer.statistics.received_bytes = text::decimal(value)?,
        (StatusKey::PersistentKeepalive, Some(peer)) => peer.persistent_keepalive = text::decimal(value)?,
        (StatusKey::AllowedIp, Some(peer)) => peer.allowed_ips.push(text::prefix(value)?.trunc()),
        (StatusKey::Role, Some(peer)) => peer.role = Some(role_from_name(value)?),
        (StatusKey::PrivateKey | StatusKey::ListenPort | StatusKey::Fwmark | StatusKey::UnderLoad, Some(_)) => {
            return None;
        }
        (
            StatusKey::PresharedKey
            | StatusKey::ProtocolVersion
            | StatusKey::Endpoint
            | StatusKey::LastHandshakeSeconds
            | StatusKey::LastHandshakeNanoseconds
            | StatusKey::SentBytes
            | StatusKey::ReceivedBytes
            | StatusKey::PersistentKeepalive
            | StatusKey::AllowedIp
            | StatusKey::Role,
            None,
        ) => return None,
    }
    Some(())
}

/// Takes `value` into the counter called `key`, if there is one.
///
/// # Errors
/// What it is, when the value is not a number.
fn read_counter(status: &mut Status, key: &str, value: &str) -> Result<(), &'static str> {
    let _is_known = match status.peers.last_mut() {
        None => counters::read(&mut status.dropped, key, value)? || counters::read(&mut status.handshakes, key, value)?,
        Some(peer) => {
            let defense = peer.defense.as_mut().map(|defense| counters::read(&mut defense.statistics, key, value));
            defense.transpose()? == Some(true) || counters::read(&mut peer.statistics, key, value)?
        }
    };
    Ok(())
}

fn new_peer(public_key: PublicKey) -> PeerStatus {
    PeerStatus {
        public_key,
        preshared_key: None,
        endpoint: None,
        persistent_keepalive: 0,
        allowed_ips: Vec::<IpNet>::new(),
        last_handshake: None,
        last_handshake_age: None,
        statistics: Statistics::default(),
        role: None,
        defense: None,
        negotiation: None,
        protection: None,
        path_mtu: None,
        masking: None,
    }
}

/// Seconds and nanoseconds come on lines of their own; `None` if the sum is no time the system can hold.
fn add_to_handshake(peer: &mut PeerStatus, part: Duration) -> Option<()> {
    let at = peer.last_handshake.unwrap_or(SystemTime::UNIX_EPOCH).checked_add(part)?;
    peer.last_handshake = Some(at);
    Some(())
}

#[cfg(test)]
mod tests;
