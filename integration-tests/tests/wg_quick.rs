//! `wg-quick` brings maybetun up and down as it does any other userspace implementation.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use maybetun_integration_tests::{
    Config, End, Finished, Host, Implementation, Keys, Network, PeerConfig, Wire, eventually, interface_name,
    maybetun_program, run,
};
use std::time::Duration;
use tempfile::TempDir;

/// A client's configuration file, and a relay at the other end of a wire.
struct Quick {
    directory: TempDir,
    interface: String,
    client: Host,
    relay: End,
    _wire: Wire,
}

impl Quick {
    fn new(allowed_ips: &str) -> Self {
        let (client, relay) = (Host::new(), Host::new());
        let wire = Wire::between(&client, &relay, Network::First, 1500);
        let (client_keys, relay_keys) = (Keys::new(), Keys::new());
        let relay_config = Config {
            private_key: relay_keys.private,
            listen_port: 51820,
            peers: vec![PeerConfig {
                public_key: client_keys.public,
                preshared_key: None,
                endpoint: None,
                allowed_ips: "10.9.0.1/32, fd09::1/128".to_owned(),
            }],
        };
        let relay = End::start(relay, Implementation::Maybetun, relay_config, relay_keys.public.clone(), 2, 1420);
        let directory = tempfile::tempdir().unwrap();
        let interface = interface_name();
        let quick = Self { directory, interface, client, relay, _wire: wire };
        let text = format!(
            "[Interface]\nPrivateKey = {}\nAddress = 10.9.0.1/24, fd09::1/64\nMTU = 1400\n\n\
             [Peer]\nPublicKey = {}\nAllowedIPs = {allowed_ips}\nEndpoint = 192.0.2.2:51820\n",
            client_keys.private, relay_keys.public
        );
        fs::write(quick.file(), text).unwrap();
        fs::set_permissions(quick.file(), fs::Permissions::from_mode(0o600)).unwrap();
        quick
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join(format!("{}.conf", self.interface))
    }

    /// Runs `wg-quick` as on a machine whose kernel has no WireGuard of its own.
    fn wg_quick(&self, action: &str) -> Finished {
        let script = r#"mount -t tmpfs none /sys/module
            ip() { [[ $* == *"type wireguard"* ]] && return 95; command ip "$@"; }
            export -f ip
            exec wg-quick "$1" "$2""#;
        let mut command = self.client.command("unshare");
        command.args(["--mount", "bash", "-c", script, "wg-quick", action]).arg(self.file());
        run(command.env("WG_QUICK_USERSPACE_IMPLEMENTATION", maybetun_program()), "")
    }

    fn assert_up(&self) {
        self.client.reaches(&self.relay.v4());
        self.client.reaches(&self.relay.v6());
        assert!(self.client.ip(&format!("link show {}", self.interface)).contains("mtu 1400"));
    }

    fn assert_gone(&self) {
        eventually("the interface and its process are gone", Duration::from_secs(20), || {
            !self.client.ip("-o link").contains(&self.interface) && self.client.processes().is_empty()
        });
        let socket = format!("/var/run/wireguard/{}.sock", self.interface);
        eventually("the socket is gone", Duration::from_secs(20), || !fs::exists(&socket).unwrap());
        assert_eq!(self.client.ip("rule").lines().count(), 3, "{}", self.client.ip("rule"));
    }
}

#[test]
fn up_save_and_down() {
    let quick = Quick::new("10.9.0.0/24, fd09::/64");
    quick.wg_quick("up").success();
    quick.assert_up();
    quick.wg_quick("save").success();
    assert!(fs::read_to_string(quick.file()).unwrap().contains("Address = 10.9.0.1/24"));
    quick.wg_quick("strip").success();
    quick.wg_quick("down").success();
    quick.assert_gone();
}

#[test]
fn default_route_and_back() {
    let quick = Quick::new("0.0.0.0/0, ::/0");
    quick.relay.host.ip("addr add 203.0.113.5/32 dev lo");
    quick.wg_quick("up").success();
    quick.assert_up();
    // An address that only the default route covers.
    quick.client.reaches("203.0.113.5");
    assert!(quick.client.ip("route get 203.0.113.5").contains(&quick.interface));
    quick.wg_quick("down").success();
    quick.assert_gone();
}
