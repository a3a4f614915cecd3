//! What is left of a peer that is removed: nothing, its keys among it.

use super::super::outbound::Outbound;
use super::*;

#[tokio::test]
async fn a_removed_peer_is_let_go_of_by_whoever_sent_for_it() {
    let (a, mut b) = connected().await;
    let shared = &a.device.shared;
    // As a thread that opens what comes: it sends once, and may not be asked to again.
    let (tun, host) = memory::pair(1, 1_420);
    let answers = Outbound::new(Arc::new(tun));
    host.send_packet(ipv4(A, B, b"answer")).await.unwrap();
    answers.answer(shared).unwrap();
    assert_eq!(b.receive().await, ipv4(A, B, b"answer"));

    let key = b.key.public_key();
    let peer = Arc::downgrade(shared.registry.read().by_key(key.as_bytes()).unwrap());
    let removed = PeerUpdate { action: PeerAction::Remove, ..PeerUpdate::new(key) };
    a.device.apply(Update { peers: vec![removed], ..Update::default() }).unwrap();
    let gone = async {
        // Whoever was at work for it has it for a moment more.
        while peer.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("it lives on");
}
