//! What the device does when it is on another network: nothing of the old one is seen there.
//!
//! A session that went on would bear its indices over, and a socket its port: whoever watches both networks would know
//! that they saw the same device. So sockets are opened on another port, unless the user asked for the one there is,
//! and every tunnel begins with a handshake.
//!
//! Whether the network is another is asked of the system: from which address would datagrams leave for a peer?

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::departing::{Turn, depart};
use super::path::{self, Path};
use super::registry::{Peer, PeerState};
use super::shared::Shared;
use super::sockets::Sockets;
use crate::settings::{Cause, Role};
use crate::tunnel::{DATA_OVERHEAD, DatagramBatch, REJECT_AFTER_TIME, V4_HEADERS, V6_HEADERS};

/// Pause before another port is asked for again, where the system gave none.
const RETRY: Duration = Duration::from_secs(1);

/// Most sockets of earlier networks that stay open; the oldest go first.
const MAX_LEFT: usize = 4;

/// What a device knows of the network it is on.
#[derive(Debug, Default)]
pub(super) struct Network {
    /// Held by whoever looks at the ways to peers, or takes them to another network. Before every other lock.
    turn: Mutex<()>,
    /// Peers whose way is to be looked at; at most all that there are.
    due: Mutex<BTreeSet<u32>>,
    is_due: Notify,
    /// The sockets opened last on another network: the peers were called on them.
    opened: Mutex<Weak<Sockets>>,
    /// The system gave no other port.
    wants_port: AtomicBool,
    /// Sockets of earlier networks, and when they were left.
    left: Mutex<VecDeque<(Instant, Arc<Sockets>)>>,
}

impl Network {
    /// Has the way to a peer looked at soon.
    pub(super) fn ask(&self, peer: u32) {
        self.due.lock().insert(peer);
        self.is_due.notify_one();
    }

    /// Has another port asked for again, after the system gave none. Says whether that is new.
    fn want_port(&self) -> bool {
        let is_new = !self.wants_port.swap(true, Ordering::Relaxed);
        // Who waits for what is due did not know of this.
        self.is_due.notify_one();
        is_new
    }

    /// Keeps sockets open that are not used any more, for as long as a peer may send to them: to a port that is closed the system
    /// says so, in a message that quotes the datagram, and leaves by the network that there is now.
    fn leave(&self, sockets: Arc<Sockets>) {
        sockets.be_deaf();
        let mut left = self.left.lock();
        left.push_back((Instant::now(), sockets));
        if left.len() > MAX_LEFT {
            left.pop_front();
        }
    }

    /// Closes the sockets to which nobody sends any more, and says when the next of them are to be closed.
    fn close_left(&self) -> Option<Instant> {
        let mut left = self.left.lock();
        left.retain(|(since, _)| since.elapsed() < REJECT_AFTER_TIME);
        left.front().map(|(since, _)| *since + REJECT_AFTER_TIME)
    }

    /// Closes all sockets of earlier networks.
    pub(super) fn close_all(&self) {
        self.left.lock().clear();
    }

    /// Tells whether the peers were called when these sockets were opened.
    pub(super) fn has_called_on(&self, sockets: &Arc<Sockets>) -> bool {
        std::ptr::eq(self.opened.lock().as_ptr(), Arc::as_ptr(sockets))
    }
}

/// What is known of the way to one peer.
#[derive(Debug, Default)]
pub(super) struct Way {
    /// Where it led when it was looked at last, whatever the port, and from which of our addresses.
    last: Option<(SocketAddr, IpAddr)>,
    /// Whether nothing led there since.
    was_lost: bool,
    /// The largest datagram and the path's MTU that the user was warned of, in bytes.
    warned: Option<(usize, usize)>,
}

impl Way {
    /// Notes that our address that the peer talks to is not ours any more.
    pub(super) fn lose(&mut self) {
        self.was_lost = true;
    }

    /// Forgets what the system said before.
    fn forget(&mut self) {
        (self.last, self.was_lost) = (None, false);
    }

    /// Takes what the system says now of the way to `remote`: from which address, if one leads there at all. Tells
    /// whether that is on another network than before.
    fn follow(&mut self, mut remote: SocketAddr, source: Option<IpAddr>) -> bool {
        let Some(source) = source else {
            self.was_lost = true;
            return false;
        };
        let was_lost = std::mem::take(&mut self.was_lost);
        remote.set_port(0);
        let before = self.last.replace((remote, source));
        // Of a peer that moved, or that was never looked for, there is nothing to compare with.
        was_lost || before.is_some_and(|(before, from)| before == remote && from != source)
    }
}

/// Looks at the ways that somebody asked about, and again for a port that was refused, until the device stops.
pub(super) async fn follow(shared: &Shared) {
    let network = &shared.network;
    loop {
        let close = network.close_left();
        let pause = close.map_or(RETRY, |at| at.saturating_duration_since(Instant::now()));
        tokio::select! {
            () = tokio::time::sleep(pause), if close.is_some() => {}
            () = network.is_due.notified() => {
                let due = std::mem::take(&mut *network.due.lock());
                let registry = shared.registry.read();
                let peers: Vec<_> = due.iter().filter_map(|index| registry.by_id(*index).cloned()).collect();
                drop(registry);
                look(shared, &peers);
            }
            () = tokio::time::sleep(RETRY), if network.wants_port.load(Ordering::Relaxed) => {
                retry(shared, open_another);
            }
        }
    }
}

/// Takes every peer to another network.
pub(super) fn moved(shared: &Shared) {
    let _turn = shared.network.turn.lock();
    if shared.is_stopping() {
        return;
    }
    let fresh = open_another(shared);
    move_peers(shared, &shared.peers(), fresh);
}

/// Asks again for the port that was refused. The peers have begun anew on this network: they do once more only on other
/// sockets.
pub(super) fn retry(shared: &Shared, open: impl FnOnce(&Shared) -> Option<Sockets>) {
    let _turn = shared.network.turn.lock();
    if shared.is_stopping() {
        return;
    }
    let Some(fresh) = open(shared) else { return };
    move_peers(shared, &shared.peers(), Some(fresh));
}

/// Looks at the ways to all peers, and takes those to another network that are on one.
pub(super) fn look_around(shared: &Shared) {
    look(shared, &shared.peers());
}

fn look(shared: &Shared, peers: &[Arc<Peer>]) {
    let _turn = shared.network.turn.lock();
    if shared.is_stopping() {
        return;
    }
    let (fwmark, is_port_fixed) = {
        let link = shared.link.lock();
        (link.fwmark, link.asked_port != 0)
    };
    let mut view = View { fwmark, paths: HashMap::new(), foreign: HashMap::new() };
    let mut moved: Vec<_> = peers.iter().filter(|peer| view.has_moved(peer)).cloned().collect();
    if moved.is_empty() {
        return;
    }
    tracing::debug!(peers = moved.len(), "another network");
    if !is_port_fixed {
        // All share the sockets.
        moved = shared.peers();
    }
    let fresh = open_another(shared);
    move_peers(shared, &moved, fresh);
}

/// What the system says; asked once for each address.
struct View {
    fwmark: u32,
    paths: HashMap<SocketAddr, Option<Path>>,
    foreign: HashMap<SocketAddr, bool>,
}

impl View {
    fn has_moved(&mut self, peer: &Peer) -> bool {
        let state = &mut *peer.state.lock();
        let Some(endpoint) = state.tunnel.endpoint() else { return false };
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
                return false;
            }
        };
        if let Some(path) = path {
            warn_of_fragments(peer, state, endpoint.remote, path);
        }
        if state.role == Role::Relay && local.is_some() {
            // It answers from the address that it was spoken to, wherever it would begin from by itself.
            state.way.forget();
            return false;
        }
        state.way.follow(endpoint.remote, path.map(|path| path.source))
    }

    fn path_to(&mut self, remote: SocketAddr) -> io::Result<Option<Path>> {
        if let Some(path) = self.paths.get(&remote) {
            return Ok(*path);
        }
        let path = path::to(remote, self.fwmark)?;
        self.paths.insert(remote, path);
        Ok(path)
    }
}

/// Warns, once for each size, when datagrams of the one size are larger than the path takes.
fn warn_of_fragments(peer: &Peer, state: &mut PeerState, remote: SocketAddr, path: Path) {
    let PeerState { tunnel, way, log, .. } = state;
    let Some((size, mtu)) = tunnel.one_size().zip(path.mtu) else { return };
    // The one size is known when the ends agree, or do not.
    if tunnel.last_handshake().is_none() || tunnel.protection().cause() == Some(Cause::Negotiating) {
        return;
    }
    let headers = DATA_OVERHEAD + if remote.is_ipv4() { V4_HEADERS } else { V6_HEADERS };
    let whole = size + headers;
    if whole <= mtu || way.warned.replace((whole, mtu)) == Some((whole, mtu)) {
        return;
    }
    let fitting = mtu.saturating_sub(headers);
    let text = format!(
        "every packet of the defense has {whole} bytes and leaves in fragments, for the path to the peer takes {mtu}: \
         set the tunnel's MTU to {fitting} or less"
    );
    log.warn(peer.public_key, &text, Instant::now());
}

/// Begins anew with these peers, on fresh sockets if there are any. The caller has the turn.
fn move_peers(shared: &Shared, peers: &[Arc<Peer>], fresh: Option<Sockets>) {
    let is_silent = shared.sockets.borrow().is_none() || !shared.has_identity();
    // Nobody sends until the sockets are others: what was sealed for the old network leaves on its sockets, or never.
    let sending: Vec<_> = peers.iter().map(|peer| peer.sending.lock()).collect();
    let mut out = DatagramBatch::new();
    for peer in peers {
        let mut state = peer.state.lock();
        if state.tunnel.endpoint().is_none() {
            continue;
        }
        out.clear();
        state.tunnel.network_changed(Instant::now(), &mut out);
        // The end of the session takes along what waits: the handshake comes after it.
        shared.settle(peer, &mut state);
        state.outbox.forget();
        if !is_silent {
            state.outbox.append(&out);
        }
    }
    if let Some(fresh) = fresh {
        take(shared, fresh);
    }
    drop(sending);
    if is_silent {
        return;
    }
    for peer in peers {
        // What waits for the peer leaves.
        depart(shared, peer, &mut out, Turn::Own, |_, _, _| ());
    }
}

/// Opens sockets on another port, if the port is free and the interface up. If the system gives none, the old ones stay
/// for the time being.
fn open_another(shared: &Shared) -> Option<Sockets> {
    let wants_port = &shared.network.wants_port;
    let (before, fwmark) = {
        let mut link = shared.link.lock();
        if link.asked_port != 0 || !link.is_up {
            if link.asked_port == 0 {
                link.port = 0;
            }
            wants_port.store(false, Ordering::Relaxed);
            return None;
        }
        (link.port, link.fwmark)
    };
    let bind = || Sockets::bind(0, fwmark, &shared.options);
    let opened = bind().and_then(|sockets| {
        // While the first ones are open the system gives another.
        if sockets.port() == before { bind() } else { Ok(sockets) }
    });
    match opened {
        Ok(sockets) => {
            wants_port.store(false, Ordering::Relaxed);
            Some(sockets)
        }
        Err(error) => {
            if shared.network.want_port() {
                tracing::warn!(%error, "another network, and the UDP port is still that of the one before");
            }
            None
        }
    }
}

/// Takes the sockets into use, unless the user has asked for others meanwhile.
fn take(shared: &Shared, sockets: Sockets) {
    let mut link = shared.link.lock();
    if link.asked_port != 0 || !link.is_up {
        return;
    }
    // The mark may be another than just now.
    if let Err(error) = sockets.set_fwmark(link.fwmark) {
        tracing::debug!(%error, "the mark stays as it was");
    }
    link.port = sockets.port();
    let sockets = Arc::new(sockets);
    *shared.network.opened.lock() = Arc::downgrade(&sockets);
    if let Some(before) = shared.sockets.send_replace(Some(sockets)) {
        shared.network.leave(before);
        shared.network.is_due.notify_one();
    }
    tracing::debug!(port = link.port, "listening on another port");
    drop(link);
    if shared.is_stopping() {
        // The device stopped meanwhile: it must not keep them.
        shared.sockets.send_replace(None);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);
    const OTHER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 9);
    const HOME: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)));
    const AWAY: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)));

    #[tokio::test]
    async fn who_follows_the_network_is_woken_when_another_port_is_wanted() {
        let network = Network::default();
        assert!(network.want_port() && !network.want_port(), "it is said once");
        let woken = tokio::time::timeout(Duration::from_secs(60), network.is_due.notified());
        woken.await.expect("it is asked for with the next change of a peer, whenever that comes");
    }

    /// Tells at which of the looks the network is another.
    fn follow(looks: &[(SocketAddr, Option<IpAddr>)]) -> Vec<bool> {
        let mut way = Way::default();
        looks.iter().map(|(remote, source)| way.follow(*remote, *source)).collect()
    }

    #[test]
    fn another_source_address_is_another_network_and_the_same_is_not() {
        let looks = [(PEER, HOME), (PEER, HOME), (PEER, AWAY), (PEER, AWAY)];
        assert_eq!(follow(&looks), [false, false, true, false]);
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
}
