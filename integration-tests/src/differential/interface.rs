//! What a file may say of the interface.

use super::dice::Dice;
use super::grammar::{Entry, list};
use super::keys;
use super::known;

/// Our own key.
pub(super) const OWN_KEY: usize = 1;

/// Draws the entries of an `[Interface]` section, one of which is odd if it is to be.
pub(super) fn entries(dice: &mut Dice, odd: bool) -> Vec<Entry> {
    let mut entries = Vec::new();
    if dice.chance(90) {
        entries.push(Entry::new("PrivateKey", keys::private(OWN_KEY)));
    }
    for _ in 0..dice.below(4) {
        entries.push(Entry::new("Address", addresses(dice)));
    }
    if dice.chance(35) {
        entries.push(Entry::new("ListenPort", dice.pick(&["51820", "0", "051820", "65535", "1"])));
    }
    if dice.chance(25) {
        let marks = ["0", "off", "OFF", "51820", "0xca6c", "0xCA6C", "0077", "4294967295", "0x7", "00"];
        entries.push(Entry::new("FwMark", dice.pick(&marks)));
    }
    for _ in 0..if dice.chance(40) { 1 + dice.below(2) } else { 0 } {
        entries.push(Entry::new("DNS", dns(dice)));
    }
    if dice.chance(40) {
        let sizes = ["1280", "1420", "1400", "9000", "65535", "0x578", "02604", ""];
        entries.push(Entry::new("MTU", dice.pick(&sizes)));
    }
    if dice.chance(30) {
        let tables = [
            "auto",
            "off",
            "1234",
            "0x4d2",
            "02322",
            "main",
            "254",
            "office",
            "7777",
            "0",
            "unspec",
            "default",
            "local",
            "",
            "4294967295",
        ];
        entries.push(Entry::new("Table", dice.pick(&tables)));
    }
    if dice.chance(15) {
        entries.push(Entry::new("SaveConfig", dice.pick(&["true", "false", "TRUE", "False"])));
    }
    for _ in 0..if dice.chance(40) { 1 + dice.below(3) } else { 0 } {
        entries.push(hook(dice));
    }
    if dice.chance(10) {
        repeat(dice, &mut entries);
    }
    dice.shuffle(&mut entries);
    if odd {
        let at = dice.below(entries.len() + 1);
        entries.insert(at, odd_entry(dice));
    }
    entries
}

/// Says once more, and otherwise, what may be said but once.
fn repeat(dice: &mut Dice, entries: &mut Vec<Entry>) {
    let again = match dice.below(5) {
        0 => Entry::new("PrivateKey", keys::private(2)),
        1 => Entry::new("ListenPort", "40000"),
        2 => Entry::new("FwMark", "0x99"),
        3 => Entry::new("MTU", "1300"),
        _ => Entry::new("Table", "auto"),
    };
    entries.push(again);
}

fn addresses(dice: &mut Dice) -> String {
    if dice.chance(4) {
        return String::new();
    }
    list(dice, 1, 2, &[",", ", ", " ", " , ", ",,", "\t"], address)
}

fn address(dice: &mut Dice) -> String {
    let [a, b, c, d] = [0; 4].map(|_| 1 + dice.below(250));
    if dice.chance(60) {
        let lengths = ["", "/32", "/24", "/16", "/8", "/31", "/30", "/25", "/024", "/255.255.255.0", "/255.255.0.0"];
        return format!("10.{a}.{b}.{c}{}", dice.pick(&lengths));
    }
    let lengths = ["", "/128", "/64", "/48", "/127", "/120"];
    let length = dice.pick(&lengths);
    match dice.below(5) {
        0 => format!("fd{a:02x}::{b:x}:{c:x}{length}"),
        1 => format!("FD{a:02X}:0:0:0::{b:X}{length}"),
        2 => format!("fd{a:02x}:0000:0000:0000:0000:0000:0000:{b:04x}{length}"),
        3 => format!("fd{a:02x}::10.{b}.{c}.{d}{length}"),
        _ => format!("fd{a:02x}:{b:x}::1{length}"),
    }
}

fn dns(dice: &mut Dice) -> String {
    if dice.chance(4) {
        return String::new();
    }
    list(dice, 1, 4, &[",", ", ", " ", " , ", ",,", "\t"], |dice| {
        let items = [
            "10.0.0.53",
            "9.9.9.9",
            "fd00::53",
            "FD00::35",
            "2001:db8:0:0::53",
            "::1",
            "fe80::1%up0",
            "9.9.9.9:53",
            "[fd00::53]:53",
            "[fd00::53]",
            "[fd00::1]:853%up0",
            "corp.example",
            "~corp.example",
            "~.",
            "example.",
            "local",
            "EXAMPLE.org",
            "_tcp.example",
            "10.in-addr.arpa",
            "~168.192.in-addr.arpa",
            "bücher.example",
            "xn--bcher-kva.example",
            "a-b.c_d.example",
            "~example.",
        ];
        dice.pick(&items).to_owned()
    })
}

/// A hook that succeeds. What it writes is compared.
fn hook(dice: &mut Dice) -> Entry {
    let key = dice.pick(&["PreUp", "PostUp", "PreDown", "PostDown"]);
    // Ours finds the interface there, without anything.
    // And wireguard-go may still answer when the interface is gone.
    let looks = ["PostUp", "PreDown"].contains(&key);
    let commands = [
        "echo one-%i >>\"$MBT_CALLS\"",
        "echo %i%i %i >> $MBT_CALLS; echo two >> $MBT_CALLS",
        "[[ %i == wg* ]] && echo bash-%i >>$MBT_CALLS",
        "cat <(echo substituted-%i) >>\"$MBT_CALLS\"",
        "x=%i; echo ${x//+([a-z])/L} >> $MBT_CALLS",
        "echo {a,b}{1..3} >>$MBT_CALLS",
        "false || echo or >>$MBT_CALLS",
        "if false; then echo no; fi; echo yes >> $MBT_CALLS",
        "ip addr show dev %i 2>/dev/null | grep -c 'inet6* [1f]' >>$MBT_CALLS || true",
        "echo \"locale $LC_ALL, options $-\" | tr -d c >>$MBT_CALLS",
        "cat >>$MBT_CALLS",
        "echo größe >>$MBT_CALLS",
        "(exit 3) || echo \"status $?\" >>$MBT_CALLS",
        "exit 0",
        "echo $((6*7)) `echo old` 'single %i' \"double %i\" >>$MBT_CALLS",
        "",
    ];
    if key == "PostUp" && dice.chance(25) {
        return Entry::new(key, format!("wg set %i private-key <(echo {})", keys::private(3)));
    }
    let looking = [
        "ip link show %i >/dev/null 2>&1 && echo there >>$MBT_CALLS || echo absent >>$MBT_CALLS",
        "wg show %i >/dev/null 2>&1 && echo answers >>$MBT_CALLS || echo silent >>$MBT_CALLS",
    ];
    Entry::new(key, if looks && dice.chance(30) { dice.pick(&looking) } else { dice.pick(&commands) })
}

fn odd_entry(dice: &mut Dice) -> Entry {
    let key = keys::private(OWN_KEY);
    match dice.below(44) {
        0 => Entry::known("ListenPort", "65537", known::PORT_WRAPS),
        1 => Entry::known("ListenPort", "domain", known::SERVICE),
        2 => Entry::known("ListenPort", "+5", known::SIGN),
        3 => Entry::known("FwMark", "0Xca6c", known::HEX_IN_ANY_CASE),
        4 => Entry::known("PrivateKey", keys::ZEROS, known::WEAK_KEY),
        5 => Entry::known("MTU", "500", known::SMALL_MTU),
        6 => Entry::known("Address", "10.1/16", known::SHORT_ADDRESS),
        7 => Entry::known("DNS", "10.0.0", known::NO_SERVER),
        8 => Entry::known("DNS", dice.pick(&["9.9.9.9, a:b", "9.9.9.9%up0", "."]), known::NO_SERVER),
        9 => Entry::known("Table", "nosuch", known::NO_SUCH_TABLE),
        10 => Entry::known("Table", "OFF", known::WORD_IN_ANY_CASE),
        11 => Entry::known("Table", "Auto", known::WORD_IN_ANY_CASE),
        12 => Entry::mistyped("Adress", "10.0.0.1/24", "Address"),
        13 => Entry::mistyped("PrivatKey", key, "PrivateKey"),
        14 => Entry::mistyped("AllowedIP", "10.0.0.0/8", "AllowedIPs"),
        15 => Entry::mistyped("ListenPorts", "51820", "ListenPort"),
        16 => Entry::mistyped("PostUpp", "true", "PostUp"),
        17 => Entry::mistyped("SaveConfig", "ture", "\"true\""),
        18 => Entry::mistyped("SaveConfig", "flase", "\"false\""),
        19 => Entry::mistyped("DNSS", "9.9.9.9", "DNS"),
        20 => Entry::mistyped("FirewallMark", "1", "FwMark"),
        21 => Entry::new("Address", "10.0.0.256/24"),
        22 => Entry::new("Address", "10.0.0.1/33"),
        23 => Entry::new("Address", "fd00::1/129"),
        24 => Entry::new("Address", "office"),
        25 => Entry::new("ListenPort", ""),
        26 => Entry::new("FwMark", "0x"),
        27 => Entry::new("FwMark", "4294967296"),
        28 => Entry::new("FwMark", "-1"),
        29 => Entry::new("PrivateKey", &key[1..]),
        30 => Entry::new("PrivateKey", ""),
        31 => Entry::new("PrivateKey", keys::unclamped(2)),
        32 => Entry::known("MTU", "huge", known::WRONG_BEFORE_RIGHT),
        33 => Entry::known("MTU", "70000", known::WRONG_BEFORE_RIGHT),
        34 => Entry::new("SaveConfig", ""),
        35 => Entry::new("PublicKey", keys::public(9)),
        36 => Entry::new("PostUp", "false"),
        37 => Entry::new("PreUp", "false; true"),
        38 => Entry::new("PostUp", "false | cat"),
        39 => Entry::new("PreUp", "if"),
        40 => Entry::new("Address", "10.77.0.1/24, 10.77.0.1/24"),
        41 => Entry::new("Address", "10.77.0.1/24, 10.77.0.2/24, 10.77.0.2/16"),
        42 => Entry::new("Address", "192.0.2.77/24"),
        _ => Entry::new("Unheard", "of"),
    }
}
