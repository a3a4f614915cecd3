//! The host's DNS servers, through `resolvconf` or `resolvectl`.

use std::net::IpAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{find_program, run_program};
use crate::exit::{Exit, Failure};

/// Where Debian's resolvconf says which interfaces come first.
const INTERFACE_ORDER: &str = "/etc/resolvconf/interface-order";

/// The program that manages DNS on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Manager {
    /// `resolvconf`.
    Resolvconf,
    /// Debian's `resolvconf`, which ranks interfaces by a prefix of their name.
    RankedResolvconf,
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
            return Ok(if Path::new(INTERFACE_ORDER).exists() { Self::RankedResolvconf } else { Self::Resolvconf });
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
    pub(crate) async fn set(self, interface: &str, servers: &[IpAddr], domains: &[String]) -> anyhow::Result<()> {
        run(self.setting(interface, servers, domains)).await
    }

    /// Takes back what [`set`](Self::set) did.
    ///
    /// # Errors
    /// When the program fails.
    pub(crate) async fn unset(self, interface: &str) -> anyhow::Result<()> {
        run(self.unsetting(interface)).await
    }

    /// Takes back what [`set`](Self::set) did for an interface that is gone. systemd-resolved has forgotten it with the
    /// interface.
    ///
    /// # Errors
    /// When the program fails.
    pub(crate) async fn unset_gone(self, interface: &str) -> anyhow::Result<()> {
        match self {
            Self::Resolvconf | Self::RankedResolvconf => self.unset(interface).await,
            Self::Resolvectl => Ok(()),
        }
    }

    /// Returns what resolvconf calls what it is told for `interface`.
    fn record(self, interface: &str) -> String {
        match self {
            Self::RankedResolvconf => format!("tun.{interface}"),
            Self::Resolvconf | Self::Resolvectl => interface.to_owned(),
        }
    }

    fn setting(self, interface: &str, servers: &[IpAddr], domains: &[String]) -> Vec<Invocation> {
        let servers = servers.iter().map(ToString::to_string);
        match self {
            Self::Resolvconf | Self::RankedResolvconf => {
                let mut input: String = servers.map(|server| format!("nameserver {server}\n")).collect();
                if !domains.is_empty() {
                    input.push_str(&format!("search {}\n", domains.join(" ")));
                }
                // `-m 0 -x`: the most preferred, and exclusively so.
                let arguments = words(&["-a", &self.record(interface), "-m", "0", "-x"]);
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

    fn unsetting(self, interface: &str) -> Vec<Invocation> {
        match self {
            Self::Resolvconf | Self::RankedResolvconf => {
                let arguments = words(&["-d", &self.record(interface), "-f"]);
                vec![Invocation { program: "resolvconf", arguments, input: String::new() }]
            }
            Self::Resolvectl => vec![resolvectl(words(&["revert", interface]))],
        }
    }
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

    fn servers() -> [IpAddr; 2] {
        ["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()]
    }

    #[test]
    fn resolvconf_is_told_on_its_standard_input() {
        let manager = Manager::RankedResolvconf;
        let set = manager.setting("wg0", &servers(), &["corp.example".to_owned(), "example".to_owned()]);
        assert_eq!(lines(&set), ["resolvconf -a tun.wg0 -m 0 -x"]);
        assert_eq!(set[0].input, "nameserver 10.0.0.1\nnameserver fd00::1\nsearch corp.example example\n");
        assert_eq!(lines(&manager.unsetting("wg0")), ["resolvconf -d tun.wg0 -f"]);
        assert_eq!(lines(&Manager::Resolvconf.unsetting("wg0")), ["resolvconf -d wg0 -f"]);
    }

    #[test]
    fn resolvectl_is_told_on_its_command_line() {
        let set = Manager::Resolvectl.setting("wg0", &servers(), &["corp.example".to_owned()]);
        assert_eq!(lines(&set), ["resolvectl dns wg0 10.0.0.1 fd00::1", "resolvectl domain wg0 ~. corp.example"]);
        assert_eq!(lines(&Manager::Resolvectl.unsetting("wg0")), ["resolvectl revert wg0"]);
    }
}
