use std::os::unix::fs::MetadataExt as _;

use maybetun::config::Config;
use maybetun::keys::{PresharedKey, PrivateKey, PublicKey};
use maybetun::settings::{
    DefenseSettings, DefenseStatistics, DefenseStatus, EphemeralSettings, NegotiationStatus, PeerStatus, Role,
};
use nix::net::if_::if_nametoindex;
use proptest::prelude::*;

use super::*;
use crate::status::tests_support::silent;

const HEAD: &str = "\
# A comment
[Interface]
Address = 10.0.0.1/24,fe80::7/64 # mine
Address = fd00::1/64
DNS = 10.0.0.53, example.org
FwMark = off
PostUp = echo %i
saveconfig = true
ListenPort=51820
PrivateKey = dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=
";

const CLIENT: &str = "
# The relay
[Peer]
PublicKey = AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=
PresharedKey = AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=
AllowedIPs = 0.0.0.0/0,  ::/0
Endpoint = relay.example:51820
PersistentKeepalive = 25
#maybetun: Defense = front
";

const RELAY: &str = "
[Peer] # Alice
PublicKey = AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=
AllowedIPs = 10.0.0.2
Defense = ephemeral

[Peer]
PublicKey = BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ=
AllowedIPs = 10.0.0.2, 10.0.0.3/32
";

/// A tunnel that came up by a file.
struct Tunnel {
    directory: tempfile::TempDir,
    baseline: Baseline,
    status: Status,
    addresses: Vec<IpNet>,
}

impl Tunnel {
    fn up(text: impl AsRef<[u8]>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tunnel = |status| Self {
            directory,
            baseline: Baseline::new(Status::default(), Vec::new()),
            status,
            addresses: Vec::new(),
        };
        let config = config::parse(&text).unwrap();
        let mut tunnel = tunnel(status(&config));
        tunnel.baseline = Baseline::new(tunnel.status.clone(), config.interface.addresses.clone());
        tunnel.addresses = config.interface.addresses;
        // The kernel's own.
        tunnel.addresses.push("fe80::abcd/64".parse().unwrap());
        fs::write(tunnel.path(), text).unwrap();
        tunnel
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("wg0.conf")
    }

    fn down(&self) -> String {
        save(&self.path(), &self.baseline, &self.status, &self.addresses).unwrap();
        fs::read_to_string(self.path()).unwrap()
    }

    fn peer(&mut self) -> &mut PeerStatus {
        &mut self.status.peers[0]
    }
}

/// What a device is set to by a file. A prefix is its last peer's.
fn status(config: &Config) -> Status {
    let mut peers: Vec<PeerStatus> = Vec::new();
    for peer in &config.peers {
        for earlier in &mut peers {
            earlier.allowed_ips.retain(|prefix| !peer.allowed_ips.contains(prefix));
        }
        let role = if peer.endpoint.is_some() { Role::Client } else { Role::Relay };
        let change = peer.defense_change(maybetun::config::Defense::in_catalogue).ok().flatten();
        let (mut defense, mut negotiation) = (None, None);
        match change {
            Some(maybetun::settings::DefenseChange::On(settings)) => defense = Some(running(settings)),
            Some(maybetun::settings::DefenseChange::Ephemeral(settings)) => negotiation = Some(agreed(settings)),
            None | Some(maybetun::settings::DefenseChange::Off | maybetun::settings::DefenseChange::Renew) => {}
        }
        peers.push(PeerStatus {
            preshared_key: peer.preshared_key.clone(),
            endpoint: peer.endpoint.as_ref().map(|_| "192.0.2.1:51820".parse().unwrap()),
            persistent_keepalive: peer.persistent_keepalive.unwrap_or(0),
            allowed_ips: peer.allowed_ips.clone(),
            role: Some(role),
            defense,
            negotiation,
            ..silent(peer.public_key)
        });
    }
    let port = config.interface.listen_port.unwrap_or(0);
    Status {
        private_key: config.interface.private_key.clone(),
        listen_port: if port == 0 { 40_000 } else { port },
        is_port_fixed: port != 0,
        // That of a default route.
        fwmark: config.interface.fwmark.filter(|&mark| mark != 0).unwrap_or(51_820),
        peers,
        ..Status::default()
    }
}

fn running(settings: DefenseSettings) -> DefenseStatus {
    DefenseStatus { settings, statistics: DefenseStatistics::default() }
}

fn agreed(settings: EphemeralSettings) -> NegotiationStatus {
    NegotiationStatus { settings, epoch: None, renewals: 0 }
}

fn front(role: Role) -> DefenseSettings {
    DefenseSettings::of(maybetun_machines::find("front").unwrap(), role)
}

fn files() -> [String; 2] {
    [format!("{HEAD}{CLIENT}"), format!("{HEAD}{RELAY}")]
}

#[test]
fn a_file_of_which_nothing_changed_is_not_touched() {
    for text in files() {
        let mut tunnel = Tunnel::up(&text);
        // What a peer's datagrams tell is no setting.
        if tunnel.peer().role == Some(Role::Relay) {
            tunnel.peer().endpoint = Some("198.51.100.7:1".parse().unwrap());
        }
        let before = fs::metadata(tunnel.path()).unwrap();
        assert_eq!(tunnel.down(), text);
        let after = fs::metadata(tunnel.path()).unwrap();
        assert_eq!((after.ino(), after.modified().unwrap()), (before.ino(), before.modified().unwrap()));
    }
    // Comments may be any bytes.
    let text = [files()[0].as_bytes(), b"# caf\xe9"].concat();
    let tunnel = Tunnel::up(&text);
    save(&tunnel.path(), &tunnel.baseline, &tunnel.status, &tunnel.addresses).unwrap();
    assert_eq!(fs::read(tunnel.path()).unwrap(), text);
}

#[test]
fn what_changed_is_saved_and_nothing_else() {
    let [text, _] = files();
    let saved = |change: &dyn Fn(&mut Tunnel)| {
        let mut tunnel = Tunnel::up(&text);
        change(&mut tunnel);
        tunnel.down()
    };
    let line = |from: &str, to: &str| {
        assert!(text.contains(from));
        text.replace(from, to)
    };
    assert_eq!(saved(&|tunnel| tunnel.status.listen_port = 7), line("ListenPort=51820", "ListenPort=7"));
    assert_eq!(saved(&|tunnel| tunnel.status.is_port_fixed = false), line("ListenPort=51820\n", ""));
    assert_eq!(saved(&|tunnel| tunnel.status.fwmark = 7), line("FwMark = off", "FwMark = 0x7"));
    assert_eq!(saved(&|tunnel| tunnel.peer().persistent_keepalive = 0), line("PersistentKeepalive = 25\n", ""));
    let preshared = "PresharedKey = AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=\n";
    assert_eq!(saved(&|tunnel| tunnel.peer().preshared_key = None), line(preshared, ""));
    let other = PresharedKey::from_bytes(&[9; 32]);
    let expected = line(preshared, &format!("PresharedKey = {}\n", other.to_base64()));
    assert_eq!(saved(&|tunnel| tunnel.peer().preshared_key = Some(other.clone())), expected);
    let private = PrivateKey::from_bytes(&[7; 32]).unwrap();
    let expected = line("dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=", &private.to_base64());
    assert_eq!(saved(&|tunnel| tunnel.status.private_key = Some(private.clone())), expected);
    // Without one, that of the file stays.
    assert_eq!(saved(&|tunnel| tunnel.status.private_key = None), text);
    assert_eq!(
        saved(&|tunnel| tunnel.peer().allowed_ips.retain(|item| item.addr().is_ipv6())),
        line("0.0.0.0/0,  ::/0", "::/0")
    );
    let moved = "Endpoint = 192.0.2.9:9";
    assert_eq!(
        saved(&|tunnel| tunnel.peer().endpoint = Some("192.0.2.9:9".parse().unwrap())),
        line("Endpoint = relay.example:51820", moved)
    );
}

#[test]
fn addresses_are_saved_but_for_those_that_the_kernel_gives_and_takes() {
    let [text, _] = files();
    let with = |addresses: &[&str]| {
        let mut tunnel = Tunnel::up(&text);
        tunnel.addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        tunnel.down()
    };
    // In another order, and with its own.
    assert_eq!(with(&["fe80::abcd/64", "fd00::1/64", "fe80::7/64", "10.0.0.1/24"]), text);
    // Down or too narrow, or up again.
    assert_eq!(with(&["10.0.0.1/24"]), text);
    assert_eq!(with(&["10.0.0.1/24", "fe80::abcd/64"]), text);
    assert_eq!(with(&["10.0.0.1/24", "fd00::1/64"]), text.replace("10.0.0.1/24,fe80::7/64 #", "10.0.0.1/24 #"));
    assert_eq!(with(&["10.0.0.1/24", "fe80::7/64"]), text.replace("Address = fd00::1/64\n", ""));
    let more = text.replace("Address = fd00::1/64\n", "Address = fd00::1/64\nAddress = 10.0.0.9/24\n");
    assert_eq!(with(&["10.0.0.1/24", "fe80::7/64", "fd00::1/64", "10.0.0.9/24"]), more);
}

#[test]
fn peers_come_and_go() {
    let [_, text] = files();
    let mut tunnel = Tunnel::up(&text);
    let added = PeerStatus {
        allowed_ips: vec!["10.0.0.4/32".parse().unwrap()],
        endpoint: Some("198.51.100.7:1".parse().unwrap()),
        role: Some(Role::Relay),
        ..silent(PublicKey::from_bytes(&[5; 32]).unwrap())
    };
    let section = format!("\n[Peer]\nPublicKey = {}\nAllowedIPs = 10.0.0.4/32\n", added.public_key);
    tunnel.status.peers.push(added.clone());
    assert_eq!(tunnel.down(), format!("{text}{section}"));
    // Its endpoint is a setting where it was set.
    let mut tunnel = Tunnel::up(&text);
    tunnel.status.peers.push(PeerStatus { role: Some(Role::Client), ..added });
    assert_eq!(tunnel.down(), format!("{text}{section}Endpoint = 198.51.100.7:1\n"));
    // A prefix of the one that goes does not fall to the one that listed it in vain.
    let mut tunnel = Tunnel::up(&text);
    tunnel.status.peers.pop();
    let alone = text.split("\n[Peer]\nPublicKey = BAQE").next().unwrap().replace("AllowedIPs = 10.0.0.2\n", "");
    assert_eq!(tunnel.down(), alone);
}

#[test]
fn a_prefix_that_moves_is_moved_and_no_other() {
    let [_, text] = files();
    let mut tunnel = Tunnel::up(&text);
    let prefix: IpNet = "10.0.0.3/32".parse().unwrap();
    tunnel.status.peers[1].allowed_ips.retain(|item| *item != prefix);
    tunnel.status.peers[0].allowed_ips.push(prefix);
    let moved = text
        .replace("10.0.0.2, 10.0.0.3/32", "10.0.0.2")
        .replace("= 10.0.0.2\nDef", "= 10.0.0.2\nAllowedIPs = 10.0.0.3/32\nDef");
    assert_eq!(tunnel.down(), moved);
    // What it says makes the same device.
    let peers = |status: &Status| -> Vec<_> { status.peers.iter().map(|peer| peer.allowed_ips.clone()).collect() };
    assert_eq!(peers(&status(&config::parse(&moved).unwrap())), peers(&tunnel.status));
}

#[test]
fn a_relay_stays_one_and_a_client_too() {
    let [client, relay] = files();
    // It was told where its peer is, under a defense that makes it a relay.
    let mut tunnel = Tunnel::up(&relay);
    tunnel.peer().endpoint = Some("198.51.100.7:1".parse().unwrap());
    tunnel.peer().role = Some(Role::Client);
    let told = "Defense = ephemeral\nEndpoint = 198.51.100.7:1\nDefenseRole = relay\n";
    assert_eq!(tunnel.down(), relay.replace("Defense = ephemeral\n", told));
    // Learnt, and a defense set.
    let mut tunnel = Tunnel::up(&relay);
    tunnel.peer().endpoint = Some("198.51.100.7:1".parse().unwrap());
    tunnel.peer().negotiation = None;
    tunnel.peer().defense = Some(running(front(Role::Relay)));
    assert_eq!(tunnel.down(), relay.replace("Defense = ephemeral\n", "Defense = front\n"));
    // Roamed.
    let mut tunnel = Tunnel::up(&client);
    tunnel.peer().endpoint = Some("198.51.100.7:1".parse().unwrap());
    assert_eq!(tunnel.down(), client.replace("relay.example:51820", "198.51.100.7:1"));
}

#[test]
fn a_defense_is_saved_in_the_form_of_the_file_and_its_machines_with_it() {
    let [client, relay] = files();
    let mut tunnel = Tunnel::up(&client);
    tunnel.peer().defense = None;
    assert_eq!(tunnel.down(), client.replace("Defense = front", "Defense = off"));
    let mut tunnel = Tunnel::up(&relay);
    tunnel.peer().negotiation = None;
    assert_eq!(tunnel.down(), relay.replace("Defense = ephemeral", "Defense = off"));
    let mut tunnel = Tunnel::up(&client);
    tunnel.peer().defense = None;
    tunnel.peer().negotiation =
        Some(agreed(EphemeralSettings { role: Some(Role::Relay), ..EphemeralSettings::default() }));
    let said = "#maybetun: Defense = ephemeral\n#maybetun: DefenseRole = relay\n";
    assert_eq!(tunnel.down(), client.replace("#maybetun: Defense = front\n", said));
    let mut tunnel = Tunnel::up(&client);
    let mut unknown = front(Role::Client);
    unknown.name = "mine".to_owned();
    tunnel.peer().defense = Some(running(unknown.clone()));
    assert_eq!(tunnel.down(), client.replace("Defense = front", "Defense = wg0-mine.toml"));
    let text = fs::read_to_string(tunnel.directory.path().join("wg0-mine.toml")).unwrap();
    assert_eq!(DefenseSettings::of(&maybetun_machines::Defense::parse(&text).unwrap(), Role::Client), unknown);
}

#[test]
fn a_zone_is_saved_by_name_or_not_at_all() {
    let loopback = if_nametoindex("lo").unwrap();
    let text = files()[0].replace("relay.example:51820", "[fe80::1%eth9]:51820");
    for (endpoint, saved) in [
        (format!("[fe80::1%{loopback}]:9"), text.replace("%eth9]:51820", "%lo]:9")),
        // No interface has this number.
        (format!("[fe80::1%{}]:9", u32::MAX >> 1), text.clone()),
        ("[2001:db8::1]:9".to_owned(), text.replace("fe80::1%eth9]:51820", "2001:db8::1]:9")),
    ] {
        let mut tunnel = Tunnel::up(&text);
        tunnel.peer().endpoint = Some(endpoint.parse().unwrap());
        assert_eq!(tunnel.down(), saved, "{endpoint}");
    }
}

#[test]
fn what_was_changed_in_the_file_meanwhile_stays() {
    let [text, _] = files();
    let mut tunnel = Tunnel::up(&text);
    tunnel.status.listen_port = 7;
    let theirs = text
        .replace("10.0.0.1/24,fe80::7/64", "10.0.0.99/24")
        .replace("PersistentKeepalive = 25", "PersistentKeepalive = 5")
        + "\n[Peer]\nPublicKey = BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ=\n";
    fs::write(tunnel.path(), &theirs).unwrap();
    assert_eq!(tunnel.down(), theirs.replace("ListenPort=51820", "ListenPort=7"));
}

#[test]
fn a_file_that_is_gone_or_wrong_is_left_as_it_is() {
    let [text, _] = files();
    let mut tunnel = Tunnel::up(&text);
    tunnel.status.listen_port = 7;
    let failed =
        || format!("{:#}", save(&tunnel.path(), &tunnel.baseline, &tunnel.status, &tunnel.addresses).unwrap_err());
    fs::write(tunnel.path(), "[Interface]\nMTU = huge\n").unwrap();
    assert!(failed().contains("line 2: MTU"), "{}", failed());
    assert_eq!(fs::read_to_string(tunnel.path()).unwrap(), "[Interface]\nMTU = huge\n");
    fs::remove_file(tunnel.path()).unwrap();
    assert!(failed().starts_with(&format!("cannot save {}", tunnel.path().display())));
    assert!(!tunnel.path().exists());
}

#[test]
fn a_file_that_cannot_be_replaced_is_known_beforehand() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("wg0.conf");
    fs::write(&file, "").unwrap();
    is_possible(&file).unwrap();
    // Nobody writes to the directory of a process, not even root.
    assert!(is_possible(Path::new("/proc/self/stat")).is_err());
}

proptest! {
    #[test]
    fn what_is_saved_makes_the_device_that_it_was(
        client in any::<bool>(), port in 1..9_u16, keepalive in 0..3_u16, moves in proptest::collection::vec((0..2_usize, 1..5_u8), 0..6),
        peers in 0..3_usize, defense in 0..4_u8,
    ) {
        let [clients, relays] = files();
        let mut tunnel = Tunnel::up(if client { clients } else { relays });
        tunnel.status.listen_port = port;
        tunnel.peer().persistent_keepalive = keepalive;
        match defense {
            0 => (tunnel.peer().defense, tunnel.peer().negotiation) = (None, None),
            1 | 2 => {
                let role = if defense == 1 { Role::Client } else { Role::Relay };
                (tunnel.peer().defense, tunnel.peer().negotiation) = (Some(running(front(role))), None);
            }
            _ => {}
        }
        for (to, last) in moves {
            let prefix: IpNet = format!("10.0.0.{last}/32").parse().unwrap();
            for peer in &mut tunnel.status.peers {
                peer.allowed_ips.retain(|item| *item != prefix);
            }
            if let Some(peer) = tunnel.status.peers.get_mut(to) {
                peer.allowed_ips.push(prefix);
            }
        }
        tunnel.status.peers.truncate(peers);
        let again = status(&config::parse(tunnel.down()).unwrap());
        prop_assert_eq!(again.listen_port, port);
        prop_assert_eq!(again.peers.len(), tunnel.status.peers.len());
        for (now, then) in tunnel.status.peers.iter().zip(&again.peers) {
            let sorted = |peer: &PeerStatus| { let mut ips = peer.allowed_ips.clone(); ips.sort(); ips };
            prop_assert_eq!(sorted(now), sorted(then));
            prop_assert_eq!(now.persistent_keepalive, then.persistent_keepalive);
            prop_assert_eq!(&now.defense, &then.defense);
            prop_assert_eq!(&now.negotiation, &then.negotiation);
            prop_assert_eq!(now.role, then.role);
        }
    }
}
