//! What one tunnel does with each kind of input, without the passing of time.

mod controllers;
mod pair;
mod truth_tables;

use super::ip::tests::ipv4;
use super::*;
use crate::defense::Plan;
use crate::settings::{DefenseChange, DefenseSettings, Limits, MaskingSettings, Role};
use pair::{Pair, address};

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];

/// Has a tunnel run a plan of its own.
fn defend(tunnel: &mut Tunnel, plan: Plan, seed: [u8; 32], now: Instant) {
    let (limits, masking) = (Limits::default(), MaskingSettings::default());
    let settings = DefenseSettings { name: "plan".to_owned(), role: None, plan, limits, masking };
    tunnel.set_defense(DefenseChange::On(settings), Role::Client, seed, now, &mut DatagramBatch::new()).unwrap();
}

#[test]
fn the_first_packet_waits_for_the_handshake_and_then_arrives() {
    let mut pair = Pair::new();
    let datagrams = pair.send(0, &ipv4(A, B, b"one"));
    assert_eq!(datagrams.iter().map(Vec::len).collect::<Vec<_>>(), [148]);
    assert!(pair.send(0, &ipv4(A, B, b"two")).is_empty(), "the handshake is under way already");
    let delivered = pair.exchange(0, datagrams);
    assert_eq!(delivered, [(1, ipv4(A, B, b"one")), (1, ipv4(A, B, b"two"))]);
    assert_eq!(pair.tunnels[0].poll_event(), Some(Event::SessionStarted));
    assert_eq!(pair.tunnels[1].poll_event(), Some(Event::SessionStarted));
}

/// Reads the 24 bits of an index that do not change within a session, which stands at `at`.
fn bits(datagram: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(datagram[at..at + 4].try_into().unwrap()) >> 8
}

#[test]
fn the_table_knows_whose_each_session_is_and_no_two_sessions_share_an_index() {
    let table = SessionIndices::default();
    let keys = [PrivateKey::generate_from_os(), PrivateKey::generate_from_os()];
    let config = TunnelConfig {
        indices: table.clone(),
        owner: 77,
        ..TunnelConfig::new(&keys[0], keys[1].public_key(), [3; 32])
    };
    let mut pair = Pair::new();
    pair.tunnels[0] = Tunnel::new(config);
    pair.tunnels[0].set_endpoint(Some(address(1)));
    pair.tunnels[1] = Tunnel::new(TunnelConfig::new(&keys[1], keys[0].public_key(), [4; 32]));
    let mut seen = std::collections::HashSet::new();
    for _ in 0..20 {
        let initiation = pair.send(0, &ipv4(A, B, b"")).into_iter().find(|datagram| datagram[0] == 1).unwrap();
        assert_eq!(table.owner_of(u32::from_le_bytes(initiation[4..8].try_into().unwrap())), Some(77));
        assert!(seen.insert(bits(&initiation, 4)));
        let response = pair.receive(1, &initiation).1.remove(0);
        assert!(seen.insert(bits(&response, 4)), "nor do those of the other end");
        pair.exchange(1, vec![response]);
        let (now, mut out) = (pair.now, DatagramBatch::new());
        pair.tunnels[0].network_changed(now, &mut out);
        // The next call is made by the packet that waits.
        pair.tunnels[0].give_up(pair.now);
    }
    drop(pair);
    assert!(seen.into_iter().all(|bits| table.owner_of(bits << 8).is_none()), "nothing is left of a tunnel");
}

#[test]
fn plaintext_is_padded_to_sixteen_bytes_but_not_beyond_the_mtu() {
    let mut pair = Pair::connected();
    pair.tunnels[0].set_mtu(1_390);
    for length in [0usize, 1, 11, 12, 13, 500, 1_360, 1_370] {
        let packet = ipv4(A, B, &vec![7; length]);
        let datagram = pair.send(0, &packet).remove(0);
        assert_eq!(datagram.len() - DATA_OVERHEAD, packet.len().next_multiple_of(16).min(1_390), "payload of {length}");
        assert_eq!(pair.receive(1, &datagram).0, Some(packet), "padding does not come out of the tunnel");
    }
}

#[test]
fn a_packet_larger_than_the_mtu_is_sent_as_it_is() {
    let mut pair = Pair::connected();
    pair.tunnels[0].set_mtu(1_280);
    let packet = ipv4(A, B, &[7; 1_301]);
    let datagram = pair.send(0, &packet).remove(0);
    assert_eq!(datagram.len(), packet.len() + DATA_OVERHEAD);
}

#[test]
fn a_packet_without_an_endpoint_is_dropped_and_counted() {
    let mut pair = Pair::new();
    pair.tunnels[0].set_endpoint(None);
    assert!(pair.send(0, &ipv4(A, B, b"lost")).is_empty());
    assert_eq!(pair.tunnels[0].statistics().dropped.no_endpoint, 1);
}

#[test]
fn the_queue_is_bounded_and_drops_the_newest() {
    let mut pair = Pair::new();
    let initiation = pair.send(0, &ipv4(A, B, &0u32.to_be_bytes()));
    for i in 1..MAX_QUEUED_PACKETS as u32 + 5 {
        pair.send(0, &ipv4(A, B, &i.to_be_bytes()));
    }
    assert_eq!(pair.tunnels[0].queued(), MAX_QUEUED_PACKETS);
    assert_eq!(pair.tunnels[0].statistics().dropped.queue_full, 5);

    let response = pair.receive(1, &initiation[0]).1;
    let mut datagrams = pair.receive(0, &response[0]).1;
    while pair.tunnels[0].has_ready() {
        let mut out = DatagramBatch::new();
        let now = pair.now;
        pair.tunnels[0].flush(now, &mut out);
        datagrams.extend(out.iter().map(<[u8]>::to_vec));
    }
    let delivered = pair.exchange(0, datagrams);
    let expected: Vec<_> = (0..MAX_QUEUED_PACKETS as u32).map(|i| (1, ipv4(A, B, &i.to_be_bytes()))).collect();
    assert_eq!(delivered, expected);
}

#[test]
fn a_source_that_is_not_allowed_is_dropped_and_counted() {
    let mut pair = Pair::connected();
    let datagram = pair.send(0, &ipv4([10, 9, 9, 9], B, b"forged")).remove(0);
    assert_eq!(pair.receive(1, &datagram).0, None);
    assert_eq!(pair.tunnels[1].statistics().dropped.source_not_allowed, 1);
}

#[test]
fn a_replayed_datagram_is_dropped_and_counted() {
    let mut pair = Pair::connected();
    let datagram = pair.send(0, &ipv4(A, B, b"once")).remove(0);
    assert!(pair.receive(1, &datagram).0.is_some());
    let before = pair.tunnels[1].statistics();
    assert_eq!(pair.receive(1, &datagram), (None, vec![]));
    let after = pair.tunnels[1].statistics();
    assert_eq!(after.dropped.replayed, before.dropped.replayed + 1);
    assert_eq!(after.received_bytes, before.received_bytes);
}

#[test]
fn a_replayed_initiation_is_not_answered_and_does_not_move_the_endpoint() {
    let mut pair = Pair::new();
    let initiation = pair.send(0, &ipv4(A, B, b"one")).remove(0);
    assert_eq!(pair.receive(1, &initiation).1.len(), 1);
    let endpoint = pair.tunnels[1].endpoint();
    let (mut out, mut packet) = (DatagramBatch::new(), vec![0; 148]);
    let elsewhere = Endpoint::from(SocketAddr::from(([203, 0, 113, 1], 1)));
    let now = pair.now;
    pair.tunnels[1].receive(&initiation, elsewhere, now, |_| true, &mut packet, &mut out);
    assert!(out.is_empty());
    assert_eq!(pair.tunnels[1].endpoint(), endpoint);
}

#[test]
fn a_recorded_initiation_is_refused_whatever_was_changed_since_and_however_often() {
    let mut pair = Pair::new();
    let initiation = pair.send(0, &ipv4(A, B, b"one")).remove(0);
    assert_eq!(pair.receive(1, &initiation).1.len(), 1);
    let own = pair.tunnels[1].noise.private_key().clone();
    let mut is_refused = |change: &str, act: &dyn Fn(&mut Tunnel, Instant)| {
        act(&mut pair.tunnels[1], pair.now);
        assert!(pair.receive(1, &initiation).1.is_empty(), "answered after {change}");
    };
    for _ in 0..20 {
        is_refused("another preshared key", &|tunnel, now| {
            tunnel.set_preshared_key(&PresharedKey::generate_from_os(), now);
        });
        is_refused("another private key and the old one again", &|tunnel, now| {
            tunnel.set_private_key(&PrivateKey::generate_from_os(), now);
            tunnel.set_private_key(&own, now);
        });
        is_refused("another network", &|tunnel, now| tunnel.network_changed(now, &mut DatagramBatch::new()));
    }
    is_refused("no preshared key", &|tunnel, now| tunnel.set_preshared_key(&PresharedKey::from_bytes(&[0; 32]), now));
    is_refused("the same private key", &|tunnel, now| tunnel.set_private_key(&own, now));
    is_refused("another defense", &|tunnel, now| {
        defend(tunnel, Plan::default(), [1; 32], now);
        let mut out = DatagramBatch::new();
        tunnel.set_defense(DefenseChange::Off, Role::Client, [0; 32], now, &mut out).unwrap();
    });
    // A fresh one is answered: it is not that the tunnel is deaf.
    pair.tunnels[0].forget_sessions(pair.now);
    let fresh = pair.send(0, &ipv4(A, B, b"two")).remove(0);
    assert_eq!(pair.receive(1, &fresh).1.len(), 1);
}

#[test]
fn every_flipped_bit_is_noticed() {
    let mut pair = Pair::connected();
    let datagram = pair.send(0, &ipv4(A, B, b"precious")).remove(0);
    for bit in 0..datagram.len() * 8 {
        let mut flipped = datagram.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(pair.receive(1, &flipped), (None, vec![]), "bit {bit}");
    }
    assert_eq!(pair.receive(1, &datagram).0, Some(ipv4(A, B, b"precious")));
}

#[test]
fn every_truncation_is_noticed() {
    let mut pair = Pair::connected();
    let datagram = pair.send(0, &ipv4(A, B, b"precious")).remove(0);
    for length in 0..datagram.len() {
        assert_eq!(pair.receive(1, &datagram[..length]), (None, vec![]), "length {length}");
    }
}

#[test]
fn the_endpoint_follows_authenticated_datagrams_only() {
    let mut pair = Pair::connected();
    let datagram = pair.send(0, &ipv4(A, B, b"moved")).remove(0);
    let elsewhere =
        Endpoint { remote: SocketAddr::from(([203, 0, 113, 7], 7)), local: Some(IpAddr::from([192, 0, 2, 2])) };
    let mut forged = datagram.clone();
    forged[20] ^= 1;
    let now = pair.now;
    let (mut out, mut packet) = (DatagramBatch::new(), vec![0; datagram.len()]);
    pair.tunnels[1].receive(&forged, elsewhere, now, |_| true, &mut packet, &mut out);
    assert_eq!(pair.tunnels[1].endpoint(), Some(address(0)));
    pair.tunnels[1].receive(&datagram, elsewhere, now, |_| true, &mut packet, &mut out);
    assert_eq!(pair.tunnels[1].endpoint(), Some(elsewhere));
}

#[test]
fn nothing_is_heard_from_port_0_or_sent_there() {
    let mut pair = Pair::connected();
    let datagram = pair.send(0, &ipv4(A, B, b"from nowhere")).remove(0);
    let nowhere = Endpoint::from(SocketAddr::from(([203, 0, 113, 7], 0)));
    let (mut out, mut packet) = (DatagramBatch::new(), vec![0; datagram.len()]);
    let before = pair.tunnels[1].statistics().dropped.unauthenticated;
    let now = pair.now;
    assert_eq!(pair.tunnels[1].receive(&datagram, nowhere, now, |_| true, &mut packet, &mut out), None);
    assert_eq!(pair.tunnels[1].endpoint(), Some(address(0)));
    assert_eq!(pair.tunnels[1].statistics().dropped.unauthenticated, before + 1);
    assert_eq!(pair.receive(1, &datagram).0, Some(ipv4(A, B, b"from nowhere")), "it was not taken for a replay");

    pair.tunnels[1].set_endpoint(Some(nowhere));
    assert_eq!(pair.tunnels[1].endpoint(), None);
}

#[test]
fn a_new_private_key_tells_that_the_session_ended() {
    let mut pair = Pair::connected();
    while pair.tunnels[0].poll_event().is_some() {}
    let now = pair.now;
    pair.tunnels[0].set_private_key(&PrivateKey::generate_from_os(), now);
    assert_eq!((pair.tunnels[0].poll_event(), pair.tunnels[0].poll_event()), (Some(Event::SessionEnded), None));
}

#[test]
fn another_preshared_key_means_no_session() {
    let keys = [Some(PresharedKey::generate_from_os()), Some(PresharedKey::generate_from_os())];
    let mut pair = Pair::with_preshared_keys(keys);
    let datagrams = pair.send(0, &ipv4(A, B, b"secret"));
    assert_eq!(pair.exchange(0, datagrams), []);
    assert_eq!(pair.tunnels[0].poll_event(), None);
}

#[test]
fn a_preshared_key_of_zeros_is_none_and_the_same_key_again_keeps_the_session() {
    let mut pair = Pair::connected();
    let now = pair.now;
    for tunnel in &mut pair.tunnels {
        tunnel.set_preshared_key(&PresharedKey::from_bytes(&[0; 32]), now);
        assert!(tunnel.preshared_key().is_none());
    }
    let datagrams = pair.send(0, &ipv4(A, B, b"still here"));
    assert_eq!(pair.exchange(0, datagrams), [(1, ipv4(A, B, b"still here"))]);
}

#[test]
fn a_new_preshared_key_leaves_the_session_in_use() {
    let mut pair = Pair::connected();
    let (key, now) = (PresharedKey::generate_from_os(), pair.now);
    for (side, from, to) in [(0, A, B), (1, B, A)] {
        pair.tunnels[side].set_preshared_key(&key, now);
        let datagrams = pair.send(side, &ipv4(from, to, b"unharmed"));
        assert_eq!(datagrams.iter().map(|datagram| datagram[0]).collect::<Vec<_>>(), [4], "no handshake is needed");
        assert_eq!(pair.exchange(side, datagrams), [(1 - side, ipv4(from, to, b"unharmed"))]);
    }
}

#[test]
fn a_frame_is_dropped_quietly_and_other_payloads_are_malformed() {
    let mut pair = Pair::connected();
    // The tunnel seals whatever it is given: here, what another implementation might send.
    let mut padding = vec![0; 1_420];
    padding[..4].copy_from_slice(&[0xff, 0, 0x05, 0x8c]);
    let datagram = pair.send(0, &padding).remove(0);
    assert_eq!(pair.receive(1, &datagram), (None, vec![]));
    assert_eq!(pair.tunnels[1].statistics().dropped.malformed, 0);

    for payload in [&b"neither"[..], &[0x45; 19], &[0x60; 39], &[0xff, 0, 0, 0]] {
        let before = pair.tunnels[1].statistics().dropped.malformed;
        let datagram = pair.send(0, payload).remove(0);
        assert_eq!(pair.receive(1, &datagram), (None, vec![]));
        assert_eq!(pair.tunnels[1].statistics().dropped.malformed, before + 1, "{payload:?}");
    }
}

#[test]
fn an_ip_packet_that_states_no_length_is_malformed() {
    let mut pair = Pair::connected();
    let mut packet = ipv4(A, B, b"payload");
    packet[2..4].fill(0);
    let datagram = pair.send(0, &packet).remove(0);
    assert_eq!(pair.receive(1, &datagram), (None, vec![]));
    assert_eq!(pair.tunnels[1].statistics().dropped.malformed, 1);
}

#[test]
fn what_is_taken_back_before_it_left_was_not_sent() {
    let mut pair = Pair::connected();
    defend(&mut pair.tunnels[0], Plan::default(), [1; 32], pair.now);
    let (now, packet) = (pair.now, ipv4(A, B, &[7; 1_000]));
    let before = pair.tunnels[0].statistics().sent_bytes;
    let (mut out, mut buffer) = (DatagramBatch::new(), packet.clone());
    buffer.resize(packet.len() + 15, 0);
    pair.tunnels[0].send(&mut buffer, packet.len(), now, &mut out);
    assert_eq!(out.len(), 1);
    // What is in the batch was sealed for the network before.
    pair.tunnels[0].network_changed(now, &mut out);
    let left: u64 = out.iter().map(|datagram| datagram.len() as u64).sum();
    assert_eq!((out.len(), left), (1, 148), "a call");
    assert_eq!(pair.tunnels[0].statistics().sent_bytes, before + left);
}
