//! The way to a peer: where it led when it was looked at last, and whether it leads elsewhere now.
//!
//! Who calls a relay leaves by whatever address the system gives, so another address, interface or gateway is another network.
//! Who is called answers from the address that was called. That one stays the right one wherever routes lead, unless
//! datagrams left by the interface that has it, and leave by another now: then they are gone where nobody expects them.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::path::{self, Path};
use super::registry::Peer;
use super::route::{Hop, Tables};
use super::shared::Shared;
use crate::settings::Role;

/// How often the system is asked what the path to a peer takes, at most: it does not tell by itself.
const ASK: Duration = Duration::from_secs(1);

/// Why ways are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occasion {
    /// Addresses or routes may have changed.
    Routes,
    /// Something happened to the peer: it moved, or has another session.
    Peer,
}

/// What is to be done about a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// It leads over another network: the peer is called there, and nothing of the one before is seen.
    Network,
    /// What is sent from the address that the peer called goes astray: the peer is called from the one that there is now.
    Astray,
}

/// What is known of the way to one peer.
#[derive(Debug, Default)]
pub(super) struct Way {
    /// Where it led when it was looked at last, whatever the port, and how.
    last: Option<(SocketAddr, Lead)>,
    /// Whether nothing led there since.
    was_lost: bool,
    /// Of a peer that called us: where it was, our address that it called, and whether datagrams left by the interface that
    /// has that one.
    called: Option<(IpAddr, IpAddr, bool)>,
    /// When the size of the path was asked about last.
    asked: Option<Instant>,
}

/// How a way leads.
#[derive(Debug, Clone, Copy)]
struct Lead {
    /// From which of our addresses.
    source: IpAddr,
    /// Where to first, if the system tells.
    hop: Option<Hop>,
}

impl Lead {
    fn is_other_than(self, before: Self) -> bool {
        let is_other_hop = self.hop.zip(before.hop).is_some_and(|(now, before)| now != before);
        self.source != before.source || is_other_hop
    }
}

impl Way {
    /// Notes that our address that the peer talks to is not ours any more.
    pub(super) fn lose(&mut self) {
        self.was_lost = true;
    }

    /// Tells whether the system is to be asked again how large datagrams may be, as something was sent, and notes that it is.
    pub(super) fn is_to_be_asked(&mut self, now: Instant) -> bool {
        let is_due = self.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= ASK);
        if is_due {
            self.asked = Some(now);
        }
        is_due
    }

    /// Forgets what the system said before.
    fn forget(&mut self) {
        (self.last, self.was_lost) = (None, false);
    }

    /// Takes what the system says now of the way to `remote`, if one leads there at all. Tells whether that is over
    /// another network than before.
    fn follow(&mut self, mut remote: SocketAddr, lead: Option<Lead>) -> bool {
        let Some(lead) = lead else {
            self.was_lost = true;
            return false;
        };
        let was_lost = std::mem::take(&mut self.was_lost);
        remote.set_port(0);
        let before = self.last.replace((remote, lead));
        // Of a peer that moved, or that was never looked for, there is nothing to compare with.
        was_lost || before.is_some_and(|(before, from)| before == remote && lead.is_other_than(from))
    }

    /// Takes whether datagrams from `local` to the peer at `remote`, which called it, leave by the interface that has it;
    /// `None` if the system does not tell. Tells whether they go astray that did not before.
    fn answer(&mut self, remote: IpAddr, local: IpAddr, is_at_home: Option<bool>, occasion: Occasion) -> bool {
        let Some(is_at_home) = is_at_home else { return false };
        let before = self.called.replace((remote, local, is_at_home));
        // To a peer that moved another way may lead, though no route changed.
        let is_known = |before: IpAddr| before == remote || occasion == Occasion::Routes;
        !is_at_home && before.is_some_and(|(from, to, was_at_home)| was_at_home && to == local && is_known(from))
    }
}

/// What the system says; asked once for each address.
#[derive(Debug)]
pub(super) struct View<'a> {
    shared: &'a Shared,
    fwmark: u32,
    occasion: Occasion,
    tables: Option<Tables>,
    paths: HashMap<SocketAddr, Option<(Path, Lead)>>,
    foreign: HashMap<SocketAddr, bool>,
    /// Which interface has an address of ours.
    homes: HashMap<IpAddr, Option<u32>>,
}

impl<'a> View<'a> {
    /// Returns what datagrams find that bear the mark `fwmark`.
    pub(super) fn new(shared: &'a Shared, fwmark: u32, occasion: Occasion) -> Self {
        let tables = Tables::open().inspect_err(|error| tracing::debug!(%error, "the system does not tell routes"));
        let tables = tables.ok();
        let (paths, foreign, homes) = Default::default();
        Self { shared, fwmark, occasion, tables, paths, foreign, homes }
    }

    /// Looks at the way to a peer.
    pub(super) fn look(&mut self, peer: &Peer) -> Change {
        let carries_v6 = self.shared.registry.read().allowed_ips.has_v6(peer.id);
        let state = &mut *peer.state.lock();
        let Some(endpoint) = state.tunnel.endpoint() else { return Change::None };
        let local = endpoint.local.filter(|local| {
            let local = path::on_link(*local, endpoint.remote);
            let is_foreign = *self.foreign.entry(local).or_insert_with(|| path::is_foreign(local));
            if is_foreign {
                state.way.lose();
            }
            !is_foreign
        });
        let path = match self.path_to(endpoint.remote) {
            Ok(path) => path,
            Err(error) => {
                tracing::debug!(%error, "the system does not tell the way to a peer");
                return Change::None;
            }
        };
        if path.is_some_and(|(_, lead)| self.comes_back(lead)) {
            return Change::None;
        }
        if let Some(mtu) = path.and_then(|(path, _)| path.mtu) {
            state.tunnel.path_takes(mtu, carries_v6, Instant::now());
            self.shared.settle(peer, state);
        }
        if let Some(local) = local.filter(|_| state.role == Role::Relay) {
            // It answers from the address that it was spoken to, wherever it would begin from by itself.
            state.way.forget();
            let is_at_home = self.leaves_from_home(endpoint.remote, local);
            let is_astray = state.way.answer(endpoint.remote.ip(), local, is_at_home, self.occasion);
            return if is_astray { Change::Astray } else { Change::None };
        }
        let has_moved = state.way.follow(endpoint.remote, path.map(|(_, lead)| lead));
        if has_moved { Change::Network } else { Change::None }
    }

    /// Tells whether a way leads through the device's own interface. It is none: nothing leaves there, so it is no other network,
    /// and what it takes is what the device itself said.
    fn comes_back(&self, lead: Lead) -> bool {
        lead.hop.is_some_and(|hop| Some(hop.interface) == self.shared.interface)
    }

    fn path_to(&mut self, remote: SocketAddr) -> io::Result<Option<(Path, Lead)>> {
        if let Some(path) = self.paths.get(&remote) {
            return Ok(*path);
        }
        let path = path::to(remote, self.fwmark)?;
        let path = path.map(|path| {
            let hop = self.hop(remote, None);
            // Of several routes at once, a socket's depends on the port that it happens to have.
            let source = hop.and_then(|hop| hop.source).unwrap_or(path.source);
            (path, Lead { source, hop })
        });
        self.paths.insert(remote, path);
        Ok(path)
    }

    fn hop(&self, remote: SocketAddr, source: Option<IpAddr>) -> Option<Hop> {
        told(self.tables.as_ref()?.hop(remote, source, self.fwmark))
    }

    /// Tells whether datagrams from `local` to `remote` leave by the interface that has it, if the system says.
    fn leaves_from_home(&mut self, remote: SocketAddr, local: IpAddr) -> Option<bool> {
        let tables = self.tables.as_ref()?;
        let home = *self.homes.entry(local).or_insert_with(|| told(tables.interface_of(local)));
        Some(self.hop(remote, Some(local))?.interface == home?)
    }
}

/// Returns what the system tells of a route, if it does.
fn told<T>(answer: io::Result<Option<T>>) -> Option<T> {
    answer.unwrap_or_else(|error| {
        tracing::debug!(%error, "the system does not tell a route");
        None
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);
    const OTHER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 9);
    const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
    const HOME: Option<Lead> = Some(Lead { source: OURS, hop: None });
    const AWAY: Option<Lead> = Some(Lead { source: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)), hop: None });

    /// Tells at which of the looks the network is another.
    fn follow(looks: &[(SocketAddr, Option<Lead>)]) -> Vec<bool> {
        let mut way = Way::default();
        looks.iter().map(|(remote, lead)| way.follow(*remote, *lead)).collect()
    }

    #[test]
    fn another_source_address_is_another_network_and_the_same_is_not() {
        let looks = [(PEER, HOME), (PEER, HOME), (PEER, AWAY), (PEER, AWAY)];
        assert_eq!(follow(&looks), [false, false, true, false]);
    }

    #[test]
    fn another_interface_or_gateway_is_another_network_whatever_the_address() {
        let by = |interface, gateway: u8| {
            let gateway = Some(IpAddr::from([198, 51, 100, gateway]));
            (PEER, Some(Lead { source: OURS, hop: Some(Hop { interface, gateway, source: None }) }))
        };
        assert_eq!(follow(&[by(2, 9), by(2, 9), by(3, 9), by(3, 8)]), [false, false, true, true]);
        // What the system does not tell says nothing.
        assert_eq!(follow(&[by(2, 9), (PEER, HOME), by(3, 9)]), [false; 3]);
    }

    #[test]
    fn the_same_address_after_a_time_without_any_is_another_network() {
        let looks = [(PEER, HOME), (PEER, None), (PEER, None), (PEER, HOME), (PEER, HOME)];
        assert_eq!(follow(&looks), [false, false, false, true, false]);
    }

    #[test]
    fn a_peer_that_moves_takes_us_to_no_other_network() {
        assert_eq!(follow(&[(PEER, HOME), (OTHER, AWAY), (OTHER, AWAY)]), [false, false, false]);
        let [here, there] = ["[fe80::1%2]:9", "[fe80::1%3]:9"].map(|peer| peer.parse().unwrap());
        assert_eq!(follow(&[(here, HOME), (there, AWAY)]), [false, false], "to another link");
        // Another port is another address translation.
        let port = SocketAddr::new(PEER.ip(), 10);
        assert_eq!(follow(&[(PEER, HOME), (port, AWAY)]), [false, true]);
    }

    #[test]
    fn an_address_that_was_ours_and_is_not_is_another_network_once() {
        let mut way = Way::default();
        way.follow(PEER, HOME);
        way.lose();
        assert_eq!([(); 2].map(|()| way.follow(PEER, HOME)), [true, false]);
    }

    #[test]
    fn what_left_from_home_and_does_not_any_more_goes_astray_once() {
        let answers = |looks: &[(SocketAddr, Option<bool>, Occasion)]| {
            let mut way = Way::default();
            let answer = |(peer, home, occasion): &(SocketAddr, _, _)| way.answer(peer.ip(), OURS, *home, *occasion);
            looks.iter().map(answer).collect::<Vec<_>>()
        };
        use Occasion::{Peer, Routes};
        let [home, away, unknown] = [Some(true), Some(false), None];
        assert_eq!(answers(&[(PEER, home, Peer), (PEER, away, Routes), (PEER, away, Routes)]), [false, true, false]);
        assert_eq!(answers(&[(PEER, away, Routes), (PEER, away, Routes)]), [false; 2], "it never left from there");
        assert_eq!(answers(&[(PEER, home, Peer), (PEER, unknown, Routes), (PEER, away, Peer)]), [false, false, true]);
        assert_eq!(answers(&[(PEER, home, Peer), (OTHER, away, Peer)]), [false; 2], "the peer moved");
        assert_eq!(answers(&[(PEER, home, Peer), (OTHER, away, Routes)]), [false, true], "the routes did");
    }
}
