//! An endpoint with a zone, a link-local address on one of several links, keeps it wherever it goes.

use std::time::Duration;

use maybetun_integration_tests::Implementation::Maybetun;
use maybetun_integration_tests::{
    ClientFile, Daemon, Finished, Host, Keys, Network, Setup, Wire, eventually, maybetun_program, run, shown_peer,
    status_json,
};

const INNER: &str = "10.9.0.0/24, fd09::/64";

/// The MTU of the link that does not lead to the relay.
const LESS: u16 = 1_400;

/// A client on two links, with the same neighbor's address on each: `fe80::2` is the relay on one of them alone.
struct Links {
    file: ClientFile,
    other: Wire,
    _neighbor: Host,
}

impl Links {
    fn new(more: &str) -> Self {
        let file = ClientFile::new(INNER, more);
        let neighbor = Host::new();
        let other = Wire::between(&file.client, &neighbor, Network::Second, LESS);
        give_link_local(&file.client, &file.wire, &file.relay.host);
        give_link_local(&file.client, &other, &neighbor);
        // Without a zone the address is the neighbor's.
        file.client.ip(&format!("route add fe80::/64 dev {} metric 1", other.left));
        // One of several peers is sent to by a socket of its own.
        let stranger = Keys::new().public;
        let relay = &file.relay;
        relay.daemon.wg(&relay.host, "set", &format!("peer {stranger} allowed-ips 10.9.0.9/32")).success();
        Self { file, other, _neighbor: neighbor }
    }

    /// Starts a tunnel whose endpoint has this zone.
    fn up(&self, zone: &str) -> Daemon {
        let text = self.file.read().replace("192.0.2.2:51820", &format!("[fe80::2%{zone}]:51820"));
        self.file.write(&text);
        let mut command = self.file.client.command(maybetun_program());
        Daemon::spawn(command.arg("up").arg(self.file.path()), &self.file.interface)
    }

    fn maybetun(&self, line: &str) -> Finished {
        run(self.file.client.command(maybetun_program()).args(line.split_whitespace()), "")
    }

    fn endpoint(&self) -> String {
        format!("[fe80::2%{}]:51820", index(&self.file.client, &self.file.wire.left))
    }
}

fn give_link_local(left: &Host, wire: &Wire, right: &Host) {
    left.ip(&format!("addr add fe80::1/64 dev {} nodad", wire.left));
    right.ip(&format!("addr add fe80::2/64 dev {} nodad", wire.right));
}

fn index(host: &Host, interface: &str) -> String {
    let line = host.ip(&format!("-o link show dev {interface}"));
    line.split(':').next().unwrap().to_owned()
}

#[test]
fn in_a_file_by_number_or_name_and_at_the_peer_that_learns_it() {
    for more in ["", "KillSwitch = on\n"] {
        for by_name in [false, true] {
            let links = Links::new(more);
            let Links { file, .. } = &links;
            let wire = &file.wire;
            let daemon = links.up(&if by_name { wire.left.clone() } else { index(&file.client, &wire.left) });
            file.assert_up();
            let expected = links.endpoint();
            assert_eq!(status_json(&file.client, &file.interface)["peers"][0]["endpoint"], expected);
            let text = links.maybetun(&format!("status {}", file.interface)).success();
            assert!(text.contains(&format!("endpoint: {expected}\n")), "{text}");
            let learnt = status_json(&file.relay.host, file.relay.daemon.interface());
            let own = format!("%{}]:", index(&file.relay.host, &wire.right));
            let is_learnt = |peer: &serde_json::Value| peer["endpoint"].as_str().is_some_and(|at| at.contains(&own));
            assert!(learnt["peers"].as_array().unwrap().iter().any(is_learnt), "{learnt}");
            daemon.terminate();
        }
    }
}

#[test]
fn in_the_file_that_is_saved_as_it_stands_there_or_by_the_name_that_outlives_a_boot() {
    let links = Links::new("SaveConfig = true\n");
    let file = &links.file;
    for zone in [&index(&file.client, &file.wire.left), &file.wire.left] {
        let before = file.read();
        let daemon = links.up(zone);
        let written = file.read();
        file.assert_up();
        daemon.terminate();
        assert_eq!(file.read(), written);
        file.write(&before);
    }
    // One that was set is a number to the device. Nothing more is heard that would have it roam.
    let daemon = links.up(&file.wire.left);
    file.assert_up();
    file.relay.host.ip(&format!("link set {} down", file.wire.right));
    let change = format!("peer {} endpoint {}", file.relay.public_key, links.endpoint().replace("51820", "51821"));
    daemon.wg(&file.client, "set", &change).success();
    daemon.terminate();
    let saved = format!("Endpoint = [fe80::2%{}]:51821\n", file.wire.left);
    assert!(file.read().contains(&saved), "{}", file.read());
}

#[test]
fn in_the_search_for_the_mtu() {
    let links = Links::new("");
    let file = &links.file;
    file.write(&file.read().replace("MTU = 1400\n", ""));
    let with_endpoints = file.read();
    for (interface, mtu) in [(&file.wire.left, 1_500 - 80), (&links.other.left, LESS - 80)] {
        file.write(&with_endpoints);
        let daemon = links.up(interface);
        eventually("the interface is up", Duration::from_secs(20), || {
            file.client.ip("-o link show up").contains(&file.interface)
        });
        let link = file.client.ip(&format!("-o link show dev {}", file.interface));
        assert!(link.contains(&format!("mtu {mtu} ")), "by {interface}: {link}");
        daemon.terminate();
    }
}

#[test]
fn on_the_configuration_socket() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    let (client, relay, wire) = (&pair.client, &pair.relay, &pair.wire);
    give_link_local(&client.host, wire, &relay.host);
    client.host.reaches(&relay.v4());
    for zone in [&wire.left, &index(&client.host, &wire.left)] {
        let change = format!("peer {} endpoint [fe80::2%{zone}]:51820", relay.public_key);
        client.daemon.wg(&client.host, "set", &change).success();
        client.host.reaches(&relay.v4());
        let expected = format!("[fe80::2%{}]:51820", index(&client.host, &wire.left));
        assert_eq!(shown_peer(client)["endpoint"], expected);
        let shown = client.daemon.wg(&client.host, "show", "endpoints").success();
        assert!(shown.contains(&format!("[fe80::2%{}]:51820", wire.left)), "{shown}");
    }
}
