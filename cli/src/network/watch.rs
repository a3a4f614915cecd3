//! Watches addresses, routes, rules and links of the system, so that a tunnel learns when it is on another network.

use std::io;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use maybetun::device::Device;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::LinkFlags;
use tokio::task::JoinSet;

/// How long notices are gathered after one was looked into: a change of network brings many.
const GATHER: Duration = Duration::from_millis(100);

/// When the kernel is asked again to tell, where it does not.
const RETRY: Duration = Duration::from_secs(5);

/// Most notices that are taken for one.
const MOST_AT_ONCE: usize = 1_024;

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

/// Has `device` look at its ways whenever the kernel tells of a change, until it is dropped. While the kernel tells of none,
/// the device goes without.
pub(crate) async fn watch(device: Device) {
    loop {
        match listen(&device).await {
            Ok(()) => tracing::debug!("the kernel tells no more of addresses and routes"),
            Err(error) => tracing::debug!(%error, "the kernel does not tell of addresses and routes"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn listen(device: &Device) -> io::Result<()> {
    let (connection, _handle, notices) = rtnetlink::new_multicast_connection(&GROUPS)?;
    // It moves messages from the kernel, and ends with this function.
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    // Something may have changed before there was anyone to tell.
    device.routes_changed();
    follow(notices.map(|(notice, _)| urgency(&notice.payload)), || device.routes_changed()).await;
    Ok(())
}

/// Looks when something has changed, and again when that is over, until there are no more notices. However many come while it
/// looks, it looks once more for all of them.
async fn follow(notices: impl Stream<Item = Urgency> + Unpin, mut look: impl FnMut()) {
    let mut notices = notices.ready_chunks(MOST_AT_ONCE);
    while notices.next().await.is_some() {
        look();
        let mut gathered = std::pin::pin!(tokio::time::sleep(GATHER));
        let mut has_more = false;
        loop {
            tokio::select! {
                () = &mut gathered => break,
                chunk = notices.next() => {
                    let Some(chunk) = chunk else { return };
                    has_more = true;
                    if chunk.contains(&Urgency::AtOnce) {
                        look();
                    }
                }
            }
        }
        if has_more {
            look();
        }
    }
}

/// How soon a notice is looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Urgency {
    /// A way may be gone, and what is back a moment later may be another network's; or the way that most have is another.
    AtOnce,
    /// With others like it.
    Soon,
}

/// Tells how urgent a notice is. The kernel tells of no IPv4 routes that go with their link.
fn urgency(notice: &NetlinkPayload<RouteNetlinkMessage>) -> Urgency {
    // What was lost may have been any of them.
    let NetlinkPayload::InnerMessage(notice) = notice else { return Urgency::AtOnce };
    let is_urgent = if let RouteNetlinkMessage::NewLink(link) = notice {
        !link.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp)
    } else if let RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) = notice {
        route.header.destination_prefix_length == 0
    } else {
        notice.is_del_link() || notice.is_del_address() || notice.is_new_rule() || notice.is_del_rule()
    };
    if is_urgent { Urgency::AtOnce } else { Urgency::Soon }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtnetlink::packet_route::address::AddressMessage;
    use rtnetlink::packet_route::link::LinkMessage;
    use rtnetlink::packet_route::route::RouteMessage;
    use rtnetlink::packet_route::rule::RuleMessage;

    fn is_looked_into_at_once(notice: RouteNetlinkMessage) -> bool {
        urgency(&NetlinkPayload::InnerMessage(notice)) == Urgency::AtOnce
    }

    #[tokio::test]
    async fn a_flood_of_notices_is_looked_into_a_few_times() {
        const CHUNKS: usize = 20;
        let notices = vec![Urgency::AtOnce; CHUNKS * MOST_AT_ONCE];
        let mut looks = 0;
        follow(futures_util::stream::iter(notices), || looks += 1).await;
        assert!((1..=2 * CHUNKS).contains(&looks), "{looks} looks for {CHUNKS} times {MOST_AT_ONCE} notices");
    }

    #[test]
    fn what_may_take_or_move_the_way_is_looked_into_at_once_and_the_rest_a_little_later() {
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
        assert_eq!(urgency(&NetlinkPayload::Overrun(Vec::new())), Urgency::AtOnce);
        assert!(is_looked_into_at_once(RouteNetlinkMessage::NewRoute(RouteMessage::default())), "a default route");
        assert!(is_looked_into_at_once(RouteNetlinkMessage::NewRule(RuleMessage::default())));
        assert!(!is_looked_into_at_once(link(LinkFlags::Up | LinkFlags::LowerUp)));
        assert!(!is_looked_into_at_once(route(24)));
        assert!(!is_looked_into_at_once(RouteNetlinkMessage::NewAddress(AddressMessage::default())));
    }
}
