//! By which interface and which gateway datagrams leave, as the routing tables say. Only Linux tells.

#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod linux;

use std::net::IpAddr;

#[cfg(not(target_os = "linux"))]
pub(super) use elsewhere::Tables;
#[cfg(target_os = "linux")]
pub(super) use linux::Tables;

/// Where datagrams go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hop {
    /// The number of our interface.
    pub(super) interface: u32,
    /// The neighbour that takes them on; `None` if the destination is on the link itself.
    pub(super) gateway: Option<IpAddr>,
    /// Our address that datagrams leave from which name none, if the system tells.
    pub(super) source: Option<IpAddr>,
}
