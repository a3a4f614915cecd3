//! wg-quick files: what they can say, [`parse`] and [`format`](format()); [`edit()`], which changes a file, and [`strip()`].
//!
//! The files are those of `wg-quick(8)`: what it takes is taken, and means the same, but for what `docs/wg-quick.md` lists.
//! What it would hand on to fail later is an error that names the line.

mod defense;
mod dns;
mod document;
mod domain;
mod edit;
mod endpoint;
mod error;
mod format;
mod key;
mod marker;
mod parse;
mod strip;
mod suggestion;
mod tables;
mod value;

use std::io;
use std::net::SocketAddr;

use ipnet::IpNet;

pub use defense::Defense;
pub use dns::DnsServer;
pub use edit::{EditError, edit};
pub use endpoint::Endpoint;
pub use error::ConfigError;
pub use format::format;
pub use key::Live;
pub use parse::{MAX_FILE, Names, parse, parse_with};
pub use strip::strip;
pub use suggestion::resembling;
pub use tables::Tables;
pub use value::MIN_MTU_IPV6;

use crate::keys::{PresharedKey, PrivateKey, PublicKey};
use crate::settings::{
    AllowedIpChange, DefenseChange, DefenseOptions, DefenseSettings, EphemeralSettings, PeerUpdate, Role, Update,
};

/// A wg-quick file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The `[Interface]` section.
    pub interface: Interface,
    /// The `[Peer]` sections, in order; no two have the same public key.
    pub peers: Vec<Peer>,
}

impl Config {
    /// Returns the peers that a device takes. One with our own key is none: a device passes it over.
    pub fn others(&self) -> impl Iterator<Item = &Peer> {
        let own = self.interface.private_key.as_ref().map(PrivateKey::public_key);
        self.peers.iter().filter(move |peer| Some(peer.public_key) != own)
    }
}

/// The `[Interface]` section.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// `PrivateKey`; `None` if it comes from elsewhere, as from a hook.
    pub private_key: Option<PrivateKey>,
    /// `ListenPort`; `None` or 0 asks for any free one.
    pub listen_port: Option<u16>,
    /// `FwMark`; `None` if the file does not say, 0 if it says `off`.
    pub fwmark: Option<u32>,
    /// `Address`: the addresses of the interface, with their host bits.
    pub addresses: Vec<IpNet>,
    /// `DNS`, as far as it lists servers.
    pub dns_servers: Vec<DnsServer>,
    /// `DNS`, as far as it lists search domains; one with a `~` before it is only for routing, as systemd-resolved has it.
    pub dns_search: Vec<String>,
    /// `MTU`, 576 to 65535 bytes, and at least 1280 if there is an IPv6 address.
    pub mtu: Option<u16>,
    /// `Table`.
    pub table: Table,
    /// `MaxPaddingRate`: bytes a second that padding to all peers together may take; 0 is no limit. `None` is the
    /// device's default.
    pub max_padding_rate: Option<u64>,
    /// `HandshakesPerSecond`: handshake messages a second from which on the interface is under load; 0 is always. `None`
    /// has it follow from the number of peers.
    pub handshakes_per_second: Option<u64>,
    /// `PreUp`: commands to run before the interface is up.
    pub pre_up: Vec<Hook>,
    /// `PostUp`: commands to run after the interface is up.
    pub post_up: Vec<Hook>,
    /// `PreDown`: commands to run before the interface is down.
    pub pre_down: Vec<Hook>,
    /// `PostDown`: commands to run after the interface is down.
    pub post_down: Vec<Hook>,
    /// `SaveConfig`: whether what changed while the interface was up is saved to the file when it goes down.
    pub save_config: bool,
    /// `KillSwitch`: whether nothing but the tunnel may leave the machine, while it is up and after it died.
    pub kill_switch: bool,
    /// `KillSwitchAllow`: the networks that the kill switch lets through all the same, without host bits; none of them is
    /// a whole address family.
    pub kill_switch_allow: Vec<IpNet>,
}

impl Interface {
    /// Returns a section that says nothing but the private key.
    pub fn new(private_key: PrivateKey) -> Self {
        Self { private_key: Some(private_key), ..Self::default() }
    }

    /// Tells whether the file asks for any command to be run.
    pub fn has_hooks(&self) -> bool {
        [&self.pre_up, &self.post_up, &self.pre_down, &self.post_down].iter().any(|hooks| !hooks.is_empty())
    }
}

/// Where the routes to the peers' allowed IPs go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Table {
    /// The main table, with rules for a default route: `auto`, or not said.
    #[default]
    Auto,
    /// Nowhere: `off`.
    Off,
    /// The table of this number, 1 to 4294967295.
    Number(u32),
}

/// A command of the user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The line of the file, counted from 1.
    pub line: usize,
    /// The command for the shell, with `%i` standing for the interface's name.
    pub command: String,
}

/// A `[Peer]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// `PublicKey`.
    pub public_key: PublicKey,
    /// `PresharedKey`; `None` also if the file gives a key of zeros.
    pub preshared_key: Option<PresharedKey>,
    /// `AllowedIPs`, without host bits.
    pub allowed_ips: Vec<IpNet>,
    /// `Endpoint`.
    pub endpoint: Option<Endpoint>,
    /// `PersistentKeepalive` in seconds; `None` if the file does not say, 0 if it says `off`.
    pub persistent_keepalive: Option<u16>,
    /// `Defense`.
    pub defense: Option<Defense>,
    /// The keys of that defense.
    pub defense_options: DefenseOptions,
}

impl Peer {
    /// Returns a section that says nothing but the public key.
    pub fn new(public_key: PublicKey) -> Self {
        Self {
            public_key,
            preshared_key: None,
            allowed_ips: Vec::new(),
            endpoint: None,
            persistent_keepalive: None,
            defense: None,
            defense_options: DefenseOptions::default(),
        }
    }

    /// Returns what becomes of the peer's defense; `None` if the file does not say. `find` is asked for the defense.
    ///
    /// # Errors
    /// When `find` fails.
    pub fn defense_change(
        &self,
        find: impl FnOnce(&Defense) -> io::Result<maybetun_machines::Defense>,
    ) -> Result<Option<DefenseChange>, DefenseNotFound> {
        let Some(defense) = &self.defense else { return Ok(None) };
        if *defense == Defense::Off {
            return Ok(Some(DefenseChange::Off));
        }
        if *defense == Defense::Ephemeral {
            return Ok(Some(DefenseChange::Ephemeral(self.ephemeral())));
        }
        let found = find(defense).map_err(|source| DefenseNotFound { public_key: self.public_key, source })?;
        let settings = DefenseSettings::of(&found, self.role());
        let options = &self.defense_options;
        Ok(Some(DefenseChange::On(settings.limited(options.limits()).masked(options.masking()))))
    }

    /// Returns which end we are.
    fn role(&self) -> Role {
        self.defense_options.role.unwrap_or_else(|| self.usual_role())
    }

    /// Returns which end we are where the file does not say: the client of a peer with an endpoint, the relay of one without.
    pub fn usual_role(&self) -> Role {
        if self.endpoint.is_some() { Role::Client } else { Role::Relay }
    }

    /// Returns what `Defense = ephemeral` asks for.
    fn ephemeral(&self) -> EphemeralSettings {
        EphemeralSettings { role: Some(self.role()), ..self.defense_options.ephemeral() }
    }
}

/// Explains which endpoint has no address, or which defense there is not.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The endpoint has no address.
    #[error("cannot resolve the endpoint {endpoint} of peer {public_key}: {source}")]
    Endpoint {
        /// The peer.
        public_key: PublicKey,
        /// Its endpoint.
        endpoint: Endpoint,
        /// What the resolver said.
        source: io::Error,
    },
    /// The defense is not there, or not valid.
    #[error(transparent)]
    Defense(#[from] DefenseNotFound),
}

/// Explains which defense is not there, or not valid.
#[derive(Debug, thiserror::Error)]
#[error("Defense of peer {public_key}: {source}")]
pub struct DefenseNotFound {
    /// The peer.
    pub public_key: PublicKey,
    /// What is wrong.
    pub source: io::Error,
}

impl Config {
    /// Returns the update that makes a device what the file says, whatever it was before. What the file does not say goes
    /// back to its default, as with `wg setconf`.
    ///
    /// `resolve` is asked for the address of every endpoint, in order, and `find` for every defense but `off` and
    /// `ephemeral`; [`Defense::in_catalogue`] is one that reads no files.
    ///
    /// # Errors
    /// When `resolve` or `find` fails.
    pub fn to_update(
        &self,
        mut resolve: impl FnMut(&Endpoint) -> io::Result<SocketAddr>,
        mut find: impl FnMut(&Defense) -> io::Result<maybetun_machines::Defense>,
    ) -> Result<Update, ResolveError> {
        let peers = self.peers.iter().map(|peer| peer.to_update(&mut resolve, &mut find)).collect::<Result<_, _>>()?;
        Ok(Update {
            private_key: Some(self.interface.private_key.clone()),
            listen_port: Some(self.interface.listen_port.unwrap_or(0)),
            fwmark: Some(self.interface.fwmark.unwrap_or(0)),
            replace_peers: true,
            peers,
        })
    }
}

impl Peer {
    fn to_update(
        &self,
        resolve: &mut impl FnMut(&Endpoint) -> io::Result<SocketAddr>,
        find: &mut impl FnMut(&Defense) -> io::Result<maybetun_machines::Defense>,
    ) -> Result<PeerUpdate, ResolveError> {
        let resolved = self.endpoint.as_ref().map(|endpoint| {
            resolve(endpoint).map_err(|source| ResolveError::Endpoint {
                public_key: self.public_key,
                endpoint: endpoint.clone(),
                source,
            })
        });
        Ok(PeerUpdate {
            preshared_key: self.preshared_key.clone(),
            endpoint: resolved.transpose()?,
            persistent_keepalive: self.persistent_keepalive,
            replace_allowed_ips: true,
            allowed_ips: self.allowed_ips.iter().copied().map(AllowedIpChange::Add).collect(),
            defense: self.defense_change(find)?,
            ..PeerUpdate::new(self.public_key)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Fraction, Limits};

    fn two_peers() -> Config {
        let mut first = Peer::new(PublicKey::from_bytes(&[1; 32]).unwrap());
        first.allowed_ips = vec!["10.0.0.0/8".parse().unwrap()];
        first.endpoint = Some(Endpoint::Host { name: "relay.example".to_owned(), port: 51820 });
        first.persistent_keepalive = Some(25);
        let second = Peer::new(PublicKey::from_bytes(&[2; 32]).unwrap());
        Config { interface: Interface::new(PrivateKey::from_bytes(&[7; 32]).unwrap()), peers: vec![first, second] }
    }

    #[test]
    fn an_update_replaces_everything() {
        let config = two_peers();
        let update = config.to_update(|_| Ok("192.0.2.1:51820".parse().unwrap()), Defense::in_catalogue).unwrap();
        assert_eq!(update.private_key, Some(config.interface.private_key.clone()));
        assert_eq!((update.listen_port, update.fwmark, update.replace_peers), (Some(0), Some(0), true));
        let [first, second] = &update.peers[..] else { panic!("two peers") };
        assert_eq!(first.endpoint, Some("192.0.2.1:51820".parse().unwrap()));
        assert_eq!(first.persistent_keepalive, Some(25));
        assert_eq!(first.allowed_ips, [AllowedIpChange::Add("10.0.0.0/8".parse().unwrap())]);
        assert!(first.replace_allowed_ips);
        assert_eq!(second.endpoint, None);
    }

    #[test]
    fn an_endpoint_that_does_not_resolve_is_named() {
        let error =
            two_peers().to_update(|_| Err(io::Error::other("no such host")), Defense::in_catalogue).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot resolve the endpoint relay.example:51820 of peer \
             AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=: no such host"
        );
    }

    #[test]
    fn a_defense_is_that_of_our_end_under_the_limits_of_the_file() {
        let mut config = two_peers();
        for peer in &mut config.peers {
            peer.defense = Some(Defense::Named("front".to_owned()));
            peer.defense_options.max_padding_frac = Fraction::new(0.5);
        }
        let defenses = |config: &Config| {
            let update = config.to_update(|_| Ok("192.0.2.1:51820".parse().unwrap()), Defense::in_catalogue).unwrap();
            update.peers.into_iter().map(|peer| peer.defense).collect::<Vec<_>>()
        };
        let front = maybetun_machines::find("front").unwrap();
        let on = |role| {
            Some(DefenseChange::On(
                DefenseSettings::of(front, role)
                    .limited(Limits { max_padding_frac: Fraction::new(0.5), ..Limits::default() }),
            ))
        };
        // The first peer has an endpoint.
        assert_eq!(defenses(&config), [on(Role::Client), on(Role::Relay)]);
        config.peers[0].defense_options.role = Some(Role::Relay);
        config.peers[1].defense = Some(Defense::Off);
        assert_eq!(defenses(&config), [on(Role::Relay), Some(DefenseChange::Off)]);
    }

    #[test]
    fn a_defense_that_is_not_there_is_named() {
        let mut config = two_peers();
        config.peers[1].defense = Some(Defense::Named("fornt".to_owned()));
        let error = config.to_update(|_| Ok("192.0.2.1:51820".parse().unwrap()), Defense::in_catalogue).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Defense of peer AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=: no defense \"fornt\" in the catalogue: did you mean \
             \"front\"?"
        );
    }
}
