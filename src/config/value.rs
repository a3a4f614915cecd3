//! The values of a configuration file's keys.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use maybetun_machines::{Strength, Tier};

use super::{Defense, Endpoint, Table};
use crate::keys::{KeyError, PresharedKey, PrivateKey, PublicKey};
use crate::settings::{self, Fraction, NegotiationPolicy, Role, role_from_name};
use crate::text;

/// Smallest MTU: what every IPv4 host has to accept (RFC 791 §3.1).
const MIN_MTU: u16 = 576;

/// Smallest MTU of a link that carries IPv6 (RFC 8200 §5), in bytes. Linux takes the IPv6 addresses off an interface with
/// less, and says nothing.
pub const MIN_MTU_IPV6: u16 = 1280;

/// Longest domain name, in bytes (RFC 1035 §2.3.4, in its text form without the final dot).
const MAX_DOMAIN: usize = 253;

/// Longest label of a domain name, in bytes (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;

/// Explains why a value is none of its key's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Invalid<'a> {
    /// The value may be shown.
    Plain { expected: &'static str, found: &'a str },
    /// The value may be a secret.
    Secret { expected: &'static str },
}

impl From<KeyError> for Invalid<'_> {
    fn from(error: KeyError) -> Self {
        Self::Secret { expected: error.expected() }
    }
}

pub(super) fn private_key(value: &str) -> Result<PrivateKey, Invalid<'_>> {
    Ok(PrivateKey::from_base64(value)?)
}

pub(super) fn public_key(value: &str) -> Result<PublicKey, Invalid<'_>> {
    Ok(PublicKey::from_base64(value)?)
}

/// Parses a preshared key; one of zeros stands for none.
pub(super) fn preshared_key(value: &str) -> Result<Option<PresharedKey>, Invalid<'_>> {
    Ok(Some(PresharedKey::from_base64(value)?).filter(|key| !key.is_zero()))
}

pub(super) fn listen_port(value: &str) -> Result<u16, Invalid<'_>> {
    text::decimal(value).ok_or(Invalid::Plain { expected: "a port, 0 to 65535", found: value })
}

pub(super) fn fwmark(value: &str) -> Result<u32, Invalid<'_>> {
    if value.eq_ignore_ascii_case("off") {
        return Ok(0);
    }
    let expected = "\"off\" or a mark, 0 to 4294967295 or 0x0 to 0xffffffff";
    text::decimal_or_hex(value).ok_or(Invalid::Plain { expected, found: value })
}

pub(super) fn persistent_keepalive(value: &str) -> Result<u16, Invalid<'_>> {
    if value.eq_ignore_ascii_case("off") {
        return Ok(0);
    }
    text::decimal(value).ok_or(Invalid::Plain { expected: "\"off\" or seconds, 0 to 65535", found: value })
}

pub(super) fn defense(value: &str) -> Result<Defense, Invalid<'_>> {
    let expected = "\"off\", \"ephemeral\", the name of a defense (a-z, 0-9 and -), or a path with a / in it";
    Defense::from_text(value).ok_or(Invalid::Plain { expected, found: value })
}

pub(super) fn fraction(value: &str) -> Result<Fraction, Invalid<'_>> {
    value.parse().map_err(|_| Invalid::Plain { expected: "a number from 0 to 1", found: value })
}

pub(super) fn padding_rate(value: &str) -> Result<u64, Invalid<'_>> {
    text::decimal(value)
        .ok_or(Invalid::Plain { expected: "bytes per second, a whole number, 0 for no limit", found: value })
}

pub(super) fn message_rate(value: &str) -> Result<u64, Invalid<'_>> {
    text::decimal(value).ok_or(Invalid::Plain { expected: "messages per second, a whole number", found: value })
}

pub(super) fn role(value: &str) -> Result<Role, Invalid<'_>> {
    let role = role_from_name(&value.to_ascii_lowercase());
    role.ok_or(Invalid::Plain { expected: "\"client\" or \"relay\"", found: value })
}

pub(super) fn tier(value: &str) -> Result<Tier, Invalid<'_>> {
    let expected = "\"size\", \"padding\" or \"blocking\"";
    value.to_ascii_lowercase().parse().map_err(|_| Invalid::Plain { expected, found: value })
}

pub(super) fn strength(value: &str) -> Result<Strength, Invalid<'_>> {
    let expected = "\"low\", \"medium\" or \"high\"";
    value.to_ascii_lowercase().parse().map_err(|_| Invalid::Plain { expected, found: value })
}

pub(super) fn negotiation(value: &str) -> Result<NegotiationPolicy, Invalid<'_>> {
    let expected = "\"require\", \"prefer\" or \"off\"";
    value.to_ascii_lowercase().parse().map_err(|_| Invalid::Plain { expected, found: value })
}

pub(super) fn renewal(value: &str) -> Result<Duration, Invalid<'_>> {
    settings::renewal(value).ok_or(Invalid::Plain { expected: "seconds, 60 to 604800", found: value })
}

pub(super) fn on_or_off(value: &str) -> Result<bool, Invalid<'_>> {
    match value.to_ascii_lowercase().as_str() {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(Invalid::Plain { expected: "\"on\" or \"off\"", found: value }),
    }
}

pub(super) fn mtu(value: &str) -> Result<u16, Invalid<'_>> {
    let mtu = text::decimal(value).filter(|mtu| *mtu >= MIN_MTU);
    mtu.ok_or(Invalid::Plain { expected: "a size in bytes, 576 to 65535", found: value })
}

pub(super) fn table(value: &str) -> Result<Table, Invalid<'_>> {
    if value.eq_ignore_ascii_case("auto") {
        return Ok(Table::Auto);
    }
    if value.eq_ignore_ascii_case("off") {
        return Ok(Table::Off);
    }
    // Number 0 is RT_TABLE_UNSPEC: no table.
    let number = text::decimal_or_hex(value).filter(|number| *number != 0).map(Table::Number);
    number
        .ok_or(Invalid::Plain { expected: "\"auto\", \"off\" or the number of a table, 1 to 4294967295", found: value })
}

pub(super) fn save_config(value: &str) -> Result<bool, Invalid<'_>> {
    if value.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if value.eq_ignore_ascii_case("false") {
        Ok(false)
    } else {
        Err(Invalid::Plain { expected: "\"true\" or \"false\"", found: value })
    }
}

/// Splits a list as `wg-quick` does: at commas and spaces.
fn items(value: &str) -> impl Iterator<Item = &str> {
    value.split(|c: char| c == ',' || c.is_ascii_whitespace()).filter(|item| !item.is_empty())
}

pub(super) fn addresses(value: &str) -> Result<Vec<IpNet>, Invalid<'_>> {
    let expected = "an IP address with an optional prefix length";
    let addresses = items(value)
        .map(|item| text::address_or_prefix(item).ok_or(Invalid::Plain { expected, found: item }))
        .collect::<Result<Vec<_>, _>>()?;
    if addresses.is_empty() { Err(Invalid::Plain { expected, found: "" }) } else { Ok(addresses) }
}

/// One item of `DNS`.
pub(super) enum Dns {
    Server(IpAddr),
    Search(String),
}

pub(super) fn dns(value: &str) -> Result<Vec<Dns>, Invalid<'_>> {
    let expected = "the IP address of a server, or a search domain";
    let read = |item: &str| match item.parse() {
        Ok(server) => Some(Dns::Server(server)),
        Err(_) => is_domain(item).then(|| Dns::Search(item.to_owned())),
    };
    let dns = items(value)
        .map(|item| read(item).ok_or(Invalid::Plain { expected, found: item }))
        .collect::<Result<Vec<_>, _>>()?;
    if dns.is_empty() { Err(Invalid::Plain { expected, found: "" }) } else { Ok(dns) }
}

/// Parses a list of prefixes, which may be empty; host bits are cleared.
pub(super) fn allowed_ips(value: &str) -> Result<Vec<IpNet>, Invalid<'_>> {
    if value.is_empty() {
        return Ok(Vec::new());
    }
    let expected = "IP addresses with optional prefix lengths, with commas between them";
    value
        .split(',')
        .map(str::trim)
        .map(|item| {
            text::address_or_prefix(item).map(|prefix| prefix.trunc()).ok_or(Invalid::Plain { expected, found: item })
        })
        .collect()
}

/// Parses a list of networks that a kill switch lets through; host bits are cleared. A prefix of length 0 would let all
/// of an address family through, and leave nothing of the switch.
pub(super) fn kill_switch_allow(value: &str) -> Result<Vec<IpNet>, Invalid<'_>> {
    let expected = "networks as ADDRESS/LENGTH, the length at least 1, with commas between them";
    let network = |item| text::address_or_prefix(item).filter(|network| network.prefix_len() > 0);
    value
        .split(',')
        .map(str::trim)
        .map(|item| network(item).map(|network| network.trunc()).ok_or(Invalid::Plain { expected, found: item }))
        .collect()
}

pub(super) fn endpoint(value: &str) -> Result<Endpoint, Invalid<'_>> {
    let expected = "IPV4:PORT, [IPV6]:PORT or NAME:PORT, the port 1 to 65535";
    read_endpoint(value).ok_or(Invalid::Plain { expected, found: value })
}

fn read_endpoint(value: &str) -> Option<Endpoint> {
    let (host, port) = text::host_and_port(value).filter(|(_, port)| *port != 0)?;
    if !value.starts_with('[') {
        return match host.parse::<Ipv4Addr>() {
            Ok(address) => Some(Endpoint::Address(SocketAddr::new(address.into(), port))),
            Err(_) => is_domain(host).then(|| Endpoint::Host { name: host.to_owned(), port }),
        };
    }
    // The standard parser takes zones that are numbers.
    if let Ok(address) = value.parse() {
        return Some(Endpoint::Address(address));
    }
    let (address, zone) = host.split_once('%')?;
    address.parse::<Ipv6Addr>().ok()?;
    let is_interface =
        (1..=15).contains(&zone.len()) && zone.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    is_interface.then(|| Endpoint::Host { name: host.to_owned(), port })
}

/// Tells whether `name` can be a domain name: labels of letters, digits, `-` and `_`. The last is not a number, which
/// resolvers would take for (part of) an IPv4 address.
fn is_domain(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_number = |label: &str| label.starts_with(|first: char| first.is_ascii_digit()) && text_is_number(label);
    name.len() <= MAX_DOMAIN && name.split('.').all(is_label) && !name.rsplit('.').next().is_some_and(is_number)
}

fn text_is_number(label: &str) -> bool {
    let hexadecimal = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    label.bytes().all(|byte| byte.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_intervals_can_be_off() {
        assert_eq!(fwmark("OFF"), Ok(0));
        assert_eq!(fwmark("0xca6c"), Ok(0xca6c));
        assert_eq!(persistent_keepalive("off"), Ok(0));
        assert_eq!(persistent_keepalive("25"), Ok(25));
        for value in ["", "on", "-1", "65536"] {
            assert!(persistent_keepalive(value).is_err(), "{value:?}");
        }
        assert!(fwmark("4294967296").is_err());
    }

    #[test]
    fn rates_are_whole_numbers_of_bytes() {
        assert_eq!(padding_rate("0"), Ok(0));
        assert_eq!(padding_rate("18446744073709551615"), Ok(u64::MAX));
        for value in ["", "-1", "+1", "1.5", "4M", "off", "18446744073709551616"] {
            assert!(padding_rate(value).is_err() && message_rate(value).is_err(), "{value:?}");
        }
    }

    #[test]
    fn mtu_is_what_a_link_can_have() {
        for (value, mtu_read) in
            [("575", None), ("576", Some(576)), ("65535", Some(65535)), ("65536", None), ("", None)]
        {
            assert_eq!(mtu(value).ok(), mtu_read, "{value:?}");
        }
    }

    #[test]
    fn table_is_a_word_or_a_number() {
        assert_eq!(table("Auto"), Ok(Table::Auto));
        assert_eq!(table("off"), Ok(Table::Off));
        assert_eq!(table("51820"), Ok(Table::Number(51820)));
        for value in ["0", "main", ""] {
            assert!(table(value).is_err(), "{value:?}");
        }
    }

    #[test]
    fn addresses_keep_their_host_bits_and_allowed_ips_do_not() {
        let text = |list: Vec<IpNet>| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            text(addresses("10.0.0.2/24, fd00::2/64 192.0.2.1").unwrap()),
            ["10.0.0.2/24", "fd00::2/64", "192.0.2.1/32"]
        );
        assert_eq!(text(allowed_ips("10.0.0.2/24,fd00::2 , ::/0").unwrap()), ["10.0.0.0/24", "fd00::2/128", "::/0"]);
        assert!(allowed_ips("").unwrap().is_empty());
        for value in [",", "10.0.0.0/8,", "10.0.0.0/8 10.1.0.0/16", "+10.0.0.0/8", "10.0.0.0/33"] {
            assert!(allowed_ips(value).is_err(), "{value:?}");
        }
        assert!(addresses("").is_err());
        assert!(addresses("10.0.0.1/24 foo").is_err());
    }

    #[test]
    fn a_kill_switch_lets_networks_through_but_no_whole_family() {
        let text = |list: Vec<IpNet>| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            text(kill_switch_allow("192.168.1.7/16, fd00::/8 ,192.0.2.1").unwrap()),
            ["192.168.0.0/16", "fd00::/8", "192.0.2.1/32"]
        );
        for value in ["", ",", "10.0.0.0/8,", "0.0.0.0/0", "10.0.0.0/8, ::/0", "10.0.0.0/33", "lan"] {
            assert!(kill_switch_allow(value).is_err(), "{value:?}");
        }
    }

    #[test]
    fn dns_lists_servers_and_search_domains() {
        let [Dns::Server(first), Dns::Search(second), Dns::Server(third)] =
            &dns("10.0.0.1, corp.example fd00::1").unwrap()[..]
        else {
            panic!("a server, a domain, a server")
        };
        assert_eq!(
            (first.to_string(), second.as_str(), third.to_string()),
            ("10.0.0.1".into(), "corp.example", "fd00::1".into())
        );
        for value in ["", ",", "10.0.0", "10.0.0.256", "a..b", "-a.example", "ex ample;rm"] {
            assert!(dns(value).is_err(), "{value:?}");
        }
    }

    #[test]
    fn endpoints_are_addresses_or_names_with_ports() {
        for value in ["192.0.2.1:1", "[2001:db8::1]:51820", "[fe80::1%3]:51820"] {
            assert_eq!(endpoint(value), Ok(Endpoint::Address(value.parse().unwrap())));
        }
        for (value, name) in [("relay.example:51820", "relay.example"), ("[fe80::1%eth0]:51820", "fe80::1%eth0")] {
            assert_eq!(endpoint(value), Ok(Endpoint::Host { name: name.to_owned(), port: 51820 }));
            assert_eq!(endpoint(value).unwrap().to_string(), value);
        }
        for value in [
            "",
            "relay",
            "relay:0",
            "relay:65536",
            "relay:http",
            "1.2.3:1",
            "0x7f:1",
            "::1:51820",
            "[::1]",
            "[x::y]:1",
            "a b:1",
        ] {
            assert!(endpoint(value).is_err(), "{value:?}");
        }
    }

    #[test]
    fn a_preshared_key_of_zeros_is_none() {
        assert_eq!(preshared_key(&PresharedKey::from_bytes(&[0; 32]).to_base64()), Ok(None));
        assert_eq!(preshared_key("secret"), Err(KeyError::Base64.into()));
    }
}
