//! A device with several peers.

use super::*;

const C: [u8; 4] = [10, 0, 0, 3];

/// How many sockets of its own the device's peers have.
fn lanes(side: &Side) -> usize {
    side.device.shared.sockets.borrow().as_ref().map_or(0, |sockets| sockets.count_lanes())
}

/// One side that is connected to two others.
async fn three() -> [Side; 3] {
    let [mut a, mut b, mut c] = [Side::new().await, Side::new().await, Side::new().await];
    for (peer, address) in [(&mut b, B), (&mut c, C)] {
        a.add_peer(peer, address).await;
        peer.add_peer(&a, A).await;
    }
    exchange(&mut a, &mut b, b"hello").await;
    exchange_with_c(&mut a, &mut c).await;
    [a, b, c]
}

async fn exchange_with_c(a: &mut Side, c: &mut Side) {
    a.host.send_packet(ipv4(A, C, b"to c")).await.unwrap();
    assert_eq!(c.receive().await, ipv4(A, C, b"to c"));
    c.host.send_packet(ipv4(C, A, b"from c")).await.unwrap();
    assert_eq!(a.receive().await, ipv4(C, A, b"from c"));
}

fn change(side: &Side, peer: PeerUpdate) {
    side.device.apply(Update { peers: vec![peer], ..Update::default() }).unwrap();
}

#[tokio::test]
async fn each_of_several_peers_sends_by_a_socket_of_its_own_as_long_as_it_is_there() {
    let [mut a, mut b, mut c] = three().await;
    exchange(&mut a, &mut b, b"again").await;
    exchange_with_c(&mut a, &mut c).await;
    assert_eq!([lanes(&a), lanes(&b), lanes(&c)], [2, 0, 0]);

    change(&a, PeerUpdate { action: PeerAction::Remove, ..PeerUpdate::new(c.key.public_key()) });
    assert_eq!(lanes(&a), 1);
    exchange(&mut a, &mut b, b"alone").await;
    assert_eq!(lanes(&a), 1);
}

#[tokio::test]
async fn the_sockets_of_peers_go_with_the_port_and_with_the_session() {
    let [mut a, mut b, mut c] = three().await;
    a.device.apply(Update { listen_port: Some(0), ..Update::default() }).unwrap();
    exchange(&mut a, &mut b, b"from another port").await;
    exchange_with_c(&mut a, &mut c).await;
    exchange(&mut a, &mut b, b"again").await;
    assert_eq!(lanes(&a), 2);
    // A new key ends every session.
    a.device.apply(Update { private_key: Some(Some(PrivateKey::generate_from_os())), ..Update::default() }).unwrap();
    assert_eq!(lanes(&a), 0);
}

#[tokio::test]
async fn an_endpoint_with_port_0_is_refused_and_changes_nothing() {
    let (mut a, mut b) = connected().await;
    for nowhere in ["192.0.2.1:0", "[2001:db8::1]:0"] {
        let peer = PeerUpdate { endpoint: Some(nowhere.parse().unwrap()), ..PeerUpdate::new(b.key.public_key()) };
        let update = Update { replace_peers: true, peers: vec![peer], ..Update::default() };
        let Err(ApplyError::Endpoint { peer }) = a.device.apply(update) else { panic!("{nowhere}") };
        assert_eq!(peer, b.key.public_key());
    }
    exchange(&mut a, &mut b, b"unchanged").await;
}
