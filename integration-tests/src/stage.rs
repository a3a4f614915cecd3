//! A relay, and hosts beside its honest clients from which liars call it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::daemon::Implementation;
use crate::host::Host;
use crate::initiator::Initiator;
use crate::lies::{Liar, Surroundings};
use crate::pair::End;
use crate::tunnel::{Config, Keys, PeerConfig};
use crate::uapi::{ask, errno, key_in_hex};
use crate::wire::{Network, Wire};

/// The UDP port of the relay.
const PORT: u16 = 51820;

/// A maybetun relay with honest peers, and liars on a network that it is on too.
#[derive(Debug)]
pub struct Stage {
    /// The relay: its address inside the tunnel is [`RELAY`](Self::RELAY).
    pub relay: End,
    liars: Host,
    keys: Vec<Keys>,
    _wire: Wire,
}

impl Stage {
    /// The relay's address inside the tunnel.
    pub const RELAY: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

    /// The address inside in whose name liars speak: an honest client's, if it has one there.
    pub const HONEST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);

    /// Starts a relay on `host` for these peers and for so many liars, with whom it is to agree on a defense.
    #[track_caller]
    pub fn start(host: Host, mut peers: Vec<PeerConfig>, liars: usize) -> Self {
        let (relay_keys, keys) = (Keys::new(), Vec::from_iter((0..liars).map(|_| Keys::new())));
        peers.extend(keys.iter().enumerate().map(|(number, keys)| PeerConfig {
            public_key: keys.public.clone(),
            preshared_key: None,
            endpoint: None,
            allowed_ips: format!("{}/32", Self::inner(number)),
        }));
        let liars = Host::new();
        let wire = Wire::between(&liars, &host, Network::Second, 1_500);
        let config = Config { private_key: relay_keys.private, listen_port: PORT, peers };
        let relay = End::start(host, Implementation::Maybetun, config, relay_keys.public.clone(), 2, 1_420);
        // An end's own interface has a /24, and the liars are beside it.
        relay.host.ip(&format!("route add 10.9.1.0/24 dev {}", relay.daemon.interface()));
        let stage = Self { relay, liars, keys, _wire: wire };
        stage.keys.iter().for_each(|keys| stage.set(&keys.public, "maybetun_ephemeral=padding"));
        stage
    }

    /// Returns the host that the liars are on.
    pub fn liars(&self) -> &Host {
        &self.liars
    }

    /// Returns where the relay is on the network that it shares with its honest clients.
    pub fn endpoint() -> SocketAddr {
        SocketAddr::new(Network::First.v4(2), PORT)
    }

    /// Returns a liar's address inside the tunnel.
    pub fn inner(number: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 9, 1, 1 + number as u8)
    }

    /// Returns a liar with a key that the relay knows, in a session. It draws from its own number.
    #[track_caller]
    pub fn liar(&self, number: usize) -> Liar {
        let relay = SocketAddr::new(Network::Second.v4(2), PORT);
        let initiator = Initiator::call(&self.liars, relay, &self.keys[number], &self.relay.public_key);
        let IpAddr::V4(outer) = Network::Second.v4(1) else { unreachable!("it is of version 4") };
        let surroundings = Surroundings { outer, inner: Self::inner(number), other: Self::HONEST, relay: Self::RELAY };
        Liar::new(&self.liars, initiator, surroundings, number as u64)
    }

    /// Sets something of a peer of the relay's, by lines of the configuration protocol.
    #[track_caller]
    pub fn set(&self, peer: &str, lines: &str) {
        let request = format!("set=1\npublic_key={}\nupdate_only=true\n{lines}\n\n", key_in_hex(peer));
        assert_eq!(errno(&ask(&self.relay.daemon, &request)), 0, "{lines}");
    }

    /// Returns the lines that the relay has logged.
    pub fn logged(&self) -> Vec<String> {
        self.relay.daemon.log().lines().map(str::to_owned).collect()
    }
}
