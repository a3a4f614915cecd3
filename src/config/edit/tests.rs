use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::config::{Defense, Endpoint, parse};
use crate::keys::PublicKey;
use crate::settings::Role;

const PRIVATE: &str = "PrivateKey = CAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEA=";
const KEYS: [&str; 3] = [
    "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
    "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",
    "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=",
];

fn changed(text: &str, change: impl FnOnce(&mut Config)) -> String {
    let mut config = parse(text).unwrap();
    change(&mut config);
    String::from_utf8(edit(text.as_bytes(), &config, &Tables::default()).unwrap().to_vec()).unwrap()
}

fn key(index: usize) -> PublicKey {
    PublicKey::from_base64(KEYS[index]).unwrap()
}

#[test]
fn values_change_where_they_stand_and_everything_around_them_stays() {
    let text = format!(
        "# mine\r\n[interface]\r\n  {PRIVATE}\r\n\tlistenport=7   # a port\r\nAddress = fe80::1/64, 10.0.0.1 ,10.0.0.2/8 # three\r\n\r\n\
         # Alice\r\n[Peer]\r\npublickey={}\r\nALLOWEDIPS = 0.0.0.0/0,::/0\r\n# no end",
        KEYS[0]
    );
    let edited = changed(&text, |config| {
        config.interface.listen_port = Some(8);
        config.interface.addresses =
            ["fe80::1/64", "10.0.0.2/8", "fd00::1/64"].map(|item| item.parse().unwrap()).to_vec();
        config.interface.mtu = Some(1_400);
        config.peers[0].endpoint = Some(Endpoint::Host { name: "fe80::2%eth0".to_owned(), port: 9 });
        config.peers[0].allowed_ips.remove(0);
    });
    let expected = text
        .replace("listenport=7", "listenport=8")
        .replace(
            "fe80::1/64, 10.0.0.1 ,10.0.0.2/8 # three\r\n",
            "fe80::1/64, 10.0.0.2/8 # three\r\nAddress = fd00::1/64\r\nMTU = 1400\r\n",
        )
        .replace("0.0.0.0/0,::/0\r\n", "::/0\r\nEndpoint = [fe80::2%eth0]:9\r\n");
    assert_eq!(edited, expected);
}

#[test]
fn peers_come_at_the_end_and_go_with_the_comments_above_them() {
    let [alice, bob, carol] =
        [0, 1, 2].map(|index| format!("# peer {index}\n[Peer]\nPublicKey = {} # key\n# inside\n", KEYS[index]));
    let head = format!("[Interface]\n{PRIVATE}\n");
    let all = format!("{head}\n{alice}\n# apart\n\n{bob}\n{carol}");
    let without = |index: usize| changed(&all, |config| drop(config.peers.remove(index)));
    assert_eq!(without(0), format!("{head}\n# apart\n\n{bob}\n{carol}"));
    assert_eq!(without(1), format!("{head}\n{alice}\n# apart\n\n{carol}"));
    assert_eq!(without(2), format!("{head}\n{alice}\n# apart\n\n{bob}"));
    let added = changed(&head, |config| {
        let mut peer = Peer::new(key(2));
        peer.defense = Some(Defense::Ephemeral);
        config.peers.push(peer);
    });
    assert_eq!(added, format!("{head}\n[Peer]\nPublicKey = {}\nDefense = ephemeral\n", KEYS[2]));
    assert_eq!(changed(&added, |config| config.peers.clear()), head);
}

#[test]
fn a_key_of_ours_is_said_in_the_form_that_the_file_has() {
    let head = format!("[Interface]\n{PRIVATE}\n[Peer]\nPublicKey = {}\n", KEYS[0]);
    let relay = |config: &mut Config| {
        config.peers[0].defense = Some(Defense::Named("front".to_owned()));
        config.peers[0].defense_options.role = Some(Role::Relay);
    };
    assert_eq!(changed(&head, relay), format!("{head}Defense = front\nDefenseRole = relay\n"));
    for (before, after) in [
        ("# maybetun:defense=off # yet\n", "# maybetun:defense=front # yet\n#maybetun: DefenseRole = relay\n"),
        ("#maybetun: Defense = off\nDefenseRole = client\n", "#maybetun: Defense = front\nDefenseRole = relay\n"),
        ("Defense = off\n", "Defense = front\nDefenseRole = relay\n"),
    ] {
        assert_eq!(changed(&format!("{head}{before}"), relay), format!("{head}{after}"));
    }
    let elsewhere = head.replace("[Peer]", "#maybetun: KillSwitch = on\n[Peer]");
    assert!(changed(&elsewhere, relay).ends_with("#maybetun: Defense = front\n#maybetun: DefenseRole = relay\n"));
    assert!(
        changed(&elsewhere, |config| config.peers[0].persistent_keepalive = Some(1))
            .ends_with("\nPersistentKeepalive = 1\n")
    );
    assert_eq!(changed(&elsewhere, |config| config.interface.kill_switch = false), head);
}

#[test]
fn what_no_file_can_say_changes_nothing() {
    let text = format!("[Interface]\n{PRIVATE}\n[Peer]\nPublicKey = {}\n", KEYS[0]);
    let mut config = parse(&text).unwrap();
    config.peers[0].defense = Some(Defense::File("with # hash/x.toml".into()));
    assert!(matches!(edit(text.as_bytes(), &config, &Tables::default()), Err(EditError::Unsayable(_))));
    assert!(matches!(edit(b"[Interfaces]\n", &config, &Tables::default()), Err(EditError::Invalid(_))));
}

#[test]
fn a_blank_line_stays_when_what_stood_behind_it_goes() {
    let text = format!("[Interface]\n{PRIVATE}\nMTU = 1420\n\nListenPort = 7");
    let gone = changed(&text, |config| config.interface.listen_port = None);
    assert_eq!(gone, format!("[Interface]\n{PRIVATE}\nMTU = 1420\n\n"));
}

/// Text around what is said, which says nothing.
fn noise() -> impl Strategy<Value = String> {
    let lines = vec!["", "  ", "# a comment", "\t#", "# [Peer]", "#Endpoint = a:1", "# caf\u{e9}"];
    proptest::collection::vec(select(lines), 0..3)
        .prop_map(|lines| lines.into_iter().map(|line| format!("{line}\n")).collect())
}

/// A line that says `key`, in some spelling.
fn said(key: &'static str, values: &'static [&'static str]) -> impl Strategy<Value = String> {
    let key = select(vec![key.to_owned(), key.to_lowercase(), key.to_uppercase()]);
    let parts =
        (key, select(vec![" = ", "=", "\t=  "]), select(values), select(vec!["", "  ", " # why", "#"]), noise());
    parts.prop_map(|(key, equals, value, after, noise)| format!("{key}{equals}{value}{after}\n{noise}"))
}

/// A line that says `key`, a key of ours, in either form.
fn ours(key: &'static str, values: &'static [&'static str]) -> impl Strategy<Value = String> {
    let marker = select(vec!["", "#maybetun: ", " # MAYBETUN :"]);
    (marker, said(key, values)).prop_map(|(marker, line)| format!("{marker}{line}"))
}

fn interface() -> impl Strategy<Value = String> {
    let lines = (
        said("Address", &["10.0.0.1/24", "fe80::1/64, 10.0.0.2", "fd00::1/64 10.0.0.3/8,fd00::2"]),
        said("ListenPort", &["0", "51820"]),
        said("FwMark", &["off", "0xCA6C", "51820"]),
        said("DNS", &["10.0.0.53", "10.0.0.53, corp.example"]),
        said("Table", &["auto", "off", "77"]),
        said("PostUp", &["echo %i", "x = y; z"]),
        said("SaveConfig", &["true", "FALSE"]),
        ours("KillSwitch", &["on", "off"]),
        ours("KillSwitchAllow", &["192.168.0.0/16", "fd00::1/8, 10.0.0.0/8"]),
    );
    section(
        "[Interface]",
        PRIVATE.to_owned(),
        lines.prop_map(|(a, b, c, d, e, f, g, h, i)| vec![a, b, c, d, e, f, g, h, i]),
    )
}

fn peer(index: usize) -> impl Strategy<Value = String> {
    let lines = (
        said("AllowedIPs", &["", "0.0.0.0/0", "::/0,10.0.0.7/8", "10.1.0.0/16 , fd00::/64"]),
        said("Endpoint", &["relay.example:1", "192.0.2.1:51820", "[fe80::1%eth0]:7", "[fe80::1%3]:7"]),
        said("PersistentKeepalive", &["off", "25", "025"]),
        said("PresharedKey", &["AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM="]),
    );
    section("[PEER]", format!("PublicKey = {}", KEYS[index]), lines.prop_map(|(a, b, c, d)| vec![a, b, c, d]))
        .prop_flat_map(|text| {
            let defense = prop_oneof![
                Just(String::new()),
                (ours("Defense", &["front", "off"]), ours("DefenseRole", &["client", "RELAY"]))
                    .prop_map(|(a, b)| a + &b),
                (ours("Defense", &["ephemeral"]), ours("DefenseTier", &["size"])).prop_map(|(a, b)| a + &b),
            ];
            defense.prop_map(move |defense| format!("{text}{defense}"))
        })
}

fn section(
    header: &'static str,
    first: String,
    lines: impl Strategy<Value = Vec<String>>,
) -> impl Strategy<Value = String> {
    let some = lines.prop_flat_map(|lines| subsequence(lines.clone(), 0..=lines.len()).prop_shuffle());
    (noise(), some, noise())
        .prop_map(move |(above, lines, below)| format!("{above}{header}\n{below}{first}\n{}", lines.concat()))
}

fn file() -> impl Strategy<Value = Vec<u8>> {
    let parts = (interface(), peer(0), peer(1), 0..3_usize, noise(), any::<[bool; 4]>());
    parts.prop_map(|(interface, first, second, peers, noise, [mark, windows, unended, latin])| {
        let peers: String = [first, second].into_iter().take(peers).collect();
        let mut text = format!("{}{interface}{peers}{noise}", if mark { "\u{feff}" } else { "" });
        if unended {
            text.truncate(text.trim_end_matches('\n').len());
        }
        if windows {
            text = text.replace('\n', "\r\n");
        }
        if !latin {
            return text.into_bytes();
        }
        // Bytes that are not UTF-8, in comments only.
        let mut bytes = text.into_bytes();
        while let Some(at) = bytes.windows(2).position(|pair| pair == "\u{e9}".as_bytes()) {
            bytes.splice(at..at + 2, [0xe9]);
        }
        bytes
    })
}

/// Makes a configuration say something else, as a device can be told to.
fn change(config: &mut Config, dice: [u8; 8], donor: &Config) {
    let [interface, address, peers, peer, ips, endpoint, defense, which] = dice;
    if interface % 3 == 0 {
        config.interface.listen_port = donor.interface.listen_port;
        config.interface.fwmark = donor.interface.fwmark;
        config.interface.private_key = donor.interface.private_key.clone();
    }
    if address % 2 == 0 {
        config.interface.addresses = donor.interface.addresses.clone();
    }
    if peers % 3 == 0 {
        config.peers.retain(|peer| peer.public_key != key(usize::from(which % 2)));
    }
    if peers % 4 == 0 {
        let template = donor.peers.first().cloned().unwrap_or(Peer::new(key(2)));
        config.peers.push(Peer { public_key: key(2), ..template });
    }
    let Some(other) = donor.peers.last() else { return };
    for changed in config.peers.iter_mut().take(usize::from(peer % 3)) {
        if ips % 2 == 0 {
            changed.allowed_ips.clone_from(&other.allowed_ips);
        }
        if endpoint % 2 == 0 {
            changed.endpoint.clone_from(&other.endpoint);
            changed.persistent_keepalive = other.persistent_keepalive;
        }
        if defense % 2 == 0 {
            changed.preshared_key.clone_from(&other.preshared_key);
            changed.defense.clone_from(&other.defense);
            changed.defense_options.clone_from(&other.defense_options);
        }
    }
    // A prefix is one peer's: the last that lists it.
    let mut listed = Vec::new();
    for peer in config.peers.iter_mut().rev() {
        peer.allowed_ips.retain(|prefix| !listed.contains(prefix));
        listed.extend_from_slice(&peer.allowed_ips);
    }
}

#[test]
fn a_prefix_that_goes_with_a_peer_is_not_left_to_one_that_listed_it_before() {
    let [one, other] = [KEYS[0], KEYS[1]].map(|key| format!("[Peer]\nPublicKey = {key}\nAllowedIPs = 10.1.0.0/16\n"));
    let text = format!("[Interface]\n{PRIVATE}\n{one}{other}");
    let gone = changed(&text, |config| config.peers.truncate(1));
    assert_eq!(gone, format!("[Interface]\n{PRIVATE}\n[Peer]\nPublicKey = {}\n", KEYS[0]));
}

/// The keys of a section whose meaning is another in the other.
fn differing(one: &Said, other: &Said) -> Vec<&'static str> {
    let keys = one.iter().chain(other).map(|(key, _)| *key);
    keys.filter(|key| values(one, key) != values(other, key)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_file_that_says_what_it_should_stays_as_it_is(file in file()) {
        let config = parse(&file).unwrap();
        prop_assert_eq!(&*edit(&file, &config, &Tables::default()).unwrap(), &file);
    }

    #[test]
    fn a_changed_file_says_what_it_should_and_keeps_every_other_line(
        file in file(), donor in file(), dice in any::<[u8; 8]>(),
    ) {
        let before = parse(&file).unwrap();
        let mut wanted = before.clone();
        change(&mut wanted, dice, &parse(&donor).unwrap());
        let edited = edit(&file, &wanted, &Tables::default()).unwrap();
        prop_assert!(means_the_same(&parse(&*edited).unwrap(), &wanted));
        prop_assert_eq!(&*edit(&edited, &wanted, &Tables::default()).unwrap(), &*edited);

        // Every line that says nothing that changed, of a peer that stayed, is there still, in order.
        let mut changed = differing(&of_interface(&before.interface), &of_interface(&wanted.interface));
        for peer in &before.peers {
            match wanted.peers.iter().find(|other| other.public_key == peer.public_key) {
                Some(other) => changed.extend(differing(&of_peer(peer), &of_peer(other))),
                None => return Ok(()),
            }
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (file, edited) = (text(&file), text(&edited));
        let says = |line: &str, key: &str| {
            let line = line.to_lowercase().replace("# maybetun :", "").replace("#maybetun:", "");
            line.split('=').next().unwrap_or_default().trim() == key.to_lowercase()
        };
        let mut left = edited.lines();
        for line in file.lines().filter(|line| !changed.iter().any(|key| says(line, key))) {
            prop_assert!(left.any(|other| other == line), "lost {line:?} of\n{file}\nin\n{edited}");
        }
    }
}
