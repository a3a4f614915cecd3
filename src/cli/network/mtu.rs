//! The MTU of a tunnel, derived from the paths to its peers.

/// Bytes that WireGuard adds to a packet at most: IPv6 40, UDP 8, data message 32 (whitepaper §5.4.6).
const OVERHEAD: u32 = 80;

/// MTU, in bytes, of a path of which nothing is known.
const ETHERNET: u32 = 1_500;

/// The least MTU that IPv4 hosts must handle whole (RFC 791 §3.1), in bytes.
const MIN: u32 = 576;

/// The most that an IPv4 packet holds, in bytes, less the overhead.
const MAX: u32 = 65_535 - OVERHEAD;

/// Returns the MTU, in bytes, of a tunnel: what remains of the widest path to a peer; without one, of the default
/// route's; without that, of Ethernet's 1500.
pub(crate) fn derive(paths: &[u32], default_route: Option<u32>) -> u16 {
    let path = paths.iter().copied().max().or(default_route).filter(|&mtu| mtu != 0).unwrap_or(ETHERNET);
    let mtu = path.saturating_sub(OVERHEAD).clamp(MIN, MAX);
    u16::try_from(mtu).expect("the largest MTU fits 16 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eighty_bytes_are_left_for_wireguard() {
        assert_eq!(derive(&[1_500], None), 1_420);
        assert_eq!(derive(&[1_400], Some(9_000)), 1_320);
        assert_eq!(derive(&[1_400, 9_000, 1_500], None), 8_920);
    }

    #[test]
    fn without_a_path_the_default_route_counts_then_ethernet() {
        assert_eq!(derive(&[], Some(1_492)), 1_412);
        assert_eq!(derive(&[], None), 1_420);
        assert_eq!(derive(&[0], None), 1_420);
    }

    #[test]
    fn extreme_paths_still_give_an_mtu_that_linux_takes() {
        assert_eq!(derive(&[65_536], None), 65_455);
        assert_eq!(derive(&[u32::MAX], None), 65_455);
        assert_eq!(derive(&[68], None), 576);
    }
}
