//! From the TUN device to the network.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use maybetun_tun::{PacketBatch, Tun};
use tokio::sync::{Mutex, Notify};

use super::registry::Peer;
use super::shared::{Shared, count};
use crate::tunnel::{DatagramBatch, IpHeader};

/// Most packets that are given to a tunnel at once: as many as find room when it says that it has room.
const MAX_RUN: usize = 128;

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
                wait_for_room(shared).await;
                match work.go_on(&*self.tun, shared).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => return error,
                }
            }
        }
    }

    /// Sends what the TUN device has now, if nobody else is about to and it need not wait. The system often answers a
    /// packet while it is being written: whoever wrote it then sends the answer before another thread is awake.
    pub(super) async fn answer(&self, shared: &Shared) -> io::Result<()> {
        let Ok(mut work) = self.work.try_lock() else { return Ok(()) };
        if !has_room(shared) || !work.go_on(&*self.tun, shared).await? {
            return Ok(());
        }
        if !work.is_done() {
            self.unfinished.notify_one();
        }
        Ok(())
    }
}

impl Work {
    fn is_done(&self) -> bool {
        self.next >= self.routes.len()
    }

    /// Sends what was read, after reading if that was nothing; at most as many packets as find room in a queue with
    /// [`room`](has_room). Says whether there was anything to send.
    async fn go_on<T: Tun>(&mut self, tun: &T, shared: &Shared) -> io::Result<bool> {
        if self.is_done() {
            self.packets.clear();
            self.routes.clear();
            self.next = 0;
            if !tun.try_recv(&mut self.packets)? {
                return Ok(false);
            }
            route(shared, &self.packets, &mut self.routes);
        }
        // Whoever was here before may have been interrupted.
        self.out.clear();
        let mut room = MAX_RUN;
        while room > 0 && !self.is_done() {
            let Some(peer) = self.routes[self.next].clone() else {
                self.next += 1;
                continue;
            };
            let _sending = peer.sending.lock().await;
            self.seal_run(shared, &peer, &mut room);
            shared.transmit(&peer, &mut self.out).await;
        }
        Ok(true)
    }

    /// Gives the packets from the next entry on to `peer`, as long as they are for it and there is room for them.
    fn seal_run(&mut self, shared: &Shared, peer: &Arc<Peer>, room: &mut usize) {
        let now = Instant::now();
        let mut state = peer.state.lock();
        let is_for_peer = |route: &Option<Arc<Peer>>| route.as_ref().is_some_and(|of| Arc::ptr_eq(of, peer));
        while *room > 0 && !self.out.is_full() && self.routes.get(self.next).is_some_and(is_for_peer) {
            match self.packets.next_packet(self.next) {
                Some((buffer, length)) => {
                    state.tunnel.send(buffer, length, now, &mut self.out);
                    *room -= 1;
                }
                None => self.next += 1,
            }
        }
        if state.tunnel.has_ready() {
            // Small packets of this batch, which may go together.
            state.tunnel.flush(now, &mut self.out);
        }
        shared.settle(peer, &mut state);
    }
}

/// Tells whether what is read now finds room: see [`wait_for_room`].
fn has_room(shared: &Shared) -> bool {
    shared.sockets.borrow().is_some()
        && shared.registry.read().only_peer().is_none_or(|peer| peer.state.lock().tunnel.has_room())
}

/// With one peer, waits until its queue has room: the system's own queue before the TUN device fills instead, as on any
/// slow link. With several, none must wait for another: a full queue drops its newest packet.
async fn wait_for_room(shared: &Shared) {
    loop {
        let Some(peer) = shared.registry.read().only_peer().cloned() else { return };
        let mut drained = std::pin::pin!(peer.drained.notified());
        drained.as_mut().enable();
        if peer.state.lock().tunnel.has_room() {
            return;
        }
        drained.await;
    }
}

/// Finds the peer of each packet or burst.
fn route(shared: &Shared, packets: &PacketBatch, routes: &mut Vec<Option<Arc<Peer>>>) {
    routes.clear();
    let registry = shared.registry.read();
    let has_identity = registry.identity().is_some();
    routes.extend(packets.iter().map(|packet| {
        let header = IpHeader::parse(packet).filter(|_| has_identity);
        let peer = header.and_then(|header| registry.route(header.destination));
        if peer.is_none() {
            count(&shared.drops.no_route);
        }
        peer.cloned()
    }));
}
