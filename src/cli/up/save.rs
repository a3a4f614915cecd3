//! SaveConfig: the state of a tunnel, written back to its configuration file.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use ipnet::IpNet;
use maybetun::config::{Config, Dns, Table};
use maybetun::settings::{PeerStatus, Status};
use zeroize::Zeroizing;

/// Mode of the file: it holds keys.
const MODE: u32 = 0o600;

/// What a tunnel is set to when it stops.
#[derive(Debug)]
pub(super) struct Snapshot<'a> {
    /// The file as it was read, for what the device does not know: DNS, the table, the hooks.
    pub(super) config: &'a Config,
    /// The state of the device.
    pub(super) status: &'a Status,
    /// The addresses of the interface.
    pub(super) addresses: &'a [IpNet],
    /// The mark that a default route asked for, which the file should not have.
    pub(super) own_mark: Option<u32>,
}

/// Replaces the file at `path`, whole or not at all.
///
/// # Errors
/// When the file's directory cannot be written to.
pub(super) fn save(path: &Path, snapshot: &Snapshot<'_>) -> anyhow::Result<()> {
    replace(path, render(snapshot).as_bytes()).with_context(|| format!("cannot save {}", path.display()))
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    // Through a link, as from a version-controlled directory, the file itself is replaced.
    let path = fs::canonicalize(path)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = File::options().write(true).create_new(true).mode(MODE).open(&temporary).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| fs::rename(&temporary, &path));
    if renamed.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    renamed
}

fn render(snapshot: &Snapshot<'_>) -> Zeroizing<String> {
    let Snapshot { config, status, addresses, own_mark } = snapshot;
    let mut text = Text::default();
    text.section("Interface");
    text.list("Address", addresses);
    text.list("DNS", &dns(config));
    text.optional("MTU", config.interface.mtu);
    text.optional("Table", table(config));
    for hook in &config.interface.hooks {
        text.line(hook.kind, &hook.command);
    }
    text.line("SaveConfig", true);
    text.optional("ListenPort", Some(status.listen_port).filter(|&port| port != 0));
    let mark = Some(status.fwmark).filter(|&mark| mark != 0 && Some(mark) != *own_mark);
    text.optional("FwMark", mark.map(|mark| format!("{mark:#x}")));
    if let Some(key) = &status.private_key {
        text.line("PrivateKey", Zeroizing::new(key.to_base64()).as_str());
    }
    for peer in &status.peers {
        render_peer(&mut text, peer);
    }
    text.0
}

fn render_peer(text: &mut Text, peer: &PeerStatus) {
    text.section("Peer");
    text.line("PublicKey", peer.public_key);
    if let Some(key) = &peer.preshared_key {
        text.line("PresharedKey", Zeroizing::new(key.to_base64()).as_str());
    }
    text.list("AllowedIPs", &peer.allowed_ips);
    text.optional("Endpoint", peer.endpoint);
    text.optional("PersistentKeepalive", Some(peer.persistent_keepalive).filter(|&seconds| seconds != 0));
}

fn dns(config: &Config) -> Vec<String> {
    let text = |dns: &Dns| match dns {
        Dns::Server(server) => server.to_string(),
        Dns::Search(domain) => domain.clone(),
    };
    config.interface.dns.iter().map(text).collect()
}

fn table(config: &Config) -> Option<String> {
    match config.interface.table {
        Table::Auto => None,
        Table::Off => Some("off".to_owned()),
        Table::Number(number) => Some(number.to_string()),
    }
}

/// A configuration file in the making.
#[derive(Default)]
struct Text(Zeroizing<String>);

impl Text {
    fn section(&mut self, name: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.push(format_args!("[{name}]\n"));
    }

    fn line(&mut self, key: impl std::fmt::Display, value: impl std::fmt::Display) {
        self.push(format_args!("{key} = {value}\n"));
    }

    fn optional(&mut self, key: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.line(key, value);
        }
    }

    fn list(&mut self, key: &str, values: &[impl ToString]) {
        if !values.is_empty() {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            self.line(key, values.join(", "));
        }
    }

    fn push(&mut self, arguments: std::fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = self.0.write_fmt(arguments);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use maybetun::config;
    use maybetun::keys::{PresharedKey, PrivateKey, PublicKey};
    use maybetun::settings::Statistics;

    const FILE: &str = "\
[Interface]
Address = 10.0.0.1/24
DNS = 10.0.0.53, example.org
MTU = 1400
Table = 77
PostUp = echo %i
SaveConfig = true
ListenPort = 51820
PrivateKey = dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=

[Peer]
PublicKey = AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=
PresharedKey = AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=
AllowedIPs = 10.0.0.2/32, fd00::/64
Endpoint = [2001:db8::1]:51820
PersistentKeepalive = 25
";

    fn status() -> Status {
        let peer = PeerStatus {
            public_key: PublicKey::from_bytes([2; 32]),
            preshared_key: Some(PresharedKey::from_bytes([3; 32])),
            endpoint: Some("[2001:db8::1]:51820".parse().unwrap()),
            persistent_keepalive: 25,
            allowed_ips: vec!["10.0.0.2/32".parse().unwrap(), "fd00::/64".parse().unwrap()],
            last_handshake: None,
            last_handshake_age: None,
            statistics: Statistics::default(),
        };
        let private_key = PrivateKey::from_base64("dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=").unwrap();
        Status { private_key: Some(private_key), listen_port: 51_820, peers: vec![peer], ..Status::default() }
    }

    fn rendered(status: &Status, own_mark: Option<u32>) -> String {
        let config = config::parse(FILE).unwrap();
        let addresses = ["10.0.0.1/24".parse().unwrap()];
        render(&Snapshot { config: &config, status, addresses: &addresses, own_mark }).to_string()
    }

    #[test]
    fn a_state_that_did_not_change_gives_the_same_file() {
        assert_eq!(rendered(&status(), None), FILE);
    }

    #[test]
    fn a_mark_that_was_set_is_kept_and_one_of_our_own_is_not() {
        let marked = Status { fwmark: 51_820, ..status() };
        assert!(rendered(&marked, None).contains("\nFwMark = 0xca6c\n"));
        assert_eq!(rendered(&marked, Some(51_820)), FILE);
    }

    #[test]
    fn a_file_is_replaced_whole_and_readable_by_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("wg0.conf"), directory.path().join("link.conf"));
        fs::write(&file, "a longer text that was there before").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        symlink(&file, &link).unwrap();
        replace(&link, b"new").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, MODE);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}
