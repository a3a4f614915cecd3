use super::*;

const INDEX: u32 = 7;
const PORT: u32 = 4711;

fn unknown() -> Link {
    Link { presence: Presence::Unknown, up: false, mtu: 1420, answered: 0 }
}

fn link_message(index: u32, up: bool, attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    if up {
        link.header.flags = LinkFlags::Up;
    }
    link.attributes = attributes;
    link
}

fn notice(message: RouteNetlinkMessage) -> NetlinkMessage<RouteNetlinkMessage> {
    NetlinkMessage::new(NetlinkHeader::default(), message.into())
}

/// Applies `messages`, and returns everything that is reported after each.
fn reports(messages: impl IntoIterator<Item = RouteNetlinkMessage>) -> Vec<TunEvent> {
    let (mut link, mut reported, mut events) = (unknown(), Reported::default(), Vec::new());
    for message in messages {
        link.apply(&notice(message), INDEX, PORT);
        events.extend(std::iter::from_fn(|| reported.next(&link)));
    }
    events
}

#[test]
fn nothing_is_reported_before_the_kernel_has_answered() {
    assert_eq!(Reported::default().next(&unknown()), None);
}

#[test]
fn the_state_is_reported_first_and_then_only_what_changes() {
    let new = |up, mtu| RouteNetlinkMessage::NewLink(link_message(INDEX, up, vec![LinkAttribute::Mtu(mtu)]));
    assert_eq!(
        reports([new(false, 1420), new(false, 1420), new(true, 1420), new(true, 1280), new(false, 1400)]),
        [TunEvent::Mtu(1420), TunEvent::Down, TunEvent::Up, TunEvent::Mtu(1280), TunEvent::Mtu(1400), TunEvent::Down]
    );
}

#[test]
fn a_notice_without_mtu_leaves_the_mtu() {
    let new = RouteNetlinkMessage::NewLink(link_message(INDEX, true, vec![]));
    assert_eq!(reports([new]), [TunEvent::Mtu(1420), TunEvent::Up]);
}

#[test]
fn other_interfaces_and_bridges_are_ignored() {
    let mut bridge = link_message(INDEX, true, vec![]);
    bridge.header.interface_family = AddressFamily::Bridge;
    assert_eq!(
        reports([
            RouteNetlinkMessage::NewLink(link_message(INDEX + 1, true, vec![])),
            RouteNetlinkMessage::DelLink(link_message(INDEX + 1, true, vec![])),
            RouteNetlinkMessage::DelLink(bridge),
        ]),
        []
    );
}

#[test]
fn a_deleted_interface_is_gone_and_a_moved_one_is_up() {
    let new = || RouteNetlinkMessage::NewLink(link_message(INDEX, false, vec![]));
    let delete = |attributes| RouteNetlinkMessage::DelLink(link_message(INDEX, false, attributes));
    let state = [TunEvent::Mtu(1420), TunEvent::Down];
    assert_eq!(reports([new(), delete(vec![])]), [&state[..], &[TunEvent::Gone]].concat());
    assert_eq!(reports([new(), delete(vec![LinkAttribute::NewNetnsId(3)])]), [&state[..], &[TunEvent::Up]].concat());
}

#[test]
fn only_an_answer_to_this_socket_counts_as_answer() {
    let mut message = notice(RouteNetlinkMessage::NewLink(link_message(INDEX, true, vec![])));
    message.header.sequence_number = 5;
    let mut link = unknown();
    message.header.port_number = PORT + 1;
    link.apply(&message, INDEX, PORT);
    assert_eq!(link.answered, 0);
    message.header.port_number = PORT;
    link.apply(&message, INDEX, PORT);
    assert_eq!(link.answered, 5);
}

#[tokio::test]
async fn an_interface_that_does_not_exist_is_gone_for_everyone_who_waits() {
    let watch = LinkWatch::new(0x7fff_ffff, 1420).unwrap();
    let (event, up) = tokio::join!(watch.event(), watch.up());
    assert_eq!(event, TunEvent::Gone);
    assert_eq!(Errno::from_io_error(&up.unwrap_err()), Some(Errno::NODEV));
}
