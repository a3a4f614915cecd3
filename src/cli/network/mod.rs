//! The host's network around a tunnel: link, addresses, routes, rules, DNS, firewall.

mod command;
pub(crate) mod dns;
pub(crate) mod firewall;
mod link;
pub(crate) mod mtu;
pub(crate) mod plan;
mod route;
pub(crate) mod rule;
pub(crate) mod sysctl;

use std::io;

use anyhow::Context as _;
use tokio::task::JoinHandle;

pub(crate) use command::{find_program, run_program};

/// A connection to the kernel's rtnetlink, for one interface.
#[derive(Debug)]
pub(crate) struct Network {
    handle: rtnetlink::Handle,
    /// Moves messages between the handle and the kernel.
    connection: JoinHandle<()>,
    index: u32,
}

impl Network {
    /// Connects to the kernel on behalf of the interface called `name`.
    ///
    /// # Errors
    /// When there is no such interface, or no netlink socket can be opened.
    pub(crate) fn open(name: &str) -> anyhow::Result<Self> {
        let index = nix::net::if_::if_nametoindex(name).with_context(|| format!("cannot find interface {name}"))?;
        let (connection, handle, _) = rtnetlink::new_connection().context("cannot open a netlink socket")?;
        Ok(Self { handle, connection: tokio::spawn(connection), index })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Returns what the operating system said, without the netlink envelope around it.
fn os_error(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}
