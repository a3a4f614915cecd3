//! The host's DNS servers, through `resolvconf` or `resolvectl`.

use std::fs;
use std::path::Path;

use maybetun::config::DnsServer;
use serde::{Deserialize, Serialize};

use super::{find_program, run_program};
use crate::exit::{Exit, Failure};

/// Where Debian's resolvconf says which interfaces come first.
const INTERFACE_ORDER: &str = "/etc/resolvconf/interface-order";

/// The program that manages DNS on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Manager {
    /// `resolvconf`, told to rank interfaces by a prefix of their name, or not.
    Resolvconf { prefix: String },
    /// systemd-resolved's `resolvectl`.
    Resolvectl,
}

/// A program to run, and what to give it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Invocation {
    program: &'static str,
    arguments: Vec<String>,
    input: String,
}

impl Manager {
    /// Finds the program on this host.
    ///
    /// # Errors
    /// When neither is installed.
    pub(crate) fn find() -> anyhow::Result<Self> {
        if find_program("resolvconf").is_some() {
            return Ok(Self::Resolvconf { prefix: interface_prefix(Path::new(INTERFACE_ORDER)) });
        }
        if find_program("resolvectl").is_some() {
            return Ok(Self::Resolvectl);
        }
        let message = "the configuration has DNS, but neither resolvconf nor resolvectl is installed: \
                       install one, or remove DNS";
        Err(Failure::error(Exit::Failure, message))
    }

    /// Makes `servers` the host's DNS servers and `domains` its search domains, for as long as `interface` is up.
    ///
    /// # Errors
    /// When the program fails.
    pub(crate) async fn set(&self, interface: &str, servers: &[DnsServer], domains: &[String]) -> anyhow::Result<()> {
        run(self.setting(interface, servers, domains)).await
    }

    /// Takes back what [`set`](Self::set) did.
    ///
    /// # Errors
    /// When the program fails.
    pub(crate) async fn unset(&self, interface: &str) -> anyhow::Result<()> {
        run(self.unsetting(interface)).await
    }

    /// Takes back what [`set`](Self::set) did for an interface that is gone. systemd-resolved has forgotten it with the
    /// interface.
    ///
    /// # Errors
    /// When the program fails.
    pub(crate) async fn unset_gone(&self, interface: &str) -> anyhow::Result<()> {
        match self {
            Self::Resolvconf { .. } => self.unset(interface).await,
            Self::Resolvectl => Ok(()),
        }
    }

    fn setting(&self, interface: &str, servers: &[DnsServer], domains: &[String]) -> Vec<Invocation> {
        let servers = servers.iter().map(ToString::to_string);
        match self {
            Self::Resolvconf { prefix } => {
                let mut input: String = servers.map(|server| format!("nameserver {server}\n")).collect();
                if !domains.is_empty() {
                    input.push_str(&format!("search {}\n", domains.join(" ")));
                }
                // `-m 0 -x`: the most preferred, and exclusively so.
                let arguments = words(&["-a", &format!("{prefix}{interface}"), "-m", "0", "-x"]);
                vec![Invocation { program: "resolvconf", arguments, input }]
            }
            Self::Resolvectl => {
                let servers = words(&["dns", interface]).into_iter().chain(servers).collect();
                // `~.` sends every question to these servers.
                let domains = words(&["domain", interface, "~."]).into_iter().chain(domains.iter().cloned()).collect();
                [servers, domains].into_iter().map(resolvectl).collect()
            }
        }
    }

    fn unsetting(&self, interface: &str) -> Vec<Invocation> {
        match self {
            Self::Resolvconf { prefix } => {
                let arguments = words(&["-d", &format!("{prefix}{interface}"), "-f"]);
                vec![Invocation { program: "resolvconf", arguments, input: String::new() }]
            }
            Self::Resolvectl => vec![resolvectl(words(&["revert", interface]))],
        }
    }
}

/// Returns what resolvconf is to see before the name of an interface, so that it ranks it first: as `wg-quick` does, the
/// first kind of interfaces that `order` names by a pattern of their own (`tun*`). Empty if there is no such file.
fn interface_prefix(order: &Path) -> String {
    let order = fs::read(order).unwrap_or_default();
    let order = String::from_utf8_lossy(&order);
    let is_kind =
        |kind: &&str| !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let kind = order.lines().filter_map(|line| line.trim().strip_suffix('*')).find(is_kind);
    kind.map(|kind| format!("{kind}.")).unwrap_or_default()
}

fn resolvectl(arguments: Vec<String>) -> Invocation {
    Invocation { program: "resolvectl", arguments, input: String::new() }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

async fn run(invocations: Vec<Invocation>) -> anyhow::Result<()> {
    for Invocation { program, arguments, input } in invocations {
        run_program(program, &arguments, &input).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(invocations: &[Invocation]) -> Vec<String> {
        invocations.iter().map(|call| format!("{} {}", call.program, call.arguments.join(" "))).collect()
    }

    fn servers() -> Vec<DnsServer> {
        let text = "[Interface]\nDNS = 10.0.0.1, fd00::1\n";
        maybetun::config::parse(text).unwrap().interface.dns_servers
    }

    #[test]
    fn the_first_kind_of_interfaces_that_is_ranked_goes_before_the_name() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("interface-order");
        for (order, prefix) in [
            ("# first\nlo.inet*\neth*.inet\n  vpn-1* \ntun*\n", "vpn-1."),
            ("tun*", "tun."),
            ("*\neth0\n", ""),
            ("", ""),
        ] {
            std::fs::write(&file, order).unwrap();
            assert_eq!(interface_prefix(&file), prefix, "{order:?}");
        }
        assert_eq!(interface_prefix(&directory.path().join("none")), "");
    }

    #[test]
    fn resolvconf_is_told_on_its_standard_input() {
        let manager = Manager::Resolvconf { prefix: "tun.".to_owned() };
        let set = manager.setting("wg0", &servers(), &["corp.example".to_owned(), "example".to_owned()]);
        assert_eq!(lines(&set), ["resolvconf -a tun.wg0 -m 0 -x"]);
        assert_eq!(set[0].input, "nameserver 10.0.0.1\nnameserver fd00::1\nsearch corp.example example\n");
        assert_eq!(lines(&manager.unsetting("wg0")), ["resolvconf -d tun.wg0 -f"]);
        assert_eq!(lines(&Manager::Resolvconf { prefix: String::new() }.unsetting("wg0")), ["resolvconf -d wg0 -f"]);
    }

    #[test]
    fn resolvectl_is_told_on_its_command_line() {
        let set = Manager::Resolvectl.setting("wg0", &servers(), &["corp.example".to_owned()]);
        assert_eq!(lines(&set), ["resolvectl dns wg0 10.0.0.1 fd00::1", "resolvectl domain wg0 ~. corp.example"]);
        assert_eq!(lines(&Manager::Resolvectl.unsetting("wg0")), ["resolvectl revert wg0"]);
    }
}
