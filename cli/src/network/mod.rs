//! The host's network around a tunnel: link, addresses, routes, rules, DNS, firewall.

mod command;
pub(crate) mod dns;
pub(crate) mod firewall;
pub(crate) mod kill_switch;
pub(crate) mod leash;
mod link;
pub(crate) mod lock;
pub(crate) mod mtu;
mod nft;
pub(crate) mod plan;
mod route;
pub(crate) mod rule;
pub(crate) mod sysctl;
pub(crate) mod tables;
pub(crate) mod watch;

use std::io;

use anyhow::Context as _;
use ipnet::IpNet;
use nix::errno::Errno;
use tokio::task::JoinHandle;

use crate::exit::{Exit, OrExit as _};
pub(crate) use command::{find_program, output_of, run_program};

/// Where the marks of tunnels without a default route begin: "mb", in ASCII.
const MARKS: u32 = 0x6d62_0000;

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
        Self::of(index)
    }

    /// Connects to the kernel on behalf of an interface that is gone: only rules can be asked for.
    ///
    /// # Errors
    /// When no netlink socket can be opened.
    pub(crate) fn without_interface() -> anyhow::Result<Self> {
        Self::of(0)
    }

    fn of(index: u32) -> anyhow::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection().context("cannot open a netlink socket")?;
        Ok(Self { handle, connection: tokio::spawn(connection), index })
    }
}

impl Network {
    /// Returns a mark for the datagrams of a tunnel that needs one for no route: other than the marks that wg-quick and
    /// [`plan::own_table`] give out, and other for each interface.
    pub(crate) fn own_mark(&self) -> u32 {
        MARKS + self.index
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Returns what the operating system said, without the netlink envelope around it.
fn os_error(error: rtnetlink::Error) -> io::Error {
    if let rtnetlink::Error::NetlinkError(message) = error {
        return message.to_io();
    }
    io::Error::other(error.to_string())
}

/// Adds `message` to an error. Linux refuses IPv6 on a host that has it disabled as if a permission were missing
/// (`EACCES`; one that really is missing is `EPERM`): the message then says so.
fn explain(result: io::Result<()>, prefix: IpNet, message: String) -> anyhow::Result<()> {
    let is_disabled = |error: &io::Error| error.raw_os_error() == Some(Errno::EACCES as i32);
    match (result, prefix) {
        (Err(error), IpNet::V6(_)) if is_disabled(&error) => {
            Err(error).or_exit(Exit::Failure, format!("{message}: IPv6 is disabled on this host"))
        }
        (result, _) => result.context(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit;

    #[test]
    fn disabled_ipv6_is_told_from_a_missing_permission() {
        let refused = |errno: Errno, prefix: &str| {
            let error = io::Error::from_raw_os_error(errno as i32);
            explain(Err(error), prefix.parse().unwrap(), "cannot add".to_owned()).unwrap_err()
        };
        let disabled = refused(Errno::EACCES, "fd00::/64");
        assert_eq!(exit::of(&disabled), Exit::Failure);
        assert_eq!(disabled.to_string(), "cannot add: IPv6 is disabled on this host");
        for (errno, prefix) in [(Errno::EPERM, "fd00::/64"), (Errno::EPERM, "10.0.0.0/8")] {
            assert_eq!(exit::of(&refused(errno, prefix)), Exit::Permission);
        }
    }
}
