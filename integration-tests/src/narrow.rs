//! A client and a relay with two routers between them, whose own link may be narrower than those of the ends.

use std::net::{IpAddr, SocketAddr};

use crate::daemon::Implementation;
use crate::host::Host;
use crate::pair::{End, Outer};
use crate::raw::{RawSender, packet_too_big};
use crate::tunnel::{Config, Keys, PeerConfig};
use crate::wire::{Network, Wire};

/// The UDP port of every end.
const PORT: u16 = 51820;

/// The MTU of the tunnels, and of the links of the ends, in bytes.
const INNER: u16 = 1_420;
const ETHERNET: u16 = 1_500;

/// A tunnel over a path whose middle may be narrow.
///
/// `client ── near ── far ── relay`, and a neighbour of the client's beside `far`, which the narrow link is not in the way of.
#[derive(Debug)]
pub struct Narrow {
    /// The client: inner addresses 10.9.0.1 and fd09::1.
    pub client: End,
    /// The relay: inner addresses 10.9.0.2 and fd09::2.
    pub relay: End,
    /// The other client of the relay: inner addresses 10.9.0.3 and fd09::3.
    pub neighbour: End,
    /// The link between the routers; the client's is at its left.
    pub middle: Wire,
    /// The router of the client.
    pub near: Host,
    /// The router of the relay.
    pub far: Host,
    outer: Outer,
    _wires: [Wire; 3],
}

impl Narrow {
    /// Brings it up. `mtu` is that of the link between the routers, in bytes. `carries_v6`: packets of IPv6 are routed
    /// through the tunnels.
    #[track_caller]
    pub fn start(client: Implementation, relay: Implementation, outer: Outer, mtu: u16, carries_v6: bool) -> Self {
        let [at_client, near, far, at_relay, beside] = [(); 5].map(|()| Host::new());
        let wires = [
            Wire::between(&at_client, &near, Network::First, ETHERNET),
            Wire::between(&far, &at_relay, Network::Second, ETHERNET),
            Wire::between(&beside, &far, Network::Fourth, ETHERNET),
        ];
        let middle = Wire::between(&near, &far, Network::Third, mtu);
        middle.split_segments(&near, &far);
        for router in [&near, &far] {
            let settings = "net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.icmp_ratelimit=0";
            router.run(&format!("sysctl -q -w {settings} net.ipv6.icmp.ratelimit=0")).success();
        }
        let route = |host: &Host, to: Option<Network>, by: Network, number| {
            for (to, by) in [(to.map(|to| to.v4(0)), by.v4(number)), (to.map(|to| to.v6(0)), by.v6(number))] {
                let bits = if by.is_ipv4() { 24 } else { 64 };
                let to = to.map_or("default".to_owned(), |to| format!("{to}/{bits}"));
                host.ip(&format!("{} route add {to} via {by}", if by.is_ipv4() { "-4" } else { "-6" }));
            }
        };
        route(&at_client, None, Network::First, 2);
        route(&near, None, Network::Third, 2);
        route(&far, Some(Network::First), Network::Third, 1);
        route(&at_relay, None, Network::Second, 1);
        route(&beside, None, Network::Fourth, 2);

        let [client_keys, relay_keys, neighbour_keys] = [(); 3].map(|()| Keys::new());
        let allowed = |v4: &str, v6: &str| if carries_v6 { format!("{v4}, {v6}") } else { v4.to_owned() };
        let calling = |keys: &Keys| Config {
            private_key: keys.private.clone(),
            listen_port: PORT,
            peers: vec![PeerConfig {
                public_key: relay_keys.public.clone(),
                preshared_key: None,
                endpoint: Some(SocketAddr::new(address(outer, Network::Second, 2), PORT)),
                allowed_ips: allowed("10.9.0.0/24", "fd09::/64"),
            }],
        };
        let peers = [(&client_keys, 1), (&neighbour_keys, 3)].map(|(keys, number)| PeerConfig {
            public_key: keys.public.clone(),
            preshared_key: None,
            endpoint: None,
            allowed_ips: allowed(&format!("10.9.0.{number}/32"), &format!("fd09::{number}/128")),
        });
        let answering = Config { private_key: relay_keys.private.clone(), listen_port: PORT, peers: peers.into() };
        let calls = [calling(&client_keys), calling(&neighbour_keys)];
        let [of_client, of_neighbour] = calls;
        Self {
            relay: End::start(at_relay, relay, answering, relay_keys.public.clone(), 2, INNER),
            client: End::start(at_client, client, of_client, client_keys.public, 1, INNER),
            neighbour: End::start(beside, Implementation::Maybetun, of_neighbour, neighbour_keys.public, 3, INNER),
            middle,
            near,
            far,
            outer,
            _wires: wires,
        }
    }

    /// Has the routers tell nobody of packets that are too large.
    #[track_caller]
    pub fn be_silent(&self) {
        const TABLE: &str = "table inet silence { chain output { type filter hook output priority 0;
            icmp type destination-unreachable drop; icmpv6 type packet-too-big drop; }; }";
        for router in [&self.near, &self.far] {
            router.run_with_input("nft -f -", TABLE).success();
        }
    }

    /// Has the routers drop fragments, as much of the Internet does.
    #[track_caller]
    pub fn drop_fragments(&self) {
        const TABLE: &str = "table inet whole { chain forward { type filter hook prerouting priority -500;
            ip frag-off & 0x3fff != 0 drop; meta nfproto ipv6 exthdr frag exists drop; }; }";
        for router in [&self.near, &self.far] {
            router.run_with_input("nft -f -", TABLE).success();
        }
    }

    /// Sets the MTU of the link between the routers, in bytes.
    #[track_caller]
    pub fn set_mtu(&self, mtu: u16) {
        self.near.ip(&format!("link set {} mtu {mtu}", self.middle.left));
        self.far.ip(&format!("link set {} mtu {mtu}", self.middle.right));
    }

    /// Returns the client's outer address.
    pub fn client_address(&self) -> IpAddr {
        address(self.outer, Network::First, 1)
    }

    /// Returns the relay's outer address.
    pub fn relay_address(&self) -> IpAddr {
        address(self.outer, Network::Second, 2)
    }

    /// Sends an end a message that its packets to the other are too large, which nobody on the path has written: of a path of
    /// `mtu` bytes. `number` is 1 for the client, 2 for the relay.
    #[track_caller]
    pub fn lie_to(&self, number: u8, mtu: u16) {
        let ends = [self.client_address(), self.relay_address()];
        let (router, [to, peer]) = if number == 1 { (&self.near, ends) } else { (&self.far, [ends[1], ends[0]]) };
        let liar = address(self.outer, Network::Third, number);
        let quoted = [SocketAddr::new(to, PORT), SocketAddr::new(peer, PORT)];
        RawSender::new(router).send(&packet_too_big(liar, quoted, mtu));
    }
}

fn address(outer: Outer, network: Network, host: u8) -> IpAddr {
    match outer {
        Outer::V4 => network.v4(host),
        Outer::V6 => network.v6(host),
    }
}
