//! Cryptokey routing (whitepaper §2): which peer owns an address, by the longest prefix that holds it.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::net::IpAddr;

use ip_network::IpNetwork;
use ip_network_table::IpNetworkTable;
use ipnet::IpNet;

/// A table from prefixes to owners. A prefix has one owner at most.
pub struct AllowedIps<T> {
    table: IpNetworkTable<T>,
    /// The same, from owners to their prefixes.
    owned: HashMap<T, BTreeSet<IpNet>>,
}

impl<T> std::fmt::Debug for AllowedIps<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (v4, v6) = self.table.len();
        write!(f, "AllowedIps({v4} IPv4, {v6} IPv6)")
    }
}

impl<T> Default for AllowedIps<T> {
    fn default() -> Self {
        Self { table: IpNetworkTable::new(), owned: HashMap::new() }
    }
}

impl<T: Copy + Eq + Hash> AllowedIps<T> {
    /// Gives `prefix` to `owner`, and returns whose it was before. Host bits are ignored.
    pub fn insert(&mut self, prefix: IpNet, owner: T) -> Option<T> {
        let before = self.table.insert(key(prefix), owner);
        if let Some(before) = before {
            self.disown(prefix, before);
        }
        self.owned.entry(owner).or_default().insert(prefix.trunc());
        before
    }

    /// Takes exactly `prefix` away if `owner` owns it.
    pub fn remove(&mut self, prefix: IpNet, owner: T) {
        if self.table.exact_match(key(prefix)) == Some(&owner) {
            self.table.remove(key(prefix));
            self.disown(prefix, owner);
        }
    }

    /// Takes prefixes of `owner` away, at most so many, and returns how many it took: less than `most` if there are no
    /// more.
    pub fn remove_some(&mut self, owner: T, most: usize) -> usize {
        let Some(prefixes) = self.owned.get_mut(&owner) else { return 0 };
        let some = std::iter::from_fn(|| prefixes.pop_first()).take(most);
        let count = some.map(|prefix| self.table.remove(key(prefix))).count();
        if prefixes.is_empty() {
            self.owned.remove(&owner);
        }
        count
    }

    /// Returns who owns the longest prefix that holds `address`.
    pub fn owner_of(&self, address: IpAddr) -> Option<T> {
        self.table.longest_match(address).map(|(_, owner)| *owner)
    }

    /// Returns the prefixes of `owner`: IPv4 before IPv6, in order of address.
    pub fn prefixes_of(&self, owner: T) -> Vec<IpNet> {
        self.owned.get(&owner).into_iter().flatten().copied().collect()
    }

    /// Tells whether any prefix of `owner` is of IPv6.
    pub fn has_v6(&self, owner: T) -> bool {
        let last = self.owned.get(&owner).and_then(|prefixes| prefixes.last());
        matches!(last, Some(IpNet::V6(_)))
    }

    fn disown(&mut self, prefix: IpNet, owner: T) {
        if let Some(prefixes) = self.owned.get_mut(&owner) {
            prefixes.remove(&prefix.trunc());
        }
    }
}

fn key(prefix: IpNet) -> IpNetwork {
    let network = prefix.trunc();
    IpNetwork::new(network.addr(), network.prefix_len()).expect("a truncated prefix has no host bits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn the_longest_prefix_wins() {
        let mut table = AllowedIps::default();
        table.insert(net("0.0.0.0/0"), 1);
        table.insert(net("10.0.0.0/8"), 2);
        table.insert(net("10.1.2.3/16"), 3);
        assert_eq!(table.owner_of("10.1.9.9".parse().unwrap()), Some(3));
        assert_eq!(table.owner_of("10.2.0.0".parse().unwrap()), Some(2));
        assert_eq!(table.owner_of("192.0.2.1".parse().unwrap()), Some(1));
        assert_eq!(table.owner_of("::1".parse().unwrap()), None);
    }

    #[test]
    fn a_prefix_moves_to_its_last_owner_and_only_the_owner_can_remove_it() {
        let mut table = AllowedIps::default();
        table.insert(net("10.0.0.0/24"), 1);
        assert_eq!(table.insert(net("10.0.0.77/24"), 2), Some(1));
        table.remove(net("10.0.0.0/24"), 1);
        assert_eq!(table.prefixes_of(2), [net("10.0.0.0/24")]);
        table.remove(net("10.0.0.0/24"), 2);
        assert_eq!(table.owner_of("10.0.0.1".parse().unwrap()), None);
    }

    #[test]
    fn the_prefixes_of_an_owner_go_some_at_a_time() {
        let mut table = AllowedIps::default();
        for third in 0..5 {
            table.insert(IpNet::new([10, 0, third, 0].into(), 24).unwrap(), 1);
        }
        table.insert(net("10.0.0.0/8"), 2);
        assert_eq!(table.remove_some(1, 3), 3);
        assert_eq!(table.prefixes_of(1).len(), 2);
        assert_eq!([table.remove_some(1, 3), table.remove_some(1, 3)], [2, 0]);
        assert_eq!((0..5).map(|third| table.owner_of([10, 0, third, 1].into())).collect::<Vec<_>>(), [Some(2); 5]);
    }

    proptest! {
        #[test]
        fn agrees_with_a_search_through_the_whole_list(
            entries in prop::collection::vec((any::<[u8; 2]>(), 0..=16u8, 0..4u8), 0..40),
            address in any::<[u8; 2]>(),
        ) {
            let mut table = AllowedIps::default();
            let mut list: Vec<(IpNet, u8)> = Vec::new();
            for (octets, length, owner) in entries {
                let prefix = IpNet::new(IpAddr::from([octets[0], octets[1], 0, 0]), length).unwrap().trunc();
                table.insert(prefix, owner);
                list.retain(|(other, _)| *other != prefix);
                list.push((prefix, owner));
            }
            let address = IpAddr::from([address[0], address[1], 1, 1]);
            let expected = list.iter().filter(|(prefix, _)| prefix.contains(&address)).max_by_key(|(prefix, _)| prefix.prefix_len());
            prop_assert_eq!(table.owner_of(address), expected.map(|(_, owner)| *owner));
        }
    }
}
