//! `DNS`: servers and search domains.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::domain::is_label;
use crate::text;

/// A DNS server: its address, and what those who ask it are to know besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsServer {
    address: IpAddr,
    text: String,
}

impl DnsServer {
    /// Reads an address, which may have what systemd-resolved takes with it: a port (`192.0.2.1:53`, `[2001:db8::1]:53`)
    /// and behind it an interface (`fe80::1%eth0`).
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let address = address(text)?;
        Some(Self { address, text: text.to_owned() })
    }

    /// Returns the address alone.
    pub fn address(&self) -> IpAddr {
        self.address
    }
}

impl fmt::Display for DnsServer {
    /// Writes the server as it was written in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn address(text: &str) -> Option<IpAddr> {
    let (server, zone) = text.split_once('%').map_or((text, None), |(server, zone)| (server, Some(zone)));
    if zone.is_some_and(|zone| zone.is_empty() || !zone.bytes().all(|byte| byte.is_ascii_graphic())) {
        return None;
    }
    if let Some(rest) = server.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return address.parse::<Ipv6Addr>().ok().filter(|_| is_port).map(IpAddr::from);
    }
    if let Ok(address) = server.parse::<Ipv6Addr>() {
        return Some(address.into());
    }
    let (address, port) = server.split_once(':').map_or((server, None), |(address, port)| (address, Some(port)));
    // Without a colon in it, `wg-quick` takes an address and its interface for a domain.
    let is_plain = port.map_or(zone.is_none(), is_port);
    address.parse::<Ipv4Addr>().ok().filter(|_| is_plain).map(IpAddr::from)
}

fn is_port(text: &str) -> bool {
    text::decimal::<u16>(text).is_some_and(|port| port != 0)
}

/// Tells whether `text` is a search domain, or with a `~` before it a domain whose names these servers know: `~.` is all.
pub(super) fn is_search_domain(text: &str) -> bool {
    let name = match text.strip_prefix('~') {
        Some(".") => return true,
        Some(name) => name,
        None => text,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    name.split('.').all(|label| is_label(label, char::is_alphanumeric))
        && !name.rsplit('.').next().is_some_and(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_an_address_as_resolved_takes_it() {
        for (text, address) in [
            ("9.9.9.9", "9.9.9.9"),
            ("9.9.9.9:53", "9.9.9.9"),
            ("9.9.9.9:5353%eth0", "9.9.9.9"),
            ("FD00::53", "fd00::53"),
            ("[fd00::53]", "fd00::53"),
            ("[fd00::53]:853", "fd00::53"),
            ("[fd00::53]:853%eth0", "fd00::53"),
            ("fe80::1%eth0", "fe80::1"),
        ] {
            let server = DnsServer::from_text(text).unwrap();
            assert_eq!((server.address().to_string().as_str(), server.to_string().as_str()), (address, text));
        }
        for text in [
            "",
            "10.0.0",
            "9.9.9.9:",
            "9.9.9.9:0",
            "9.9.9.9%eth0",
            "fe80::1%",
            "[fd00::53",
            "[9.9.9.9]:53",
            "a:b",
            "fd00::x",
        ] {
            assert_eq!(DnsServer::from_text(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_search_domain_may_be_for_routing_only_and_in_any_language() {
        for text in
            ["example", "corp.example.", "~corp.example", "~.", "_tcp.example", "10.in-addr.arpa", "bücher.example"]
        {
            assert!(is_search_domain(text), "{text:?}");
        }
        for text in ["", ".", "~", "a..b", "-a.example", "10.0.0", "a;b", "a b", "~~a", &"a".repeat(64)] {
            assert!(!is_search_domain(text), "{text:?}");
        }
    }
}
