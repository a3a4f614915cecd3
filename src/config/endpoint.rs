//! Where a peer is, in every form that `wg` takes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::domain::is_domain;
use crate::text;

/// Where a peer is, as the file says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// An address.
    Address(SocketAddr),
    /// What has to be resolved first.
    Host {
        /// A domain name, or an IPv6 address whose zone is the name of an interface (`fe80::1%eth0`).
        name: String,
        /// The UDP port, 1 to 65535.
        port: u16,
    },
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Host { name, port } if name.contains(':') => write!(f, "[{name}]:{port}"),
            Self::Host { name, port } => write!(f, "{name}:{port}"),
        }
    }
}

/// Reads `HOST:PORT` or `[HOST]:PORT`. As with `wg`, any host may stand in brackets, and none has to: the last colon is
/// the port's.
pub(super) fn read(text: &str) -> Option<Endpoint> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once("]:")?,
        None => text.rsplit_once(':')?,
    };
    let port = text::decimal(port).filter(|port| *port != 0)?;
    if let Some(address) = host.parse::<Ipv6Addr>().ok().map(IpAddr::from).or_else(|| ipv4(host).map(IpAddr::from)) {
        return Some(Endpoint::Address(SocketAddr::new(address, port)));
    }
    if let Some((address, zone)) = host.split_once('%') {
        address.parse::<Ipv6Addr>().ok()?;
        // The standard parser takes zones that are numbers.
        if let Ok(address) = format!("[{host}]:{port}").parse() {
            return Some(Endpoint::Address(address));
        }
        let is_interface =
            (1..=15).contains(&zone.len()) && zone.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
        return is_interface.then(|| Endpoint::Host { name: host.to_owned(), port });
    }
    is_domain(host).then(|| Endpoint::Host { name: host.to_owned(), port })
}

/// Reads an IPv4 address as inet_aton(3) does: one to four numbers of any base, the last of which is for all the bytes
/// that are left.
fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let numbers: Vec<u32> = text.split('.').map(text::any_base).collect::<Option<_>>()?;
    let (&last, bytes) = numbers.split_last()?;
    let left = 4_usize.checked_sub(bytes.len()).filter(|left| *left > 0)?;
    if bytes.iter().any(|byte| *byte > 255) || (left < 4 && last >> (8 * left) != 0) {
        return None;
    }
    let first = bytes.iter().zip([24, 16, 8]).fold(0, |sum, (byte, shift)| sum | byte << shift);
    Some(Ipv4Addr::from_bits(first | last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_short_bare_or_in_brackets() {
        for (text, address) in [
            ("192.0.2.1:1", "192.0.2.1:1"),
            ("192.0.2.1:051820", "192.0.2.1:51820"),
            ("[192.0.2.1]:1", "192.0.2.1:1"),
            ("192.0.513:4", "192.0.2.1:4"),
            ("127.1:4", "127.0.0.1:4"),
            ("0xc0000201:5", "192.0.2.1:5"),
            ("0300.0.2.1:5", "192.0.2.1:5"),
            ("3221225985:5", "192.0.2.1:5"),
            ("[2001:db8::1]:51820", "[2001:db8::1]:51820"),
            ("2001:db8::1:51820", "[2001:db8::1]:51820"),
            ("[fe80::1%3]:51820", "[fe80::1%3]:51820"),
            ("fe80::1%3:51820", "[fe80::1%3]:51820"),
        ] {
            assert_eq!(read(text), Some(Endpoint::Address(address.parse().unwrap())), "{text}");
        }
    }

    #[test]
    fn a_name_is_to_be_resolved() {
        for (text, name) in [
            ("relay.example:51820", "relay.example"),
            ("[relay.example]:51820", "relay.example"),
            ("[fe80::1%eth0]:51820", "fe80::1%eth0"),
            ("fe80::1%eth0:51820", "fe80::1%eth0"),
        ] {
            assert_eq!(read(text), Some(Endpoint::Host { name: name.to_owned(), port: 51820 }), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_endpoint() {
        for text in [
            "",
            "relay",
            "relay:0",
            "relay:65536",
            "relay:http",
            "1.2.3.4.5:1",
            "256.1.1.1:1",
            "1.2.65536:1",
            "4294967296:1",
            "09.0.0.1:1",
            "[::1]",
            "[::1]1",
            "[x::y]:1",
            "[]:1",
            ":1",
            "a b:1",
            "a%b:1",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
