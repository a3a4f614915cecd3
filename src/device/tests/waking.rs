//! Whoever waits for a condition is woken by every change of it.

use super::*;
use crate::settings::NegotiationPolicy;

/// A device whose only peer blocks for ever, and whose reader of the TUN device waits for that peer's queue.
async fn waiting_for_room() -> (Side, Side) {
    let (a, b) = connected().await;
    set_defense(&a, &b, DefenseChange::On(blocking_for_ever())).unwrap();
    let peer = a.device.shared.peers().remove(0);
    let queued = || peer.state.lock().tunnel.queued();
    a.host.send_packet(ipv4(A, B, b"begins it")).await.unwrap();
    while !peer.state.lock().tunnel.is_closed() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    while peer.state.lock().tunnel.has_room() {
        let before = queued();
        a.host.send_packet(ipv4(A, B, b"waits")).await.unwrap();
        while queued() == before {
            tokio::task::yield_now().await;
        }
    }
    let full = queued();
    for _ in 0..16 {
        a.host.send_packet(ipv4(A, B, b"waits longer")).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(queued(), full, "the reader does not wait");
    (a, b)
}

#[tokio::test]
async fn the_reader_that_waits_for_the_only_peer_goes_on_when_there_is_another() {
    const C: [u8; 4] = [10, 0, 0, 3];
    let (a, _b) = waiting_for_room().await;
    let mut c = Side::new().await;
    c.add_peer(&a, A).await;
    a.add_peer(&c, C).await;
    a.host.send_packet(ipv4(A, C, b"past the other")).await.unwrap();
    assert_eq!(c.receive().await, ipv4(A, C, b"past the other"));
}

#[tokio::test]
async fn the_reader_that_waits_for_the_only_peer_goes_on_when_that_is_removed() {
    let (a, b) = waiting_for_room().await;
    let remove = PeerUpdate { action: PeerAction::Remove, ..PeerUpdate::new(b.key.public_key()) };
    a.device.apply(Update { peers: vec![remove], ..Update::default() }).unwrap();
    let gone_on = async {
        while a.device.status().dropped.no_route == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone_on).await.expect("the reader waits for ever");
}

#[tokio::test]
async fn the_reader_that_waits_for_the_only_peer_goes_on_when_blocking_ends() {
    let (a, mut b) = waiting_for_room().await;
    set_defense(&a, &b, DefenseChange::Off).unwrap();
    while b.receive().await != ipv4(A, B, b"waits longer") {}
}

#[tokio::test]
async fn a_client_calls_its_relay_when_it_gets_a_key_and_when_it_gets_an_endpoint() {
    for is_key_last in [true, false] {
        let (a, b) = (Side::new().await, Side::new().await);
        let required = |role| {
            let settings = EphemeralSettings {
                negotiation: NegotiationPolicy::Require,
                role: Some(role),
                ..EphemeralSettings::default()
            };
            Some(DefenseChange::Ephemeral(settings))
        };
        let apply = |side: &Side, update: PeerUpdate| {
            side.device.apply(Update { peers: vec![update], ..Update::default() }).unwrap();
        };
        apply(&b, PeerUpdate { defense: required(Role::Relay), ..PeerUpdate::new(a.key.public_key()) });
        let endpoint = Some(b.listening().await);
        let client = PeerUpdate { defense: required(Role::Client), ..PeerUpdate::new(b.key.public_key()) };
        if is_key_last {
            a.device.apply(Update { private_key: Some(None), ..Update::default() }).unwrap();
            apply(&a, PeerUpdate { endpoint, ..client });
            a.device.apply(Update { private_key: Some(Some(a.key.clone())), ..Update::default() }).unwrap();
        } else {
            apply(&a, client);
            apply(&a, PeerUpdate { endpoint, ..PeerUpdate::new(b.key.public_key()) });
        }
        let agreed = async {
            while a.device.status().peers[0].protection != Some(Protection::Protected) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, agreed).await.expect("nobody calls");
    }
}
