//! Interfaces, addresses and routes of a host, by netlink.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::message::Address;

/// MTU of every wire, in bytes: Ethernet's.
pub(super) const WIRE_MTU: u32 = 1_500;

/// Netlink in this host's network.
#[derive(Debug)]
pub(super) struct Network {
    handle: Handle,
}

impl Network {
    /// Opens netlink on the current tokio runtime.
    ///
    /// # Errors
    /// When the kernel refuses the socket.
    pub(super) fn open() -> anyhow::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection().context("cannot open a netlink socket")?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Makes a wire: `link` here, `peer_link` in the network of process `peer`.
    ///
    /// # Errors
    /// When the kernel refuses, for one because it has no veth interfaces.
    pub(super) async fn add_wire(&self, link: &str, peer_link: &str, peer: u32) -> anyhow::Result<()> {
        let far = segmented(LinkMessageBuilder::<LinkUnspec>::new().name(peer_link)).setns_by_pid(peer).build();
        let near = segmented(LinkVeth::new(link, peer_link)).set_info_data(InfoData::Veth(InfoVeth::Peer(far)));
        self.handle.link().add(near.build()).execute().await.map_err(|error| match errno(&error) {
            Some(Errno::EOPNOTSUPP) => anyhow!("the kernel cannot make veth interfaces: load the module veth"),
            _ => anyhow!("cannot make the veth interface {link}: {}", describe(&error)),
        })
    }

    /// Brings an interface up.
    ///
    /// # Errors
    /// When the interface is not there or the kernel refuses.
    pub(super) async fn up(&self, link: &str) -> anyhow::Result<()> {
        let message = LinkUnspec::new_with_index(index(link)?).up().build();
        self.set(link, message).await
    }

    /// Brings an interface up with an MTU, in bytes.
    ///
    /// # Errors
    /// When the interface is not there or the kernel refuses.
    pub(super) async fn up_with_mtu(&self, link: &str, mtu: u16) -> anyhow::Result<()> {
        let message = LinkUnspec::new_with_index(index(link)?).mtu(u32::from(mtu)).up().build();
        self.set(link, message).await
    }

    async fn set(&self, link: &str, message: rtnetlink::packet_route::link::LinkMessage) -> anyhow::Result<()> {
        let result = self.handle.link().set(message).execute().await;
        result.map_err(|error| anyhow!("cannot bring {link} up: {}", describe(&error)))
    }

    /// Gives an interface an address. Without IPv6 in the kernel, an IPv6 address is left out.
    ///
    /// # Errors
    /// When the interface is not there or the kernel refuses.
    pub(super) async fn add_address(&self, link: &str, address: Address) -> anyhow::Result<()> {
        if is_missing(address.ip) {
            return Ok(());
        }
        let request = self.handle.address().add(index(link)?, address.ip, address.prefix);
        request.execute().await.map_err(|error| anyhow!("cannot give {link} {}: {}", address.ip, describe(&error)))
    }

    /// Routes `destination` to an interface.
    ///
    /// # Errors
    /// When the interface is not there or the kernel refuses.
    pub(super) async fn add_route(&self, link: &str, destination: Address) -> anyhow::Result<()> {
        if is_missing(destination.ip) {
            return Ok(());
        }
        let route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(destination.ip, destination.prefix)
            .with_context(|| format!("{} has no prefix of length {}", destination.ip, destination.prefix))?
            .output_interface(index(link)?)
            .build();
        let result = self.handle.route().add(route).execute().await;
        result.map_err(|error| anyhow!("cannot route {} to {link}: {}", destination.ip, describe(&error)))
    }

    /// Routes everything else to `gateway`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) async fn add_default_route(&self, gateway: IpAddr) -> anyhow::Result<()> {
        let any: IpAddr = if gateway.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(any, 0)
            .and_then(|route| route.gateway(gateway))
            .with_context(|| format!("{gateway} is no gateway"))?
            .build();
        let result = self.handle.route().add(route).execute().await;
        result.map_err(|error| anyhow!("cannot route by {gateway}: {}", describe(&error)))
    }
}

/// Makes the kernel cut batches of datagrams before they enter the wire, so that a capture shows each as it is.
fn segmented<T>(link: LinkMessageBuilder<T>) -> LinkMessageBuilder<T> {
    link.mtu(WIRE_MTU).append_extra_attribute(LinkAttribute::GsoMaxSegs(1))
}

fn index(link: &str) -> anyhow::Result<u32> {
    if_nametoindex(link).with_context(|| format!("there is no interface {link}"))
}

fn is_missing(ip: IpAddr) -> bool {
    ip.is_ipv6() && !Path::new("/proc/net/if_inet6").exists()
}

fn errno(error: &rtnetlink::Error) -> Option<Errno> {
    let rtnetlink::Error::NetlinkError(message) = error else { return None };
    message.code.map(|code| Errno::from_raw(-code.get()))
}

fn describe(error: &rtnetlink::Error) -> String {
    errno(error).map_or_else(|| error.to_string(), |errno| errno.to_string())
}
