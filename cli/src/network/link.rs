//! The interface itself: its state, its MTU, its addresses.

use std::net::IpAddr;

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use rtnetlink::LinkUnspec;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::LinkAttribute;

use super::{Network, explain, os_error};

impl Network {
    /// Gives `address` to the interface.
    ///
    /// # Errors
    /// When the kernel refuses it: the interface has it already, or IPv6 is disabled.
    pub(crate) async fn add_address(&self, address: IpNet) -> anyhow::Result<()> {
        let request = self.handle.address().add(self.index, address.addr(), address.prefix_len());
        let added = request.execute().await.map_err(os_error);
        explain(added, address, format!("cannot add the address {address}"))
    }

    /// Returns the addresses of the interface, without those that the kernel made for the link itself.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub(crate) async fn addresses(&self) -> anyhow::Result<Vec<IpNet>> {
        let messages = self.handle.address().get().set_link_index_filter(self.index).execute();
        let messages: Vec<_> = messages.try_collect().await.map_err(os_error).context("cannot read the addresses")?;
        Ok(messages.iter().filter_map(address_of).collect())
    }

    /// Sets the MTU, in bytes, and brings the interface up.
    ///
    /// # Errors
    /// When the kernel refuses, as it does an MTU that is out of range.
    pub(crate) async fn bring_up(&self, mtu: u16) -> anyhow::Result<()> {
        let message = LinkUnspec::new_with_index(self.index).mtu(u32::from(mtu)).up().build();
        let set = self.handle.link().set(message).execute().await.map_err(os_error);
        set.with_context(|| format!("cannot bring the interface up with MTU {mtu}"))
    }

    /// Returns the MTU, in bytes, of the interface with the given index.
    ///
    /// # Errors
    /// When there is no such interface.
    pub(super) async fn link_mtu(&self, index: u32) -> anyhow::Result<Option<u32>> {
        let mut links = self.handle.link().get().match_index(index).execute();
        let link = links.try_next().await.map_err(os_error).context("cannot read an interface")?;
        Ok(link.and_then(|link| {
            link.attributes
                .into_iter()
                .find_map(|attribute| if let LinkAttribute::Mtu(mtu) = attribute { Some(mtu) } else { None })
        }))
    }
}

fn address_of(message: &AddressMessage) -> Option<IpNet> {
    let local = message
        .attributes
        .iter()
        .find_map(|attribute| if let AddressAttribute::Local(address) = attribute { Some(*address) } else { None });
    let address = message
        .attributes
        .iter()
        .find_map(|attribute| if let AddressAttribute::Address(address) = attribute { Some(*address) } else { None });
    // On a point-to-point link `Address` is the other end's, and `Local` our own.
    let address: IpAddr = local.or(address)?;
    let is_link_local = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
    if is_link_local { None } else { IpNet::new(address, message.header.prefix_len).ok() }
}
