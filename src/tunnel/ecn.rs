//! Explicit congestion notification through the tunnel (RFC 6040).
//!
//! Outward the mark of the inner header is copied to the outer one; not while a defense runs: the outer header is then
//! always the same. Inward a mark that the network set is passed on; not between ends that agreed on a defense, whose
//! datagrams only an attacker marks ([`Tunnel::pass_mark`](super::Tunnel::pass_mark)).

use super::IpHeader;

/// The two bits of an IP header (RFC 3168, section 5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Ecn {
    /// The transport does not understand congestion marks.
    #[default]
    NotCapable = 0,
    /// It does, and says so by codepoint 1.
    Capable1 = 1,
    /// It does, and says so by codepoint 0.
    Capable0 = 2,
    /// The network is congested.
    Congested = 3,
}

impl Ecn {
    /// Reads the two lower bits.
    pub fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            1 => Self::Capable1,
            2 => Self::Capable0,
            3 => Self::Congested,
            _ => Self::NotCapable,
        }
    }

    /// Returns the mark of an IP packet; of anything else, [`NotCapable`](Self::NotCapable).
    pub fn of(packet: &[u8]) -> Self {
        match packet {
            [first, second, ..] if first >> 4 == 4 => Self::from_bits(*second),
            [first, second, ..] if first >> 4 == 6 => Self::from_bits(second >> 4),
            _ => Self::NotCapable,
        }
    }

    /// Passes the mark of an outer header on to the IP packet that came in it (RFC 6040, section 4.2). `false` says that
    /// the packet is to be dropped: the network is congested, and this is the only sign of it that its transport knows.
    #[must_use]
    pub fn pass_inward(self, packet: &mut [u8]) -> bool {
        let inner = Self::of(packet);
        match (inner, self) {
            (Self::NotCapable, Self::Congested) => false,
            (Self::Capable0, Self::Capable1 | Self::Congested) | (Self::Capable1, Self::Congested) => {
                self.write(packet);
                true
            }
            (Self::NotCapable | Self::Capable0 | Self::Capable1 | Self::Congested, _) => true,
        }
    }

    fn write(self, packet: &mut [u8]) {
        if IpHeader::parse(packet).is_none() {
            return;
        }
        let before = u16::from_be_bytes([packet[0], packet[1]]);
        if packet[0] >> 4 == 6 {
            packet[1] = packet[1] & !0x30 | (self as u8) << 4;
            return;
        }
        packet[1] = packet[1] & !3 | self as u8;
        let after = u16::from_be_bytes([packet[0], packet[1]]);
        // A wrong checksum stays wrong: only the difference goes in (RFC 1624, equation 3).
        let checksum = u16::from_be_bytes([packet[10], packet[11]]);
        let sum = u32::from(!checksum) + u32::from(!before) + u32::from(after);
        let folded = (sum & 0xffff) + (sum >> 16);
        let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::Ecn::{Capable0, Capable1, Congested, NotCapable};
    use super::*;

    const ALL: [Ecn; 4] = [NotCapable, Capable1, Capable0, Congested];

    fn v4(ecn: Ecn) -> Vec<u8> {
        let mut packet = vec![0x45, 0xb8 | ecn as u8, 0, 20, 0, 0, 0, 0, 64, 59, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let checksum = !sum(&packet);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        packet
    }

    fn v6(ecn: Ecn) -> Vec<u8> {
        let mut packet = vec![0; 40];
        (packet[0], packet[1], packet[6]) = (0x6b, 0x8f | (ecn as u8) << 4, 59);
        packet
    }

    fn sum(header: &[u8]) -> u16 {
        let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        ((sum & 0xffff) + (sum >> 16)) as u16
    }

    #[test]
    fn every_cell_of_the_table_of_rfc_6040_holds() {
        let table = [
            (NotCapable, [Some(NotCapable), Some(NotCapable), Some(NotCapable), None]),
            (Capable1, [Some(Capable1), Some(Capable1), Some(Capable1), Some(Congested)]),
            (Capable0, [Some(Capable0), Some(Capable1), Some(Capable0), Some(Congested)]),
            (Congested, [Some(Congested); 4]),
        ];
        for (inner, row) in table {
            for (outer, expected) in ALL.into_iter().zip(row) {
                for (make, of_version) in [(v4 as fn(Ecn) -> Vec<u8>, 4), (v6, 6)] {
                    let mut packet = make(inner);
                    let passes = outer.pass_inward(&mut packet);
                    assert_eq!(passes.then(|| Ecn::of(&packet)), expected, "{of_version}: {inner:?} in {outer:?}");
                    if passes {
                        assert_eq!(packet, make(Ecn::of(&packet)), "nothing else changes but the checksum");
                    }
                }
            }
        }
    }

    #[test]
    fn a_wrong_checksum_stays_wrong() {
        let mut packet = v4(Capable0);
        packet[10] ^= 0x55;
        assert!(Congested.pass_inward(&mut packet));
        assert_ne!(sum(&packet), 0xffff);
    }

    #[test]
    fn what_is_no_ip_packet_is_left_alone() {
        for bytes in [&[][..], &[0x45], &[0xff; 40], &[0x46; 19]] {
            let mut packet = bytes.to_vec();
            let _ = Congested.pass_inward(&mut packet);
            assert_eq!(packet, bytes);
        }
    }
}
