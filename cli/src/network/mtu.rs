//! The MTU of a tunnel: derived from the paths to its peers, following them, and never too small for what the file asks for.

use std::convert::Infallible;

use ipnet::IpNet;
use maybetun::config::{Config, MIN_MTU_IPV6, Table};
use maybetun::device::{Device, DeviceEvent};
use maybetun::tunnel::Event;
use tokio::sync::broadcast::{self, error::RecvError};

use super::Network;

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

/// Returns `derived`, an MTU in bytes, or IPv6's least where that is more and the file asks for IPv6. Datagrams are then
/// larger than the path takes and are cut on the way, which is said.
pub(crate) fn wide_enough(derived: u16, config: &Config) -> u16 {
    if derived >= MIN_MTU_IPV6 || !wants_ipv6(config) {
        return derived;
    }
    tracing::warn!(
        "the path leaves an MTU of {derived} in the tunnel, and IPv6 needs {MIN_MTU_IPV6}: it is {MIN_MTU_IPV6}, and large \
         datagrams are cut in two on the way"
    );
    MIN_MTU_IPV6
}

/// Has the interface take no larger packets than the path to the only peer does, for as long as that is so.
#[derive(Debug)]
pub(crate) struct Follower {
    events: broadcast::Receiver<DeviceEvent>,
    /// The MTU that the interface was given for the path's sake.
    lent: Option<u16>,
}

impl Follower {
    pub(crate) fn new(device: &Device) -> Self {
        Self { events: device.events(), lent: None }
    }

    /// Follows the path. It ends never, and may be dropped and called again.
    pub(crate) async fn follow(&mut self, device: &Device, network: &Network, config: &Config) -> Infallible {
        let least = if wants_ipv6(config) { MIN_MTU_IPV6 } else { 0 };
        loop {
            if let Err(error) = self.fit(device, network, least).await {
                // Whoever sends more is told so by the tunnel.
                tracing::debug!("{error:#}");
            }
            loop {
                match self.events.recv().await {
                    Ok(DeviceEvent { event: Event::PathTakes { .. }, .. }) | Err(RecvError::Lagged(_)) => break,
                    Ok(_) => {}
                    Err(RecvError::Closed) => return std::future::pending().await,
                }
            }
        }
    }

    async fn fit(&mut self, device: &Device, network: &Network, least: u16) -> anyhow::Result<()> {
        let now = network.mtu().await?;
        // Whoever has set another since meant it.
        let is_lent = self.lent == Some(now);
        match device.fitting_mtu(least) {
            // What the interface has may be new, and the device not know it yet.
            Some(fitting) if fitting < now || is_lent && fitting > now => {
                self.lent = Some(fitting);
                device.lend_mtu(fitting);
                network.set_mtu(fitting).await
            }
            None if is_lent => {
                self.lent = None;
                let own = device.mtu();
                device.own_mtu(own);
                network.set_mtu(own).await
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Tells whether a file asks for IPv6 addresses, or for routes of IPv6.
fn wants_ipv6(config: &Config) -> bool {
    let is_ipv6 = |prefix: &IpNet| matches!(prefix, IpNet::V6(_));
    let has_routes = config.interface.table != Table::Off;
    config.interface.addresses.iter().any(is_ipv6)
        || has_routes && config.others().flat_map(|peer| &peer.allowed_ips).any(is_ipv6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str, allowed_ips: &str) -> Config {
        let text = format!(
            "[Interface]\nPrivateKey = dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=\n{more}\n[Peer]\n\
             PublicKey = AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\nAllowedIPs = {allowed_ips}\n"
        );
        maybetun::config::parse(&text).unwrap()
    }

    #[test]
    fn a_derived_mtu_is_enough_for_the_ipv6_that_is_asked_for() {
        let wide_enough = |more, allowed, derived| wide_enough(derived, &config(more, allowed));
        for (more, allowed) in [("Address = fd09::1/64", "10.0.0.0/8"), ("Address = 10.9.0.1/24", "::/0")] {
            assert_eq!(wide_enough(more, allowed, 1_200), 1_280, "{more} {allowed}");
            assert_eq!(wide_enough(more, allowed, 1_281), 1_281, "{more} {allowed}");
        }
        assert_eq!(wide_enough("Address = 10.9.0.1/24", "0.0.0.0/0", 1_200), 1_200);
        assert_eq!(wide_enough("Address = 10.9.0.1/24\nTable = off", "::/0", 1_200), 1_200);
    }

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
