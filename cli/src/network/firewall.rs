//! The packet filter of a tunnel with a default route, through `nft`.
//!
//! It drops packets for the tunnel's addresses that come from elsewhere, by which a neighbour could probe for tunnelled
//! connections (CVE-2019-14899), and carries the mark of outgoing datagrams over to their answers, without which a strict
//! reverse-path filter drops them.

use std::fmt::Write as _;

use anyhow::Context as _;
use ipnet::IpNet;

use super::nft;

/// Adds the filter, and tells whether it is there. A host without a working `nft` gets a warning: the tunnel runs without it.
pub(crate) async fn add(interface: &str, addresses: &[IpNet], mark: u32) -> bool {
    if !nft::is_installed() {
        tracing::warn!("nft is not installed: no packet filter protects the tunnel's addresses");
        return false;
    }
    match nft::load(&script(interface, addresses, mark)).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!("no packet filter protects the tunnel's addresses: {error:#}");
            false
        }
    }
}

/// Removes the filter, if it is there.
///
/// # Errors
/// When `nft` or the kernel refuses.
pub(crate) async fn remove(interface: &str) -> anyhow::Result<()> {
    if !nft::is_installed() {
        return Ok(());
    }
    nft::load(&removal(interface)).await.context("cannot remove the packet filter")
}

fn table(interface: &str) -> String {
    nft::identifier("maybetun_", interface)
}

fn removal(interface: &str) -> String {
    // Naming the table first makes its removal succeed when it is not there.
    let table = table(interface);
    format!("table inet {table}\ndelete table inet {table}\n")
}

fn script(interface: &str, addresses: &[IpNet], mark: u32) -> String {
    let mut guards = String::new();
    for address in addresses {
        let family = match address {
            IpNet::V4(_) => "ip",
            IpNet::V6(_) => "ip6",
        };
        let address = address.addr();
        // Writing to a String does not fail.
        let _ = writeln!(
            guards,
            "    iifname != \"{interface}\" {family} daddr {address} fib saddr type != local counter drop"
        );
    }
    format!(
        "{removal}\
         table inet {table} {{\n\
         \x20 chain foreign {{\n\
         \x20   type filter hook prerouting priority raw; policy accept;\n\
         {guards}\
         \x20 }}\n\
         \x20 chain answers {{\n\
         \x20   type filter hook prerouting priority mangle; policy accept;\n\
         \x20   meta l4proto udp ct mark {mark:#x} meta mark set ct mark\n\
         \x20 }}\n\
         \x20 chain requests {{\n\
         \x20   type filter hook postrouting priority mangle; policy accept;\n\
         \x20   meta l4proto udp meta mark {mark:#x} ct mark set meta mark\n\
         \x20 }}\n\
         }}\n",
        removal = removal(interface),
        table = table(interface),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_guarded_and_the_mark_is_carried_over() {
        let addresses = ["10.0.0.2/24".parse().unwrap(), "fd00::2/64".parse().unwrap()];
        assert_eq!(
            script("wg-0", &addresses, 51_820),
            r#"table inet maybetun_wg_2d0
delete table inet maybetun_wg_2d0
table inet maybetun_wg_2d0 {
  chain foreign {
    type filter hook prerouting priority raw; policy accept;
    iifname != "wg-0" ip daddr 10.0.0.2 fib saddr type != local counter drop
    iifname != "wg-0" ip6 daddr fd00::2 fib saddr type != local counter drop
  }
  chain answers {
    type filter hook prerouting priority mangle; policy accept;
    meta l4proto udp ct mark 0xca6c meta mark set ct mark
  }
  chain requests {
    type filter hook postrouting priority mangle; policy accept;
    meta l4proto udp meta mark 0xca6c ct mark set meta mark
  }
}
"#
        );
    }
}
