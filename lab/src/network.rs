//! Interfaces, addresses and routes of a host, by netlink.

use std::io;
use std::net::IpAddr;
use std::path::Path;

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// MTU of every wire, in bytes: Ethernet's.
const WIRE_MTU: u32 = 1_500;

/// Why a network is not as it was to be.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// There is no netlink.
    #[error("cannot open a netlink socket")]
    Socket(#[source] io::Error),
    /// The kernel has no wires.
    #[error("the kernel cannot make veth interfaces: load the module veth")]
    NoVeth,
    /// There is no interface of that name.
    #[error("there is no interface {link}")]
    NoInterface {
        /// The name.
        link: String,
        /// What the kernel said.
        source: Errno,
    },
    /// No network has such a prefix.
    #[error("{ip} has no prefix of length {prefix}", ip = .0.ip, prefix = .0.prefix)]
    Prefix(Address),
    /// The kernel refused.
    #[error("cannot {attempt}: {reason}")]
    Refused {
        /// What was tried.
        attempt: String,
        /// What the kernel said.
        reason: String,
    },
}

/// An address with the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Bits of it that its network shares.
    pub prefix: u8,
}

impl Address {
    /// Puts the two together.
    pub fn new(ip: impl Into<IpAddr>, prefix: u8) -> Self {
        Self { ip: ip.into(), prefix }
    }
}

/// Netlink in this host's network.
#[derive(Debug)]
pub struct Network {
    handle: Handle,
}

impl Network {
    /// Opens netlink on the current tokio runtime.
    ///
    /// # Errors
    /// When the kernel refuses the socket.
    pub fn open() -> Result<Self, NetworkError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(NetworkError::Socket)?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Makes a wire: `link` here, `peer_link` in the network of process `peer`.
    ///
    /// # Errors
    /// When the kernel refuses, for one because it has no veth interfaces.
    pub async fn add_wire(&self, link: &str, peer_link: &str, peer: u32) -> Result<(), NetworkError> {
        let far = segmented(LinkMessageBuilder::<LinkUnspec>::new().name(peer_link)).setns_by_pid(peer).build();
        let near = segmented(LinkVeth::new(link, peer_link)).set_info_data(InfoData::Veth(InfoVeth::Peer(far)));
        self.handle.link().add(near.build()).execute().await.map_err(|error| match errno(&error) {
            Some(Errno::EOPNOTSUPP) => NetworkError::NoVeth,
            _ => refused(format!("make the veth interface {link}"), &error),
        })
    }

    /// Brings an interface up.
    ///
    /// # Errors
    /// When the interface is not there or the kernel refuses.
    pub async fn up(&self, link: &str) -> Result<(), NetworkError> {
        let message = LinkUnspec::new_with_index(index(link)?).up().build();
        self.set(link, message).await
    }

    /// Brings an interface up with an MTU, in bytes.
    ///
    /// # Errors
    /// When the interface is not there or the kernel refuses.
    pub async fn up_with_mtu(&self, link: &str, mtu: u16) -> Result<(), NetworkError> {
        let message = LinkUnspec::new_with_index(index(link)?).mtu(u32::from(mtu)).up().build();
        self.set(link, message).await
    }

    async fn set(&self, link: &str, message: rtnetlink::packet_route::link::LinkMessage) -> Result<(), NetworkError> {
        let result = self.handle.link().set(message).execute().await;
        result.map_err(|error| refused(format!("bring {link} up"), &error))
    }

    /// Gives an interface an address. Without IPv6 in the kernel, an IPv6 address is left out.
    ///
    /// # Errors
    /// When the interface is not there or the kernel refuses.
    pub async fn add_address(&self, link: &str, address: Address) -> Result<(), NetworkError> {
        if is_missing(address.ip) {
            return Ok(());
        }
        let request = self.handle.address().add(index(link)?, address.ip, address.prefix);
        request.execute().await.map_err(|error| refused(format!("give {link} {}", address.ip), &error))
    }

    /// Routes `destination` to an interface.
    ///
    /// # Errors
    /// When the interface is not there or the kernel refuses.
    pub async fn add_route(&self, link: &str, destination: Address) -> Result<(), NetworkError> {
        if is_missing(destination.ip) {
            return Ok(());
        }
        let route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(destination.ip, destination.prefix)
            .map_err(|_| NetworkError::Prefix(destination))?
            .output_interface(index(link)?)
            .build();
        let result = self.handle.route().add(route).execute().await;
        result.map_err(|error| refused(format!("route {} to {link}", destination.ip), &error))
    }

    /// Routes everything else to `gateway`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn add_default_route(&self, gateway: IpAddr) -> Result<(), NetworkError> {
        let any: IpAddr = if gateway.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(any, 0)
            .and_then(|route| route.gateway(gateway))
            .map_err(|_| NetworkError::Prefix(Address::new(gateway, 0)))?
            .build();
        let result = self.handle.route().add(route).execute().await;
        result.map_err(|error| refused(format!("route by {gateway}"), &error))
    }
}

/// Makes the kernel cut batches of datagrams before they enter the wire, so that a capture shows each as it is.
fn segmented<T>(link: LinkMessageBuilder<T>) -> LinkMessageBuilder<T> {
    link.mtu(WIRE_MTU).append_extra_attribute(LinkAttribute::GsoMaxSegs(1))
}

fn index(link: &str) -> Result<u32, NetworkError> {
    if_nametoindex(link).map_err(|source| NetworkError::NoInterface { link: link.to_owned(), source })
}

fn is_missing(ip: IpAddr) -> bool {
    ip.is_ipv6() && !Path::new("/proc/net/if_inet6").exists()
}

fn errno(error: &rtnetlink::Error) -> Option<Errno> {
    let rtnetlink::Error::NetlinkError(message) = error else { return None };
    message.code.map(|code| Errno::from_raw(-code.get()))
}

fn refused(attempt: String, error: &rtnetlink::Error) -> NetworkError {
    let reason = errno(error).map_or_else(|| error.to_string(), |errno| errno.to_string());
    NetworkError::Refused { attempt, reason }
}
