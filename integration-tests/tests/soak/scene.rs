//! Who takes part: a client with two uplinks, described by a file, and a relay behind both.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use maybetun_integration_tests::Implementation::Maybetun;
use maybetun_integration_tests::{
    Call, Config, Daemon, End, Host, Keys, PeerConfig, Stream, Uplinks, Wire, eventually, interface_name,
    maybetun_program,
};
use nix::sys::signal::Signal;
use rand_core::RngCore as _;
use rand_xoshiro::Xoshiro256PlusPlus;
use tempfile::TempDir;

/// A guard against hanging.
const PATIENCE: Duration = Duration::from_secs(30);

/// Pause between two blocks of the transfer: some two megabytes a second.
const PACE: Duration = Duration::from_millis(50);

/// The MTU of a wire in bytes, unless a fault sets another.
const MTU: u16 = 1_500;

/// Everything that takes part.
pub(crate) struct Scene {
    /// The client, with two uplinks.
    pub(crate) near: Host,
    /// The client's interface.
    pub(crate) interface: String,
    /// The relay, behind both.
    pub(crate) relay: End,
    /// The uplink that the default routes lead over, 0 or 1.
    pub(crate) uplink: usize,
    /// In what the client's addresses on each uplink end.
    pub(crate) numbers: [u8; 2],
    wires: [Wire; 2],
    allowed_ips: &'static str,
    /// The running client.
    client: Option<Daemon>,
    directory: TempDir,
    /// What the client had before the tunnel was up.
    before: String,
}

impl Scene {
    /// Starts both ends. What the tunnel takes is drawn.
    pub(crate) fn start(rng: &mut Xoshiro256PlusPlus) -> Self {
        let Uplinks { near, far, wires } = Uplinks::new();
        let [client_keys, relay_keys] = [Keys::new(), Keys::new()];
        let config = Config {
            private_key: relay_keys.private,
            listen_port: 51820,
            peers: vec![PeerConfig {
                public_key: client_keys.public,
                preshared_key: None,
                endpoint: None,
                allowed_ips: "10.9.0.1/32".to_owned(),
            }],
        };
        let allowed_ips = ["0.0.0.0/0, ::/0", "10.9.0.0/24"][rng.next_u32() as usize % 2];
        let relay = End::start(far, Maybetun, config, relay_keys.public, 2, 1_420);
        let directory = tempfile::tempdir().unwrap();
        let interface = interface_name();
        let before = configuration(&near);
        let mut scene = Self {
            near,
            interface,
            relay,
            uplink: 0,
            numbers: [1; 2],
            wires,
            allowed_ips,
            client: None,
            directory,
            before,
        };
        let text = format!(
            "[Interface]\nPrivateKey = {}\nAddress = 10.9.0.1/24\nMTU = 1400\n\
             [Peer]\nPublicKey = {}\nAllowedIPs = {allowed_ips}\nEndpoint = {}:51820\n",
            client_keys.private,
            scene.relay.public_key,
            Uplinks::FAR_V4
        );
        fs::write(scene.file(), text).unwrap();
        fs::set_permissions(scene.file(), fs::Permissions::from_mode(0o600)).unwrap();
        scene.up();
        scene
    }

    /// Returns what the tunnel takes.
    pub(crate) fn taken(&self) -> &'static str {
        self.allowed_ips
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join(format!("{}.conf", self.interface))
    }

    /// Starts a call through the tunnel.
    pub(crate) fn call(&self) -> Call {
        Call::start([&self.near, &self.relay.host], [inside(1, 5_004), inside(2, 5_004)])
    }

    /// Starts a transfer from the relay to the client.
    pub(crate) fn transfer(&self) -> Stream {
        Stream::start_paced(&self.relay.host, &self.near, inside(1, 5_000), PACE)
    }

    /// Brings the client up, as the file says, and waits until it is.
    pub(crate) fn up(&mut self) {
        let mut command = self.near.command(maybetun_program());
        let client = Daemon::spawn(command.arg("up").arg(self.file()), &self.interface);
        let client = self.client.insert(client);
        eventually("the client is up", PATIENCE, || {
            assert_eq!(client.exit_status(), None, "the client is not up:\n{}", client.log());
            let addresses = self.near.run(&format!("ip -o -4 addr show dev {} up", self.interface));
            addresses.stdout.contains("10.9.0.1")
        });
    }

    /// Ends the client by a signal.
    pub(crate) fn end_client(&mut self, signal: Signal) {
        let mut client = self.client.take().unwrap();
        client.signal(signal);
        client.wait_for_exit();
    }

    /// Ends the relay by a signal, and starts it again.
    pub(crate) fn restart_relay(&mut self, signal: Signal) {
        self.relay.restart_by(signal);
    }

    /// Has the default routes lead over an uplink.
    pub(crate) fn lead_over(&mut self, uplink: usize) {
        self.wires[uplink].lead_left(&self.near);
        self.uplink = uplink;
    }

    /// Sets an uplink `up` or `down`.
    pub(crate) fn set_link(&self, uplink: usize, state: &str) {
        self.near.ip(&format!("link set {} {state}", self.wires[uplink].left));
    }

    /// Gives the client the addresses that it is to have on an uplink.
    pub(crate) fn address(&self, uplink: usize) {
        self.wires[uplink].renumber_left(&self.near, self.numbers[uplink]);
    }

    /// Has an uplink take packets of `mtu` bytes at most.
    pub(crate) fn set_mtu(&self, uplink: usize, mtu: u16) {
        let Wire { left, right, .. } = &self.wires[uplink];
        self.near.ip(&format!("link set {left} mtu {mtu}"));
        self.relay.host.ip(&format!("link set {right} mtu {mtu}"));
    }

    /// Sets the client's defense by the command.
    pub(crate) fn defend_client(&self, line: &str) {
        let command = format!("{} defense {} {line}", maybetun_program().display(), self.interface);
        self.near.run(&command).success();
    }

    /// Makes the network what it was at first.
    pub(crate) fn calm(&mut self) {
        for uplink in [1, 0] {
            self.numbers[uplink] = 1;
            self.set_mtu(uplink, MTU);
            self.address(uplink);
            self.lead_over(uplink);
        }
    }

    /// Takes the client down, and panics if anything of it is left.
    pub(crate) fn end(mut self) {
        let down = format!("{} down {}", maybetun_program().display(), self.interface);
        self.near.run(&down).success();
        self.client.take().unwrap().wait_for_exit();
        eventually("no process is left", PATIENCE, || self.near.processes().is_empty());
        for end in ["sock", "running"] {
            let path = format!("/var/run/wireguard/{}.{end}", self.interface);
            assert!(!fs::exists(&path).unwrap(), "{path} is left");
        }
        assert_eq!(configuration(&self.near), self.before);
    }
}

fn inside(number: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 9, 0, number], port))
}

/// Returns the links, rules, routes and packet filters of a host.
fn configuration(host: &Host) -> String {
    let mut lines = Vec::new();
    for what in ["-4 rule", "-6 rule", "-4 route show table all", "-6 route show table all"] {
        // The kernel gives a link its own addresses a moment after it is up.
        let is_kernels = |line: &&str| line.contains(" fe80:") || line.contains(" ff00:");
        lines.extend(host.ip(what).lines().filter(|line| !is_kernels(line)).map(|line| line.trim_end().to_owned()));
    }
    lines.extend(host.ip("-o link").lines().map(|line| line.split(':').nth(1).unwrap_or_default().trim().to_owned()));
    lines.sort();
    lines.join("\n") + "\n" + &host.run("nft list ruleset").success()
}
