//! A host with two uplinks, and another that is behind both.

use std::net::{IpAddr, SocketAddr};

use crate::daemon::Implementation;
use crate::host::Host;
use crate::pair::{End, Outer};
use crate::tunnel::{Config, Keys, PeerConfig};
use crate::wire::{Network, Wire};

/// The UDP port of whoever is called.
const PORT: u16 = 51820;

/// Which end of the tunnel has two uplinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Twofold {
    /// The client, whose port is drawn.
    Client,
    /// The relay, which the client calls by the first.
    Relay,
}

/// Two wires, a network each, between a host that has both as uplinks and one that is behind them, whose addresses are
/// [`FAR_V4`](Self::FAR_V4) and [`FAR_V6`](Self::FAR_V6). As behind two providers neither wire takes what has an address of the
/// other's. The default routes lead over the first.
#[derive(Debug)]
pub struct Uplinks {
    /// The host with two uplinks.
    pub near: Host,
    /// The host behind both.
    pub far: Host,
    /// The first and the second; the host with both is at the left.
    pub wires: [Wire; 2],
}

impl Uplinks {
    /// The addresses of the far host (RFC 5737, RFC 3849).
    pub const FAR_V4: &str = "203.0.113.5";
    /// See [`FAR_V4`](Self::FAR_V4).
    pub const FAR_V6: &str = "2001:db8:5::5";

    /// Makes the hosts and joins them.
    #[track_caller]
    pub fn new() -> Self {
        let (near, far) = (Host::new(), Host::new());
        let wires = [Network::First, Network::Second].map(|network| Wire::between(&near, &far, network, 1_500));
        far.ip(&format!("addr add {}/32 dev lo", Self::FAR_V4));
        far.ip(&format!("addr add {}/128 dev lo nodad", Self::FAR_V6));
        let mut rules = String::new();
        for Wire { network, right, .. } in &wires {
            let [v4, v6] = [network.v4(0), network.v6(0)];
            far.ip(&format!("route replace {v4}/24 dev {right} src {}", Self::FAR_V4));
            far.ip(&format!("-6 route replace {v6}/64 dev {right} metric 256 src {}", Self::FAR_V6));
            rules += &format!("iifname {right} ip saddr != {v4}/24 drop;");
            rules += &format!("iifname {right} ip6 saddr != {{ {v6}/64, fe80::/10, ::/128 }} drop;");
        }
        let table = format!("table inet providers {{ chain input {{ type filter hook input priority 0; {rules} }}; }}");
        far.run_with_input("nft -f -", &table).success();
        wires[0].lead_left(&near);
        Self { near, far, wires }
    }
}

impl Default for Uplinks {
    fn default() -> Self {
        Self::new()
    }
}

/// A tunnel one end of which has two uplinks.
#[derive(Debug)]
pub struct Multihomed {
    /// The end with two uplinks.
    pub near: End,
    /// The end behind both.
    pub far: End,
    /// The first and the second.
    pub wires: [Wire; 2],
}

impl Multihomed {
    /// Starts both ends, and waits until they reach each other.
    #[track_caller]
    pub fn start(implementation: Implementation, twofold: Twofold, outer: Outer) -> Self {
        let Uplinks { near, far, wires } = Uplinks::new();
        let [near_keys, far_keys] = [Keys::new(), Keys::new()];
        let at = |address: IpAddr| Some(SocketAddr::new(address, PORT));
        let far_address = if outer == Outer::V4 { Uplinks::FAR_V4 } else { Uplinks::FAR_V6 };
        let network = wires[0].network;
        // Who is called has a port, and who calls an endpoint.
        let (near_port, near_endpoint, far_endpoint) = match twofold {
            Twofold::Client => (0, None, at(far_address.parse().expect("an address"))),
            Twofold::Relay => (PORT, at(if outer == Outer::V4 { network.v4(1) } else { network.v6(1) }), None),
        };
        let config = |keys: &Keys, other: &Keys, listen_port, endpoint, number: u8| Config {
            private_key: keys.private.clone(),
            listen_port,
            peers: vec![PeerConfig {
                public_key: other.public.clone(),
                preshared_key: None,
                endpoint,
                allowed_ips: format!("10.9.0.{number}/32, fd09::{number}/128"),
            }],
        };
        let at_near = config(&near_keys, &far_keys, near_port, far_endpoint, 2);
        let at_far = config(&far_keys, &near_keys, PORT, near_endpoint, 1);
        let far = End::start(far, implementation, at_far, far_keys.public, 2, 1_420);
        let near = End::start(near, implementation, at_near, near_keys.public, 1, 1_420);
        let [client, relay] = if twofold == Twofold::Client { [&near, &far] } else { [&far, &near] };
        client.host.reaches(&relay.v4());
        Self { near, far, wires }
    }

    /// Has the default routes lead over an uplink, 0 or 1.
    #[track_caller]
    pub fn lead_over(&self, uplink: usize) {
        self.wires[uplink].lead_left(&self.near.host);
    }
}
