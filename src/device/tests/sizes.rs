//! Two ends whose interfaces have other MTUs.

use super::*;

/// Two sides that agreed on a defense; `b`'s interface takes no packet over `mtu` bytes.
async fn agreed(mtu: u16) -> (Side, Side) {
    let (a, b) = (Side::new().await, Side::new().await);
    b.host.set(TunEvent::Mtu(mtu)).await;
    let mut events = a.device.events();
    let ephemeral = || DefenseChange::Ephemeral(EphemeralSettings::default());
    let update = PeerUpdate {
        allowed_ips: vec![AllowedIpChange::Add(IpAddr::from(A).into())],
        defense: Some(ephemeral()),
        ..PeerUpdate::new(a.key.public_key())
    };
    b.device.apply(Update { peers: vec![update], ..Update::default() }).unwrap();
    a.add_peer(&b, B).await;
    set_defense(&a, &b, ephemeral()).unwrap();
    let agreed = async { while events.recv().await.unwrap().event != Event::Protection(Protection::Protected) {} };
    tokio::time::timeout(PATIENCE, agreed).await.expect("both agree");
    (a, b)
}

#[tokio::test]
async fn whoever_sends_more_than_the_peer_takes_is_told_and_may_send_less() {
    let (mut a, mut b) = agreed(1_300).await;
    let mut packet = ipv4(A, B, &[7; 1_380]);
    // Not to be fragmented.
    packet[6] = 0x40;
    a.host.send_packet(packet.clone()).await.unwrap();
    let message = a.receive().await;
    assert_eq!(message[9], 1, "ICMP");
    assert_eq!(message[20..22], [3, 4], "fragmentation needed");
    assert_eq!(message[26..28], 1_300_u16.to_be_bytes());
    assert_eq!(message[28..48], packet[..20]);

    a.host.send_packet(ipv4(A, B, &[8; 1_280])).await.unwrap();
    assert_eq!(b.receive().await, ipv4(A, B, &[8; 1_280]));
    let defense = a.device.status().peers.remove(0).defense.unwrap();
    assert_eq!(defense.statistics.too_large, 1);
}

#[tokio::test]
async fn what_may_be_fragmented_arrives_in_fragments() {
    let (a, mut b) = agreed(1_300).await;
    a.host.send_packet(ipv4(A, B, &[7; 1_380])).await.unwrap();
    let lengths = [b.receive().await.len(), b.receive().await.len()];
    assert_eq!(lengths, [1_300, 20 + 100]);
}

#[tokio::test]
async fn an_mtu_that_was_lent_once_can_be_its_own_later() {
    let a = Side::new().await;
    let becomes = async |mtu: u16| {
        a.host.set(TunEvent::Mtu(mtu)).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        a.device.mtu()
    };
    assert_eq!(becomes(1_420).await, 1_420);
    a.device.lend_mtu(1_300);
    assert_eq!(becomes(1_420).await, 1_420, "not yet");
    assert_eq!(becomes(1_300).await, 1_420, "lent");
    assert_eq!(becomes(1_420).await, 1_420, "given back");
    assert_eq!(becomes(1_300).await, 1_300, "set by somebody else");
    a.device.own_mtu(1_420);
    a.device.lend_mtu(1_300);
    a.device.own_mtu(1_300);
    assert_eq!(a.device.mtu(), 1_300, "the same, for another reason");
}
