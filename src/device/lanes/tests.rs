//! Lanes beside real sockets, on loopback.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use rustix::net::sockopt::socket_reuseport;

use super::linux::{DUMMY_V4, DUMMY_V6};
use super::*;
use crate::device::sending::{Offload, Segmentation, Sent};
use crate::device::sending_socket::Cutting;
use crate::device::sockets::Sockets;
use crate::tunnel::{Ecn, Endpoint, Run};

const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

fn sockets() -> Sockets {
    Sockets::bind(0, 0, &Options::default()).unwrap()
}

fn receiver(address: IpAddr) -> UdpSocket {
    let receiver = UdpSocket::bind((address, 0)).unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    receiver
}

/// Sends one datagram by the peer's lane, from `local`, and returns what became of it.
fn send(sockets: &Sockets, peer: u32, local: IpAddr, to: SocketAddr) -> Sent {
    let (to, mut sent) = (Endpoint { remote: to, local: Some(local) }, Sent::default());
    let lane = sockets.lane(Lane::Peer(peer), to).expect("Linux has lanes");
    let run = Run { contents: b"hello", segment_size: 5, mark: Ecn::NotCapable.into() };
    lane.send(run, (Segmentation::Kernel, Cutting::AsNeeded), to, &mut Offload::default(), &mut sent);
    sent
}

#[test]
fn lanes_send_from_the_shared_port_and_the_address_that_the_peer_knows() {
    let sockets = sockets();
    for address in LOOPBACK {
        let receiver = receiver(address);
        for peer in 0..3 {
            assert_eq!(send(&sockets, peer, address, receiver.local_addr().unwrap()).failed, 0);
            let (_, from) = receiver.recv_from(&mut [0; 9]).unwrap();
            assert_eq!(from, SocketAddr::from((address, sockets.port())));
        }
    }
    let receiver = receiver(LOOPBACK[0]);
    let another = IpAddr::from([127, 0, 0, 5]);
    send(&sockets, 0, another, receiver.local_addr().unwrap());
    assert_eq!(receiver.recv_from(&mut [0; 9]).unwrap().1, SocketAddr::from((another, sockets.port())));
}

#[test]
fn lanes_receive_nothing() {
    let sockets = sockets();
    for address in LOOPBACK {
        let to = Endpoint { remote: (address, 9).into(), local: Some(address) };
        let lanes = [0, 1, 2].map(|peer| sockets.lane(Lane::Peer(peer), to).unwrap());
        let receiving = sockets.towards(to.remote, 0).unwrap();
        let mut came = 0;
        for _ in 0..200 {
            receiver(address).send_to(b"hello", (address, sockets.port())).unwrap();
            came += usize::from(receiving.as_udp().recv(&mut [0; 9]).is_ok());
        }
        assert_eq!(came, 200);
        for lane in lanes {
            let error = lane.as_udp().recv(&mut [0; 9]).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        }
    }
}

#[test]
fn from_an_address_that_is_not_ours_nothing_leaves() {
    let sockets = sockets();
    let foreign = [IpAddr::from([203, 0, 113, 9]), "2001:db8::9".parse().unwrap()];
    for (foreign, address) in foreign.into_iter().chain([DUMMY_V4.into(), DUMMY_V6.into()]).zip(LOOPBACK.repeat(2)) {
        let receiver = receiver(address);
        let sent = send(&sockets, 0, foreign, receiver.local_addr().unwrap());
        assert_eq!((sent.failed, sent.local_address_is_stale), (1, true), "{foreign}");
    }
}

#[test]
fn where_our_address_is_not_known_the_system_says_which_it_is() {
    let sockets = sockets();
    for address in LOOPBACK {
        let receiver = receiver(address);
        let (lane, to) = sockets.lane_towards(Endpoint::from(receiver.local_addr().unwrap()), 1).unwrap();
        assert!(!Arc::ptr_eq(&lane, &sockets.towards(to.remote, 1).unwrap()));
        lane.send_one(b"hello", to).unwrap();
        assert_eq!(receiver.recv_from(&mut [0; 9]).unwrap().1, SocketAddr::from((address, sockets.port())));
    }
}

#[test]
fn the_port_stays_ours() {
    for queues in [1, 2] {
        let sockets = Sockets::bind(0, 0, &Options { queues, ..Options::default() }).unwrap();
        let to = Endpoint { remote: (LOOPBACK[0], 9).into(), local: Some(LOOPBACK[0]) };
        sockets.lane(Lane::Peer(1), to).unwrap();
        let receiving = sockets.towards(to.remote, 0).unwrap();
        assert_eq!(socket_reuseport(receiving.as_udp()).unwrap(), queues > 1);
        let error = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, sockets.port())).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    }
}

#[test]
fn lanes_are_bounded_and_close() {
    let receiving = sockets();
    let to = Endpoint { remote: (LOOPBACK[0], 9).into(), local: Some(LOOPBACK[0]) };
    let shared = receiving.towards(to.remote, 0).unwrap();
    let lanes = Lanes { most: 2, ..Lanes::new(receiving.port(), &Options::default()) };
    let get = |peer| lanes.get(Lane::Peer(peer), IpVersion::V4, &shared);
    let [one, two, three] = [1, 2, 3].map(get);
    assert!(Arc::ptr_eq(&one.unwrap(), &get(1).unwrap()));
    assert!(two.is_some() && three.is_none());
    assert!(lanes.get(Lane::Strangers(0), IpVersion::V4, &shared).is_some());
    lanes.retain(|lane| lane != Lane::Strangers(0));
    lanes.close(2);
    assert!(get(3).is_some() && get(2).is_none());
    lanes.retain(|lane| lane == Lane::Peer(3));
    assert!(get(2).is_some() && get(1).is_none());
    lanes.close_all();
    assert!(get(2).is_none());
}

#[test]
fn a_system_that_opens_none_is_not_asked_for_each_datagram() {
    // Nobody shares this one's port.
    let stranger = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let lanes = Lanes::new(stranger.local_addr().unwrap().port(), &Options::default());
    let receiving = sockets().towards((LOOPBACK[0], 9).into(), 0).unwrap();
    let get = || lanes.get(Lane::Peer(1), IpVersion::V4, &receiving);
    assert!(get().is_none());
    drop(stranger);
    assert!(get().is_none(), "it is asked again later");
    lanes.state.write().opening = Opening::NotBefore(Instant::now());
    assert!(get().is_some());
}

#[test]
fn strangers_are_answered_from_the_port_by_a_small_socket_of_their_own() {
    let sockets = sockets();
    for address in LOOPBACK {
        let receiver = receiver(address);
        let to = Endpoint { remote: receiver.local_addr().unwrap(), local: Some(address) };
        sockets.answer_stranger(b"cookie", to).unwrap();
        assert_eq!(receiver.recv_from(&mut [0; 9]).unwrap(), (6, SocketAddr::from((address, sockets.port()))));
        let buffer = |socket: Option<Arc<SendingSocket>>| {
            socket2::SockRef::from(socket.unwrap().as_udp()).send_buffer_size().unwrap()
        };
        let buffers = [sockets.lane_of_strangers(to), sockets.lane(Lane::Peer(1), to)].map(buffer);
        assert!(buffers[0] <= 2 * STRANGERS_BUFFER && buffers[1] <= 2 * MAX_BUFFER, "{buffers:?}");
    }
    // Those of strangers and of one peer, for each version.
    assert_eq!(sockets.count_lanes(), 4);
}

#[test]
fn strangers_of_one_network_share_a_lane_and_those_of_others_have_another() {
    let lanes = Lanes::new(1, &Options::default());
    let lane = |text: &str| lanes.of_strangers(text.parse().unwrap());
    assert_eq!(lane("192.0.2.1"), lane("192.0.2.254"));
    assert_eq!(lane("2001:db8:1::1"), lane("2001:db8:1:ffff::1"));
    let all: std::collections::HashSet<Lane> = (0..=255).map(|third| lane(&format!("10.0.{third}.1"))).collect();
    assert!(all.len() > usize::from(STRANGERS) / 2, "{all:?}");
}
