//! A client that is described by a wg-quick file, and the relay that it names.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::daemon::Implementation;
use crate::host::Host;
use crate::names::{self, interface_name};
use crate::pair::End;
use crate::tunnel::{Config, Keys, PeerConfig};
use crate::wait::eventually;
use crate::wire::{Network, Wire};

/// A host with a wg-quick file in a directory of its own, a wire, and a relay that awaits the client.
#[derive(Debug)]
pub struct ClientFile {
    /// The interface that the file describes.
    pub interface: String,
    /// The client, on which nothing runs yet.
    pub client: Host,
    /// The relay, with 203.0.113.5 and 2001:db8:5::5 for what lies behind it.
    pub relay: End,
    /// The wire; the client is at its left.
    pub wire: Wire,
    directory: TempDir,
}

impl ClientFile {
    /// Starts the relay and writes the file: MTU 1400, addresses 10.9.0.1/24 and fd09::1/64, `more` lines in its
    /// `[Interface]` section, and the given allowed IPs for the relay.
    #[track_caller]
    pub fn new(allowed_ips: &str, more: &str) -> Self {
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
        relay.host.ip("addr add 203.0.113.5/32 dev lo");
        relay.host.ip("addr add 2001:db8:5::5/128 dev lo nodad");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let prepared = Self { interface: interface_name(), client, relay, wire, directory };
        prepared.write(&format!(
            "[Interface]\nPrivateKey = {}\nAddress = 10.9.0.1/24, fd09::1/64\nMTU = 1400\n{more}\n\
             [Peer]\nPublicKey = {}\nAllowedIPs = {allowed_ips}\nEndpoint = 192.0.2.2:51820\n",
            client_keys.private, relay_keys.public
        ));
        prepared
    }

    /// Returns the path of the file.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join(format!("{}.conf", self.interface))
    }

    /// Returns the contents of the file.
    #[track_caller]
    pub fn read(&self) -> String {
        fs::read_to_string(self.path()).expect("the file is there")
    }

    /// Replaces the contents of the file.
    #[track_caller]
    pub fn write(&self, text: &str) {
        fs::write(self.path(), text).expect("the file can be written");
        fs::set_permissions(self.path(), fs::Permissions::from_mode(0o600)).expect("the file is ours");
    }

    /// Waits until the tunnel is up as the file describes it.
    #[track_caller]
    pub fn assert_up(&self) {
        eventually("the interface is up", Duration::from_secs(20), || {
            let links = self.client.ip("-o link show up");
            links.contains(&self.interface) && links.contains("mtu 1400")
        });
        self.client.reaches(&self.relay.v4());
        self.client.reaches(&self.relay.v6());
    }

    /// Waits until nothing of the tunnel is left: no interface, process, socket, rule, route or packet filter.
    #[track_caller]
    pub fn assert_gone(&self) {
        eventually("the interface and its process are gone", Duration::from_secs(20), || {
            !self.client.ip("-o link").contains(&self.interface) && self.client.processes().is_empty()
        });
        let socket = format!("/var/run/wireguard/{}.sock", self.interface);
        eventually("the socket is gone", Duration::from_secs(20), || {
            !fs::exists(&socket).is_ok_and(|is_there| is_there)
        });
        // What a new namespace has: local, main and default for IPv4, local and main for IPv6.
        assert_eq!(self.client.ip("-4 rule").lines().count(), 3, "{}", self.client.ip("-4 rule"));
        assert_eq!(self.client.ip("-6 rule").lines().count(), 2, "{}", self.client.ip("-6 rule"));
        assert_eq!(self.client.run("nft list ruleset").success(), "");
    }
}

impl Drop for ClientFile {
    fn drop(&mut self) {
        // What a process that was killed has left. One that runs still dies with its host.
        names::remove_files(&self.interface, true);
    }
}
