//! What the parser of configuration files takes and refuses.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use maybetun_machines::{Strength, Tier};
use proptest::prelude::*;

use super::super::{Defense, Endpoint, Hook, Peer, Table, format};
use super::*;
use crate::keys::{PresharedKey, PublicKey};
use crate::settings::{
    DefenseChange, DefenseOptions, EphemeralSettings, Fraction, Limits, NegotiationPolicy, Role, Scope,
};

const PRIVATE: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
const PUBLIC: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
const ZEROS: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const OTHER: &str = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=";

fn error(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

/// The error of one line in an otherwise good `[Interface]`, without its line number, which is checked.
fn interface_error(line: &str) -> String {
    let error = error(&format!("[Interface]\nPrivateKey = {PRIVATE}\n{line}\n"));
    error.strip_prefix("line 3: ").unwrap_or_else(|| panic!("{error}")).to_owned()
}

/// The error of one line in an otherwise good `[Peer]`, without its line number, which is checked.
fn peer_error(line: &str) -> String {
    let error = error(&format!("[Interface]\nPrivateKey = {PRIVATE}\n[Peer]\nPublicKey = {PUBLIC}\n{line}\n"));
    error.strip_prefix("line 5: ").unwrap_or_else(|| panic!("{error}")).to_owned()
}

#[test]
fn a_whole_file_parses() {
    let text = format!(
        "# of the client\r\n[Interface]\r\nPrivateKey={PRIVATE}\r\nListenPort = 51820\r\nFwMark = off\r\n\
         Address = 10.200.100.8/24, fd00::8/64\r\nAddress = 10.1.1.1\r\nDNS = 10.200.100.1, corp.example\r\nMTU = 1420\r\n\
         maxpaddingrate = 1000000\r\nhandshakesPerSecond = 250\r\nTable = 1234\r\nPreUp = first %i\r\nPreUp = second   # why\r\nPostDown = last\r\nSaveConfig = false\r\n\r\n\
         \t[PEER]\r\npublickey = {PUBLIC}\r\nPresharedKey = {OTHER}\r\nAllowedIPs = 10.192.122.3/24, ::/0\r\nallowedips =\r\n\
         Endpoint = relay.example:51820\r\nPersistentKeepalive = 25\r\n\
         [Peer]\r\nPublicKey = {OTHER}\r\nEndpoint = [2001:db8::1]:1"
    );
    let config = parse(&text).unwrap();
    let interface = &config.interface;
    assert_eq!(interface.private_key, Some(PrivateKey::from_base64(PRIVATE).unwrap()));
    assert_eq!((interface.listen_port, interface.fwmark, interface.mtu), (Some(51820), Some(0), Some(1420)));
    let addresses: Vec<_> = interface.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.200.100.8/24", "fd00::8/64", "10.1.1.1/32"]);
    let servers: Vec<_> = interface.dns_servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["10.200.100.1"]);
    assert_eq!(interface.dns_search, ["corp.example"]);
    assert_eq!(interface.table, Table::Number(1234));
    assert_eq!((interface.max_padding_rate, interface.handshakes_per_second), (Some(1_000_000), Some(250)));
    let hook = |line, command: &str| Hook { line, command: command.to_owned() };
    assert_eq!(interface.pre_up, [hook(13, "first %i"), hook(14, "second")]);
    assert_eq!(interface.post_down, [hook(15, "last")]);
    assert!(interface.has_hooks() && !interface.save_config);
    let [first, second] = &config.peers[..] else { panic!("two peers") };
    assert_eq!(first.public_key, PublicKey::from_base64(PUBLIC).unwrap());
    assert_eq!(first.preshared_key, Some(PresharedKey::from_base64(OTHER).unwrap()));
    assert_eq!(first.allowed_ips, ["10.192.122.0/24", "::/0"].map(|text| text.parse::<IpNet>().unwrap()));
    assert_eq!(first.endpoint, Some(Endpoint::Host { name: "relay.example".to_owned(), port: 51820 }));
    assert_eq!(first.persistent_keepalive, Some(25));
    assert_eq!(second.endpoint, Some(Endpoint::Address("[2001:db8::1]:1".parse::<SocketAddr>().unwrap())));
}

#[test]
fn a_kill_switch_and_its_exceptions_are_read() {
    let text = format!(
        "[Interface]\nPrivateKey = {PRIVATE}\nkillswitch = On\nKillSwitchAllow = 192.168.3.4/16, fd00::/8\n\
         KillSwitchAllow = 198.51.100.7\n"
    );
    let interface = parse(&text).unwrap().interface;
    assert!(interface.kill_switch);
    let allowed: Vec<_> = interface.kill_switch_allow.iter().map(ToString::to_string).collect();
    assert_eq!(allowed, ["192.168.0.0/16", "fd00::/8", "198.51.100.7/32"]);
    let text = format!("[Interface]\nPrivateKey = {PRIVATE}\nKillSwitch = on\nKillSwitch = off\n");
    assert_eq!(error(&text), "line 4: KillSwitch: repeated: line 3 has it already");
}

#[test]
fn an_interface_is_all_that_is_needed() {
    let config = parse(format!("[Interface]\nPrivateKey = {PRIVATE}")).unwrap();
    assert_eq!(config.interface, Interface::new(PrivateKey::from_base64(PRIVATE).unwrap()));
    assert!(config.peers.is_empty());
    // The key may come from a hook.
    assert_eq!(parse("[Interface]").unwrap().interface, Interface::default());
}

#[test]
fn peers_may_come_first() {
    let config = parse(format!("[Peer]\nPublicKey = {PUBLIC}\n[Interface]\nPrivateKey = {PRIVATE}")).unwrap();
    assert_eq!(config.peers.len(), 1);
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    assert!(parse(format!("\u{feff}[Interface]\nPrivateKey = {PRIVATE}")).is_ok());
}

#[test]
fn what_is_missing_is_named() {
    assert_eq!(error(""), "line 1: the file has no [Interface] section");
    assert_eq!(
        error(&format!("[Interface]\nPrivateKey = {PRIVATE}\n\n[Peer]\nAllowedIPs =\n[Peer]\nPublicKey = {PUBLIC}")),
        "line 4: PublicKey: missing from the [Peer] section that starts here"
    );
}

#[test]
fn sections_are_the_two_there_are() {
    assert_eq!(error("[Defence]\n"), "line 1: unknown section [Defence]: expected [Interface] or [Peer]");
    assert_eq!(
        error("[Pear]\n"),
        "line 1: unknown section [Pear]: expected [Interface] or [Peer]: did you mean [Peer]?"
    );
    assert_eq!(error("[Interface\n"), "line 1: expected a section: [Interface] or [Peer]: did you mean [Interface]?");
}

#[test]
fn keys_stay_in_their_section_and_do_not_repeat() {
    assert_eq!(error("MTU = 1400\n"), "line 1: MTU: stands before any section, expected in [Interface]");
    assert_eq!(interface_error("Foo = 1"), "unknown key Foo");
    assert_eq!(interface_error("foo"), "expected KEY = VALUE, or a section in brackets");
    assert_eq!(interface_error("endpoint = a:1"), "Endpoint: belongs into a [Peer] section, this is [Interface]");
    assert_eq!(peer_error("Address = 10.0.0.1"), "Address: belongs into a [Interface] section, this is [Peer]");
}

#[test]
fn a_mistyped_key_or_value_is_recognized() {
    for (line, message) in [
        ("Adress = 10.0.0.1", "unknown key Adress: did you mean Address?"),
        ("AllowedIP = ::/0", "unknown key AllowedIP: did you mean AllowedIPs?"),
        ("FirewallMark = 1", "unknown key FirewallMark: did you mean FwMark?"),
        ("SaveConfig = flase", "SaveConfig: expected \"true\" or \"false\", found \"flase\": did you mean \"false\"?"),
        (
            "Table = mian",
            "Table: expected \"auto\", \"off\", or a table by its name or number, 0 to 4294967295, found \"mian\": did \
             you mean \"main\"?",
        ),
    ] {
        assert_eq!(interface_error(line), message);
    }
    assert_eq!(
        peer_error("DefenseTier = blokcing"),
        "DefenseTier: expected \"size\", \"padding\" or \"blocking\", found \"blokcing\": did you mean \"blocking\"?"
    );
}

#[test]
fn the_last_of_a_key_counts_unless_it_is_a_list() {
    let text = format!(
        "[Interface]\nPrivateKey = {OTHER}\nMTU = 1300\nTable = off\nSaveConfig = true\nAddress = 10.0.0.1/8\n[Peer]\n\
         PublicKey = {OTHER}\nEndpoint = a.example:1\nPresharedKey = {OTHER}\nPersistentKeepalive = 5\n\
         AllowedIPs = ::/0\nPublicKey = {PUBLIC}\nEndpoint = 192.0.2.1:2\nPresharedKey = {ZEROS}\n\
         PersistentKeepalive = off\nAllowedIPs = 10.0.0.0/8\n[Interface]\nPrivateKey = {PRIVATE}\nMTU =\nTable = 7\n\
         SaveConfig = false\nAddress = 10.0.0.2/8\n"
    );
    let config = parse(text).unwrap();
    let interface = &config.interface;
    assert_eq!(interface.private_key, Some(PrivateKey::from_base64(PRIVATE).unwrap()));
    assert_eq!((interface.mtu, interface.table, interface.save_config), (None, Table::Number(7), false));
    assert_eq!(interface.addresses.len(), 2);
    let [peer] = &config.peers[..] else { panic!("one peer") };
    assert_eq!((peer.public_key, &peer.preshared_key), (PublicKey::from_base64(PUBLIC).unwrap(), &None));
    assert_eq!(peer.endpoint, Some(Endpoint::Address("192.0.2.1:2".parse().unwrap())));
    assert_eq!((peer.persistent_keepalive, peer.allowed_ips.len()), (Some(0), 2));
}

#[test]
fn a_peer_that_stands_twice_is_changed_by_its_second_section() {
    let text = |second: &str| {
        format!(
            "[Interface]\n[Peer]\nPublicKey = {PUBLIC}\nEndpoint = 192.0.2.1:1\nPresharedKey = {OTHER}\n\
             PersistentKeepalive = 5\nAllowedIPs = 10.0.0.0/8\nDefense = front\nDefenseRole = relay\n[Peer]\n\
             PublicKey = {PUBLIC}\n{second}\n"
        )
    };
    let peer = |second: &str| {
        let peers = parse(text(second)).unwrap().peers;
        let [peer] = &peers[..] else { panic!("one peer") };
        peer.clone()
    };
    let allowed = |peer: &Peer| peer.allowed_ips.iter().map(ToString::to_string).collect::<Vec<_>>();
    let same = peer("");
    assert_eq!(same.endpoint, Some(Endpoint::Address("192.0.2.1:1".parse().unwrap())));
    assert_eq!(same.preshared_key, Some(PresharedKey::from_base64(OTHER).unwrap()));
    assert_eq!((same.persistent_keepalive, same.defense_options.role), (Some(5), Some(Role::Relay)));
    assert!(same.allowed_ips.is_empty(), "as `wg` has it, a section says all of a peer's allowed IPs");
    assert_eq!(peer(&format!("PresharedKey = {ZEROS}")).preshared_key, None);
    assert_eq!(allowed(&peer("AllowedIPs = 10.1.0.0/16")), ["10.1.0.0/16"]);
    assert_eq!(allowed(&peer("AllowedIPs = +10.1.0.0/16")), ["10.0.0.0/8", "10.1.0.0/16"]);
    assert_eq!(allowed(&peer("AllowedIPs = -10.0.0.0/8, +::/0")), ["::/0"]);
    let other = peer("Defense = off");
    assert_eq!((other.defense, other.defense_options.role), (Some(Defense::Off), None));
}

#[test]
fn a_prefix_is_the_last_peers_that_it_is_given_to() {
    let allowed = |third: &str| {
        let text = format!(
            "[Interface]\n[Peer]\nPublicKey = {PUBLIC}\nAllowedIPs = 10.0.0.0/8, ::/0\n[Peer]\nPublicKey = {OTHER}\n\
             AllowedIPs = 10.0.0.0/8, 10.0.0.0/8, 172.16.0.0/12\n[Peer]\nPublicKey = {PUBLIC}\nAllowedIPs = {third}\n"
        );
        let lists = parse(text).unwrap().peers.into_iter();
        let [first, second] = lists
            .map(|peer| peer.allowed_ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
            .try_into()
            .unwrap();
        (first, second)
    };
    let lists = |first: &str, second: &str| (first.to_owned(), second.to_owned());
    assert_eq!(allowed("172.16.0.0/12"), lists("172.16.0.0/12", "10.0.0.0/8"));
    assert_eq!(allowed("+10.0.0.0/8"), lists("10.0.0.0/8 ::/0", "172.16.0.0/12"));
    assert_eq!(allowed("-10.0.0.0/8, +fd00::/8"), lists("::/0 fd00::/8", "10.0.0.0/8 172.16.0.0/12"));
}

#[test]
fn a_peer_with_our_own_key_takes_nothing_from_others() {
    let own = PrivateKey::from_base64(PRIVATE).unwrap().public_key();
    let config = parse(format!(
        "[Peer]\nPublicKey = {PUBLIC}\nAllowedIPs = 10.0.0.0/8\n[Peer]\nPublicKey = {}\nAllowedIPs = 10.0.0.0/8\n\
         [Interface]\nPrivateKey = {PRIVATE}\n",
        own.to_base64()
    ));
    let prefix: IpNet = "10.0.0.0/8".parse().unwrap();
    // What the second has is said again when the file is written.
    assert_eq!(
        config.unwrap().peers.iter().map(|peer| peer.allowed_ips.clone()).collect::<Vec<_>>(),
        [[prefix], [prefix]]
    );
}

#[test]
fn spaces_count_for_nothing_in_what_wg_reads() {
    let text = format!(
        "[ Interface ]\n Private Key = {} {}\nListen\tPort = 51 820\n[\tPeer]\nPublicKey\t={PUBLIC}\x0b\n\
         Allowed IPs = 10.0.0.0 / 8 , fd00:: /\t8\nEndpoint = 192.0.2.1 : 5\r\n",
        &PRIVATE[..9],
        &PRIVATE[9..]
    );
    let config = parse(text).unwrap();
    assert_eq!(config.interface.private_key, Some(PrivateKey::from_base64(PRIVATE).unwrap()));
    assert_eq!(config.interface.listen_port, Some(51820));
    assert_eq!(config.peers[0].allowed_ips.len(), 2);
    assert!(config.peers[0].endpoint.is_some());
    // What `wg-quick` reads is not so.
    assert_eq!(interface_error("Ad dress = 10.0.0.1"), "unknown key Ad dress: did you mean Address?");
    assert!(interface_error("MTU = 14 00").starts_with("MTU: expected a size"));
}

#[test]
fn comments_are_any_bytes_and_the_rest_is_utf8() {
    let good = [b"# caf\xe9\n[Interface] #\xff\nPostUp = a # \xc3\n#".as_slice(), "Address = # ü".as_bytes()].concat();
    assert_eq!(parse(good).unwrap().interface.post_up, [Hook { line: 3, command: "a".to_owned() }]);
    let bad = parse(b"[Interface]\nPostUp = caf\xe9\n").unwrap_err();
    assert_eq!(bad.to_string(), "line 2: expected UTF-8 text before the comment");
}

#[test]
fn what_is_empty_says_nothing() {
    let text = "[Interface]\nAddress =\nDNS = ,\nMTU =\nTable =\nPostUp =\nPreDown = # nothing\n";
    assert_eq!(parse(text).unwrap().interface, Interface::default());
}

#[test]
fn bad_values_name_their_key_and_what_was_expected() {
    for (line, message) in [
        ("Address = foo", "Address: expected an IP address with an optional prefix length, found \"foo\""),
        ("ListenPort = 65536", "ListenPort: expected a port, 0 to 65535, found \"65536\""),
        ("MTU = 100", "MTU: expected a size in bytes, 576 to 65535, found \"100\""),
        (
            "MaxPaddingRate = off",
            "MaxPaddingRate: expected bytes per second, a whole number, 0 for no limit, found \"off\"",
        ),
        (
            "HandshakesPerSecond = many",
            "HandshakesPerSecond: expected messages per second, a whole number, found \"many\"",
        ),
        ("SaveConfig = yes", "SaveConfig: expected \"true\" or \"false\", found \"yes\""),
        ("KillSwitch = true", "KillSwitch: expected \"on\" or \"off\", found \"true\""),
        (
            "KillSwitchAllow = 10.0.0.0/8, 0.0.0.0/0",
            "KillSwitchAllow: expected networks as ADDRESS/LENGTH, the length at least 1, with commas between them, \
             found \"0.0.0.0/0\"",
        ),
    ] {
        assert_eq!(interface_error(line), message);
    }
    assert_eq!(
        peer_error("Endpoint = relay"),
        "Endpoint: expected IPV4:PORT, [IPV6]:PORT or NAME:PORT, the port 1 to 65535, found \"relay\""
    );
}

#[test]
fn a_defense_and_its_limits_are_read() {
    let text = format!(
        "[Interface]\nPrivateKey = {PRIVATE}\n[Peer]\nPublicKey = {PUBLIC}\nDefenseRole = Relay\nDefense = front\n\
         defensemaxpaddingfrac = 0.5\nDefenseMaxBlockingFrac = 1\nDefenseMaxPaddingRate = 65536\n[Peer]\nPublicKey = {OTHER}\nDefense = ./a b/c.toml\n"
    );
    let config = parse(&text).unwrap();
    let [first, second] = &config.peers[..] else { panic!("two peers") };
    assert_eq!(first.defense, Some(Defense::Named("front".to_owned())));
    assert_eq!(first.defense_options.max_padding_frac.map(Fraction::get), Some(0.5));
    assert_eq!(first.defense_options.max_blocking_frac.map(Fraction::get), Some(1.0));
    assert_eq!(first.defense_options.max_padding_rate, Some(65_536));
    assert_eq!(first.defense_options.role, Some(Role::Relay));
    assert_eq!(second.defense, Some(Defense::File("./a b/c.toml".into())));
    assert_eq!((second.defense_options.max_padding_frac, second.defense_options.role), (None, None));
    assert_eq!(second.defense_options.max_padding_rate, None);
}

#[test]
fn an_ephemeral_defense_is_read_in_any_case_of_its_words() {
    let text = format!(
        "[Interface]\nPrivateKey = {PRIVATE}\n[Peer]\nPublicKey = {PUBLIC}\nDefense = ephemeral\nDefenseTier = Blocking\n\
         DefenseStrength = HIGH\nNegotiation = require\nBundling = Off\nDefenseRole = relay\n\
         DefenseRenewal = 120\nDefenseMaxPaddingFrac = 0.5\nDefenseMaxBlockingFrac = 0.25\nDefenseMaxPaddingRate = 0\n"
    );
    let peer = &parse(&text).unwrap().peers[0];
    let change = peer.defense_change(Defense::in_catalogue).unwrap();
    let expected = EphemeralSettings {
        tier: Tier::Blocking,
        strength: Strength::High,
        negotiation: NegotiationPolicy::Require,
        bundling: false,
        renewal: Duration::from_secs(120),
        limits: Limits {
            max_padding_frac: Fraction::new(0.5),
            max_blocking_frac: Fraction::new(0.25),
            ..Limits { max_padding_rate: Some(0), ..Limits::default() }
        },
        ..EphemeralSettings { role: Some(Role::Relay), ..EphemeralSettings::default() }
    };
    assert_eq!(change, Some(DefenseChange::Ephemeral(expected)));
}

#[test]
fn what_is_wrong_with_a_defense_is_named() {
    for (line, message) in [
        (
            "Defense = Front!",
            "Defense: expected \"off\", \"ephemeral\", the name of a defense (a-z, 0-9 and -), or a path with a / in it, \
             found \"Front!\"",
        ),
        ("DefenseMaxPaddingFrac = 1.5", "DefenseMaxPaddingFrac: expected a number from 0 to 1, found \"1.5\""),
        ("DefenseMaxBlockingFrac = nan", "DefenseMaxBlockingFrac: expected a number from 0 to 1, found \"nan\""),
        ("DefenseRole = server", "DefenseRole: expected \"client\" or \"relay\", found \"server\""),
        ("DefenseRole = relay", "DefenseRole: expected Defense in the same section"),
        ("DefenseMaxPaddingFrac = 0", "DefenseMaxPaddingFrac: expected Defense in the same section"),
        ("DefenseTier = none", "DefenseTier: expected \"size\", \"padding\" or \"blocking\", found \"none\""),
        ("DefenseStrength = max", "DefenseStrength: expected \"low\", \"medium\" or \"high\", found \"max\""),
        ("Negotiation = must", "Negotiation: expected \"require\", \"prefer\" or \"off\", found \"must\""),
        ("Bundling = yes", "Bundling: expected \"on\" or \"off\", found \"yes\""),
        ("DefenseRenewal = 59", "DefenseRenewal: expected seconds, 60 to 604800, found \"59\""),
        ("Negotiation = require", "Negotiation: expected Defense = ephemeral in the same section"),
        ("Bundling = off\nDefense = front", "Bundling: expected Defense = ephemeral in the same section"),
        (
            "DefenseMaxPaddingRate = 4M",
            "DefenseMaxPaddingRate: expected bytes per second, a whole number, 0 for no limit, found \"4M\"",
        ),
        ("DefenseMaxPaddingRate = 1", "DefenseMaxPaddingRate: expected Defense in the same section"),
    ] {
        assert_eq!(peer_error(line), message);
    }
}

#[test]
fn what_is_wrong_with_masking_is_named() {
    let modes = "\"off\", \"adaptive\", \"web\", \"video\", \"voice\", \"gaming\", \"download\" or \"mixed\"";
    let budget = "off, or terms such as 30%,200MB/d";
    for (key, value, expected) in [
        ("Masking", "on", modes),
        ("UploadRatio", "8-3%", "a band of percents, such as 3-8%"),
        ("UploadRatio", "3-8", "a band of percents, such as 3-8%"),
        ("MaskingBudget", "200MB", budget),
        ("MaskingBudget", "30%,30%", budget),
        ("PaddingBudget", "1.5GB/d", budget),
        ("Metered", "yes", "\"on\" or \"off\""),
        ("BatterySaver", "true", "\"on\" or \"off\""),
    ] {
        let error = peer_error(&format!("{key} = {value}\nDefense = front"));
        assert_eq!(error, format!("{key}: expected {expected}, found \"{value}\""));
    }
    let masking = DefenseOptions::SETTINGS.iter().filter(|setting| setting.scope == Scope::Masking);
    for (setting, example) in masking.flat_map(|setting| setting.examples.iter().map(move |example| (setting, example)))
    {
        let line = format!("{} = {example}", setting.key);
        let missing =
            "expected Defense in the same section, such as Defense = ephemeral: masking needs packets of one size";
        assert_eq!(peer_error(&line), format!("{}: {missing}", setting.key));
        let text = |line: &str| format!("[Interface]\nPrivateKey = {PRIVATE}\n[Peer]\nPublicKey = {PUBLIC}\n{line}\n");
        for defense in ["front", "ephemeral", "off"] {
            assert!(parse(text(&format!("{line}\nDefense = {defense}"))).is_ok(), "{line}");
        }
    }
}

#[test]
fn an_mtu_too_small_for_ipv6_is_refused_only_with_ipv6() {
    let text = |address| format!("[Interface]\nMTU = 1279\nPrivateKey = {PRIVATE}\nAddress = {address}\n");
    assert!(parse(text("10.0.0.1/24")).is_ok());
    assert_eq!(
        error(&text("fd00::1/64")),
        "line 2: MTU: expected at least 1280, because the interface has an IPv6 address, found 1279"
    );
}

#[test]
fn keys_that_keep_nothing_secret_are_refused() {
    let zeros = format!("{}=", "A".repeat(43));
    assert_eq!(
        error(&format!("[Interface]\nPrivateKey = {zeros}\n")),
        "line 2: PrivateKey: expected a private key as `wg genkey` gives: this one is all zeros"
    );
    assert_eq!(
        error(&format!("[Interface]\nPrivateKey = {PRIVATE}\n[Peer]\nPublicKey = {zeros}\n")),
        "line 4: PublicKey: expected a public key as `wg pubkey` gives: this one is of small order, and keeps nothing secret"
    );
}

#[test]
fn errors_repeat_no_secret() {
    let secret = &PRIVATE[..43];
    for line in [
        format!("PrivateKye = {PRIVATE}"),
        PRIVATE.to_owned(),
        secret.to_owned(),
        format!("[{secret}]"),
        format!("[{PRIVATE}"),
        format!("ListenPort = {PRIVATE}"),
        format!("PresharedKey = {PRIVATE}"),
        format!("DNS = {PRIVATE}"),
    ] {
        let error = interface_error(&line);
        assert!(!error.contains(&secret[..12]), "{error}");
    }
    for line in
        [format!("PresharedKey = {PRIVATE}A"), format!("Endpoint = {PRIVATE}"), format!("AllowedIPs = {PRIVATE}")]
    {
        let error = peer_error(&line);
        assert!(!error.contains(&secret[..12]), "{error}");
    }
}

#[test]
fn control_characters_are_refused() {
    assert_eq!(interface_error("PostUp = a\u{0}b"), "unexpected control character");
    assert!(parse(format!("[Interface]\nPrivateKey\t=\t{PRIVATE}\nPostUp = a\tb")).is_ok());
}

#[test]
fn a_file_has_a_bound() {
    let text = format!("[Interface]\nPrivateKey = {PRIVATE}\n{}", "#".repeat(MAX_FILE));
    assert_eq!(error(&text), "line 1: the file is longer than 1048576 bytes");
}

/// Lines that are right, wrong, or right elsewhere.
fn line() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec![
        "PrivateKey",
        "ListenPort",
        "FwMark",
        "Address",
        "DNS",
        "MTU",
        "Table",
        "PostUp",
        "SaveConfig",
        "KillSwitch",
        "KillSwitchAllow",
        "PublicKey",
        "PresharedKey",
        "AllowedIPs",
        "Endpoint",
        "PersistentKeepalive",
        "Defense",
        "DefenseMaxPaddingFrac",
        "DefenseMaxPaddingRate",
        "MaxPaddingRate",
        "HandshakesPerSecond",
        "DefenseRole",
        "Other",
    ]);
    let values = prop::sample::select(vec![
        PRIVATE,
        PUBLIC,
        OTHER,
        "51820",
        "off",
        "on",
        "0x1f",
        "10.0.0.1/8",
        "fd00::1/64, 10.0.0.0/8",
        "example.org",
        "auto",
        "true",
        "[fe80::1%eth0]:5",
        "example.org:5",
        "192.0.2.1:5",
        "front",
        "0.25",
        "relay",
        "",
    ]);
    prop_oneof![
        8 => (names, values).prop_map(|(name, value)| format!("{name} = {value}")),
        1 => Just("[Peer]".to_owned()),
        1 => ".{0,40}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn what_parses_and_is_formatted_parses_back_equal(lines in prop::collection::vec(line(), 0..5)) {
        let text = format!("[Interface]\nPrivateKey = {PRIVATE}\n{}\n", lines.join("\n"));
        if let Ok(mut config) = parse(&text) {
            let mut again = parse(format(&config)).unwrap();
            for hook in config.interface.post_up.iter_mut().chain(&mut again.interface.post_up) {
                hook.line = 0;
            }
            prop_assert_eq!(again, config);
        }
    }

    #[test]
    fn any_text_parses_or_is_refused(text in "(.|\n){0,300}") {
        let _ = parse(&text);
    }
}
