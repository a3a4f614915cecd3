//! From the names of endpoints to their addresses.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::task::JoinSet;

/// Pause after the first failure; each later one is a fifth longer.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Attempts for each name: about 70 s of pauses, as long as `wg` waits.
const ATTEMPTS: u32 = 15;

/// What resolvers say of a name that will not begin to exist while we wait (getaddrinfo(3): EAI_NONAME, EAI_FAIL).
const FINAL: [&str; 4] = [
    "Name or service not known",
    "Name does not resolve",
    "No address associated with hostname",
    "Non-recoverable failure in name resolution",
];

/// A host, which may be a name, and a port.
pub(super) type Host = (String, u16);

/// Most addresses of one host that are looked at.
const MAX_ADDRESSES: usize = 16;

/// Asks once for the addresses of a host. The first is the one that the system prefers (RFC 6724), v4 or v6.
///
/// # Errors
/// When it has none, or the resolver does not answer.
pub(super) async fn addresses((name, port): &Host) -> io::Result<Vec<SocketAddr>> {
    let addresses = tokio::net::lookup_host((name.as_str(), *port)).await?;
    Ok(addresses.take(MAX_ADDRESSES).collect())
}

/// Resolves every host, all at once. A resolver that cannot answer yet is asked again for up to about 70 s.
///
/// # Errors
/// When one of them has no address.
pub(super) async fn resolve(hosts: impl IntoIterator<Item = Host>) -> anyhow::Result<HashMap<Host, SocketAddr>> {
    let mut lookups = JoinSet::new();
    for host in hosts {
        lookups.spawn(async move {
            let address = resolve_one(&host).await?;
            anyhow::Ok((host, address))
        });
    }
    let mut addresses = HashMap::new();
    while let Some(lookup) = lookups.join_next().await {
        let (host, address) = lookup.context("a name lookup ended badly")??;
        addresses.insert(host, address);
    }
    Ok(addresses)
}

async fn resolve_one(host: &Host) -> anyhow::Result<SocketAddr> {
    let name = &host.0;
    let mut pause = FIRST_PAUSE;
    for attempt in 1..=ATTEMPTS {
        match addresses(host).await {
            Ok(addresses) => match addresses.first() {
                Some(address) => return Ok(*address),
                None => bail!("the endpoint {name} has no address"),
            },
            Err(error) if attempt == ATTEMPTS || is_final(&error) => {
                return Err(error).with_context(|| format!("cannot resolve the endpoint {name}"));
            }
            Err(error) => {
                tracing::warn!("cannot resolve an endpoint yet, trying again in {:.1} s", pause.as_secs_f64());
                tracing::debug!("{name}: {error}");
            }
        }
        tokio::time::sleep(pause).await;
        pause = pause.mul_f64(1.2);
    }
    bail!("cannot resolve the endpoint {name}")
}

fn is_final(error: &io::Error) -> bool {
    let message = error.to_string();
    FINAL.iter().any(|text| message.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_and_local_names_are_resolved() {
        let hosts =
            [("192.0.2.1", 1), ("2001:db8::1", 2), ("localhost", 3)].map(|(name, port)| (name.to_owned(), port));
        let addresses = resolve(hosts.clone()).await.unwrap();
        assert_eq!(addresses[&hosts[0]], "192.0.2.1:1".parse().unwrap());
        assert_eq!(addresses[&hosts[1]], "[2001:db8::1]:2".parse().unwrap());
        assert!(addresses[&hosts[2]].ip().is_loopback());
    }

    #[test]
    fn a_resolver_that_is_out_of_reach_is_worth_another_try_and_a_wrong_name_is_not() {
        let error = |text: &str| io::Error::other(format!("failed to lookup address information: {text}"));
        assert!(is_final(&error("Name or service not known")));
        assert!(!is_final(&error("Temporary failure in name resolution")));
    }
}
