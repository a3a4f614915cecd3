//! Watches addresses, routes, rules and links of the system, so that a tunnel learns when it is on another network.

use std::io;
use std::time::Duration;

use futures_util::StreamExt as _;
use maybetun::device::Device;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::LinkFlags;
use tokio::task::JoinSet;

/// How long notices are gathered after one was looked into: a change of network brings many.
const GATHER: Duration = Duration::from_millis(100);

/// Everything that decides how datagrams leave.
const GROUPS: [MulticastGroup; 7] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv6Rule,
];

/// Has `device` look at its ways whenever the kernel tells of a change, until it is dropped. If it tells of none, that
/// is said once, and the device goes without.
pub(crate) async fn watch(device: Device) {
    match follow(&device).await {
        Ok(()) => tracing::debug!("the kernel tells no more of addresses and routes"),
        Err(error) => tracing::debug!(%error, "the kernel does not tell of addresses and routes"),
    }
}

async fn follow(device: &Device) -> io::Result<()> {
    let (connection, _handle, mut notices) = rtnetlink::new_multicast_connection(&GROUPS)?;
    // It moves messages from the kernel, and ends with this function.
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    // Something may have changed before there was anyone to tell.
    device.routes_changed();
    while notices.next().await.is_some() {
        device.routes_changed();
        let mut gathered = std::pin::pin!(tokio::time::sleep(GATHER));
        let mut has_more = false;
        loop {
            tokio::select! {
                () = &mut gathered => break,
                notice = notices.next() => {
                    let Some((notice, _)) = notice else { return Ok(()) };
                    has_more = true;
                    if takes_away(&notice.payload) {
                        // What is back a moment later may be another network's.
                        device.routes_changed();
                    }
                }
            }
        }
        if has_more {
            device.routes_changed();
        }
    }
    Ok(())
}

/// Tells whether a notice says that a way may be gone: an address, a default route, a link. The kernel tells of no IPv4
/// routes that go with their link.
fn takes_away(notice: &NetlinkPayload<RouteNetlinkMessage>) -> bool {
    let NetlinkPayload::InnerMessage(notice) = notice else { return true };
    if let RouteNetlinkMessage::NewLink(link) = notice {
        return !link.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
    }
    if let RouteNetlinkMessage::DelRoute(route) = notice {
        return route.header.destination_prefix_length == 0;
    }
    notice.is_del_link() || notice.is_del_address()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtnetlink::packet_route::address::AddressMessage;
    use rtnetlink::packet_route::link::LinkMessage;
    use rtnetlink::packet_route::route::RouteMessage;

    fn is_looked_into_at_once(notice: RouteNetlinkMessage) -> bool {
        takes_away(&NetlinkPayload::InnerMessage(notice))
    }

    #[test]
    fn what_may_take_the_way_is_looked_into_at_once_and_the_rest_a_little_later() {
        let link = |flags| {
            let mut link = LinkMessage::default();
            link.header.flags = flags;
            RouteNetlinkMessage::NewLink(link)
        };
        let route = |length| {
            let mut route = RouteMessage::default();
            route.header.destination_prefix_length = length;
            RouteNetlinkMessage::DelRoute(route)
        };
        assert!(is_looked_into_at_once(link(LinkFlags::empty())));
        assert!(is_looked_into_at_once(link(LinkFlags::Up)), "without a carrier");
        assert!(is_looked_into_at_once(route(0)));
        assert!(is_looked_into_at_once(RouteNetlinkMessage::DelAddress(AddressMessage::default())));
        assert!(takes_away(&NetlinkPayload::Overrun(Vec::new())), "what was lost may have been any of them");
        assert!(!is_looked_into_at_once(link(LinkFlags::Up | LinkFlags::LowerUp)));
        assert!(!is_looked_into_at_once(route(24)));
        assert!(!is_looked_into_at_once(RouteNetlinkMessage::NewAddress(AddressMessage::default())));
    }
}
