//! From the TUN device to the network.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use maybetun_tun::{PacketBatch, Tun};
use tokio::sync::{Mutex, Notify, watch};

use super::departing::{Turn, depart, room, slice, socket_of};
use super::mss;
use super::registry::{Peer, PeerState};
use super::routing_loop::came_back;
use super::shared::{Shared, count};
use super::sockets::Sockets;
use super::too_big::{self, Budget, Messages};
use crate::tunnel::{DatagramBatch, IpHeader};

/// Most packets that are given to a tunnel at once: as many as find room when it says that it has room.
const MAX_RUN: usize = 128;

/// Packets that wait for room in the socket, from which on a device with one peer reads no more: as many small ones may go
/// together.
const MAX_BACKLOG: usize = 16;

/// Pause where a socket cannot be waited for.
const PAUSE: Duration = Duration::from_millis(1);

/// Reads one queue of the TUN device. One thread at a time does: packets leave in the order in which they were read.
pub(super) struct Outbound<T> {
    tun: Arc<T>,
    work: Mutex<Work>,
    /// Says that packets were read and not sent.
    unfinished: Notify,
}

/// What was read, and how far it was sent.
#[derive(Default)]
struct Work {
    packets: PacketBatch,
    /// The peer of each entry.
    routes: Vec<Option<Arc<Peer>>>,
    /// The first entry that is not sent whole.
    next: usize,
    out: DatagramBatch,
    /// What senders are to be told.
    messages: Messages,
}

impl<T: Tun> Outbound<T> {
    pub(super) fn new(tun: Arc<T>) -> Self {
        Self { tun, work: Mutex::default(), unfinished: Notify::new() }
    }

    /// Reads IP packets until the TUN device fails.
    pub(super) async fn run(&self, shared: &Shared) -> io::Error {
        let mut sockets = shared.sockets.subscribe();
        loop {
            tokio::select! {
                readable = self.tun.readable() => {
                    if let Err(error) = readable {
                        return error;
                    }
                }
                () = self.unfinished.notified() => {}
            }
            let mut work = self.work.lock().await;
            loop {
                // Without a socket they would only be sealed and lost.
                if sockets.wait_for(Option::is_some).await.is_err() {
                    return io::ErrorKind::BrokenPipe.into();
                }
                wait_for_room(shared, &mut sockets).await;
                let went_on = work.go_on(&*self.tun, shared);
                if let Err(error) = work.tell(&*self.tun).await {
                    return error;
                }
                match went_on {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => return error,
                }
            }
        }
    }

    /// Sends what the TUN device has now, if nobody else is about to and it need not wait. The system often answers a
    /// packet while it is being written: whoever wrote it then sends the answer before another thread is awake.
    pub(super) fn answer(&self, shared: &Shared) -> io::Result<()> {
        let Ok(mut work) = self.work.try_lock() else { return Ok(()) };
        if !has_room(shared) || !work.go_on(&*self.tun, shared)? {
            return Ok(());
        }
        if !work.is_done() || !work.messages.is_empty() {
            self.unfinished.notify_one();
        }
        Ok(())
    }
}

impl Work {
    fn is_done(&self) -> bool {
        self.next >= self.routes.len()
    }

    /// Sends what was read, after reading if that was nothing; at most as many packets as find room where there is
    /// [`room`](has_room). Says whether there was anything to send.
    fn go_on<T: Tun>(&mut self, tun: &T, shared: &Shared) -> io::Result<bool> {
        if self.is_done() {
            self.packets.clear();
            if !tun.try_recv(&mut self.packets)? {
                return Ok(false);
            }
            route(shared, &self.packets, tun.name(), &mut self.routes);
        }
        let is_alone = shared.registry.read().only_peer().is_some();
        let mut room = MAX_RUN;
        while room > 0 && !self.is_done() {
            let Some(peer) = self.routes[self.next].clone() else {
                self.next += 1;
                continue;
            };
            match self.seal_run(shared, &peer, room, is_alone) {
                // The socket is full.
                0 if is_alone => break,
                taken => room -= taken,
            }
        }
        if self.is_done() {
            // A peer that is removed is not to live on, with its keys, until there is something else to send.
            self.routes.clear();
            self.next = 0;
        }
        Ok(true)
    }

    /// Writes what senders are to be told to the TUN device.
    async fn tell<T: Tun>(&mut self, tun: &T) -> io::Result<()> {
        if self.messages.is_empty() {
            return Ok(());
        }
        let mut batch = PacketBatch::new();
        for message in self.messages.drain(..) {
            if batch.is_full() {
                break;
            }
            batch.push(&message);
        }
        tun.send(&mut batch).await
    }

    /// Gives the packets from the next entry on to `peer`, as long as they are for it and there is room for them, and sends
    /// them. Returns how many it took.
    fn seal_run(&mut self, shared: &Shared, peer: &Arc<Peer>, room: usize, is_alone: bool) -> usize {
        let Self { packets, routes, next, out, messages } = self;
        let is_for_peer = |route: &Option<Arc<Peer>>| route.as_ref().is_some_and(|of| Arc::ptr_eq(of, peer));
        depart(shared, peer, out, Turn::Own, |state, now, out| {
            if state.tunnel.has_ready() {
                state.tunnel.flush(now, out);
            }
            let mut left = room.min(slice(state));
            while left > 0 && !out.is_full() && routes.get(*next).is_some_and(is_for_peer) {
                let tunnel = &state.tunnel;
                if is_alone && !out.has_room() && tunnel.has_ready() && tunnel.queued() >= MAX_BACKLOG {
                    break;
                }
                match packets.next_packet(*next) {
                    Some((buffer, length)) => {
                        match state.tunnel.largest_packet() {
                            Some(most) if length > most => {
                                let budget = Budget { peer: &mut state.too_big, device: &shared.too_big };
                                too_big::send(&mut state.tunnel, (buffer, length), now, out, (budget, messages));
                            }
                            most => {
                                if let Some(most) = most {
                                    mss::clamp(&mut buffer[..length], most);
                                }
                                state.tunnel.send(buffer, length, now, out);
                            }
                        }
                        left -= 1;
                    }
                    None => *next += 1,
                }
            }
            if state.tunnel.has_ready() {
                // Small packets of this batch, which may go together.
                state.tunnel.flush(now, out);
            }
            room.min(slice(state)) - left
        })
    }
}

/// What a device with one peer does before it reads on.
enum Outlook {
    /// It reads.
    Room,
    /// It waits until the tunnel's queue has drained.
    QueueFull,
    /// It waits until the socket takes more.
    SocketFull(Arc<Sockets>),
}

impl Outlook {
    /// The system's own queue before the TUN device is to fill, as on any slow link, when the tunnel's queue or the socket is
    /// full.
    fn of(shared: &Shared, peer: &Peer) -> Self {
        let state = peer.state.lock();
        if !state.tunnel.has_room() {
            return Self::QueueFull;
        }
        // What is blocked does not ask for the socket.
        let sockets = shared.sockets.borrow().clone().filter(|_| !state.tunnel.is_closed());
        match sockets {
            Some(sockets) if is_full(shared, &sockets, peer, &state) => Self::SocketFull(sockets),
            Some(_) | None => Self::Room,
        }
    }
}

fn is_full(shared: &Shared, sockets: &Sockets, peer: &Peer, state: &PeerState) -> bool {
    room(shared, Some(sockets), peer, state, Instant::now()).normal == 0
}

/// Tells whether what is read now finds room: see [`wait_for_room`].
fn has_room(shared: &Shared) -> bool {
    let has_sockets = shared.sockets.borrow().is_some();
    let is_room = |peer: &Arc<Peer>| matches!(Outlook::of(shared, peer), Outlook::Room);
    has_sockets && shared.registry.read().only_peer().is_none_or(is_room)
}

/// With one peer, waits until there is room for what it would read. With several, none must wait for another: a full
/// queue drops its newest packet. Other sockets and other peers are looked at anew: `changes` tells of the former.
async fn wait_for_room(shared: &Shared, changes: &mut watch::Receiver<Option<Arc<Sockets>>>) {
    loop {
        let Some((peer, membership)) = only_peer(shared) else { return };
        if matches!(Outlook::of(shared, &peer), Outlook::Room) {
            return;
        }
        let (mut drained, mut changed) = (pin!(peer.drained.notified()), pin!(membership.notified()));
        drained.as_mut().enable();
        changed.as_mut().enable();
        if shared.registry.read().only_peer().is_none_or(|only| !Arc::ptr_eq(only, &peer)) {
            continue;
        }
        let there_is_room = async {
            match Outlook::of(shared, &peer) {
                Outlook::Room => true,
                Outlook::QueueFull => {
                    drained.await;
                    false
                }
                Outlook::SocketFull(sockets) => is_writable(shared, &peer, &sockets).await,
            }
        };
        tokio::select! {
            has_room = there_is_room => if has_room { return },
            () = changed => {}
            // It fails only with the device.
            _ = changes.changed() => {}
        }
    }
}

/// Returns the peer, if there is just one, and what wakes whoever waits for that to change.
fn only_peer(shared: &Shared) -> Option<(Arc<Peer>, Arc<Notify>)> {
    let registry = shared.registry.read();
    registry.only_peer().map(|peer| (Arc::clone(peer), registry.changed()))
}

/// Waits until the socket towards the peer takes more, for some time; says whether it does. What waits to leave does so
/// as the next is sent.
async fn is_writable(shared: &Shared, peer: &Peer, sockets: &Sockets) -> bool {
    let socket = socket_of(shared, Some(sockets), peer, &peer.state.lock());
    let Some((socket, _)) = socket else { return true };
    match socket.writable().await {
        Ok(is_writable) => is_writable,
        Err(error) => {
            tracing::debug!(%error, "cannot wait for a socket");
            tokio::time::sleep(PAUSE).await;
            false
        }
    }
}

/// Finds the peer of each packet or burst that came from the device `tun`.
fn route(shared: &Shared, packets: &PacketBatch, tun: &str, routes: &mut Vec<Option<Arc<Peer>>>) {
    routes.clear();
    let registry = shared.registry.read();
    let has_identity = registry.identity().is_some();
    let port = shared.sockets.borrow().as_ref().map(|sockets| sockets.port());
    routes.extend(packets.iter().map(|packet| {
        let header = IpHeader::parse(packet).filter(|_| has_identity);
        let peer = header.and_then(|header| registry.route(header.destination));
        let Some((header, peer)) = header.zip(peer) else {
            count(&shared.drops.no_route);
            return None;
        };
        if port.is_some_and(|port| came_back(packet, &header, (peer, &registry, &shared.endpoints), port, tun)) {
            count(&shared.drops.came_back);
            return None;
        }
        Some(Arc::clone(peer))
    }));
}
