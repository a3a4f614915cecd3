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
        let mut request = self.handle.address().add(self.index, address.addr(), address.prefix_len());
        // There is nobody else on the link whom a broadcast could reach.
        request.message_mut().attributes.retain(|attribute| !matches!(attribute, AddressAttribute::Broadcast(_)));
        let added = request.execute().await.map_err(os_error);
        explain(added, address, format!("cannot add the address {address}"))
    }

    /// Takes `address` from the interface, if it has it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) async fn delete_address(&self, address: IpNet) -> anyhow::Result<()> {
        let messages = self.address_messages().await?;
        for message in messages.into_iter().filter(|message| address_of(message) == Some(address)) {
            let deleted = self.handle.address().del(message).execute().await.map_err(os_error);
            deleted.with_context(|| format!("cannot remove the address {address}"))?;
        }
        Ok(())
    }

    async fn address_messages(&self) -> anyhow::Result<Vec<AddressMessage>> {
        let messages = self.handle.address().get().set_link_index_filter(self.index).execute();
        messages.try_collect().await.map_err(os_error).context("cannot read the addresses")
    }

    /// Returns the addresses of the interface, with those that the kernel made for the link itself.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub(crate) async fn addresses(&self) -> anyhow::Result<Vec<IpNet>> {
        Ok(self.address_messages().await?.iter().filter_map(address_of).collect())
    }

    /// Sets the MTU, in bytes.
    ///
    /// # Errors
    /// When the kernel refuses, as it does an MTU that is out of range.
    pub(crate) async fn set_mtu(&self, mtu: u16) -> anyhow::Result<()> {
        let message = LinkUnspec::new_with_index(self.index).mtu(u32::from(mtu)).build();
        let set = self.handle.link().set(message).execute().await.map_err(os_error);
        set.with_context(|| format!("cannot set the MTU {mtu}"))
    }

    /// Returns the MTU of the interface, in bytes.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub(crate) async fn mtu(&self) -> anyhow::Result<u16> {
        let mtu = self.link_mtu(self.index).await?.context("the interface has no MTU")?;
        u16::try_from(mtu).with_context(|| format!("the interface has an MTU of {mtu}, more than any tunnel"))
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
    IpNet::new(address, message.header.prefix_len).ok()
}
