//! A key that keeps nothing secret is no key: at no door, and nobody is answered in its name.

use std::fs;
use std::net::UdpSocket;
use std::time::Duration;

use maybetun_integration_tests::Implementation::Maybetun;
use maybetun_integration_tests::initiator::key;
use maybetun_integration_tests::initiator::noise::{Identity, Initiation, KeyPair};
use maybetun_integration_tests::{
    Config, Daemon, End, Host, Keys, Network, Wire, ask, dump, errno, interface_name, key_in_hex, maybetun_program, run,
};

const ZERO: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// Points of small order, of each order and in encodings of each kind: as they are, not reduced, with the highest bit set.
const SMALL_ORDER: [&str; 8] = [
    ZERO,
    "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "4Ot6fDtBuK4WVuP68Z/EatoJjeucMrH9hmIFFl9JuAA=",
    "X5yVvKNQjCSx0LFVnIPvWwREXMRYHI6G2CJO3dCfEVc=",
    "7P///////////////////////////////////////38=",
    "7f///////////////////////////////////////38=",
    "7v///////////////////////////////////////38=",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAIA=",
];

const EINVAL: u32 = 22;

#[test]
fn a_file_with_such_a_key_is_wrong() {
    let host = Host::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(format!("{}.conf", interface_name()));
    let keys = Keys::new();
    let assert_refused = |private: &str, public: &str, expected: &str| {
        fs::write(&path, format!("[Interface]\nPrivateKey = {private}\n[Peer]\nPublicKey = {public}\n")).unwrap();
        for command in ["check", "up"] {
            let done = run(host.command(maybetun_program()).arg(command).arg(&path), "");
            assert_eq!(done.code, Some(3), "{private} and {public}: {done:?}");
            assert!(done.stderr.contains(expected), "{done:?}");
        }
    };
    for public in SMALL_ORDER {
        assert_refused(&keys.private, public, ":4: PublicKey: expected a public key");
    }
    for private in [ZERO, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEA="] {
        assert_refused(private, &keys.public, ":2: PrivateKey: expected a private key");
    }
}

#[test]
fn zeros_have_no_public_key() {
    let message = run(std::process::Command::new(maybetun_program()).arg("pubkey"), ZERO).failure();
    assert!(message.contains("expected a private key"), "{message}");
}

#[test]
fn the_configuration_socket_takes_no_such_key() {
    let host = Host::new();
    let daemon = Daemon::start(Maybetun, &host, &interface_name());
    for public in SMALL_ORDER {
        let answer = ask(&daemon, &format!("set=1\npublic_key={}\n\n", key_in_hex(public)));
        assert_eq!(errno(&answer), EINVAL, "{public}");
        daemon.wg(&host, "set", &format!("peer {public} allowed-ips 10.0.0.0/8")).failure();
        let switched = run(host.command(maybetun_program()).args(["defense", daemon.interface(), public, "off"]), "");
        assert_eq!(switched.code, Some(2), "{switched:?}");
    }
    assert_eq!(dump(&host, &daemon), []);
    let own = Keys::new().private;
    daemon.wg_with_input(&host, "set", "private-key /dev/stdin", &own).success();
    let clamped = ask(&daemon, &format!("set=1\nprivate_key={}40\n\n", "0".repeat(62)));
    assert_eq!(errno(&clamped), EINVAL);
    assert_eq!(daemon.wg(&host, "show", "private-key").success().trim(), own);
    // This is how the protocol takes a key away.
    assert_eq!(errno(&ask(&daemon, &format!("set=1\nprivate_key={}\n\n", "0".repeat(64)))), 0);
    assert_eq!(daemon.wg(&host, "show", "private-key").success().trim(), "(none)");
}

#[test]
fn nobody_is_answered_in_the_name_of_such_a_key() {
    let (stranger, relay) = (Host::new(), Host::new());
    let _wire = Wire::between(&stranger, &relay, Network::First, 1500);
    let keys = Keys::new();
    let config = Config { private_key: keys.private, listen_port: 51820, peers: Vec::new() };
    let relay = End::start(relay, Maybetun, config, keys.public.clone(), 2, 1420);
    let socket = stranger.inside(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    socket.connect("192.0.2.2:51820").unwrap();
    let is_answered = |from, patience| {
        socket.set_read_timeout(Some(patience)).unwrap();
        let (initiation, _) = Identity::new(from, key(&keys.public)).initiate(Initiation::honest(), None);
        socket.send(&initiation).unwrap();
        let mut answer = [0; 256];
        socket.recv(&mut answer).is_ok_and(|length| length == 92 && answer[0] == 2)
    };

    for point in SMALL_ORDER {
        relay.wg("set", &format!("peer {point} allowed-ips 10.9.0.1/32")).failure();
        assert!(!is_answered(KeyPair::Claimed(key(point)), Duration::from_secs(1)), "{point} is answered");
    }

    // Who has a private key is: so the initiations are as they should be.
    let caller = Keys::new();
    relay.wg("set", &format!("peer {} allowed-ips 10.9.0.1/32", caller.public)).success();
    assert!(is_answered(KeyPair::Secret(key(&caller.private)), Duration::from_secs(20)));
    assert!(!is_answered(KeyPair::Claimed(key(&caller.public)), Duration::from_secs(1)), "anyone is answered");
}
