//! What a file may say of a peer.

use super::dice::Dice;
use super::grammar::{Entry, list};
use super::interface::OWN_KEY;
use super::keys;
use super::known;

/// Draws the entries of a `[Peer]` section, one of which is odd if it is to be.
pub(super) fn entries(dice: &mut Dice, odd: bool) -> Vec<Entry> {
    // Few enough that a peer stands twice now and then.
    let number = 10 + dice.below(12);
    let mut entries = vec![Entry::new("PublicKey", keys::public(number))];
    for _ in 0..if dice.chance(85) { 1 + dice.below(2) } else { 0 } {
        entries.push(Entry::new("AllowedIPs", allowed_ips(dice)));
    }
    if dice.chance(60) {
        entries.push(Entry::new("Endpoint", endpoint(dice)));
    }
    if dice.chance(30) {
        entries.push(Entry::new("PresharedKey", preshared_key(dice)));
    }
    if dice.chance(35) {
        let intervals = ["25", "off", "OFF", "0", "65535", "025", "Off"];
        entries.push(Entry::new("PersistentKeepalive", dice.pick(&intervals)));
    }
    if dice.chance(8) {
        let again = match dice.below(4) {
            0 => Entry::new("PublicKey", keys::public(30)),
            1 => Entry::new("Endpoint", endpoint(dice)),
            2 => Entry::new("PresharedKey", preshared_key(dice)),
            _ => Entry::new("PersistentKeepalive", "7"),
        };
        entries.push(again);
    }
    dice.shuffle(&mut entries);
    if odd {
        let at = dice.below(entries.len() + 1);
        entries.insert(at, odd_entry(dice));
    }
    entries
}

fn preshared_key(dice: &mut Dice) -> String {
    if dice.chance(20) { keys::ZEROS.to_owned() } else { keys::preshared(dice.below(3)) }
}

fn allowed_ips(dice: &mut Dice) -> String {
    list(dice, 1, 4, &[",", ", ", " , ", ",\t"], |dice| {
        let [a, b] = [0; 2].map(|_| dice.below(250));
        match dice.below(16) {
            0 => "0.0.0.0/0".to_owned(),
            1 => "::/0".to_owned(),
            2 => "0.0.0.0/1,128.0.0.0/1".to_owned(),
            3 => "::/1, 8000::/1".to_owned(),
            4 => format!("10.{a}.0.0/16"),
            5 => format!("10.{a}.{b}.7"),
            6 => format!("10.{a}.{b}.9/24"),
            7 => format!("172.16.{a}.0/024"),
            8 => format!("fd{a:02x}::/64"),
            9 => format!("fd{a:02x}::{b:x}"),
            10 => format!("FD{a:02X}:{b:x}::5/48"),
            11 => "10.0.0.0/8".to_owned(),
            12 => "fd00::/8".to_owned(),
            13 => format!("fd{a:02x}::10.1.2.3/128"),
            14 => format!("198.18.{a}.{b}/32"),
            _ => format!("2001:db8:{a:x}::/48"),
        }
    })
}

fn endpoint(dice: &mut Dice) -> String {
    let endpoints = [
        "192.0.2.9:51820",
        "198.51.100.7:1",
        "203.0.113.4:65535",
        "[2001:db8:1::9]:51820",
        "[2001:DB8:2::7]:051820",
        "2001:db8:1::9:51820",
        "[192.0.2.9]:51820",
        "[2001:db8:3::4]:9",
        "192.0.521:4",
        "0xc0000209:5",
        "[fe80::1%up0]:51820",
        "fe80::1%up0:51820",
        "203.0.113.4:0051820",
    ];
    dice.pick(&endpoints).to_owned()
}

fn odd_entry(dice: &mut Dice) -> Entry {
    match dice.below(34) {
        0 => Entry::known("Endpoint", "192.0.2.9:0", known::PORT_ZERO),
        1 => Entry::known("Endpoint", "192.0.2.9:65537", known::PORT_WRAPS),
        2 => Entry::known("Endpoint", "192.0.2.9:domain", known::SERVICE),
        3 => Entry::known("PublicKey", keys::ZEROS, known::WEAK_KEY),
        4 => Entry::known("AllowedIPs", "", known::EMPTY_ALLOWED_IPS),
        5 => Entry::known("AllowedIPs", "+10.3.0.0/16", known::SIGNED_ALLOWED_IPS),
        6 => Entry::known("AllowedIPs", "10.3.0.0/16, -10.3.0.0/16", known::SIGNED_ALLOWED_IPS),
        7 => Entry::mistyped("AllowedIP", "10.0.0.0/8", "AllowedIPs"),
        8 => Entry::mistyped("AlowedIPs", "10.0.0.0/8", "AllowedIPs"),
        9 => Entry::mistyped("EndPiont", "192.0.2.9:1", "Endpoint"),
        10 => Entry::mistyped("PublicKye", keys::public(9), "PublicKey"),
        11 => Entry::mistyped("PreSharedKeys", keys::preshared(1), "PresharedKey"),
        12 => Entry::mistyped("PersistentKeepAlives", "25", "PersistentKeepalive"),
        13 => Entry::mistyped("PersistentKeepalive", "of", "\"off\""),
        14 => Entry::mistyped("KeepAlive", "25", "PersistentKeepalive"),
        15 => Entry::new("AllowedIPs", "10.0.0.0/8,"),
        16 => Entry::new("AllowedIPs", "10.0.0.0/8 10.1.0.0/16"),
        17 => Entry::new("AllowedIPs", "10.0.0.0/33"),
        18 => Entry::new("AllowedIPs", "10.0.0.0/"),
        19 => Entry::new("AllowedIPs", "10.0/16"),
        20 => Entry::new("AllowedIPs", "010.0.0.0/8"),
        21 => Entry::new("AllowedIPs", "10.0.0.0 / 8"),
        22 => Entry::new("AllowedIPs", "10.0.0.0/255.0.0.0"),
        23 => Entry::new("Endpoint", "192.0.2.9"),
        24 => Entry::new("Endpoint", "[2001:db8::1]"),
        25 => Entry::new("Endpoint", "192.0.2.9 : 51820"),
        26 => Entry::new("PersistentKeepalive", "65536"),
        27 => Entry::new("PersistentKeepalive", "-1"),
        28 => Entry::new("PresharedKey", "c2hvcnQ="),
        29 => Entry::new("Address", "10.0.0.1/24"),
        30 => Entry::new("PublicKey", keys::public(OWN_KEY)),
        31 => Entry::new("AllowedIPs", "192.0.2.0/24"),
        32 => Entry::new("AllowedIPs", "fe80::/64, 224.0.0.0/4, ff00::/8"),
        _ => Entry::new("Endpoint", "[::ffff:192.0.2.9]:51820"),
    }
}
