//! What a device does with its own datagrams when they come from its TUN device.

use std::sync::{Mutex, PoisonError};

use tokio::net::UdpSocket;

use super::*;

const UDP: u8 = 17;

/// A network between two sides: each sends to the other through one socket, and what the first sends is kept.
struct Between {
    address: SocketAddr,
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Between {
    async fn new(first: SocketAddr, second: SocketAddr) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let sent = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&sent);
        tokio::spawn(async move {
            let mut buffer = [0; 2_000];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let to = if from == first { second } else { first };
                if from == first {
                    kept.lock().unwrap_or_else(PoisonError::into_inner).push(buffer[..length].to_vec());
                }
                let _ = socket.send_to(&buffer[..length], to).await;
            }
        });
        Self { address, sent }
    }

    /// Returns the last message of this type that the first side sent.
    fn last(&self, kind: u8) -> Vec<u8> {
        let sent = self.sent.lock().unwrap();
        sent.iter().rev().find(|datagram| datagram[0] == kind).unwrap().clone()
    }
}

/// Returns a datagram as the system routes it into the tunnel.
fn routed(source: [u8; 4], from_port: u16, to_port: u16, message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + message.len()).unwrap();
    let header = [from_port.to_be_bytes(), to_port.to_be_bytes(), length.to_be_bytes(), [0, 0]].concat();
    let mut packet = ipv4(source, [127, 0, 0, 1], &[&header[..], message].concat());
    packet[9] = UDP;
    packet
}

/// Cuts a packet into two fragments with this identification.
fn fragments(packet: &[u8], identification: u16) -> [Vec<u8>; 2] {
    let payload = &packet[20..];
    [(&payload[..64], 0x2000u16), (&payload[64..], 64 / 8)].map(|(part, field)| {
        let mut fragment = ipv4([127, 0, 0, 1], [127, 0, 0, 1], part);
        fragment[9] = UDP;
        fragment[4..6].copy_from_slice(&identification.to_be_bytes());
        fragment[6..8].copy_from_slice(&field.to_be_bytes());
        fragment
    })
}

#[tokio::test]
async fn a_datagram_of_our_own_is_dropped_and_what_only_looks_like_one_passes() {
    let (mut a, mut b) = (Side::new().await, Side::new().await);
    let between = Between::new(a.listening().await, b.listening().await).await;
    for (side, peer) in [(&a, &b), (&b, &a)] {
        let update = PeerUpdate {
            endpoint: Some(between.address),
            allowed_ips: vec![AllowedIpChange::Add("0.0.0.0/0".parse().unwrap())],
            ..PeerUpdate::new(peer.key.public_key())
        };
        side.device.apply(Update { peers: vec![update], ..Update::default() }).unwrap();
    }
    exchange(&mut a, &mut b, &[7; 100]).await;
    let (port, to) = (a.listening().await.port(), between.address.port());
    let (initiation, data) = (between.last(1), between.last(4));
    const LOCAL: [u8; 4] = [127, 0, 0, 1];

    let [first, later] = fragments(&routed(LOCAL, port, to, &data), 5);
    let own = [routed(LOCAL, port, to, &data), routed(LOCAL, port, to, &initiation), first, later];
    let dropped = own.len() as u64;
    for packet in own {
        a.host.send_packet(packet).await.unwrap();
    }

    let changed = |message: &[u8], at: usize| {
        let mut message = message.to_vec();
        message[at] ^= 1;
        message
    };
    let [_, of_another] = fragments(&routed(LOCAL, port, to, &data), 6);
    let strangers = [
        ("of another host", routed([192, 0, 2, 77], port, to, &data)),
        ("from another port", routed(LOCAL, port ^ 1, to, &data)),
        ("to another port", routed(LOCAL, port, to ^ 1, &data)),
        ("in another session", routed(LOCAL, port, to, &changed(&data, 5))),
        ("with which another session begins", routed(LOCAL, port, to, &changed(&initiation, 6))),
        ("no message of WireGuard's", routed(LOCAL, port, to, &changed(&data, 1))),
        ("too short for one", routed(LOCAL, port, to, &data[..7])),
        ("a fragment of another datagram", of_another),
    ];
    for (what, packet) in strangers {
        a.host.send_packet(packet.clone()).await.unwrap();
        assert_eq!(b.receive().await, packet, "{what}");
    }
    assert_eq!(a.device.status().dropped.came_back, dropped);
    exchange(&mut a, &mut b, b"still alive").await;
}

#[tokio::test]
async fn a_datagram_for_one_peer_goes_by_way_of_another_but_not_round_in_a_circle() {
    const C: [u8; 4] = [10, 0, 0, 3];
    const LOCAL: [u8; 4] = [127, 0, 0, 1];
    let (mut a, mut b, mut c) = (Side::new().await, Side::new().await, Side::new().await);
    let port = a.listening().await.port();
    let mut networks = Vec::new();
    for (side, address) in [(&b, B), (&c, C)] {
        let between = Between::new(a.listening().await, side.listening().await).await;
        for (here, there, address) in [(&a, side, address), (side, &a, A)] {
            let update = PeerUpdate {
                endpoint: Some(between.address),
                allowed_ips: vec![AllowedIpChange::Add(IpAddr::from(address).into())],
                ..PeerUpdate::new(there.key.public_key())
            };
            here.device.apply(Update { peers: vec![update], ..Update::default() }).unwrap();
        }
        networks.push(between);
    }
    let lead = |a: &Side, to: &Side| {
        let update = PeerUpdate {
            allowed_ips: vec![AllowedIpChange::Add(IpAddr::from(LOCAL).into())],
            ..PeerUpdate::new(to.key.public_key())
        };
        a.device.apply(Update { peers: vec![update], ..Update::default() }).unwrap();
    };
    let come_back = |of: &Between| routed(LOCAL, port, of.address.port(), &of.last(4));
    // What b and c have to take from there, they do.
    for side in [&b, &c] {
        let update = PeerUpdate {
            allowed_ips: vec![AllowedIpChange::Add(IpAddr::from(LOCAL).into())],
            ..PeerUpdate::new(a.key.public_key())
        };
        side.device.apply(Update { peers: vec![update], ..Update::default() }).unwrap();
    }
    exchange(&mut a, &mut b, b"to b").await;
    a.host.send_packet(ipv4(A, C, b"to c")).await.unwrap();
    assert_eq!(c.receive().await, ipv4(A, C, b"to c"));

    lead(&a, &b);
    let by_way_of_b = come_back(&networks[1]);
    a.host.send_packet(by_way_of_b.clone()).await.unwrap();
    assert_eq!(b.receive().await, by_way_of_b);
    lead(&a, &c);
    a.host.send_packet(come_back(&networks[0])).await.unwrap();
    exchange(&mut a, &mut b, b"still alive").await;
    assert_eq!(a.device.status().dropped.came_back, 1);
}
