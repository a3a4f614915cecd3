//! `SaveConfig` saves what changed while a tunnel was up and nothing else, at both ends; `strip` prints what `wg` takes.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use maybetun_integration_tests::Implementation::Maybetun;
use maybetun_integration_tests::{
    Daemon, Finished, Host, Keys, Network, Wire, eventually, interface_name, maybetun_program, run, status_json,
};
use tempfile::TempDir;

/// An end that a file describes.
struct Side {
    host: Host,
    interface: String,
    directory: TempDir,
}

impl Side {
    fn new() -> Self {
        Self { host: Host::new(), interface: interface_name(), directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join(format!("{}.conf", self.interface))
    }

    fn write(&self, text: &[u8]) {
        fs::write(self.path(), text).unwrap();
        fs::set_permissions(self.path(), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// The file, and what would tell that it was written anew.
    fn read(&self) -> (String, u64, SystemTime) {
        let metadata = fs::metadata(self.path()).unwrap();
        // Comments may be any bytes.
        let text = String::from_utf8_lossy(&fs::read(self.path()).unwrap()).into_owned();
        (text, metadata.ino(), metadata.modified().unwrap())
    }

    fn text(&self) -> String {
        self.read().0
    }

    fn up(&self) -> Daemon {
        let mut command = self.host.command(maybetun_program());
        let daemon = Daemon::spawn(command.arg("up").arg(self.path()), &self.interface);
        eventually("the interface is up", Duration::from_secs(20), || {
            self.host.ip("-o link show up").contains(&self.interface) && daemon.answers_uapi()
        });
        daemon
    }

    fn maybetun(&self, line: &str) -> Finished {
        run(self.host.command(maybetun_program()).args(line.split_whitespace()), "")
    }

    fn status(&self) -> serde_json::Value {
        status_json(&self.host, &self.interface)
    }
}

/// A client and a relay, each with its file and nothing running.
struct Ends {
    client: Side,
    relay: Side,
    _wire: Wire,
}

impl Ends {
    fn new() -> Self {
        let (client, relay) = (Side::new(), Side::new());
        let wire = Wire::between(&client.host, &relay.host, Network::First, 1500);
        let (client_keys, relay_keys) = (Keys::new(), Keys::new());
        let client_text = format!(
            "# The client\r\n[interface]\r\nprivatekey={}\r\n  Address = 10.9.0.1/24,fd09::1/64 # caf\u{e9}\r\n\
             Address=fe80::9/64\r\nMTU = 1400\r\nSaveConfig=TRUE\r\n\r\n# The relay\r\n[PEER]\r\nPublicKey = {}\r\n\
             AllowedIPs = 10.9.0.0/24, fd09::/64,\tfd09::/64\r\nEndpoint = 192.0.2.2:51820\r\n\
             # maybetun:defense = front # padded\r\nPersistentKeepalive = 025",
            client_keys.private, relay_keys.public
        );
        let relay_text = format!(
            "[Interface]\nPrivateKey = {}\nListenPort = 51820\nAddress = 10.9.0.2/24\nAddress = fd09::2/64\nMTU = 1400\n\
             FwMark = off\nSaveConfig = true\n\n# Alice\n[Peer]\nPublicKey = {}\nAllowedIPs = 10.9.0.1, fd09::1/128\nDefense = front\n",
            relay_keys.private, client_keys.public
        );
        let latin: Vec<u8> = client_text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        client.write(&latin);
        relay.write(relay_text.as_bytes());
        Self { client, relay, _wire: wire }
    }

    fn up(&self) -> (Daemon, Daemon) {
        let daemons = (self.client.up(), self.relay.up());
        self.client.host.reaches("10.9.0.2");
        self.client.host.reaches("fd09::2");
        daemons
    }
}

#[test]
fn files_of_tunnels_of_which_nothing_changed_are_not_touched() {
    let ends = Ends::new();
    let before = (ends.client.read(), ends.relay.read());
    let bytes = (fs::read(ends.client.path()).unwrap(), fs::read(ends.relay.path()).unwrap());
    for _ in 0..2 {
        let (client, relay) = ends.up();
        // The relay has learnt where its client is, whose IPv6 addresses the kernel takes off.
        assert!(ends.relay.status()["peers"][0]["endpoint"].is_string());
        ends.client.host.ip(&format!("link set {} down", ends.client.interface));
        client.terminate();
        relay.terminate();
        assert_eq!((ends.client.read(), ends.relay.read()), before);
        assert_eq!((fs::read(ends.client.path()).unwrap(), fs::read(ends.relay.path()).unwrap()), bytes);
    }
}

#[test]
fn a_defense_that_is_switched_and_a_peer_that_comes_are_saved_and_a_relay_stays_one() {
    let ends = Ends::new();
    let (client_before, relay_before) = (ends.client.text(), ends.relay.text());
    let (client, relay) = ends.up();
    let added = Keys::new().public;
    relay.wg(&ends.relay.host, "set", &format!("peer {added} allowed-ips 10.9.0.7/32")).success();
    ends.client.maybetun(&format!("defense {} off", ends.client.interface)).success();
    let key = ends.relay.status()["peers"][0]["public_key"].as_str().unwrap().to_owned();
    ends.relay.maybetun(&format!("defense {} {key} on ephemeral", ends.relay.interface)).success();
    client.terminate();
    relay.terminate();
    assert_eq!(ends.client.text(), client_before.replace("defense = front", "defense = off"));
    let section = format!("\n[Peer]\nPublicKey = {added}\nAllowedIPs = 10.9.0.7/32\n");
    assert_eq!(ends.relay.text(), relay_before.replace("Defense = front", "Defense = ephemeral") + &section);

    // The other way round, and with machines that no file has beside this one.
    let file = ends.relay.directory.path().join("elsewhere");
    fs::create_dir(&file).unwrap();
    fs::write(file.join("mine.toml"), "name = \"mine\"\n").unwrap();
    let saved = (ends.client.text(), ends.relay.text());
    let (client, relay) = (ends.client.up(), ends.relay.up());
    let mine = format!("defense {} {key} on {}", ends.relay.interface, file.join("mine.toml").display());
    ends.relay.maybetun(&mine).success();
    relay.wg(&ends.relay.host, "set", &format!("peer {added} remove")).success();
    client.terminate();
    relay.terminate();
    assert_eq!(ends.client.text(), saved.0);
    let name = format!("{}-mine.toml", ends.relay.interface);
    assert_eq!(ends.relay.text(), relay_before.replace("Defense = front", &format!("Defense = {name}")));
    let relay = ends.relay.up();
    let peer = &ends.relay.status()["peers"][0];
    assert_eq!((&peer["defense"]["name"], &peer["role"]), (&"mine".into(), &"relay".into()), "{peer}");
    relay.terminate();
}

#[test]
fn an_endpoint_that_moved_is_saved_at_the_client_alone() {
    let ends = Ends::new();
    let (client_before, relay_before) = (ends.client.text(), ends.relay.text());
    let (client, relay) = ends.up();
    relay.wg(&ends.relay.host, "set", "listen-port 51999").success();
    eventually("the client hears the relay at its new port", Duration::from_secs(20), || {
        ends.relay.host.count_replies("10.9.0.1", 1);
        ends.client.status()["peers"][0]["endpoint"] == "192.0.2.2:51999"
    });
    client.wg(&ends.client.host, "set", "listen-port 51888").success();
    eventually("the relay hears the client at its new port", Duration::from_secs(20), || {
        ends.client.host.count_replies("10.9.0.2", 1);
        ends.relay.status()["peers"][0]["endpoint"] == "192.0.2.1:51888"
    });
    client.terminate();
    relay.terminate();
    let moved = client_before
        .replace(":51820", ":51999")
        .replace("SaveConfig=TRUE\r\n", "SaveConfig=TRUE\r\nListenPort = 51888\r\n");
    assert_eq!(ends.client.text(), moved);
    assert_eq!(ends.relay.text(), relay_before.replace("51820", "51999"));
    let (client, relay) = ends.up();
    client.terminate();
    relay.terminate();
}

#[test]
fn a_file_on_a_full_disk_stays_as_it_is() {
    let side = Side::new();
    let text = format!("[Interface]\nPrivateKey = {}\nSaveConfig = true\n", Keys::new().private);
    side.write(text.as_bytes());
    let script = "mount -t tmpfs -o size=16k tmpfs /mnt && cp \"$2\" /mnt/ && \
                  { cat /dev/zero > /mnt/full 2> /dev/null; exec \"$1\" up /mnt/\"${2##*/}\"; }";
    let mut command = side.host.command("unshare");
    command.args(["--mount", "bash", "-c", script, "up"]).arg(maybetun_program()).arg(side.path());
    let mut daemon = Daemon::spawn(&mut command, &side.interface);
    eventually("the socket answers", Duration::from_secs(20), || daemon.answers_uapi());
    let place = PathBuf::from(format!("/proc/{}/root/mnt", daemon.id()));
    let disk = fs::File::open(&place).unwrap();
    daemon.wg(&side.host, "set", "listen-port 51888").success();
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    daemon.wait_for_exit();
    let open = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&disk)));
    let names: Vec<_> = fs::read_dir(&open).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(fs::read_to_string(open.join(side.path().file_name().unwrap())).unwrap(), text);
    assert!(daemon.log().contains("cannot save /mnt/"), "{}", daemon.log());
}

#[test]
fn what_is_stripped_is_what_wg_quick_strips_and_wg_takes() {
    let side = Side::new();
    let (own, peer) = (Keys::new(), Keys::new().public);
    let text = format!(
        "# mine \\n\n\n[Interface]\n \tPrivateKey={} # why  \n aDDress = 10.0.0.1/24\nDNS=10.0.0.1\nPostUp = echo a=b\n#MTU = 1\n\
         Table = off\nListenPort = 7\r\nSaveConfig = false\n\n  [peer]\nPublicKey = {peer}\nAllowedIPs = 10.0.0.0/8\n\t",
        own.private
    );
    side.write(text.as_bytes());
    let strip = || side.maybetun(&format!("strip {}", side.path().display())).success();
    let mut wg_quick = side.host.command("wg-quick");
    let theirs = run(wg_quick.arg("strip").arg(side.path()), "").success();
    assert_eq!(strip(), theirs);
    let ours = text
        .replace("Table = off\n", "Table = off\nKillSwitch = off\n # maybetun: MaxPaddingRate = 7\n")
        .replace("AllowedIPs", "#maybetun: Defense = ephemeral\ndefensetier = size # so\nAllowedIPs");
    side.write(ours.as_bytes());
    assert_eq!(strip(), theirs);
    let backend = Daemon::start(Maybetun, &side.host, &side.interface);
    backend.wg_with_input(&side.host, "setconf", "/dev/stdin", &theirs).success();
    assert_eq!(backend.wg(&side.host, "show", "listen-port").success().trim(), "7");
    assert_eq!(backend.wg(&side.host, "show", "allowed-ips").success().trim(), format!("{peer}\t10.0.0.0/8"));
}
