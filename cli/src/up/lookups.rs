//! Endpoint names, looked up again for peers that do not answer: a relay may have moved.
//!
//! It is the system's resolver that is asked, as by `up`, away from where packets pass. Where its questions lead is the
//! system's: into the tunnel itself, if that holds the way to it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use maybetun::device::{Device, DeviceEvent};
use maybetun::keys::PublicKey;
use maybetun::tunnel::Event;
use rand_core::{OsRng, RngCore as _, TryRngCore as _};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::resolve::{self, Host};

/// Pause between two lookups for one peer, a quarter more or less; each is twice the one before, until the peer answers.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(1_800);

/// The longest that a lookup waits for nothing but chance: of many peers that fall silent together, each asks for itself.
const MAX_DELAY: Duration = Duration::from_secs(2);

/// Most lookups under way. Peers that find no place are served when they fail again.
const MAX_RUNNING: usize = 16;

/// Where a peer is to be called from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) peer: PublicKey,
    pub(super) host: Host,
    pub(super) address: SocketAddr,
}

/// The peers whose endpoints have names.
#[derive(Debug)]
pub(super) struct Lookups {
    events: Receiver<DeviceEvent>,
    peers: HashMap<PublicKey, Watched>,
    running: JoinSet<(PublicKey, Host, std::io::Result<Vec<SocketAddr>>)>,
}

/// What is known of one peer's name.
#[derive(Debug, PartialEq, Eq)]
struct Watched {
    host: Host,
    /// What the name's addresses were when it was looked up last.
    known: Vec<SocketAddr>,
    /// Where the peer did not answer; at most as many as are known, and one.
    tried: Vec<SocketAddr>,
    /// Before that no lookup begins.
    not_before: Option<Instant>,
    pause: Duration,
    /// A lookup is under way, and the peer has not answered since.
    is_asking: bool,
}

impl Watched {
    fn new(host: Host) -> Self {
        Self { host, known: Vec::new(), tried: Vec::new(), not_before: None, pause: FIRST_PAUSE, is_asking: false }
    }

    /// Notes that the peer answers.
    fn answered(&mut self) {
        *self = Self::new(std::mem::take(&mut self.host));
    }

    /// Notes a lookup that begins now.
    fn ask(&mut self, now: Instant) {
        self.not_before = Some(now + self.pause.mul_f64(0.75 + chance() / 2.0));
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.is_asking = true;
    }

    /// Returns the next address to try after `current`: each in its turn, then all of them again.
    fn next(&mut self, current: Option<SocketAddr>) -> Option<SocketAddr> {
        if let Some(current) = current.filter(|current| !self.tried.contains(current)) {
            self.tried.push(current);
        }
        let untried = self.known.iter().find(|address| !self.tried.contains(address)).copied();
        if untried.is_none() {
            self.tried.clear();
        }
        untried.or_else(|| self.known.iter().find(|address| Some(**address) != current).copied())
    }
}

/// Draws a number from 0 to 1.
fn chance() -> f64 {
    f64::from(OsRng.unwrap_err().next_u32()) / f64::from(u32::MAX)
}

impl Lookups {
    /// Watches the peers of `device` that have the given names.
    pub(super) fn new(device: &Device, names: impl IntoIterator<Item = (PublicKey, Host)>) -> Self {
        let mut lookups = Self { events: device.events(), peers: HashMap::new(), running: JoinSet::new() };
        lookups.watch(names);
        lookups
    }

    /// Watches the peers that have the given names from now on, and no others.
    pub(super) fn watch(&mut self, names: impl IntoIterator<Item = (PublicKey, Host)>) {
        let mut before = std::mem::take(&mut self.peers);
        self.peers.extend(names.into_iter().map(|(peer, host)| {
            let watched = before.remove(&peer).filter(|watched| watched.host == host);
            (peer, watched.unwrap_or_else(|| Watched::new(host)))
        }));
    }

    /// Waits until a peer is to be called elsewhere. `current` tells where one is called now. May be dropped and called
    /// again.
    pub(super) async fn next(&mut self, current: impl Fn(PublicKey) -> Option<SocketAddr>) -> Found {
        loop {
            let found = tokio::select! {
                event = self.events.recv() => match event {
                    Ok(DeviceEvent { peer, event }) => self.note(peer, event, &current),
                    // What was lost is told again by whoever goes on failing.
                    Err(RecvError::Lagged(_)) => None,
                    Err(RecvError::Closed) => std::future::pending().await,
                },
                Some(lookup) = self.running.join_next() => {
                    lookup.ok().and_then(|(peer, host, addresses)| self.take(peer, &host, addresses, &current))
                }
            };
            if let Some(found) = found {
                return found;
            }
        }
    }

    fn note(
        &mut self,
        peer: PublicKey,
        event: Event,
        current: impl Fn(PublicKey) -> Option<SocketAddr>,
    ) -> Option<Found> {
        let watched = self.peers.get_mut(&peer)?;
        match event {
            Event::SessionStarted => {
                watched.answered();
                return None;
            }
            Event::HandshakeFailed => {}
            Event::SessionEnded
            | Event::ClockSetBack(_)
            | Event::EndpointChanged(_)
            | Event::Protection(_)
            | Event::PathTakes { .. } => return None,
        }
        let now = Instant::now();
        let may_ask = watched.not_before.is_none_or(|at| now >= at) && self.running.len() < MAX_RUNNING;
        if watched.is_asking {
            return None;
        }
        if may_ask {
            watched.ask(now);
            let host = watched.host.clone();
            let delay = MAX_DELAY.mul_f64(chance());
            self.running.spawn(async move {
                tokio::time::sleep(delay).await;
                let addresses = resolve::addresses(&host).await;
                (peer, host, addresses)
            });
            return None;
        }
        let address = watched.next(current(peer))?;
        Some(Found { peer, host: watched.host.clone(), address })
    }

    fn take(
        &mut self,
        peer: PublicKey,
        host: &Host,
        addresses: std::io::Result<Vec<SocketAddr>>,
        current: impl Fn(PublicKey) -> Option<SocketAddr>,
    ) -> Option<Found> {
        // It may have answered meanwhile, or have another name.
        let watched = self.peers.get_mut(&peer).filter(|watched| watched.host == *host && watched.is_asking)?;
        watched.is_asking = false;
        match addresses {
            Ok(addresses) => watched.known = addresses,
            Err(error) => tracing::debug!(%error, name = host.0, "the name of an endpoint has no address now"),
        }
        let address = watched.next(current(peer))?;
        Some(Found { peer, host: host.clone(), address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(numbers: &[u8]) -> Vec<SocketAddr> {
        numbers.iter().map(|number| SocketAddr::from(([192, 0, 2, *number], 9))).collect()
    }

    fn key() -> PublicKey {
        PublicKey::from_bytes(&[2; 32]).unwrap()
    }

    fn host() -> Host {
        ("192.0.2.9".to_owned(), 9)
    }

    fn lookups() -> Lookups {
        let (_sender, events) = tokio::sync::broadcast::channel(1);
        let mut lookups = Lookups { events, peers: HashMap::new(), running: JoinSet::new() };
        lookups.watch([(key(), host())]);
        lookups
    }

    #[test]
    fn the_addresses_of_a_name_are_tried_in_turn_and_then_again() {
        let mut watched = Watched::new(host());
        watched.known = addresses(&[1, 2, 3]);
        let mut at = Some(addresses(&[1])[0]);
        let mut visited = Vec::new();
        for _ in 0..7 {
            at = watched.next(at);
            visited.push(at.unwrap());
        }
        assert_eq!(visited, addresses(&[2, 3, 1, 2, 3, 1, 2]));
    }

    #[test]
    fn a_peer_that_moved_and_fell_silent_is_called_where_its_name_says() {
        let mut watched = Watched::new(host());
        watched.known = addresses(&[1]);
        assert_eq!(watched.next(Some(addresses(&[77])[0])), Some(addresses(&[1])[0]));
        assert_eq!(watched.next(Some(addresses(&[1])[0])), None, "there is no other");
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_looked_up_more_and_more_rarely_until_its_peer_answers() {
        let mut lookups = lookups();
        let start = Instant::now();
        let mut asked = Vec::new();
        // A handshake fails every 90 s.
        for _ in 0..200 {
            lookups.note(key(), Event::HandshakeFailed, |_| None);
            if lookups.peers[&key()].is_asking {
                asked.push(start.elapsed());
                lookups.running.join_next().await.unwrap().unwrap().2.unwrap();
                lookups.take(key(), &host(), Ok(Vec::new()), |_| None);
            }
            tokio::time::sleep(Duration::from_secs(90)).await;
        }
        assert_eq!(asked[0], Duration::ZERO);
        for (number, gap) in asked.windows(2).map(|pair| pair[1] - pair[0]).enumerate() {
            let pause = (FIRST_PAUSE * 2_u32.pow(number.min(6) as u32)).min(LONGEST_PAUSE);
            assert!(gap >= pause.mul_f64(0.75), "{number}: {gap:?}");
        }
        assert!(asked.len() < 25, "{}", asked.len());
        lookups.note(key(), Event::SessionStarted, |_| None);
        assert_eq!(lookups.peers[&key()], Watched::new(host()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_lookup_finds_for_a_peer_that_has_answered_meanwhile_moves_nobody() {
        let mut lookups = lookups();
        lookups.note(key(), Event::HandshakeFailed, |_| None);
        lookups.note(key(), Event::SessionStarted, |_| None);
        assert_eq!(lookups.take(key(), &host(), Ok(addresses(&[1])), |_| None), None);
    }

    #[tokio::test(start_paused = true)]
    async fn between_lookups_the_other_known_addresses_are_tried() {
        let mut lookups = lookups();
        let at = |number| Some(addresses(&[number])[0]);
        lookups.note(key(), Event::HandshakeFailed, |_| at(1));
        let found = lookups.take(key(), &host(), Ok(addresses(&[1, 2, 3])), |_| at(1)).unwrap();
        assert_eq!(found.address, addresses(&[2])[0]);
        let found = lookups.note(key(), Event::HandshakeFailed, |_| at(2)).unwrap();
        assert_eq!(found.address, addresses(&[3])[0], "without a question");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_has_another_name_begins_anew_and_the_others_go_on() {
        let mut lookups = lookups();
        lookups.note(key(), Event::HandshakeFailed, |_| None);
        lookups.watch([(key(), host())]);
        assert!(lookups.peers[&key()].is_asking);
        lookups.watch([(key(), ("192.0.2.8".to_owned(), 9))]);
        assert!(!lookups.peers[&key()].is_asking);
        assert_eq!(lookups.take(key(), &host(), Ok(addresses(&[1])), |_| None), None);
    }
}
