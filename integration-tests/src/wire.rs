//! Wires: a pair of virtual Ethernet interfaces between two hosts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;

use crate::command::run;
use crate::host::Host;
use crate::names;

/// The addresses of a wire, from the ranges that are set apart for documentation (RFC 5737, RFC 3849) and measurements (RFC
/// 2544).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// 192.0.2.0/24 and 2001:db8:1::/64.
    First,
    /// 198.51.100.0/24 and 2001:db8:2::/64.
    Second,
    /// 203.0.113.0/24 and 2001:db8:3::/64.
    Third,
    /// 198.18.0.0/24 and 2001:db8:4::/64.
    Fourth,
}

impl Network {
    /// Returns the IPv4 address with the given last byte.
    pub fn v4(self, host: u8) -> IpAddr {
        IpAddr::V4(match self {
            Self::First => Ipv4Addr::new(192, 0, 2, host),
            Self::Second => Ipv4Addr::new(198, 51, 100, host),
            Self::Third => Ipv4Addr::new(203, 0, 113, host),
            Self::Fourth => Ipv4Addr::new(198, 18, 0, host),
        })
    }

    /// Returns the IPv6 address with the given last byte.
    pub fn v6(self, host: u8) -> IpAddr {
        let subnet = match self {
            Self::First => 1,
            Self::Second => 2,
            Self::Third => 3,
            Self::Fourth => 4,
        };
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, subnet, 0, 0, 0, 0, host.into()))
    }
}

/// A wire between two hosts: the left end has the addresses `.1` and `::1` of its network, the right end `.2` and `::2`.
#[derive(Debug)]
pub struct Wire {
    /// The network on the wire.
    pub network: Network,
    /// The interface at the left end.
    pub left: String,
    /// The interface at the right end.
    pub right: String,
}

impl Wire {
    /// Joins two hosts. `mtu` is in bytes.
    #[track_caller]
    pub fn between(left: &Host, right: &Host, network: Network, mtu: u16) -> Self {
        let wire = Self { network, left: names::interface_name(), right: names::interface_name() };
        let (a, b) = (&wire.left, &wire.right);
        let add =
            format!("link add {a} netns {} type veth peer name {b} netns {}", left.namespace(), right.namespace());
        run(Command::new("ip").args(add.split(' ')), "").success();
        for (host, interface, number) in [(left, a, 1), (right, b, 2)] {
            host.ip(&format!("link set {interface} mtu {mtu} up"));
            give_addresses(host, interface, network, number);
        }
        wire
    }

    /// Joins one of many hosts, at the left end, to the one in their middle, which has the address `.2` on the wire to each;
    /// the other's ends in `number`. IPv4 alone; the MTU is Ethernet's.
    #[track_caller]
    pub fn to_middle(host: &Host, middle: &Host, number: u8) -> Self {
        let wire = Self { network: Network::First, left: names::interface_name(), right: names::interface_name() };
        let (outer, inner) = (&wire.left, &wire.right);
        let (left, right) = (host.namespace(), middle.namespace());
        let add = format!("link add {outer} netns {left} type veth peer name {inner} netns {right}");
        run(Command::new("ip").args(add.split(' ')), "").success();
        let [here, there] = [number, 2].map(|number| Network::First.v4(number));
        host.ip(&format!("addr add {here} peer {there} dev {outer}"));
        host.ip(&format!("link set {outer} up"));
        middle.ip(&format!("addr add {there} peer {here} dev {inner}"));
        middle.ip(&format!("link set {inner} up"));
        wire
    }

    /// Lets every datagram cross the wire by itself, as on a real one: segmentation comes before what a capture sees.
    #[track_caller]
    pub fn split_segments(&self, left: &Host, right: &Host) {
        left.ip(&format!("link set dev {} gso_max_segs 1", self.left));
        right.ip(&format!("link set dev {} gso_max_segs 1", self.right));
    }

    /// Has the default routes of the left host lead over the wire.
    #[track_caller]
    pub fn lead_left(&self, left: &Host) {
        left.ip(&format!("-4 route replace default via {} dev {}", self.network.v4(2), self.left));
        left.ip(&format!("-6 route replace default via {} dev {}", self.network.v6(2), self.left));
    }

    /// Takes the addresses of the left end away and gives it those that end in `number`.
    #[track_caller]
    pub fn renumber_left(&self, left: &Host, number: u8) {
        left.ip(&format!("addr flush dev {} scope global", self.left));
        give_addresses(left, &self.left, self.network, number);
    }
}

#[track_caller]
fn give_addresses(host: &Host, interface: &str, network: Network, number: u8) {
    host.ip(&format!("addr add {}/24 dev {interface}", network.v4(number)));
    host.ip(&format!("addr add {}/64 dev {interface} nodad", network.v6(number)));
}
