//! Addresses of the ends and packets between them: an end is a number, 0 the client.

use std::net::{IpAddr, SocketAddr};

use maybetun::tunnel::Endpoint;

use crate::virtual_network::Packet;

/// Bytes of the least packet: an IPv4 header, and a number.
pub const LEAST: usize = 24;

/// Returns where an end is.
pub fn address(end: usize) -> Endpoint {
    address_on(2, end)
}

/// Returns where an end is on one of several networks.
pub fn address_on(network: u8, end: usize) -> Endpoint {
    Endpoint::from(SocketAddr::from(([192, 0, network, end as u8 + 1], 51_820)))
}

/// Returns the address of an end inside the tunnel.
pub fn inner_address(end: usize) -> IpAddr {
    IpAddr::from(inner(end))
}

fn inner(end: usize) -> [u8; 4] {
    [10, 0, 0, 1 + end as u8]
}

/// Builds an IPv4 packet from one of two ends to the other, of [`LEAST`] bytes or more, that carries a number.
///
/// # Panics
/// Panics if `length` is over 65,535.
pub fn packet(from: usize, number: u32, length: usize) -> Vec<u8> {
    let mut packet = ipv4(inner(from), inner(1 - from), length.max(LEAST));
    packet[20..LEAST].copy_from_slice(&number.to_be_bytes());
    packet
}

/// Builds an IPv4 packet between two addresses, as hosts send and receive it: `length` bytes with its header, and zeros behind that.
///
/// # Panics
/// Panics if an address is not IPv4's, or `length` is under 20 or over 65,535.
pub fn inner_packet(from: IpAddr, to: IpAddr, length: usize) -> Packet {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (from, to) else {
        panic!("expected IPv4 addresses, not {from} and {to}")
    };
    let payload = ipv4(source.octets(), destination.octets(), length);
    Packet { from: SocketAddr::new(from, 0), to: SocketAddr::new(to, 0), payload }
}

fn ipv4(from: [u8; 4], to: [u8; 4], length: usize) -> Vec<u8> {
    /// Nothing follows (RFC 8200, section 4.7).
    const NO_PROTOCOL: u8 = 59;
    let mut packet = vec![0; length];
    packet[0] = 0x45;
    [packet[8], packet[9]] = [64, NO_PROTOCOL];
    packet[2..4].copy_from_slice(&u16::try_from(length).expect("an IP packet is at most 65,535 bytes").to_be_bytes());
    packet[12..16].copy_from_slice(&from);
    packet[16..20].copy_from_slice(&to);
    packet
}

/// Reads the number back.
///
/// # Panics
/// Panics if it is no packet of [`packet`]'s.
pub fn number(packet: &[u8]) -> u32 {
    u32::from_be_bytes(packet[20..LEAST].try_into().expect("four bytes"))
}
