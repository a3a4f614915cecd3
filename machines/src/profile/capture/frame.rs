//! What a frame says of the IP packet in it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pcap_parser::Linktype;

/// The kinds of links that are read.
pub(super) const KNOWN: &str = "Ethernet (1), Linux cooked (113, 276) or IP (12, 14, 101, 228, 229)";

/// IP without a link, as some systems number it in files.
const RAW: [Linktype; 5] = [Linktype::RAW, Linktype::IPV4, Linktype::IPV6, Linktype(12), Linktype(14)];

/// Cooked frames of version 2.
const LINUX_SLL2: Linktype = Linktype(276);

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// Tags of VLANs, which lie before the type.
const TAGS: [u16; 2] = [0x8100, 0x88a8];

/// Ends of an IP packet, and its length in bytes, header included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    pub(super) length: u32,
}

pub(super) fn is_known(link: Linktype) -> bool {
    [Linktype::ETHERNET, Linktype::LINUX_SLL, LINUX_SLL2].contains(&link) || RAW.contains(&link)
}

/// Returns the packet in a frame, of which the last bytes may be missing; `None` if it is not IP, or its header is not whole.
///
/// A header that states no length, as those of segments that are cut later and of jumbograms, counts for what was on the wire.
pub(super) fn packet(link: Linktype, frame: &[u8], wire_length: u32) -> Option<Packet> {
    let ip = payload(link, frame)?;
    let on_wire = wire_length.saturating_sub(u32::try_from(frame.len() - ip.len()).ok()?);
    let packet = match ip.first()? >> 4 {
        4 => {
            let [from, to] = [12, 16].map(|at| array::<4>(ip, at));
            let length = u32::from(u16::from_be_bytes(array(ip, 2)?));
            Packet { from: Ipv4Addr::from(from?).into(), to: Ipv4Addr::from(to?).into(), length }
        }
        6 => {
            let [from, to] = [8, 24].map(|at| array::<16>(ip, at));
            let payload = u32::from(u16::from_be_bytes(array(ip, 4)?));
            let length = if payload == 0 { 0 } else { 40 + payload };
            Packet { from: Ipv6Addr::from(from?).into(), to: Ipv6Addr::from(to?).into(), length }
        }
        _ => return None,
    };
    Some(Packet { length: if packet.length == 0 { on_wire } else { packet.length }, ..packet })
}

/// Returns what is behind the link's own header.
fn payload(link: Linktype, frame: &[u8]) -> Option<&[u8]> {
    let (kind, start) = match link {
        Linktype::ETHERNET => {
            let tags = (0..2).take_while(|tag| kind(frame, 12 + 4 * tag).is_some_and(|kind| TAGS.contains(&kind)));
            let at = 12 + 4 * tags.count();
            (kind(frame, at)?, at + 2)
        }
        Linktype::LINUX_SLL => (kind(frame, 14)?, 16),
        LINUX_SLL2 => (kind(frame, 0)?, 20),
        link if RAW.contains(&link) => return Some(frame),
        _ => return None,
    };
    if [IPV4, IPV6].contains(&kind) { frame.get(start..) } else { None }
}

fn kind(frame: &[u8], at: usize) -> Option<u16> {
    array(frame, at).map(u16::from_be_bytes)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of IPv4 with a length.
    fn ipv4(length: u16) -> Vec<u8> {
        let mut header = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        header[2..4].copy_from_slice(&length.to_be_bytes());
        header
    }

    fn ipv6(payload: u16) -> Vec<u8> {
        let mut header = vec![0; 40];
        header[0] = 0x60;
        header[4..6].copy_from_slice(&payload.to_be_bytes());
        (header[23], header[39]) = (1, 2);
        header
    }

    fn behind(link: &[u8], kind: u16, rest: &[u8], ip: &[u8]) -> Vec<u8> {
        [link, &kind.to_be_bytes(), rest, ip].concat()
    }

    #[test]
    fn every_link_leads_to_the_packet() {
        let ip = ipv4(1_400);
        let expected = Packet { from: [10, 0, 0, 1].into(), to: [10, 0, 0, 2].into(), length: 1_400 };
        for (link, frame) in [
            (Linktype::ETHERNET, behind(&[0; 12], IPV4, &[], &ip)),
            (Linktype::ETHERNET, behind(&[[0; 12].as_slice(), &[0x81, 0, 0, 7]].concat(), IPV4, &[], &ip)),
            (Linktype::LINUX_SLL, behind(&[0; 14], IPV4, &[], &ip)),
            (LINUX_SLL2, behind(&[], IPV4, &[0; 18], &ip)),
            (Linktype::RAW, ip.clone()),
            (Linktype::IPV4, ip.clone()),
        ] {
            assert!(is_known(link));
            assert_eq!(packet(link, &frame, 1_414), Some(expected), "{link}");
        }
        let six = packet(Linktype::ETHERNET, &behind(&[0; 12], IPV6, &[], &ipv6(100)), 154).unwrap();
        let ends = [1, 2].map(|last| IpAddr::from([0, 0, 0, 0, 0, 0, 0, last]));
        assert_eq!(six, Packet { from: ends[0], to: ends[1], length: 140 });
    }

    #[test]
    fn a_length_that_is_not_stated_is_that_on_the_wire() {
        let frame = behind(&[0; 12], IPV4, &[], &ipv4(0));
        assert_eq!(packet(Linktype::ETHERNET, &frame, 9_014).unwrap().length, 9_000);
        assert_eq!(packet(Linktype::RAW, &ipv6(0), 70_000).unwrap().length, 70_000);
    }

    #[test]
    fn what_is_not_ip_or_cut_off_in_its_header_is_no_packet() {
        assert_eq!(packet(Linktype::ETHERNET, &behind(&[0; 12], 0x0806, &[], &ipv4(100)), 100), None);
        assert_eq!(packet(Linktype::RAW, &[0x50; 60], 60), None);
        for whole in [behind(&[0; 12], IPV4, &[], &ipv4(100)), behind(&[0; 12], IPV6, &[], &ipv6(100))] {
            for length in 0..whole.len() {
                assert_eq!(packet(Linktype::ETHERNET, &whole[..length], 114), None, "{length}");
            }
        }
        assert!(!is_known(Linktype(7)));
    }
}
