//! The values of a configuration file's keys.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::dns::{DnsServer, is_search_domain};
use super::tables::Tables;
use super::{Defense, Endpoint, Table, endpoint};
use crate::keys::{KeyError, PresharedKey, PrivateKey, PublicKey};
use crate::settings::AllowedIpChange;
use crate::text;

/// Smallest MTU: what every IPv4 host has to accept (RFC 791 §3.1).
const MIN_MTU: u16 = 576;

/// Smallest MTU of a link that carries IPv6 (RFC 8200 §5), in bytes. Linux takes the IPv6 addresses off an interface with
/// less, and says nothing.
pub const MIN_MTU_IPV6: u16 = 1280;

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

pub(super) fn padding_rate(value: &str) -> Result<u64, Invalid<'_>> {
    text::decimal(value)
        .ok_or(Invalid::Plain { expected: "bytes per second, a whole number, 0 for no limit", found: value })
}

pub(super) fn message_rate(value: &str) -> Result<u64, Invalid<'_>> {
    text::decimal(value).ok_or(Invalid::Plain { expected: "messages per second, a whole number", found: value })
}

pub(super) fn on_or_off(value: &str) -> Result<bool, Invalid<'_>> {
    match value.to_ascii_lowercase().as_str() {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(Invalid::Plain { expected: "\"on\" or \"off\"", found: value }),
    }
}

/// Parses a size, which may be in any base; nothing is the size that follows from the path.
pub(super) fn mtu(value: &str) -> Result<Option<u16>, Invalid<'_>> {
    if value.is_empty() {
        return Ok(None);
    }
    let mtu = text::any_base(value).and_then(|mtu| u16::try_from(mtu).ok()).filter(|mtu| *mtu >= MIN_MTU);
    mtu.map(Some).ok_or(Invalid::Plain { expected: "a size in bytes, 576 to 65535", found: value })
}

/// Parses a table, by its number in any base or by its name; nothing is `auto`.
pub(super) fn table<'a>(value: &'a str, tables: &Tables) -> Result<Table, Invalid<'a>> {
    if value.is_empty() || value.eq_ignore_ascii_case("auto") {
        return Ok(Table::Auto);
    }
    if value.eq_ignore_ascii_case("off") {
        return Ok(Table::Off);
    }
    let expected = "\"auto\", \"off\", or a table by its name or number, 0 to 4294967295";
    tables.find(value).map(Table::Number).ok_or(Invalid::Plain { expected, found: value })
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

/// Parses a list of addresses, which may be empty; host bits are kept.
pub(super) fn addresses(value: &str) -> Result<Vec<IpNet>, Invalid<'_>> {
    let expected = "an IP address with an optional prefix length";
    items(value).map(|item| address(item).ok_or(Invalid::Plain { expected, found: item })).collect()
}

/// Reads an address as ip-address(8) takes it: its length in any base, or as a mask.
fn address(item: &str) -> Option<IpNet> {
    let Some((address, length)) = item.split_once('/') else { return item.parse::<IpAddr>().ok().map(IpNet::from) };
    let address: IpAddr = address.parse().ok()?;
    if let Some(length) = text::any_base(length) {
        return IpNet::new(address, u8::try_from(length).ok()?).ok();
    }
    let mask: Ipv4Addr = length.parse().ok()?;
    IpNet::with_netmask(address, mask.into()).ok().filter(|_| address.is_ipv4())
}

/// One item of `DNS`.
pub(super) enum Dns {
    Server(DnsServer),
    Search(String),
}

/// Parses a list of servers and search domains, which may be empty.
pub(super) fn dns(value: &str) -> Result<Vec<Dns>, Invalid<'_>> {
    let expected = "the IP address of a server, or a search domain";
    let read = |item: &str| match DnsServer::from_text(item) {
        Some(server) => Some(Dns::Server(server)),
        None => is_search_domain(item).then(|| Dns::Search(item.to_owned())),
    };
    items(value).map(|item| read(item).ok_or(Invalid::Plain { expected, found: item })).collect()
}

/// Whether allowed IPs are all that a peer has, or change what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AllowedIps {
    Whole,
    Changes,
}

/// Parses a list of prefixes, which may be empty; host bits are cleared. With a `+` or `-` before one, the list changes
/// what there is.
pub(super) fn allowed_ips(value: &str) -> Result<(AllowedIps, Vec<AllowedIpChange>), Invalid<'_>> {
    if value.is_empty() {
        return Ok((AllowedIps::Whole, Vec::new()));
    }
    let expected = "IP addresses with optional prefix lengths, with commas between them";
    let mut kind = AllowedIps::Whole;
    let changes = value.split(',').map(|item| {
        let signed = item.strip_prefix(['+', '-']);
        if signed.is_some() {
            kind = AllowedIps::Changes;
        }
        let prefix = text::address_or_prefix(signed.unwrap_or(item)).map(|prefix| prefix.trunc());
        let change = if item.starts_with('-') { AllowedIpChange::Remove } else { AllowedIpChange::Add };
        prefix.map(change).ok_or(Invalid::Plain { expected, found: item })
    });
    let changes = changes.collect::<Result<_, _>>()?;
    Ok((kind, changes))
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
    endpoint::read(value).ok_or(Invalid::Plain { expected, found: value })
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
        for (value, mtu_read) in [
            ("575", None),
            ("576", Some(576)),
            ("65535", Some(65535)),
            ("65536", None),
            ("0x578", Some(1400)),
            ("02604", Some(1412)),
            ("01400", Some(768)),
        ] {
            assert_eq!(mtu(value).ok().flatten(), mtu_read, "{value:?}");
        }
        assert_eq!(mtu(""), Ok(None));
    }

    #[test]
    fn table_is_a_word_or_a_number() {
        let table = |value| table(value, &Tables::default()).ok();
        assert_eq!(table("Auto"), Some(Table::Auto));
        assert_eq!(table(""), Some(Table::Auto));
        assert_eq!(table("off"), Some(Table::Off));
        assert_eq!(table("51820"), Some(Table::Number(51820)));
        assert_eq!(table("main"), Some(Table::Number(254)));
        assert_eq!(table("nowhere"), None);
    }

    fn text(list: Vec<IpNet>) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn addresses_keep_their_host_bits() {
        assert_eq!(
            text(addresses("10.0.0.2/24, fd00::2/64 192.0.2.1").unwrap()),
            ["10.0.0.2/24", "fd00::2/64", "192.0.2.1/32"]
        );
        assert_eq!(
            text(addresses("10.0.0.2/255.255.0.0,10.0.0.3/0x18,,fd00::3/010").unwrap()),
            ["10.0.0.2/16", "10.0.0.3/24", "fd00::3/8"]
        );
        assert!(addresses("").unwrap().is_empty());
        for value in
            ["10.0.0.1/24 foo", "10.0.0.1/33", "10.1/16", "10.0.0.1/255.0.255.0", "fd00::1/255.0.0.0", "10.0.0.1/"]
        {
            assert!(addresses(value).is_err(), "{value:?}");
        }
    }

    #[test]
    fn allowed_ips_lose_their_host_bits_and_may_be_changes() {
        use AllowedIpChange::{Add, Remove};
        let nets = ["10.0.0.0/24", "fd00::2/128", "::/0"].map(|net| Add(net.parse().unwrap()));
        assert_eq!(allowed_ips("10.0.0.2/024,fd00::2,::/0"), Ok((AllowedIps::Whole, nets.to_vec())));
        assert_eq!(allowed_ips(""), Ok((AllowedIps::Whole, vec![])));
        let changes = vec![Add("10.0.0.0/8".parse().unwrap()), Remove("fd00::/8".parse().unwrap())];
        assert_eq!(allowed_ips("+10.0.0.0/8,-fd00::/8"), Ok((AllowedIps::Changes, changes)));
        for value in [",", "10.0.0.0/8,", "10.0.0.0/8+10.1.0.0/16", "++10.0.0.0/8", "10.0.0.0/33", "10.0/16"] {
            assert!(allowed_ips(value).is_err(), "{value:?}");
        }
    }

    #[test]
    fn a_kill_switch_lets_networks_through_but_no_whole_family() {
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
        assert!(dns("").unwrap().is_empty() && dns(", ,").unwrap().is_empty());
        for value in ["10.0.0", "10.0.0.256", "a..b", "-a.example", "ex ample;rm"] {
            assert!(dns(value).is_err(), "{value:?}");
        }
    }

    #[test]
    fn a_preshared_key_of_zeros_is_none() {
        assert_eq!(preshared_key(&PresharedKey::from_bytes(&[0; 32]).to_base64()), Ok(None));
        assert_eq!(preshared_key("secret"), Err(KeyError::Base64.into()));
    }
}
