//! The routing tables of Linux, asked over rtnetlink(7). The kernel answers within the call that asks.

use std::io;
use std::net::{IpAddr, SocketAddr};

use nix::sys::socket::MsgFlags;
use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteType, RouteVia};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::{Socket, SocketAddr as KernelAddr, protocols::NETLINK_ROUTE};
use rustix::io::Errno;

use super::Hop;

/// The routing tables.
#[derive(Debug)]
pub(in crate::device) struct Tables {
    socket: Socket,
}

impl Tables {
    /// Opens them.
    ///
    /// # Errors
    /// When the system gives no socket.
    pub(in crate::device) fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_ROUTE)?;
        socket.connect(&KernelAddr::new(0, 0))?;
        Ok(Self { socket })
    }

    /// Returns the number of the interface that has `address`; `None` if it is not ours.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub(in crate::device) fn interface_of(&self, address: IpAddr) -> io::Result<Option<u32>> {
        let mut question = question(SocketAddr::new(address, 0), None, 0);
        // The entry itself, which names the interface, not what comes of it: the loopback.
        question.header.flags = RouteFlags::FibMatch;
        let route = self.ask(question)?.filter(|route| route.header.kind == RouteType::Local);
        Ok(route.and_then(|route| hop_of(&route)).map(|hop| hop.interface))
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
        let route = self.ask(question(remote, source, fwmark))?;
        Ok(route.and_then(|route| hop_of(&route)))
    }

    fn ask(&self, question: RouteMessage) -> io::Result<Option<RouteMessage>> {
        let mut question = NetlinkMessage::from(RouteNetlinkMessage::GetRoute(question));
        question.header.flags = NLM_F_REQUEST;
        question.finalize();
        let mut bytes = vec![0; question.buffer_len()];
        question.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut answer = Vec::with_capacity(4_096);
        self.socket.recv(&mut answer, MsgFlags::MSG_DONTWAIT.bits())?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
        if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) = answer.payload {
            return Ok(Some(route));
        }
        let NetlinkPayload::Error(error) = answer.payload else {
            return Err(io::Error::other(format!("expected a route, but the kernel says {answer:?}")));
        };
        match error.to_io() {
            error if leads_nowhere(&error) => Ok(None),
            error => Err(error),
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
    let (mut interface, mut gateway, mut source) = (None, None, None);
    for attribute in &route.attributes {
        if let RouteAttribute::Oif(number) = attribute {
            interface = Some(*number);
        } else if let RouteAttribute::Gateway(address) = attribute {
            gateway = address_of(address);
        } else if let RouteAttribute::Via(RouteVia::Inet6(address)) = attribute {
            // The gateway of a route of the other version.
            gateway = Some(IpAddr::V6(*address));
        } else if let RouteAttribute::PrefSource(address) = attribute {
            source = address_of(address);
        }
    }
    interface.map(|interface| Hop { interface, gateway, source })
}

fn address_of(address: &RouteAddress) -> Option<IpAddr> {
    if let RouteAddress::Inet(address) = address {
        return Some(IpAddr::V4(*address));
    }
    if let RouteAddress::Inet6(address) = address { Some(IpAddr::V6(*address)) } else { None }
}

/// Tells whether the answer is that there is no way, or one that ends here.
fn leads_nowhere(error: &io::Error) -> bool {
    [Errno::NETUNREACH, Errno::HOSTUNREACH, Errno::ACCESS, Errno::INVAL, Errno::ADDRNOTAVAIL, Errno::NODEV]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    /// The first interface.
    const LOOPBACK: u32 = 1;

    #[test]
    fn the_kernel_says_by_which_interface_datagrams_leave_and_which_has_their_source() {
        let tables = Tables::open().unwrap();
        for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            let remote = SocketAddr::new(address, 9);
            let by_loopback = |source| Some(Hop { interface: LOOPBACK, gateway: None, source });
            assert_eq!(tables.hop(remote, None, 0).unwrap(), by_loopback(Some(address)));
            assert_eq!(tables.hop(remote, Some(address), 7).unwrap().map(|hop| hop.interface), Some(LOOPBACK));
            assert_eq!(tables.interface_of(address).unwrap(), Some(LOOPBACK));
        }
        assert_eq!(tables.interface_of(IpAddr::from([192, 0, 2, 77])).unwrap(), None);
    }

    #[test]
    fn where_nothing_leads_there_is_no_hop() {
        let tables = Tables::open().unwrap();
        let remote = "127.0.0.1:9".parse().unwrap();
        let foreign = Some(IpAddr::from([192, 0, 2, 77]));
        assert_eq!(tables.hop(remote, foreign, 0).unwrap(), None, "the source is not ours");
    }

    #[test]
    fn a_route_has_its_interface_and_addresses_of_either_version() {
        let gateway = |address: IpAddr| {
            let attributes = [
                RouteAttribute::Gateway(address.into()),
                RouteAttribute::Oif(3),
                RouteAttribute::PrefSource(address.into()),
            ];
            let mut route = RouteMessage::default();
            route.attributes.extend(attributes);
            hop_of(&route)
        };
        for address in [IpAddr::from([192, 0, 2, 1]), "2001:db8::1".parse().unwrap()] {
            assert_eq!(gateway(address), Some(Hop { interface: 3, gateway: Some(address), source: Some(address) }));
        }
        assert_eq!(hop_of(&RouteMessage::default()), None);
    }
}
