//! What the tasks of one device share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{broadcast, watch};

use super::bucket::Bucket;
use super::endpoints::Endpoints;
use super::network::Network;
use super::registry::{Peer, PeerState, Registry};
use super::schedule::Schedule;
use super::sockets::Sockets;
use super::{DeviceEvent, Options, StopReason};
use crate::settings::{DeviceDrops, Protection};
use crate::tunnel::{DEFAULT_MTU, Event, PaddingRate};

/// Most events that wait for one listener; the oldest go first.
const MAX_WAITING_EVENTS: usize = 256;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: Options,
    /// The index of the device's own interface, if the system has one.
    pub(super) interface: Option<u32>,
    /// Held by whoever applies an update: one comes after the other. Before every other lock.
    pub(super) applying: Mutex<()>,
    pub(super) registry: RwLock<Registry>,
    pub(super) schedule: Schedule,
    pub(super) link: Mutex<Link>,
    /// The sockets in use; `None` while the interface is down.
    pub(super) sockets: watch::Sender<Option<Arc<Sockets>>>,
    pub(super) network: Network,
    pub(super) endpoints: Endpoints,
    /// How many senders of packets that are too large may still be told.
    pub(super) too_big: Mutex<Bucket>,
    pub(super) drops: DropCounters,
    /// Shared by every peer that is defended.
    defended: Arc<()>,
    has_several_peers: AtomicBool,
    /// What tunnels tell, for whoever listens.
    pub(super) events: broadcast::Sender<DeviceEvent>,
    mtu: AtomicU16,
    /// The MTU that the interface has for the path's sake; 0 for none.
    lent_mtu: AtomicU16,
    /// Whether the interface has had the MTU that it was lent.
    has_lent_mtu: AtomicBool,
    stop: watch::Sender<Option<StopReason>>,
}

/// What decides which sockets are open.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub(super) is_up: bool,
    /// The port that the user asked for; 0 for any, which is another one on another network.
    pub(super) asked_port: u16,
    /// The port that the sockets have, or had last and are to have again; 0 if there is none.
    pub(super) port: u16,
    pub(super) fwmark: u32,
}

/// Datagrams and packets that reached no tunnel.
#[derive(Debug, Default)]
pub(super) struct DropCounters {
    pub(super) no_route: AtomicU64,
    pub(super) unknown: AtomicU64,
    pub(super) rate_limited: AtomicU64,
    pub(super) send_failed: AtomicU64,
    pub(super) congested: AtomicU64,
    pub(super) came_back: AtomicU64,
}

impl DropCounters {
    pub(super) fn read(&self) -> DeviceDrops {
        DeviceDrops {
            no_route: self.no_route.load(Ordering::Relaxed),
            unknown: self.unknown.load(Ordering::Relaxed),
            rate_limited: self.rate_limited.load(Ordering::Relaxed),
            send_failed: self.send_failed.load(Ordering::Relaxed),
            congested: self.congested.load(Ordering::Relaxed),
            came_back: self.came_back.load(Ordering::Relaxed),
        }
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Shared {
    pub(super) fn new(mut options: Options, interface: Option<u32>) -> Self {
        // Without a socket that receives, it would be deaf.
        options.queues = options.queues.max(1);
        Self {
            applying: Mutex::default(),
            registry: RwLock::new(Registry::new(
                options.handshakes_per_second,
                PaddingRate::new(options.max_padding_rate),
            )),
            options,
            interface,
            schedule: Schedule::default(),
            link: Mutex::default(),
            sockets: watch::Sender::new(None),
            network: Network::default(),
            endpoints: Endpoints::default(),
            too_big: Mutex::new(Bucket::full(Instant::now())),
            drops: DropCounters::default(),
            defended: Arc::default(),
            has_several_peers: AtomicBool::new(false),
            events: broadcast::Sender::new(MAX_WAITING_EVENTS),
            mtu: AtomicU16::new(DEFAULT_MTU),
            lent_mtu: AtomicU16::new(0),
            has_lent_mtu: AtomicBool::new(false),
            stop: watch::Sender::new(None),
        }
    }

    pub(super) fn mtu(&self) -> u16 {
        self.mtu.load(Ordering::Relaxed)
    }

    pub(super) fn lend_mtu(&self, mtu: u16) {
        self.has_lent_mtu.store(false, Ordering::Relaxed);
        self.lent_mtu.store(mtu, Ordering::Relaxed);
    }

    /// Takes the MTU that the interface has now, unless it was lent.
    pub(super) fn set_mtu(&self, mtu: u16) {
        if mtu == self.lent_mtu.load(Ordering::Relaxed) && mtu < self.mtu() {
            self.has_lent_mtu.store(true, Ordering::Relaxed);
        } else if mtu != self.mtu() || self.has_lent_mtu.load(Ordering::Relaxed) {
            // Else it is told of what it had before the one that it is about to get.
            self.own_mtu(mtu);
        }
    }

    /// Takes an MTU that is the interface's own: nothing is lent any more.
    pub(super) fn own_mtu(&self, mtu: u16) {
        self.lent_mtu.store(0, Ordering::Relaxed);
        self.has_lent_mtu.store(false, Ordering::Relaxed);
        self.mtu.store(mtu, Ordering::Relaxed);
        for peer in self.peers() {
            peer.state.lock().tunnel.set_mtu(mtu);
        }
    }

    /// Returns the peers there are, in no order: whoever turns to each of them holds up nobody.
    pub(super) fn peers(&self) -> Vec<Arc<Peer>> {
        self.registry.read().peers().cloned().collect()
    }

    /// Tells whether any peer is defended.
    pub(super) fn has_defended(&self) -> bool {
        Arc::strong_count(&self.defended) > 1
    }

    /// Tells whether the device has more peers than one: then each sends by a socket of its own.
    pub(super) fn has_several_peers(&self) -> bool {
        self.has_several_peers.load(Ordering::Relaxed)
    }

    /// Does what follows a change of the peers: what is kept for those that are gone goes too.
    pub(super) fn settle_peers(&self) {
        let registry = self.registry.read();
        self.has_several_peers.store(registry.len() > 1, Ordering::Relaxed);
        if let Some(sockets) = self.sockets.borrow().as_deref() {
            sockets.retain_lanes(|peer| registry.by_id(peer).is_some());
        }
    }

    /// Tells whether the device has a private key; without one it is silent.
    pub(super) fn has_identity(&self) -> bool {
        self.registry.read().identity().is_some()
    }

    /// Asks the device to stop; the first reason counts.
    pub(super) fn stop(&self, reason: StopReason) {
        self.stop.send_if_modified(|current| {
            let is_first = current.is_none();
            current.get_or_insert(reason);
            is_first
        });
    }

    pub(super) fn stopping(&self) -> watch::Receiver<Option<StopReason>> {
        self.stop.subscribe()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.borrow().is_some()
    }

    /// Does what follows every use of a tunnel: its next deadline is kept, its events are told.
    pub(super) fn settle(&self, peer: &Peer, state: &mut PeerState) {
        if let Some(deadline) = state.tunnel.next_timeout() {
            self.call_by(peer, state, deadline);
        }
        let address = state.tunnel.endpoint().map(|endpoint| endpoint.remote.ip()).filter(|_| !peer.is_removed());
        if address != state.address {
            self.endpoints.moved(peer.id, state.address, address);
            state.address = address;
        }
        let is_defended = state.tunnel.is_defended();
        if is_defended != state.defended.is_some() {
            state.defended = is_defended.then(|| Arc::clone(&self.defended));
        }
        if state.tunnel.has_room() {
            peer.drained.notify_waiters();
        }
        while let Some(event) = state.tunnel.poll_event() {
            if matches!(event, Event::SessionStarted | Event::Protection(_) | Event::EndpointChanged(_)) {
                self.network.ask(peer.id);
            }
            match event {
                Event::SessionStarted => tracing::debug!(peer = ?peer.public_key, "session started"),
                Event::SessionEnded => {
                    state.forget_waiting();
                    if let Some(sockets) = self.sockets.borrow().as_deref() {
                        sockets.close_lanes(peer.id);
                    }
                    tracing::debug!(peer = ?peer.public_key, "session ended");
                }
                Event::HandshakeFailed => state.log.note_handshake_failed(peer.public_key, Instant::now()),
                Event::ClockSetBack(behind) => state.log.note_clock_set_back(peer.public_key, behind, Instant::now()),
                Event::EndpointChanged(endpoint) => {
                    if !state.tunnel.has_session() {
                        // It called from elsewhere: what was sealed before is not to be seen there.
                        state.forget_waiting();
                    }
                    tracing::debug!(peer = ?peer.public_key, %endpoint, "endpoint changed")
                }
                Event::Protection(protection) => log_protection(peer, state, protection),
                Event::PathTakes { datagram, packet } => {
                    state.log.note_path(peer.public_key, datagram, packet, Instant::now());
                }
            }
            // Nobody may be listening.
            let _ = self.events.send(DeviceEvent { peer: peer.public_key, event });
        }
        self.settle_log(peer, state);
    }

    /// Says what waits to be said of the peer, or keeps the deadline at which it may be.
    fn settle_log(&self, peer: &Peer, state: &mut PeerState) {
        if state.log.next_timeout().is_some() {
            state.log.handle_timeout(peer.public_key, Instant::now());
        }
        if let Some(deadline) = state.log.next_timeout() {
            self.call_by(peer, state, deadline);
        }
    }

    /// Keeps the next deadline of a tunnel that cannot send; all others are kept again once it can.
    pub(super) fn settle_mute(&self, peer: &Peer, state: &mut PeerState) {
        if let Some(deadline) = state.tunnel.next_timeout_mute() {
            self.schedule.set(peer.id, state.scheduled, deadline);
            state.scheduled = Some(deadline);
        }
        self.settle_log(peer, state);
    }

    /// Has the tunnel called at `deadline`, if it is not sooner anyway.
    pub(super) fn call_by(&self, peer: &Peer, state: &mut PeerState, deadline: Instant) {
        if state.scheduled.is_none_or(|scheduled| deadline < scheduled) {
            self.schedule.set(peer.id, state.scheduled, deadline);
            state.scheduled = Some(deadline);
        }
    }
}

fn log_protection(peer: &Peer, state: &mut PeerState, protection: Protection) {
    let now = Instant::now();
    let policy = state.tunnel.negotiation_status(now).map(|status| status.settings.negotiation);
    state.log.note_protection(peer.public_key, protection, protection.holds_back(policy), now);
}
