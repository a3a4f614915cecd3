//! SaveConfig: the state of a tunnel, written back to its configuration file.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use ipnet::IpNet;
use maybetun::config::{self, Config, Endpoint, Interface, Peer};
use maybetun::keys::PrivateKey;
use maybetun::settings::{PeerStatus, Status};
use nix::net::if_::if_indextoname;
use nix::unistd::{AccessFlags, access};

use super::saved_defense::saved_defense;
use crate::locate::Source;

/// Mode of the file: it holds keys.
const MODE: u32 = 0o600;

/// What a tunnel is set to when it stops.
#[derive(Debug)]
pub(super) struct Snapshot<'a> {
    /// The file as it was read, for what the device does not know: DNS, the table, the hooks, where defenses are. Its keys
    /// are forgotten.
    pub(super) source: &'a Source,
    /// The state of the device.
    pub(super) status: &'a Status,
    /// The addresses of the interface.
    pub(super) addresses: Vec<IpNet>,
    /// The mark that a default route asked for, which the file should not have.
    pub(super) own_mark: Option<u32>,
}

/// Warns if the file at `path` cannot be replaced when the tunnel stops: later is too late to do anything about it.
pub(super) fn warn_unless_possible(path: &Path) {
    if let Err(error) = is_possible(path) {
        tracing::warn!(
            "SaveConfig will not save {}: its directory cannot be written to ({error}); under maybetun@.service that needs \
             the drop-in save-config.conf",
            path.display()
        );
    }
}

fn is_possible(path: &Path) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    Ok(access(path.parent().unwrap_or(Path::new("/")), AccessFlags::W_OK)?)
}

/// Replaces the file at `path`, whole or not at all.
///
/// # Errors
/// When the file's directory cannot be written to; or when the device has no private key, and the file none to be kept.
pub(super) fn save(path: &Path, snapshot: &Snapshot<'_>) -> anyhow::Result<()> {
    let private_key = match &snapshot.status.private_key {
        Some(key) => key.clone(),
        None => Source::read(path)?.config.interface.private_key,
    };
    replace(path, config::format(&current(snapshot, private_key)).as_bytes())
        .with_context(|| format!("cannot save {}", path.display()))
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

/// Returns the file that makes a tunnel what this one is now.
fn current(snapshot: &Snapshot<'_>, private_key: PrivateKey) -> Config {
    let Snapshot { source, status, addresses, own_mark } = snapshot;
    let mut interface = Interface { private_key, ..source.config.interface.clone() };
    interface.addresses = addresses.to_vec();
    // A port that was drawn would be the same on every network if it were kept.
    interface.listen_port = Some(status.listen_port).filter(|&port| port != 0 && status.is_port_fixed);
    interface.fwmark = Some(status.fwmark).filter(|&mark| mark != 0 && Some(mark) != *own_mark);
    Config { interface, peers: status.peers.iter().map(|status| peer(source, status)).collect() }
}

fn peer(source: &Source, status: &PeerStatus) -> Peer {
    Peer {
        preshared_key: status.preshared_key.clone(),
        allowed_ips: status.allowed_ips.clone(),
        endpoint: status.endpoint.map(lasting),
        persistent_keepalive: Some(status.persistent_keepalive).filter(|&seconds| seconds != 0),
        ..saved_defense(source, status)
    }
}

/// Returns an endpoint as it can be read again after the next boot, which numbers the interfaces anew: a zone by its name.
fn lasting(address: SocketAddr) -> Endpoint {
    let SocketAddr::V6(v6) = address else { return Endpoint::Address(address) };
    let zone = if_indextoname(v6.scope_id()).ok().and_then(|name| name.into_string().ok());
    // A file would take some names for a number, a comment or the end of the address.
    let is_plain = |zone: &String| {
        zone.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte))
            && !zone.bytes().all(|byte| byte.is_ascii_digit())
    };
    match zone.filter(is_plain) {
        Some(zone) => Endpoint::Host { name: format!("{}%{zone}", v6.ip()), port: v6.port() },
        None => Endpoint::Address(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use maybetun::keys::{PresharedKey, PublicKey};
    use maybetun::settings::Statistics;
    use nix::net::if_::if_nametoindex;

    const FILE: &str = "\
[Interface]
Address = 10.0.0.1/24
DNS = 10.0.0.53, example.org
MTU = 1400
Table = 77
PostUp = echo %i
SaveConfig = true
KillSwitch = on
KillSwitchAllow = 192.168.0.0/16, fd00::/8
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
            public_key: PublicKey::from_bytes(&[2; 32]).unwrap(),
            preshared_key: Some(PresharedKey::from_bytes(&[3; 32])),
            endpoint: Some("[2001:db8::1]:51820".parse().unwrap()),
            persistent_keepalive: 25,
            allowed_ips: vec!["10.0.0.2/32".parse().unwrap(), "fd00::/64".parse().unwrap()],
            last_handshake: None,
            last_handshake_age: None,
            statistics: Statistics::default(),
            role: None,
            defense: None,
            negotiation: None,
            protection: None,
        };
        let private_key = PrivateKey::from_base64("dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=").unwrap();
        Status {
            private_key: Some(private_key),
            listen_port: 51_820,
            is_port_fixed: true,
            peers: vec![peer],
            ..Status::default()
        }
    }

    fn saved(status: &Status, own_mark: Option<u32>) -> Config {
        let addresses = vec!["10.0.0.1/24".parse().unwrap()];
        let mut source = Source { path: "/etc/wireguard/wg0.conf".into(), config: config::parse(FILE).unwrap() };
        source.forget_keys();
        let private_key = status.private_key.clone().unwrap();
        current(&Snapshot { source: &source, status, addresses, own_mark }, private_key)
    }

    /// Parses the file as it would be saved, less the line of the hook.
    fn reparsed(config: &Config) -> Config {
        let mut config = config::parse(&config::format(config)).unwrap();
        config.interface.post_up[0].line = 6;
        config
    }

    #[test]
    fn a_state_that_did_not_change_gives_the_same_configuration() {
        let before = config::parse(FILE).unwrap();
        assert_eq!(reparsed(&saved(&status(), None)), before);
    }

    #[test]
    fn what_changed_while_the_tunnel_ran_is_saved() {
        let mut changed = Status { listen_port: 7, ..status() };
        changed.peers[0].endpoint = Some("192.0.2.9:9".parse().unwrap());
        changed.peers[0].preshared_key = None;
        let config = reparsed(&saved(&changed, None));
        assert_eq!(config.interface.listen_port, Some(7));
        assert_eq!(config.peers[0].endpoint, Some(Endpoint::Address("192.0.2.9:9".parse().unwrap())));
        assert_eq!(config.peers[0].preshared_key, None);
        assert_eq!(config.interface.dns_search, ["example.org"]);
        assert!(config.interface.save_config);
    }

    #[test]
    fn a_zone_is_saved_by_name_while_it_has_one() {
        let loopback = if_nametoindex("lo").unwrap();
        let cases = [
            (format!("[fe80::1%{loopback}]:9"), Endpoint::Host { name: "fe80::1%lo".to_owned(), port: 9 }),
            // No interface has this number.
            (format!("[fe80::1%{}]:9", u32::MAX >> 1), Endpoint::Address("[fe80::1%2147483647]:9".parse().unwrap())),
            ("[2001:db8::1]:9".to_owned(), Endpoint::Address("[2001:db8::1]:9".parse().unwrap())),
        ];
        for (endpoint, read_again) in cases {
            let mut changed = status();
            changed.peers[0].endpoint = Some(endpoint.parse().unwrap());
            assert_eq!(reparsed(&saved(&changed, None)).peers[0].endpoint, Some(read_again), "{endpoint}");
        }
    }

    #[test]
    fn a_device_whose_private_key_was_taken_away_leaves_that_of_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("wg0.conf");
        fs::write(&path, FILE).unwrap();
        let mut source = Source::read(&path).unwrap();
        source.forget_keys();
        let status = Status { private_key: None, ..status() };
        save(&path, &Snapshot { source: &source, status: &status, addresses: Vec::new(), own_mark: None }).unwrap();
        let saved = Source::read(&path).unwrap().config;
        assert_eq!(saved.interface.private_key, config::parse(FILE).unwrap().interface.private_key);
        assert_eq!(saved.peers[0].preshared_key, status.peers[0].preshared_key);
    }

    #[test]
    fn a_port_that_nobody_asked_for_is_not_fixed_by_saving_it() {
        let drawn = Status { is_port_fixed: false, ..status() };
        assert_eq!(saved(&drawn, None).interface.listen_port, None);
    }

    #[test]
    fn a_mark_that_was_set_is_kept_and_one_of_our_own_is_not() {
        let marked = Status { fwmark: 51_820, ..status() };
        assert_eq!(saved(&marked, None).interface.fwmark, Some(51_820));
        assert_eq!(saved(&marked, Some(51_820)).interface.fwmark, None);
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
