//! What the device does when it is on another network: nothing of the old one is seen there.
//!
//! A session that went on would bear its indices over, and a socket its port: whoever watches both networks would know
//! that they saw the same device. So sockets are opened on another port, unless the user asked for the one there is,
//! and every tunnel begins with a handshake.
//!
//! Whether the network is another is asked of the system: how would datagrams leave for a peer?

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::departing::{Turn, depart};
use super::registry::Peer;
use super::shared::Shared;
use super::sockets::Sockets;
use super::way::{Change, Occasion, View};
use crate::tunnel::{DatagramBatch, REJECT_AFTER_TIME};

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
                look(shared, &peers, Occasion::Peer);
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
    look(shared, &shared.peers(), Occasion::Routes);
}

fn look(shared: &Shared, peers: &[Arc<Peer>], occasion: Occasion) {
    let _turn = shared.network.turn.lock();
    if shared.is_stopping() {
        return;
    }
    let (fwmark, is_port_fixed) = {
        let link = shared.link.lock();
        (link.fwmark, link.asked_port != 0)
    };
    let mut view = View::new(shared, fwmark, occasion);
    let (mut moved, mut astray) = (Vec::new(), Vec::new());
    for peer in peers {
        match view.look(peer) {
            Change::None => {}
            Change::Network => moved.push(Arc::clone(peer)),
            Change::Astray => astray.push(Arc::clone(peer)),
        }
    }
    if !moved.is_empty() {
        tracing::debug!(peers = moved.len(), "another network");
        if !is_port_fixed {
            // All share the sockets, and are called on the others.
            moved = shared.peers();
            astray.clear();
        }
        let fresh = open_another(shared);
        move_peers(shared, &moved, fresh);
    }
    if !astray.is_empty() {
        tracing::debug!(peers = astray.len(), "what the peers are answered goes astray");
        call(shared, &astray);
    }
}

/// Calls these peers, which go on with the session that there is, from the address that the system gives. The caller has
/// the turn.
fn call(shared: &Shared, peers: &[Arc<Peer>]) {
    let is_silent = shared.sockets.borrow().is_none() || !shared.has_identity();
    let mut out = DatagramBatch::new();
    for peer in peers {
        depart(shared, peer, &mut out, Turn::Own, |state, now, out| {
            state.tunnel.forget_local_address();
            if !is_silent {
                state.tunnel.call_again(now, out);
            }
        });
    }
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
        state.forget_waiting();
        if is_silent {
            let unsent = out.iter().map(|datagram| datagram.len() as u64).sum();
            state.tunnel.unsent(unsent);
        } else {
            state.await_turn(&out);
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
        // They would leave by another way than what is asked for now: the former ones stay.
        tracing::debug!(%error, "cannot listen on another port yet");
        // With the next change of the network it is tried again.
        shared.network.wants_port.store(true, Ordering::Relaxed);
        return;
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
    use super::*;

    #[tokio::test]
    async fn who_follows_the_network_is_woken_when_another_port_is_wanted() {
        let network = Network::default();
        assert!(network.want_port() && !network.want_port(), "it is said once");
        let woken = tokio::time::timeout(Duration::from_secs(60), network.is_due.notified());
        woken.await.expect("it is asked for with the next change of a peer, whenever that comes");
    }
}
