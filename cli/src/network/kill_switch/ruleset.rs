//! The rules of the kill switch, as text for `nft`, and what its listing tells of them.
//!
//! One table serves every tunnel: with a table for each, a packet would have to please all of them, and each would drop the
//! other tunnels' datagrams. Its two base chains drop what no rule accepts, and a drop is final in nftables, whatever other
//! tables say. Each tunnel has two chains that they jump to: `own_…` for its datagrams, `ways_…` for where all may go. A
//! script writes the base chains anew, with a jump for each tunnel that there is, so it may be loaded again and again.

use std::fmt::Write as _;

use ipnet::IpNet;

use crate::network::nft;

/// The table.
pub(super) const TABLE: &str = "maybetun_kill_switch";

/// What the names of a tunnel's chains begin with: for its datagrams, and for where packets may go.
const OWN: &str = "own_";
const WAYS: &str = "ways_";

/// The base chains, and which of a tunnel's chains each jumps to. Their priority is behind that of every chain that
/// rewrites or reroutes what is sent (`NF_IP_PRI_NAT_SRC` of Linux is 100), so that a packet is judged as it leaves.
const BASE: [(&str, &[&str]); 2] = [("output", &[OWN, WAYS]), ("forward", &[WAYS])];
const PRIORITY: i32 = 300;

/// What a host needs to be on a network at all. Nothing else leaves without a tunnel's leave.
///
/// In order: loopback; DHCP (RFC 2131 §4.1, RFC 8415 §7.1 and §7.2); neighbour and router discovery, from this link only
/// (RFC 4861 §6 and §7); the listener reports that switches wait for before they pass on the solicitations that
/// neighbour discovery sends to groups (RFC 3810 §5, RFC 4861 §7.2.1).
const COMMON: [&str; 5] = [
    "oif \"lo\" accept",
    "meta nfproto ipv4 udp sport 68 udp dport 67 accept",
    "ip6 daddr { fe80::/10, ff02::1:2, ff05::1:3 } udp sport 546 udp dport 547 accept",
    "ip6 hoplimit 255 icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept",
    "ip6 hoplimit 1 ip6 daddr ff02::16 icmpv6 type mld2-listener-report accept",
];

/// `ARPHRD_NONE` of Linux: the link type of a TUN device, which no network card has, whatever its name.
const TUN_TYPE: u16 = 0xfffe;

/// Returns the script that closes the switch for `interface`, whose datagrams have `mark`, or gives it other rules if it is
/// closed; `closed` are the interfaces that it is closed for now.
pub(super) fn closing(interface: &str, mark: u32, allowed: &[IpNet], closed: &[String]) -> String {
    let mut script = format!("add table inet {TABLE}\n");
    for (base, _) in BASE {
        let _ = writeln!(
            script,
            "add chain inet {TABLE} {base} {{ type filter hook {base} priority {PRIORITY}; policy drop; }}"
        );
    }
    for prefix in [OWN, WAYS] {
        let chain = nft::identifier(prefix, interface);
        let _ = writeln!(script, "add chain inet {TABLE} {chain}\nflush chain inet {TABLE} {chain}");
    }
    let others = closed.iter().map(String::as_str).filter(|other| *other != interface);
    base_chains(&mut script, others.chain([interface]));

    let mut rule = |prefix: &str, rule: &str| {
        let _ = writeln!(script, "add rule inet {TABLE} {} {rule}", nft::identifier(prefix, interface));
    };
    rule(OWN, &format!("meta mark {mark:#x} meta l4proto udp accept"));
    rule(WAYS, &format!("oifname \"{interface}\" meta oiftype {TUN_TYPE} accept"));
    // Without overlaps, which a set of ranges does not take.
    let allowed = IpNet::aggregate(&allowed.to_vec());
    let (v4, v6): (Vec<_>, Vec<_>) = allowed.into_iter().partition(|network| matches!(network, IpNet::V4(_)));
    for (family, networks) in [("ip", v4), ("ip6", v6)] {
        if !networks.is_empty() {
            let networks: Vec<_> = networks.iter().map(ToString::to_string).collect();
            rule(WAYS, &format!("{family} daddr {{ {} }} accept", networks.join(", ")));
        }
    }
    script
}

/// Returns the script that opens the switch as far as `interface` closed it; `closed` are the interfaces that it is closed
/// for now, `interface` among them.
pub(super) fn opening(interface: &str, closed: &[String]) -> String {
    let others: Vec<_> = closed.iter().map(String::as_str).filter(|other| *other != interface).collect();
    if others.is_empty() {
        return format!("delete table inet {TABLE}\n");
    }
    let mut script = String::new();
    base_chains(&mut script, others);
    for prefix in [OWN, WAYS] {
        let chain = nft::identifier(prefix, interface);
        let _ = writeln!(script, "flush chain inet {TABLE} {chain}\ndelete chain inet {TABLE} {chain}");
    }
    script
}

/// Adds what writes the base chains anew, for the given interfaces.
fn base_chains<'a>(script: &mut String, interfaces: impl IntoIterator<Item = &'a str>) {
    let interfaces: Vec<_> = interfaces.into_iter().collect();
    for (base, prefixes) in BASE {
        let _ = writeln!(script, "flush chain inet {TABLE} {base}");
        let common = if base == "output" { &COMMON[..] } else { &[] };
        for rule in common {
            let _ = writeln!(script, "add rule inet {TABLE} {base} {rule}");
        }
        for prefix in prefixes {
            for interface in &interfaces {
                let _ = writeln!(script, "add rule inet {TABLE} {base} jump {}", nft::identifier(prefix, interface));
            }
        }
        // The policy drops; this counts, for whoever looks for what is missing.
        let _ = writeln!(script, "add rule inet {TABLE} {base} counter");
    }
}

/// Returns the interfaces that the switch is closed for, by the listing of all chains.
pub(super) fn closed_in(listing: &str) -> Vec<String> {
    let ours = listing.lines().skip_while(|line| *line != format!("table inet {TABLE} {{"));
    let inside = ours.skip(1).take_while(|line| *line != "}");
    let chains = inside.filter_map(|line| line.trim().strip_prefix("chain ")?.strip_suffix(" {"));
    chains.filter_map(|chain| nft::interface_of(OWN, chain)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn networks(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_table_at_boot_of_the_document_is_that_of_a_dead_tunnel() {
        // A dead one needs no jumps and counts nothing, and there is nothing to be flushed yet.
        let is_at_boot = |line: &&str| {
            !line.starts_with("flush")
                && !line.contains(" jump ")
                && !line.ends_with(" counter")
                && !line.contains("meta mark")
                && !line.contains("meta oiftype")
        };
        let script = closing("wg0", 1, &[], &[]);
        let expected: Vec<_> = script.lines().filter(is_at_boot).collect();
        let document = include_str!("../../../../docs/kill-switch.md");
        let block = document.split("```nft\n").nth(1).and_then(|text| text.split("```").next()).unwrap();
        assert_eq!(block.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_switch_drops_what_is_not_named() {
        let allowed = networks(&["192.168.1.0/24", "192.168.0.0/16", "fd00::/8", "10.0.0.0/8"]);
        let expected = r#"add table inet maybetun_kill_switch
add chain inet maybetun_kill_switch output { type filter hook output priority 300; policy drop; }
add chain inet maybetun_kill_switch forward { type filter hook forward priority 300; policy drop; }
add chain inet maybetun_kill_switch own_wg_2d0
flush chain inet maybetun_kill_switch own_wg_2d0
add chain inet maybetun_kill_switch ways_wg_2d0
flush chain inet maybetun_kill_switch ways_wg_2d0
flush chain inet maybetun_kill_switch output
add rule inet maybetun_kill_switch output oif "lo" accept
add rule inet maybetun_kill_switch output meta nfproto ipv4 udp sport 68 udp dport 67 accept
add rule inet maybetun_kill_switch output ip6 daddr { fe80::/10, ff02::1:2, ff05::1:3 } udp sport 546 udp dport 547 accept
add rule inet maybetun_kill_switch output ip6 hoplimit 255 icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept
add rule inet maybetun_kill_switch output ip6 hoplimit 1 ip6 daddr ff02::16 icmpv6 type mld2-listener-report accept
add rule inet maybetun_kill_switch output jump own_wg_2d0
add rule inet maybetun_kill_switch output jump ways_wg_2d0
add rule inet maybetun_kill_switch output counter
flush chain inet maybetun_kill_switch forward
add rule inet maybetun_kill_switch forward jump ways_wg_2d0
add rule inet maybetun_kill_switch forward counter
add rule inet maybetun_kill_switch own_wg_2d0 meta mark 0xca6c meta l4proto udp accept
add rule inet maybetun_kill_switch ways_wg_2d0 oifname "wg-0" meta oiftype 65534 accept
add rule inet maybetun_kill_switch ways_wg_2d0 ip daddr { 10.0.0.0/8, 192.168.0.0/16 } accept
add rule inet maybetun_kill_switch ways_wg_2d0 ip6 daddr { fd00::/8 } accept
"#;
        assert_eq!(closing("wg-0", 0xca6c, &allowed, &[]), expected);
        assert_eq!(closing("wg-0", 0xca6c, &allowed, &owned(&["wg-0"])), expected, "loaded again");
    }

    #[test]
    fn tunnels_share_the_table_and_the_last_takes_it_away() {
        let both = closing("b", 2, &[], &owned(&["a"]));
        for jump in ["output jump own_a", "output jump own_b", "forward jump ways_a", "forward jump ways_b"] {
            assert!(both.contains(jump), "{jump}: {both}");
        }
        assert!(!both.contains("forward jump own_"), "what is forwarded is no datagram of ours: {both}");
        assert!(!both.contains("flush chain inet maybetun_kill_switch own_a"), "{both}");

        let first = opening("a", &owned(&["a", "b"]));
        assert!(first.contains("output jump own_b") && !first.contains("jump own_a"), "{first}");
        assert!(first.contains("delete chain inet maybetun_kill_switch own_a\n"), "{first}");
        assert!(!first.contains("delete table"), "{first}");
        assert_eq!(opening("b", &owned(&["b"])), "delete table inet maybetun_kill_switch\n");
    }

    #[test]
    fn a_listing_tells_whom_the_switch_is_closed_for() {
        let listing = "table inet other {\n\tchain own_x {\n\t}\n}\ntable inet maybetun_kill_switch {\n\tchain output {\n\
                       \t\ttype filter hook output priority 300; policy drop;\n\t}\n\tchain own_wg0 {\n\t}\n\
                       \tchain ways_wg0 {\n\t}\n\tchain own_wg_2d1 {\n\t}\n}\ntable inet another {\n\tchain own_y {\n\t}\n}\n";
        assert_eq!(closed_in(listing), ["wg0", "wg-1"]);
        assert!(closed_in("").is_empty() && closed_in("table inet other {\n\tchain own_x {\n\t}\n}\n").is_empty());
    }
}
