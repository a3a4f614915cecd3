//! Routes through the interface, and questions to the routing tables.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use nix::errno::Errno;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType};

use super::plan::{MAIN_TABLE, Route};
use super::{Network, explain, mtu, os_error};

impl Network {
    /// Adds a route through the interface. It vanishes with the interface.
    ///
    /// # Errors
    /// When the kernel refuses it, as when such a route exists already.
    pub(crate) async fn add_route(&self, route: &Route) -> anyhow::Result<()> {
        let added = self.handle.route().add(self.message(route)).execute().await.map_err(os_error);
        explain(added, route.destination, format!("cannot add the route to {}", route.destination))
    }

    /// Adds a route through the interface, in the place of one of the same prefix if there is one: that of an address
    /// which is about to go.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub(crate) async fn replace_route(&self, route: &Route) -> anyhow::Result<()> {
        let replaced = self.handle.route().add(self.message(route)).replace().execute().await.map_err(os_error);
        explain(replaced, route.destination, format!("cannot add the route to {}", route.destination))
    }

    /// Adds a route through the interface unless there is one of the same prefix.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub(crate) async fn ensure_route(&self, route: &Route) -> anyhow::Result<()> {
        match self.handle.route().add(self.message(route)).execute().await.map_err(os_error) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            added => explain(added, route.destination, format!("cannot add the route to {}", route.destination)),
        }
    }

    /// Removes a route that was [added](Self::add_route), if it is there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) async fn delete_route(&self, route: &Route) -> anyhow::Result<()> {
        match self.handle.route().del(self.message(route)).execute().await.map_err(os_error) {
            // The kernel says so of a route, or of a table, that is not there.
            Err(error) if [Errno::ESRCH, Errno::ENOENT].iter().any(|&no| error.raw_os_error() == Some(no as i32)) => {
                Ok(())
            }
            deleted => deleted.with_context(|| format!("cannot remove the route to {}", route.destination)),
        }
    }

    fn message(&self, route: &Route) -> RouteMessage {
        match route.destination {
            IpNet::V4(destination) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(destination.network(), destination.prefix_len())
                .output_interface(self.index)
                .table_id(route.table)
                .scope(RouteScope::Link)
                .protocol(RouteProtocol::Boot)
                .build(),
            IpNet::V6(destination) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(destination.network(), destination.prefix_len())
                .output_interface(self.index)
                .table_id(route.table)
                .protocol(RouteProtocol::Boot)
                .build(),
        }
    }

    /// Returns every routing table that has a route, of either family.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub(crate) async fn tables_in_use(&self) -> anyhow::Result<BTreeSet<u32>> {
        let v4 = self.routes(RouteMessageBuilder::<Ipv4Addr>::new().table_id(0).build()).await?;
        let v6 = self.routes(RouteMessageBuilder::<Ipv6Addr>::new().table_id(0).build()).await?;
        Ok(v4.iter().chain(&v6).map(table_of).collect())
    }

    /// Returns the MTU for a tunnel whose peers are at `endpoints`, as [`mtu::derive`] has it. Its datagrams have `mark`, if any:
    /// while a default route leads into the tunnel, only they find the ways outside it.
    pub(crate) async fn derive_mtu(&self, endpoints: &[SocketAddr], mark: Option<u32>) -> u16 {
        let mut paths = Vec::new();
        for &endpoint in endpoints {
            match self.path_mtu(endpoint, mark).await {
                Ok(mtu) => paths.extend(mtu),
                // The endpoint may be out of reach now and in reach later.
                Err(error) => tracing::debug!("no route to an endpoint: {error:#}"),
            }
        }
        let default = if paths.is_empty() { self.default_route_mtu().await.unwrap_or_default() } else { None };
        mtu::derive(&paths, default)
    }

    async fn path_mtu(&self, endpoint: SocketAddr, mark: Option<u32>) -> anyhow::Result<Option<u32>> {
        let mut question = match endpoint {
            SocketAddr::V4(endpoint) => {
                RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(*endpoint.ip(), 32).build()
            }
            SocketAddr::V6(endpoint) => {
                let question = RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(*endpoint.ip(), 128);
                match endpoint.scope_id() {
                    // The kernel heeds it of no other address.
                    link if link != 0 && endpoint.ip().is_unicast_link_local() => {
                        question.output_interface(link).build()
                    }
                    _ => question.build(),
                }
            }
        };
        question.attributes.extend(mark.map(RouteAttribute::Mark));
        let Some(route) = self.routes(question).await?.into_iter().next() else { return Ok(None) };
        // Behind an endpoint on this host is a proxy, whose path is not the loopback's.
        if route.header.kind == RouteType::Local {
            return Ok(None);
        }
        self.route_mtu(&route).await
    }

    async fn default_route_mtu(&self) -> anyhow::Result<Option<u32>> {
        let routes = self.routes(RouteMessageBuilder::<Ipv4Addr>::new().build()).await?;
        let is_default = |route: &RouteMessage| {
            route.header.destination_prefix_length == 0 && table_of(route) == MAIN_TABLE && route_link(route).is_some()
        };
        let Some(route) = routes.into_iter().find(is_default) else { return Ok(None) };
        self.route_mtu(&route).await
    }

    /// Returns the MTU of the route itself if it has one, else that of its interface.
    async fn route_mtu(&self, route: &RouteMessage) -> anyhow::Result<Option<u32>> {
        if let Some(mtu) = metric_mtu(route) {
            return Ok(Some(mtu));
        }
        let Some(index) = route_link(route) else { return Ok(None) };
        self.link_mtu(index).await
    }

    async fn routes(&self, question: RouteMessage) -> anyhow::Result<Vec<RouteMessage>> {
        let answer: Result<Vec<_>, _> = self.handle.route().get(question).execute().try_collect().await;
        answer.map_err(os_error).context("cannot read the routing table")
    }
}

fn table_of(route: &RouteMessage) -> u32 {
    let table = route
        .attributes
        .iter()
        .find_map(|attribute| if let RouteAttribute::Table(table) = attribute { Some(*table) } else { None });
    table.unwrap_or(u32::from(route.header.table))
}

fn route_link(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(
        |attribute| {
            if let RouteAttribute::Oif(index) = attribute { Some(*index) } else { None }
        },
    )
}

fn metric_mtu(route: &RouteMessage) -> Option<u32> {
    let metrics = route
        .attributes
        .iter()
        .find_map(|attribute| if let RouteAttribute::Metrics(metrics) = attribute { Some(metrics) } else { None })?;
    metrics.iter().find_map(|metric| if let RouteMetric::Mtu(mtu) = metric { Some(*mtu) } else { None })
}
