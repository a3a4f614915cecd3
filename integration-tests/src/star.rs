//! A relay with many clients around it.

use crate::daemon::Implementation;
use crate::host::Host;
use crate::pair::End;
use crate::tunnel::{Config, Keys, PeerConfig};
use crate::wire::{Network, Wire};

/// The UDP port of the relay.
const PORT: u16 = 51820;

/// The last byte of the first client's addresses.
const FIRST: u8 = 10;

/// A relay, and a wire and a tunnel from it to each of its clients.
#[derive(Debug)]
pub struct Star {
    /// The relay: inner addresses 10.9.0.2 and fd09::2.
    pub relay: End,
    /// The clients; each runs maybetun. The inner addresses of the first are 10.9.0.10 and fd09::a, and so on.
    pub clients: Vec<End>,
    /// The wire of each client; the relay is at its right.
    pub wires: Vec<Wire>,
}

impl Star {
    /// Starts `relay` and that many clients, at most 200.
    #[track_caller]
    pub fn start(relay: Implementation, clients: usize) -> Self {
        let middle = Host::new();
        let relay_keys = Keys::new();
        let (mut peers, mut waiting, mut wires) = (Vec::new(), Vec::new(), Vec::new());
        for number in (FIRST..).take(clients) {
            let (host, keys) = (Host::new(), Keys::new());
            wires.push(Wire::to_middle(&host, &middle, number));
            peers.push(PeerConfig {
                public_key: keys.public.clone(),
                preshared_key: None,
                endpoint: None,
                allowed_ips: format!("10.9.0.{number}/32, fd09::{number}/128"),
            });
            waiting.push((host, keys, number));
        }
        let config = Config { private_key: relay_keys.private, listen_port: PORT, peers };
        let relay = End::start(middle, relay, config, relay_keys.public.clone(), 2, 1420);
        let clients = waiting.into_iter().map(|(host, keys, number)| {
            let peer = PeerConfig {
                public_key: relay_keys.public.clone(),
                preshared_key: None,
                endpoint: Some((Network::First.v4(2), PORT).into()),
                allowed_ips: "10.9.0.0/24, fd09::/64".to_owned(),
            };
            let config = Config { private_key: keys.private, listen_port: 0, peers: vec![peer] };
            End::start(host, Implementation::Maybetun, config, keys.public, number, 1420)
        });
        Self { relay, clients: clients.collect(), wires }
    }
}
