//! Settings of real sockets, whatever sends say.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::socket::{GetSockOpt as _, sockopt::UdpGroSegment};

use super::*;
use crate::device::lanes::Lane;
use crate::device::sending::{Offload, Segmentation, Sent};
use crate::device::sending_socket::Cutting;
use crate::device::sockets::Sockets;
use crate::tunnel::{Ecn, Endpoint, Run};

/// Tells whether the socket joins datagrams that come, and whether what it sends may be fragmented.
fn settings(socket: &UdpSocket) -> (bool, bool) {
    let may_fragment = match socket.local_addr().unwrap() {
        SocketAddr::V4(_) => sockopt::ip_mtu_discover(socket).unwrap() == sockopt::Ipv4PathMtuDiscovery::WANT,
        SocketAddr::V6(_) => sockopt::ipv6_mtu_discover(socket).unwrap() == sockopt::Ipv6PathMtuDiscovery::WANT,
    };
    (UdpGroSegment.get(socket).unwrap(), may_fragment)
}

/// Sends what is refused: to port 0, from an address that is not ours, and more than a datagram holds.
fn provoke(socket: &SendingSocket, address: IpAddr) {
    let foreign = if address.is_ipv4() { "203.0.113.9" } else { "2001:db8::9" }.parse().unwrap();
    let (large, small) = (&[7; 65_535][..], &[7; 300][..]);
    for (port, local, contents) in [(0, address, small), (9, foreign, small), (9, address, large)] {
        let (to, mut sent) = (Endpoint { remote: (address, port).into(), local: Some(local) }, Sent::default());
        for segment_size in [100, contents.len()] {
            let run = Run { contents, segment_size, mark: Ecn::Capable0.into() };
            socket.send(run, (Segmentation::Kernel, Cutting::AsNeeded), to, &mut Offload::default(), &mut sent);
        }
        assert!(sent.failed > 0, "{to:?}");
    }
}

#[test]
fn no_send_changes_a_socket() {
    for offload in [true, false] {
        let sockets = Sockets::bind(0, 0, &Options { offload, ..Options::default() }).unwrap();
        for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            let to = Endpoint { remote: (address, 9).into(), local: Some(address) };
            let shared = sockets.towards(to.remote, 0).unwrap();
            let lane = sockets.lane(Lane::Peer(0), to).unwrap();
            for (socket, joins) in [(shared, offload), (lane, false)] {
                assert_eq!(socket.max_segments() > 1, offload);
                let is_over = AtomicBool::new(false);
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        while !is_over.load(Ordering::Relaxed) {
                            assert_eq!(settings(socket.as_udp()), (joins, true));
                        }
                    });
                    (0..20).for_each(|_| provoke(&socket, address));
                    is_over.store(true, Ordering::Relaxed);
                });
            }
        }
    }
}
