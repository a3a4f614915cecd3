//! What each source may send: tokens that come back with time, for an address and for the network around it.
//!
//! Whoever has one address of a network often has many, so a network has a share of its own, four times that of an
//! address: a botnet in one network takes no more than that. Many users may have one address (carrier-grade NAT, RFC
//! 6888), so the shares grow with what the device serves.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::bucket::{Bucket, Share};

/// Most sources that are remembered, each at most as long as its tokens take to come back: a table of about 400 kB.
const MAX_SOURCES: usize = 8_192;

/// How often sources whose tokens are all back are forgotten.
const SWEEP: Duration = Duration::from_secs(1);

/// How much more a network may send than an address.
const ADDRESSES: u64 = 4;

/// How long a prefix is that counts as one address, and as one network: what a host has, and what a site has (RFC 6177)
/// or, over IPv4, the least that is routed.
const V4: [u8; 2] = [32, 24];
const V6: [u8; 2] = [64, 48];

/// The tokens of sources.
#[derive(Debug)]
pub(super) struct Sources {
    buckets: HashMap<IpNet, Bucket>,
    swept: Instant,
}

impl Sources {
    pub(super) fn new(now: Instant) -> Self {
        Self { buckets: HashMap::new(), swept: now }
    }

    /// Takes one token from an address, and one from its network, if both have one; `share` is that of the address.
    /// Of an address for which there is no room in the table nothing is known: it has none.
    pub(super) fn take(&mut self, address: IpAddr, share: Share, now: Instant) -> bool {
        if now.saturating_duration_since(self.swept) >= SWEEP {
            self.swept = now;
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
        }
        let [host, network] = prefixes(address);
        let shares = [(network, share.times(ADDRESSES)), (host, share)];
        // The network first: a host of one that has used up its share takes no place in the table.
        for (prefix, share) in shares {
            let has_one = match self.buckets.get(&prefix) {
                Some(bucket) => bucket.has_one(share, now),
                None => self.buckets.len() + shares.len() <= MAX_SOURCES,
            };
            if !has_one {
                return false;
            }
        }
        for (prefix, share) in shares {
            self.buckets.entry(prefix).or_insert(Bucket::full(now)).take(share, now);
        }
        true
    }
}

/// Returns what counts as the address of a source, and as its network.
pub(super) fn prefixes(address: IpAddr) -> [IpNet; 2] {
    let address = address.to_canonical();
    let lengths = if address.is_ipv4() { V4 } else { V6 };
    lengths.map(|length| IpNet::new(address, length).expect("no length is over that of an address").trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: Share = Share::new(20, 5);
    const AT_ONCE: u64 = 5;
    const COST: Duration = Duration::from_millis(50);

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Returns how many tokens there are for messages that come at once from these addresses in turn.
    fn taken(sources: &mut Sources, from: impl Iterator<Item = IpAddr>, now: Instant) -> u64 {
        from.filter(|address| sources.take(*address, SHARE, now)).count() as u64
    }

    #[test]
    fn one_address_does_not_starve_another_and_its_tokens_come_back() {
        let now = Instant::now();
        let mut sources = Sources::new(now);
        let [greedy, modest] = ["192.0.2.1", "192.0.2.2"].map(address);
        assert_eq!(taken(&mut sources, std::iter::repeat_n(greedy, 100), now), AT_ONCE);
        assert!(sources.take(modest, SHARE, now));
        assert!(sources.take(greedy, SHARE, now + COST));
        assert!(!sources.take(greedy, SHARE, now + COST));
    }

    #[test]
    fn a_network_full_of_attackers_takes_four_times_what_an_address_does_and_starves_no_other() {
        let now = Instant::now();
        for (attacker, other) in [("198.51.100.", "203.0.113.9"), ("2001:db8:0:", "2001:db8:1::9")] {
            let mut sources = Sources::new(now);
            let end = if attacker.contains(':') { "::1" } else { "" };
            let mut attackers = (0..20_000u32).map(|host| address(&format!("{attacker}{}{end}", host % 256)));
            let taken = taken(&mut sources, &mut attackers, now);
            assert_eq!(taken, ADDRESSES * AT_ONCE, "{attacker}");
            assert!(sources.take(address(other), SHARE, now), "{other}");
        }
    }

    #[test]
    fn the_addresses_of_one_ipv6_host_are_one() {
        let [a, b, c] = ["2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"].map(|text| prefixes(address(text)));
        assert_eq!(a, b);
        assert_eq!((a[0] == c[0], a[1] == c[1]), (false, true));
    }

    #[test]
    fn an_ipv4_address_is_the_same_however_the_socket_tells_it() {
        assert_eq!(prefixes(address("::ffff:192.0.2.1")), prefixes(address("192.0.2.1")));
    }

    #[test]
    fn the_table_is_bounded_and_empties_with_time() {
        let now = Instant::now();
        let mut sources = Sources::new(now);
        let many = (0..2 * MAX_SOURCES as u32).map(|host| IpAddr::from((host << 8).to_be_bytes()));
        assert_eq!(taken(&mut sources, many, now), MAX_SOURCES as u64 / 2);
        assert_eq!(sources.buckets.len(), MAX_SOURCES);
        assert!(sources.take(address("203.0.113.1"), SHARE, now + SWEEP));
        assert_eq!(sources.buckets.len(), 2);
    }
}
