//! The routing tables of Linux, asked over rtnetlink(7). The kernel answers within the call that asks.

use std::io;
use std::net::{IpAddr, SocketAddr};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::MsgFlags;
use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteVia};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::{Socket, SocketAddr as KernelAddr, protocols::NETLINK_ROUTE};
use rustix::io::Errno;

use super::Hop;

/// The routing tables, and which interface has which address.
#[derive(Debug)]
pub(in crate::device) struct Tables {
    socket: Socket,
    /// Each address and the number of its interface, as they were when the tables were opened.
    addresses: Vec<(IpAddr, u32)>,
}

impl Tables {
    /// Opens them for a look.
    ///
    /// # Errors
    /// When the system gives no socket, or does not tell addresses.
    pub(in crate::device) fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_ROUTE)?;
        socket.connect(&KernelAddr::new(0, 0))?;
        Ok(Self { socket, addresses: addresses()? })
    }

    /// Tells whether an interface has an address of ours.
    pub(in crate::device) fn has(&self, interface: u32, address: IpAddr) -> bool {
        self.addresses.contains(&(address, interface))
    }

    /// Returns where datagrams to `remote` go first that bear the mark `fwmark`, 0 for none, and the address `source`, or
    /// the one that the system gives them; `None` if nothing leads there.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub(in crate::device) fn hop(
        &self,
        remote: SocketAddr,
        source: Option<IpAddr>,
        fwmark: u32,
    ) -> io::Result<Option<Hop>> {
        let mut question = NetlinkMessage::from(RouteNetlinkMessage::GetRoute(question(remote, source, fwmark)));
        question.header.flags = NLM_F_REQUEST;
        question.finalize();
        let mut bytes = vec![0; question.buffer_len()];
        question.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut answer = Vec::with_capacity(4_096);
        self.socket.recv(&mut answer, MsgFlags::MSG_DONTWAIT.bits())?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
        match answer.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) => Ok(hop_of(&route)),
            NetlinkPayload::Error(error) => match error.to_io() {
                error if leads_nowhere(&error) => Ok(None),
                error => Err(error),
            },
            other => Err(io::Error::other(format!("expected a route, but the kernel says {other:?}"))),
        }
    }
}

fn question(remote: SocketAddr, source: Option<IpAddr>, fwmark: u32) -> RouteMessage {
    let mut question = RouteMessage::default();
    let header = &mut question.header;
    let (family, length) = if remote.is_ipv4() { (AddressFamily::Inet, 32) } else { (AddressFamily::Inet6, 128) };
    (header.address_family, header.destination_prefix_length) = (family, length);
    question.attributes.push(RouteAttribute::Destination(remote.ip().into()));
    if let Some(source) = source {
        question.header.source_prefix_length = length;
        question.attributes.push(RouteAttribute::Source(source.into()));
    }
    if fwmark != 0 {
        question.attributes.push(RouteAttribute::Mark(fwmark));
    }
    if let SocketAddr::V6(remote) = remote
        && remote.scope_id() != 0
    {
        question.attributes.push(RouteAttribute::Oif(remote.scope_id()));
    }
    question
}

fn hop_of(route: &RouteMessage) -> Option<Hop> {
    let (mut interface, mut gateway) = (None, None);
    for attribute in &route.attributes {
        if let RouteAttribute::Oif(number) = attribute {
            interface = Some(*number);
        } else if let RouteAttribute::Gateway(RouteAddress::Inet(address))
        | RouteAttribute::Via(RouteVia::Inet(address)) = attribute
        {
            gateway = Some(IpAddr::V4(*address));
        } else if let RouteAttribute::Gateway(RouteAddress::Inet6(address))
        | RouteAttribute::Via(RouteVia::Inet6(address)) = attribute
        {
            gateway = Some(IpAddr::V6(*address));
        }
    }
    interface.map(|interface| Hop { interface, gateway })
}

/// Tells whether the answer is that there is no way, or one that ends here.
fn leads_nowhere(error: &io::Error) -> bool {
    [Errno::NETUNREACH, Errno::HOSTUNREACH, Errno::ACCESS, Errno::INVAL, Errno::ADDRNOTAVAIL, Errno::NODEV]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn addresses() -> io::Result<Vec<(IpAddr, u32)>> {
    let mut addresses = Vec::new();
    for entry in getifaddrs()? {
        let Some(address) = entry.address else { continue };
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        let Some(address) = v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip()))) else {
            continue;
        };
        // An interface that is gone meanwhile has none.
        if let Ok(number) = if_nametoindex(entry.interface_name.as_str()) {
            addresses.push((address, number));
        }
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    /// The first interface is the loopback.
    const LOOPBACK: Hop = Hop { interface: 1, gateway: None };

    #[test]
    fn the_kernel_says_by_which_interface_datagrams_leave_and_which_has_their_source() {
        let tables = Tables::open().unwrap();
        for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            let remote = SocketAddr::new(address, 9);
            assert_eq!(tables.hop(remote, None, 0).unwrap(), Some(LOOPBACK));
            assert_eq!(tables.hop(remote, Some(address), 7).unwrap(), Some(LOOPBACK));
            assert!(tables.has(LOOPBACK.interface, address));
            assert!(!tables.has(LOOPBACK.interface + 1, address));
        }
        assert!(!tables.has(LOOPBACK.interface, IpAddr::from([192, 0, 2, 77])));
    }

    #[test]
    fn where_nothing_leads_there_is_no_hop() {
        let tables = Tables::open().unwrap();
        let remote = "127.0.0.1:9".parse().unwrap();
        let foreign = Some(IpAddr::from([192, 0, 2, 77]));
        assert_eq!(tables.hop(remote, foreign, 0).unwrap(), None, "the source is not ours");
    }

    #[test]
    fn a_route_has_its_interface_and_its_gateway_of_either_version() {
        let gateway = |address: IpAddr| {
            let attributes = [RouteAttribute::Gateway(address.into()), RouteAttribute::Oif(3)];
            let mut route = RouteMessage::default();
            route.attributes.extend(attributes);
            hop_of(&route)
        };
        for address in [IpAddr::from([192, 0, 2, 1]), "2001:db8::1".parse().unwrap()] {
            assert_eq!(gateway(address), Some(Hop { interface: 3, gateway: Some(address) }));
        }
        assert_eq!(hop_of(&RouteMessage::default()), None);
    }
}
