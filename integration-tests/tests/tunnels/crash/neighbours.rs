//! Tunnels of one network namespace, and others' rules, keep what is theirs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use maybetun_integration_tests::{ClientFile, Host, Keys, interface_name};

use super::{EVERYTHING, kill, maybetun, rules, up};

/// A second tunnel of the client that takes everything too, and leads nowhere.
struct Second {
    interface: String,
    path: std::path::PathBuf,
    _directory: tempfile::TempDir,
}

impl Second {
    fn new() -> Self {
        let (interface, directory) = (interface_name(), tempfile::tempdir().unwrap());
        let path = directory.path().join(format!("{interface}.conf"));
        let text = format!(
            "[Interface]\nPrivateKey = {}\nAddress = 10.8.0.1/24, fd08::1/64\n[Peer]\nPublicKey = {}\n\
             AllowedIPs = {EVERYTHING}\nEndpoint = 192.0.2.2:9\n",
            Keys::new().private,
            Keys::new().public
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        Self { interface, path, _directory: directory }
    }

    fn up(&self, host: &Host) {
        maybetun(host, &format!("up -d {}", self.path.display())).success();
    }
}

fn down(host: &Host, interface: &str) {
    maybetun(host, &format!("down {interface}")).success();
}

/// Says which way a packet for `address` takes.
fn way(host: &Host, address: &str) -> String {
    let route = host.ip(&format!("route get {address}"));
    route.split(" dev ").nth(1).unwrap().split(' ').next().unwrap().to_owned()
}

/// The rules of either IP version that are not the kernel's.
fn own_rules(host: &Host) -> Vec<String> {
    let all = rules(host).into_iter().flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
    all.filter(|rule| rule.contains("fwmark") || rule.contains("suppress")).collect()
}

fn assert_tunnelled(file: &ClientFile, interface: &str) {
    let local = [file.wire.network.v4(2), file.wire.network.v6(2)].map(|address| address.to_string());
    for address in &local {
        assert_eq!(way(&file.client, address), file.wire.left, "the local network: {:?}", rules(&file.client));
    }
    for address in ["203.0.113.5", "2001:db8:5::5"] {
        assert_eq!(way(&file.client, address), interface, "{:?}", rules(&file.client));
    }
}

#[test]
fn of_two_tunnels_for_everything_each_keeps_its_rules_when_the_other_goes() {
    let (file, second) = (ClientFile::new(EVERYTHING, ""), Second::new());
    let before = rules(&file.client);
    for goes_first in [true, false] {
        let daemon = up(&file, &[]);
        second.up(&file.client);
        assert_eq!(own_rules(&file.client).len(), 8, "{:?}", rules(&file.client));
        assert_tunnelled(&file, &second.interface);
        let (first, last) = match goes_first {
            true => (&file.interface, &second.interface),
            false => (&second.interface, &file.interface),
        };
        down(&file.client, first);
        assert_eq!(own_rules(&file.client).len(), 4, "{:?}", rules(&file.client));
        assert_tunnelled(&file, last);
        down(&file.client, last);
        assert_eq!(rules(&file.client), before);
        drop(daemon);
    }
}

#[test]
fn what_a_dead_tunnel_left_is_told_from_what_its_neighbour_has() {
    let (file, second) = (ClientFile::new(EVERYTHING, ""), Second::new());
    let before = rules(&file.client);
    kill(up(&file, &[]), &file.client);
    // Table and mark of the dead one have no route any more, and are not given out for all that.
    second.up(&file.client);
    let of_both = own_rules(&file.client);
    assert_eq!(of_both.len(), 8, "{of_both:?}");
    assert_eq!(of_both.iter().filter(|rule| rule.contains("0xca6c ")).count(), 4, "{of_both:?}");
    let filters = || file.client.run("nft list tables").success().lines().count();
    assert_eq!(filters(), 2);

    down(&file.client, &file.interface);
    assert_eq!((own_rules(&file.client).len(), filters()), (4, 1));
    assert_tunnelled(&file, &second.interface);
    down(&file.client, &second.interface);
    assert_eq!((rules(&file.client), filters()), (before, 0));
}

#[test]
fn rules_of_others_stay_however_alike() {
    let file = ClientFile::new(EVERYTHING, "");
    let alike = [
        "not fwmark 0xca6c lookup 51820",
        "not fwmark 0xca6c lookup main suppress_prefixlength 0",
        "lookup main suppress_prefixlength 0",
    ];
    for dies in [false, true] {
        let daemon = up(&file, &[]);
        for (version, priority, rule) in [4, 6]
            .into_iter()
            .flat_map(|version| alike.iter().enumerate().map(move |(number, rule)| (version, 100 + number, rule)))
        {
            file.client.ip(&format!("-{version} rule add pref {priority} {rule}"));
        }
        match dies {
            true => kill(daemon, &file.client),
            false => drop_later(daemon),
        }
        down(&file.client, &file.interface);
        assert_eq!(own_rules(&file.client).len(), 6, "{:?}", rules(&file.client));
        for version in [4, 6] {
            (100..103).for_each(|priority| drop(file.client.ip(&format!("-{version} rule del pref {priority}"))));
        }
        file.assert_gone();
    }
}

/// Leaves the process to `down`.
fn drop_later(daemon: maybetun_integration_tests::Daemon) {
    std::mem::forget(daemon);
}
