//! Configuration files: where one is, and what it says.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use maybetun::config::{self, Config, Names};
use maybetun::keys::PublicKey;
use zeroize::Zeroizing;

use super::defense::check;
use super::exit::{Exit, Failure, OrExit as _};
use super::interface;
use super::network::tables;

/// Where a configuration that is given by its name is.
const DIRECTORY: &str = "/etc/wireguard";

/// How the name of a configuration file ends.
const EXTENSION: &str = "conf";

/// Permission bits of those who are neither the owner nor in the group.
const WORLD: u32 = 0o007;

/// A configuration file that was read.
#[derive(Debug)]
pub(crate) struct Source {
    /// Where it is; absolute.
    pub(crate) path: PathBuf,
    /// What it says.
    pub(crate) config: Config,
    /// Which keys it gave, once they are forgotten.
    pub(crate) gave: KeysGiven,
}

/// Which keys a file gave, without the keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KeysGiven {
    pub(crate) private_key: bool,
    /// The peers of which it gave a preshared key.
    pub(crate) preshared_keys: HashSet<PublicKey>,
}

impl KeysGiven {
    pub(crate) fn by(config: &Config) -> Self {
        let peers = config.peers.iter().filter(|peer| peer.preshared_key.is_some());
        Self {
            private_key: config.interface.private_key.is_some(),
            preshared_keys: peers.map(|peer| peer.public_key).collect(),
        }
    }
}

impl Source {
    /// Reads the configuration that `given` names: a path, or a name for `/etc/wireguard/NAME.conf`.
    /// Warns if everyone can read it.
    ///
    /// # Errors
    /// When it cannot be read, or is wrong; the message names file, line and key.
    pub(crate) fn read(given: &Path) -> anyhow::Result<Self> {
        Ok(Self::read_text(given)?.0)
    }

    /// Does the same, and returns the text too.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn read_text(given: &Path) -> anyhow::Result<(Self, Zeroizing<Vec<u8>>)> {
        let given = locate(given);
        let unreadable = || format!("cannot read {}", given.display());
        let path = std::path::absolute(&given).or_exit(Exit::Config, unreadable())?;
        let text = read_bounded(&path).or_exit(Exit::Config, unreadable())?;
        if fs::metadata(&path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & WORLD != 0) {
            tracing::warn!("{} holds keys, but is accessible to everyone: chmod 600 it", path.display());
        }
        let directory = path.parent().unwrap_or(Path::new("/"));
        let names = Names { tables: &tables::of_host(), check_defense: &|defense| check(defense, directory) };
        let config = config::parse_with(&text, names).map_err(|error| {
            let key = error.key.map(|key| format!("{key}: ")).unwrap_or_default();
            Failure::error(Exit::Config, format!("{}:{}: {key}{}", given.display(), error.line, error.message))
        })?;
        Ok((Self { path, config, gave: KeysGiven::default() }, text))
    }

    /// Forgets the keys, for when a device has them: those that it forgets are not to stay here.
    pub(crate) fn forget_keys(&mut self) {
        self.gave = KeysGiven::by(&self.config);
        self.config.interface.private_key = None;
        for peer in &mut self.config.peers {
            peer.preshared_key = None;
        }
    }

    /// Returns the directory that paths in the file are relative to.
    pub(crate) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// Returns the interface that the file is named for, as `wg0` is `wg0.conf`'s.
    ///
    /// # Errors
    /// When the file's name gives no interface name.
    pub(crate) fn interface(&self) -> anyhow::Result<String> {
        interface_of(&self.path)
    }
}

/// Returns the interface that a file is named for, as `wg0` is `wg0.conf`'s.
///
/// # Errors
/// When the file's name gives no interface name.
pub(crate) fn interface_of(path: &Path) -> anyhow::Result<String> {
    let is_named_so = path.extension().is_some_and(|extension| extension == EXTENSION);
    let stem = path.file_stem().and_then(|stem| stem.to_str()).filter(|_| is_named_so);
    let name = stem.map(interface::parse_name);
    let Some(Ok(name)) = name else {
        let message = format!(
            "{} is not named IFACE.conf with at most 15 of a-z A-Z 0-9 _=+.-: say --name IFACE",
            path.display()
        );
        return Err(Failure::error(Exit::Usage, message));
    };
    Ok(name)
}

/// Room that a buffer has to have left, in bytes: with less, the standard library reads to the stack, to see whether more
/// comes (`default_read_to_end`, whose `PROBE_SIZE` this is).
const PROBE: usize = 32;

/// Reads a file to its end, or a little beyond the size that the parser takes.
pub(crate) fn read_bounded(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let limit = config::MAX_FILE + 1;
    let file = File::open(path)?;
    // Room for all of it at once: a buffer that grew would leave copies of keys behind.
    let size = file
        .metadata()
        .ok()
        .filter(fs::Metadata::is_file)
        .map_or(limit, |metadata| usize::try_from(metadata.len()).unwrap_or(limit));
    let mut text = Zeroizing::new(Vec::with_capacity(size.min(limit) + PROBE));
    file.take(limit as u64).read_to_end(&mut text)?;
    Ok(text)
}

/// Returns the file that `given` names. What has a `/` or ends in `.conf` is a path; anything else is a name.
pub(crate) fn locate(given: &Path) -> PathBuf {
    let has_directory = given.components().count() != 1 || given.has_root();
    if has_directory || given.extension().is_some_and(|extension| extension == EXTENSION) {
        return given.to_owned();
    }
    let mut file = given.as_os_str().to_owned();
    file.push(".");
    file.push(EXTENSION);
    Path::new(DIRECTORY).join(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_up_where_wg_quick_does() {
        assert_eq!(locate(Path::new("wg0")), Path::new("/etc/wireguard/wg0.conf"));
        assert_eq!(locate(Path::new("wg.office")), Path::new("/etc/wireguard/wg.office.conf"));
    }

    #[test]
    fn a_path_is_taken_as_it_is() {
        for path in ["./wg0", "wg0.conf", "/tmp/wg0.conf", "conf/wg0", "../x", "/dev/stdin"] {
            assert_eq!(locate(Path::new(path)), Path::new(path));
        }
    }

    #[test]
    fn a_file_that_is_wrong_is_named_with_line_and_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("wg0.conf");
        fs::write(&path, "[Interface]\nMTU = huge\n").unwrap();
        let error = Source::read(&path).unwrap_err();
        assert_eq!(crate::exit::of(&error), Exit::Config);
        let place = format!("{}:2: MTU: ", path.display());
        assert!(error.to_string().starts_with(&place), "{error}");
    }

    #[test]
    fn an_interface_is_named_for_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let named = |name: &str| {
            let path = directory.path().join(name);
            fs::write(&path, "[Interface]\nPrivateKey = dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=\n").unwrap();
            Source::read(&path).unwrap().interface()
        };
        assert_eq!(named("wg.office.conf").unwrap(), "wg.office");
        for name in ["wg0.txt", "a-name-that-is-too-long.conf", "wg 0.conf"] {
            assert_eq!(crate::exit::of(&named(name).unwrap_err()), Exit::Usage, "{name}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_a_configuration_failure() {
        let error = Source::read(Path::new("/no/such/file.conf")).unwrap_err();
        assert_eq!(crate::exit::of(&error), Exit::Config);
        assert_eq!(error.to_string(), "cannot read /no/such/file.conf");
    }
}
