//! Devices with many peers: what one update, or one stranger, costs the others.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use parking_lot::MutexGuard;

use super::*;
use crate::device::log::tests::captured;
use crate::device::registry::{Peer, PeerState};
use crate::keys::PublicKey;
use crate::settings::NegotiationPolicy;

/// A key that belongs to nobody.
fn key(number: u32) -> PublicKey {
    let mut bytes = [9; 32];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    PublicKey::from_bytes(&bytes).unwrap()
}

/// A peer with an address of its own in 10.64.0.0/10.
fn peer(number: u32) -> PeerUpdate {
    let address = IpAddr::from((0x0a40_0000 + number).to_be_bytes());
    PeerUpdate { allowed_ips: vec![AllowedIpChange::Add(address.into())], ..PeerUpdate::new(key(number)) }
}

fn peers(numbers: std::ops::Range<u32>) -> Update {
    Update { peers: numbers.map(peer).collect(), ..Update::default() }
}

#[tokio::test]
async fn a_stranger_s_datagrams_are_judged_without_a_look_at_any_peer() {
    const PEERS: u32 = 10_000;
    let a = Side::with(Options { handshakes_per_second: Some(0), ..Options::default() }).await;
    a.device.apply(peers(0..PEERS)).unwrap();
    let shared = &a.device.shared;
    let all = shared.peers();
    let [blocked, ..] = &all[..] else { panic!("no peers") };
    let defense = DefenseChange::On(blocking_for_ever());
    let update = PeerUpdate { defense: Some(defense), ..PeerUpdate::new(blocked.public_key) };
    a.device.apply(Update { peers: vec![update], ..Update::default() }).unwrap();
    let owned = shared.registry.read().allowed_ips.prefixes_of(blocked.id)[0].addr();
    let IpAddr::V4(owned) = owned else { panic!("an IPv6 address") };
    blocked
        .state
        .lock()
        .tunnel
        .set_endpoint(Some(crate::tunnel::Endpoint::from(SocketAddr::from(([192, 0, 2, 1], 9)))));
    a.host.send_packet(ipv4(A, owned.octets(), b"it blocks now")).await.unwrap();
    while !blocked.state.lock().tunnel.is_closed() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    // Whoever looks at a peer from now on waits for ever.
    let turns: Vec<_> = all.iter().map(|peer| peer.sending.lock()).collect();
    let held: Vec<MutexGuard<'_, PeerState>> = all.iter().map(|peer: &Arc<Peer>| peer.state.lock()).collect();
    let (own, to) = (a.key.public_key(), SocketAddr::from((Ipv4Addr::LOCALHOST, shared.link.lock().port)));
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reply = [0; 256];
    for _ in 0..100 {
        socket.send_to(&initiation(own), to).unwrap();
        let (length, _) = socket.recv_from(&mut reply).unwrap();
        assert_eq!((length, reply[0]), (64, 3), "a cookie reply");
    }
    let mut cookie_reply = [7; 64];
    cookie_reply[..4].copy_from_slice(&[3, 0, 0, 0]);
    let mut data = [7; 64];
    data[..4].copy_from_slice(&[4, 0, 0, 0]);
    let mut response = [7; 92];
    response[..4].copy_from_slice(&[2, 0, 0, 0]);
    let junk: [&[u8]; 4] = [&cookie_reply, &data, &response, b"junk"];
    for datagram in junk {
        socket.send_to(datagram, to).unwrap();
    }
    while shared.drops.read().unknown < junk.len() as u64 {
        // Not a wait that lets this thread do something else: what looks at ways and waits for them may be due on it.
        thread::sleep(Duration::from_millis(1));
    }
    drop((turns, held));
    let status = a.device.status();
    assert_eq!((status.handshakes.cookies_sent, status.dropped.rate_limited), (100, 100));
    assert!(status.handshakes.is_under_load);
}

/// Does `act` while another thread looks at the registry again and again, and returns how many peers that saw.
fn seen_during(shared: &Shared, act: impl FnOnce()) -> BTreeSet<usize> {
    let (is_over, both) = (AtomicBool::new(false), Barrier::new(2));
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            loop {
                let registry = shared.registry.read();
                let is_new = seen.insert(registry.len());
                if is_new && seen.len() == 1 {
                    both.wait();
                }
                // Long enough for the other to wait behind it.
                thread::sleep(Duration::from_millis(1));
                drop(registry);
                if is_over.load(Ordering::Relaxed) {
                    return seen;
                }
            }
        });
        both.wait();
        act();
        is_over.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    })
}

#[tokio::test]
async fn others_have_their_turn_while_an_update_adds_and_removes_many() {
    const PEERS: u32 = 500;
    let a = Side::new().await;
    let shared = &a.device.shared;
    let remove = |number| PeerUpdate { action: PeerAction::Remove, ..PeerUpdate::new(key(number)) };
    // The other thread may not get a core in time: it has as many tries as it takes.
    let (mut added, mut removed) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..100 {
        let addition = peers(0..PEERS);
        added.extend(seen_during(shared, || a.device.apply(addition).unwrap()));
        assert_eq!(shared.registry.read().len(), PEERS as usize);
        let removal = Update { peers: (0..PEERS).map(remove).collect(), ..Update::default() };
        removed.extend(seen_during(shared, || a.device.apply(removal).unwrap()));
        assert!(shared.registry.read().route(IpAddr::from([10, 64, 0, 1])).is_none());
        if added.len() > 2 && removed.len() > 2 {
            return;
        }
    }
    panic!("another looks before and after, and never between: {added:?}, {removed:?}");
}

#[tokio::test]
async fn an_update_is_applied_in_its_order_however_many_peers_it_has() {
    let a = Side::new().await;
    a.device.apply(peers(0..200)).unwrap();
    let before = a.device.shared.peers();
    // In one update: everybody goes, all but one come back in another order, one twice, and one goes again.
    let again = |number| PeerUpdate { persistent_keepalive: Some(number as u16), ..peer(number) };
    let mut updates: Vec<_> = (0..199).rev().map(again).collect();
    updates.push(PeerUpdate { persistent_keepalive: Some(77), ..PeerUpdate::new(key(198)) });
    updates.push(PeerUpdate { action: PeerAction::Remove, ..PeerUpdate::new(key(0)) });
    updates.push(PeerUpdate { action: PeerAction::UpdateOnly, ..PeerUpdate::new(key(5_000)) });
    // Its address is given away, and it comes back without one.
    updates.push(PeerUpdate { allowed_ips: peer(1).allowed_ips, ..PeerUpdate::new(key(2)) });
    updates.push(PeerUpdate { action: PeerAction::Remove, ..PeerUpdate::new(key(3)) });
    updates.push(PeerUpdate::new(key(3)));
    a.device.apply(Update { replace_peers: true, peers: updates, ..Update::default() }).unwrap();
    let status = a.device.status();
    let mut expected: Vec<_> = (1..199).rev().filter(|number| *number != 3).map(key).collect();
    expected.push(key(3));
    assert_eq!(status.peers.iter().map(|peer| peer.public_key).collect::<Vec<_>>(), expected);
    assert_eq!((status.peers[0].persistent_keepalive, status.peers[1].persistent_keepalive), (77, 197));
    let owner = |number: u32| {
        let address = IpAddr::from((0x0a40_0000 + number).to_be_bytes());
        a.device.shared.registry.read().route(address).map(|peer| peer.public_key)
    };
    assert_eq!([0, 1, 2, 3, 4].map(owner), [None, Some(key(2)), Some(key(2)), None, Some(key(4))]);
    // Of those before nothing is left but what this test holds.
    assert!(before.iter().all(|peer| Arc::strong_count(peer) == 1));
}

#[tokio::test]
async fn the_log_has_one_line_for_an_update_of_any_size() {
    let a = Side::new().await;
    let defended = |number, negotiation| {
        let settings = EphemeralSettings { negotiation, ..EphemeralSettings::default() };
        PeerUpdate { defense: Some(DefenseChange::Ephemeral(settings)), ..peer(number) }
    };
    for negotiation in [NegotiationPolicy::Prefer, NegotiationPolicy::Require] {
        let update =
            Update { peers: (0..1_000).map(|number| defended(number, negotiation)).collect(), ..Update::default() };
        let lines = captured(|| a.device.apply(update).unwrap());
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert!(lines[0].contains("1000 peers: "), "{lines:#?}");
        let is_warning = lines[0].starts_with("WARN");
        assert_eq!(is_warning, negotiation == NegotiationPolicy::Require, "{lines:#?}");
    }
    let lines = captured(|| {
        a.device.apply(Update { peers: vec![defended(0, NegotiationPolicy::Prefer)], ..Update::default() }).unwrap()
    });
    assert!(lines.len() == 1 && lines[0].contains("peer="), "of one peer it is said whose: {lines:#?}");
    let other = Some(Some(PrivateKey::generate_from_os()));
    let lines = captured(|| a.device.apply(Update { private_key: other, ..Update::default() }).unwrap());
    assert!(lines.len() <= 1, "{lines:#?}");
}
