//! IP packets written by hand.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, sendto, socket,
};

use crate::echo::internet_checksum;
use crate::host::Host;

/// Sends IP packets just as they are given. Of IPv4, the system still writes the length and the header's checksum.
#[derive(Debug)]
pub struct RawSender {
    v4: OwnedFd,
    v6: OwnedFd,
}

impl RawSender {
    /// Opens the sockets on `host`.
    #[track_caller]
    pub fn new(host: &Host) -> Self {
        let open = |family| {
            let opened = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw);
            opened.expect("root may open raw sockets")
        };
        host.inside(|| Self { v4: open(AddressFamily::Inet), v6: open(AddressFamily::Inet6) })
    }

    /// Sends one packet.
    #[track_caller]
    pub fn send(&self, packet: &[u8]) {
        assert_eq!(self.offer(packet), Ok(packet.len()), "the system takes {packet:02x?}");
    }

    /// Sends one packet, if the system takes it.
    ///
    /// # Errors
    /// What the system says of a packet that it does not take.
    #[track_caller]
    pub fn offer(&self, packet: &[u8]) -> nix::Result<usize> {
        if packet[0] >> 4 == 4 {
            let octets: [u8; 4] = packet[16..20].try_into().expect("an IPv4 header");
            let to = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::from(octets), 0));
            sendto(self.v4.as_raw_fd(), packet, &to, MsgFlags::empty())
        } else {
            let octets: [u8; 16] = packet[24..40].try_into().expect("an IPv6 header");
            let to = SockaddrIn6::from(SocketAddrV6::new(octets.into(), 0, 0, 0));
            sendto(self.v6.as_raw_fd(), packet, &to, MsgFlags::empty())
        }
    }
}

/// Returns an IPv4 packet from the client's inner address to the relay's; `options` has a multiple of 4 bytes.
pub fn ipv4(protocol: u8, fragment: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45 + (options.len() / 4) as u8, 0, 0, 0, 0x12, 0x34, 0, 0, 64, protocol, 0, 0];
    packet[6..8].copy_from_slice(&fragment.to_be_bytes());
    packet.extend_from_slice(&[10, 9, 0, 1, 10, 9, 0, 2]);
    packet.extend_from_slice(options);
    packet.extend_from_slice(payload);
    packet
}

/// Returns an IPv4 packet with a UDP datagram between any two addresses and ports, 0 among them; without a checksum of UDP.
pub fn datagram(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend_from_slice(&from.ip().octets());
    packet.extend_from_slice(&to.ip().octets());
    packet.extend_from_slice(&from.port().to_be_bytes());
    packet.extend_from_slice(&to.port().to_be_bytes());
    packet.extend_from_slice(&(8 + payload.len() as u16).to_be_bytes());
    packet.extend_from_slice(&[0, 0]);
    packet.extend_from_slice(payload);
    packet
}

/// Returns an IPv6 packet from the client's inner address to the relay's.
pub fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, next_header, 64];
    packet[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    for end in [1, 2] {
        let mut address = [0; 16];
        (address[0], address[1], address[15]) = (0xfd, 0x09, end);
        packet.extend_from_slice(&address);
    }
    packet.extend_from_slice(payload);
    packet
}

/// Returns a TCP segment for [`ipv4`], its checksum right, or wrong by one bit.
pub fn tcp(sequence: u32, payload: &[u8], is_intact: bool) -> Vec<u8> {
    let mut segment = vec![0x13, 0x88, 0x13, 0x89];
    segment.extend_from_slice(&sequence.to_be_bytes());
    segment.extend_from_slice(&[0, 0, 0, 1, 0x50, 0x10, 0x01, 0x00, 0, 0, 0, 0]);
    segment.extend_from_slice(payload);
    let checksum = checksum(6, &segment) ^ u16::from(!is_intact);
    segment[16..18].copy_from_slice(&checksum.to_be_bytes());
    segment
}

/// Returns a UDP datagram for [`ipv4`], its checksum right, or wrong by one bit.
pub fn udp(port: u16, payload: &[u8], is_intact: bool) -> Vec<u8> {
    let mut datagram = vec![0x13, 0x88];
    datagram.extend_from_slice(&port.to_be_bytes());
    datagram.extend_from_slice(&(8 + payload.len() as u16).to_be_bytes());
    datagram.extend_from_slice(&[0, 0]);
    datagram.extend_from_slice(payload);
    let checksum = checksum(17, &datagram) ^ u16::from(!is_intact);
    datagram[6..8].copy_from_slice(&checksum.to_be_bytes());
    datagram
}

/// Returns an IPv4 packet with a UDP datagram from one address and port to another, without a checksum.
pub fn udp_between(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend(from.ip().octets());
    packet.extend(to.ip().octets());
    packet.extend(from.port().to_be_bytes());
    packet.extend(to.port().to_be_bytes());
    packet.extend((8 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

/// Returns an ICMP message to the first of two ends that a datagram of its to the other is too large: of IPv4 "fragmentation
/// needed" (RFC 1191), of IPv6 "packet too big" (RFC 4443). `from` and both ends have one IP version.
#[track_caller]
pub fn packet_too_big(from: IpAddr, [to, peer]: [SocketAddr; 2], mtu: u16) -> Vec<u8> {
    const UDP: u8 = 17;
    const LENGTH: u16 = 1_500;
    let udp = |length: u16| {
        let fields = [to.port(), peer.port(), length, 0];
        fields.into_iter().flat_map(u16::to_be_bytes).chain([0; 64]).collect::<Vec<u8>>()
    };
    match (from, to.ip(), peer.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to), IpAddr::V4(peer)) => {
            let mut quoted = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 60, UDP, 0, 0];
            quoted[2..4].copy_from_slice(&LENGTH.to_be_bytes());
            quoted.extend([to.octets(), peer.octets()].concat());
            let checksum = internet_checksum(&quoted);
            quoted[10..12].copy_from_slice(&checksum.to_be_bytes());
            quoted.extend(udp(LENGTH - 20));
            let mut message = vec![3, 4, 0, 0, 0, 0];
            message.extend(mtu.to_be_bytes());
            message.extend(quoted);
            let checksum = internet_checksum(&message);
            message[2..4].copy_from_slice(&checksum.to_be_bytes());
            let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0];
            packet.extend([from.octets(), to.octets()].concat());
            packet.extend(message);
            packet
        }
        (IpAddr::V6(from), IpAddr::V6(to), IpAddr::V6(peer)) => {
            let header = |length: u16, next: u8, from: [u8; 16], to: [u8; 16]| {
                let mut header = vec![0x60, 0, 0, 0, 0, 0, next, 64];
                header[4..6].copy_from_slice(&length.to_be_bytes());
                header.extend([from, to].concat());
                header
            };
            let mut message = vec![2, 0, 0, 0, 0, 0];
            message.extend(mtu.to_be_bytes());
            message.extend(header(LENGTH - 40, UDP, to.octets(), peer.octets()));
            message.extend(udp(LENGTH - 40));
            let length = message.len() as u16;
            let [high, low] = length.to_be_bytes();
            let pseudo = [&from.octets()[..], &to.octets(), &[0, 0, high, low, 0, 0, 0, 58], &message].concat();
            message[2..4].copy_from_slice(&internet_checksum(&pseudo).to_be_bytes());
            [header(length, 58, from.octets(), to.octets()), message].concat()
        }
        _ => panic!("not one IP version: {from}, {to}, {peer}"),
    }
}

/// The checksum over the pseudo-header and a transport segment (RFC 9293, section 3.1).
fn checksum(protocol: u8, segment: &[u8]) -> u16 {
    let pseudo = [10, 9, 0, 1, 10, 9, 0, 2, 0, protocol];
    let length = (segment.len() as u16).to_be_bytes();
    internet_checksum(&[&pseudo[..], &length, segment].concat())
}
