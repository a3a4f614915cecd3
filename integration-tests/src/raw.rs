//! IP packets written by hand.

use std::net::{Ipv4Addr, SocketAddrV4, SocketAddrV6};
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

/// The checksum over the pseudo-header and a transport segment (RFC 9293, section 3.1).
fn checksum(protocol: u8, segment: &[u8]) -> u16 {
    let pseudo = [10, 9, 0, 1, 10, 9, 0, 2, 0, protocol];
    let length = (segment.len() as u16).to_be_bytes();
    internet_checksum(&[&pseudo[..], &length, segment].concat())
}
