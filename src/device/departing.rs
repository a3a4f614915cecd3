//! The one way out: datagrams of a peer leave in the order in which they were sealed, whatever thread sealed them.
//!
//! The counter of WireGuard's data messages is in clear, so an observer would see a datagram that overtook another, and
//! one that was sealed and never sent. Sealing is under the lock of the peer's state. Who sends for the peer holds
//! [`Peer::sending`], without that lock. Whoever else seals meanwhile leaves what he sealed in the peer's [`Outbox`], and
//! goes his way: who sends looks into it before he lets go. Nobody waits here but for a lock that is held while some
//! datagrams are sealed and handed to the kernel.
//!
//! What the kernel does not take at once stays in the outbox, sealed, and leaves before anything else; nothing is sealed
//! behind it but handshakes. While non-bypassable blocking is in force it waits there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::registry::{Peer, PeerState};
use super::sending::{Offload, Segmentation, Sent};
use super::sending_socket::{Cutting, SendingSocket};
use super::shared::Shared;
use super::sockets::Sockets;
use crate::tunnel::{DATA_OVERHEAD, DatagramBatch, Endpoint, Mark, Run};

/// Most datagrams that wait in an outbox: those of a whole batch and what others sealed meanwhile. Only handshakes can be
/// more, and they may be lost.
const MAX_WAITING: usize = 256;

/// Most padding packets that wait for whoever sends for the peer just now.
const MAX_PASSED: usize = 32;

/// When a full socket is tried again: about half of what it holds has left then.
const RETRY: Duration = Duration::from_micros(500);

/// The longest time after which it is: where nothing leaves, there is little to try.
const LONGEST_RETRY: Duration = Duration::from_millis(20);

/// Which share of the time for which it was full it may stay untried: one in this many.
const RETRY_SHARE: u32 = 8;

/// How often a peer's queue is flushed before others have their turn.
const MAX_FLUSHES: usize = 4;

/// Most packets of a defended peer that are sealed at once: padding that is due waits behind them.
pub(super) const SLICE: usize = 32;

/// What was sealed for a peer and waits for whoever sends, or for room in the socket.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<(Vec<u8>, Mark)>,
    /// The kernel did not take the first of them when it was tried last.
    is_stalled: bool,
    /// Since when the socket is full, and took nothing.
    full_since: Option<Instant>,
    /// Counts how often it was forgotten.
    era: u64,
}

/// Who sends what is sealed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The caller, who waits until another is done.
    Own,
    /// Whoever sends for the peer just now; the caller, if nobody does.
    Any,
}

/// How much may be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Datagrams with normal packets.
    pub(super) normal: usize,
    /// Datagrams of all kinds, padding among them.
    padding: usize,
}

impl Outbox {
    /// Has the datagrams of a batch wait, as far as there is room. Returns the bytes of those that there was none for.
    #[must_use]
    pub(super) fn append(&mut self, out: &DatagramBatch) -> u64 {
        let room = MAX_WAITING.saturating_sub(self.waiting.len());
        let datagrams = out.marked_from(0).take(room);
        self.waiting.extend(datagrams.map(|(datagram, mark)| (datagram.to_vec(), mark)));
        out.marked_from(0).skip(room).map(|(datagram, _)| datagram.len() as u64).sum()
    }

    /// Forgets what waits: it was sealed in a session that is over, and must not be seen where the next one is. Returns its bytes.
    #[must_use]
    pub(super) fn forget(&mut self) -> u64 {
        let forgotten = self.waiting.iter().map(|(datagram, _)| datagram.len() as u64).sum();
        *self = Self { era: self.era + 1, ..Self::default() };
        forgotten
    }

    /// Returns when a socket that is full at `now` is tried again.
    fn retry(&mut self, now: Instant) -> Instant {
        let since = *self.full_since.get_or_insert(now);
        now + (now.saturating_duration_since(since) / RETRY_SHARE).clamp(RETRY, LONGEST_RETRY)
    }

    /// Puts what was not sent before what came in meanwhile.
    fn put_back(&mut self, mut waiting: VecDeque<(Vec<u8>, Mark)>, out: &DatagramBatch, first: usize) {
        waiting.extend(out.marked_from(first).map(|(datagram, mark)| (datagram.to_vec(), mark)));
        if !waiting.is_empty() {
            waiting.append(&mut self.waiting);
            self.waiting = waiting;
        }
    }
}

impl PeerState {
    /// Has what was sealed wait for whoever sends; what there is no room for was not sent.
    pub(super) fn await_turn(&mut self, out: &DatagramBatch) {
        let unsent = self.outbox.append(out);
        self.tunnel.unsent(unsent);
    }

    /// Forgets what waits, which was not sent: see [`Outbox::forget`].
    pub(super) fn forget_waiting(&mut self) {
        let unsent = self.outbox.forget();
        self.tunnel.unsent(unsent);
    }
}

/// Lets `act` seal into `out`, and sends it, and whatever else may leave for the peer.
///
/// `out` is empty when `act` gets it, and afterwards. The caller holds no lock of the peer's. What was sealed before
/// blocking began leaves, unless it has to wait for room: then it waits for the end of blocking too.
pub(super) fn depart<R>(
    shared: &Shared,
    peer: &Peer,
    out: &mut DatagramBatch,
    turn: Turn,
    act: impl FnOnce(&mut PeerState, Instant, &mut DatagramBatch) -> R,
) -> R {
    let own_turn = (turn == Turn::Own).then(|| peer.sending.lock());
    let mut state = peer.state.lock();
    let sending = own_turn.or_else(|| peer.sending.try_lock());
    // While the right to send is held, they do not change under a tunnel that does not know of it.
    let sockets = shared.sockets.borrow().clone();
    let now = Instant::now();
    let Room { normal, padding } = match &sending {
        Some(_) => room(shared, sockets.as_deref(), peer, &state, now),
        None => Room { normal: 0, padding: MAX_PASSED.saturating_sub(state.outbox.waiting.len()) },
    };
    out.clear();
    out.set_room(normal, if state.outbox.is_stalled { 0 } else { padding });
    let result = act(&mut state, now, out);
    shared.settle(peer, &mut state);
    let Some(mut offload) = sending else {
        state.await_turn(out);
        out.clear();
        return result;
    };

    let mut flushes = 0;
    loop {
        let is_held = state.outbox.is_stalled && state.tunnel.is_closed();
        let waiting = if is_held { VecDeque::new() } else { std::mem::take(&mut state.outbox.waiting) };
        if is_held {
            state.await_turn(out);
        } else if !waiting.is_empty() || !out.is_empty() {
            let dispatch = Dispatch {
                socket: socket_of(shared, sockets.as_deref(), peer, &state),
                is_defended: state.tunnel.is_defended(),
                leaves_whole: state.tunnel.leaves_whole(),
                offload: &mut offload,
            };
            let era = state.outbox.era;
            drop(state);
            let (waiting, first, sent) = dispatch.send(waiting, out);
            state = peer.state.lock();
            note_sent(shared, peer, &mut state, sent);
            if state.outbox.era == era {
                state.outbox.put_back(waiting, out, first);
                state.outbox.is_stalled = sent.is_full;
            }
            if sent.charged > 0 {
                state.outbox.full_since = None;
            }
        }
        out.clear();
        let now = Instant::now();
        if state.outbox.is_stalled {
            // The end of blocking is a deadline of the tunnel's.
            if !state.tunnel.is_closed() {
                let retry = state.outbox.retry(now);
                shared.call_by(peer, &mut state, retry);
            }
            break;
        }
        if !state.outbox.waiting.is_empty() {
            // Somebody left it there just now.
            continue;
        }
        if !state.tunnel.has_ready() {
            break;
        }
        let Room { normal, padding } = room(shared, sockets.as_deref(), peer, &state, now);
        if normal == 0 || flushes == MAX_FLUSHES {
            let next = if normal == 0 { state.outbox.retry(now) } else { now };
            shared.call_by(peer, &mut state, next);
            break;
        }
        flushes += 1;
        out.set_room(normal, padding);
        state.tunnel.flush(now, out);
        shared.settle(peer, &mut state);
    }
    // Under the lock of the state: who leaves something in the outbox from now on finds that nobody sends.
    drop(offload);
    result
}

/// Returns how many packets of a peer are sealed at once.
pub(super) fn slice(state: &PeerState) -> usize {
    if state.tunnel.is_defended() { SLICE } else { usize::MAX }
}

/// Returns how much the peer's tunnel may seal at `now`.
pub(super) fn room(shared: &Shared, sockets: Option<&Sockets>, peer: &Peer, state: &PeerState, now: Instant) -> Room {
    match socket_of(shared, sockets, peer, state) {
        Some(_) if !state.outbox.waiting.is_empty() => Room { normal: 0, padding: MAX_PASSED },
        Some((socket, _)) => {
            socket.set_limited(shared.has_defended());
            let normal = socket.room(usize::from(shared.mtu()) + DATA_OVERHEAD, now).min(slice(state));
            Room { normal, padding: usize::MAX }
        }
        // A tunnel without an endpoint seals nothing.
        None => Room { normal: 0, padding: 0 },
    }
}

/// Returns the socket from which datagrams leave for the peer, and where to; `None` if there is none, or no endpoint.
pub(super) fn socket_of(
    shared: &Shared,
    sockets: Option<&Sockets>,
    peer: &Peer,
    state: &PeerState,
) -> Option<(Arc<SendingSocket>, Endpoint)> {
    let (sockets, to) = sockets.zip(state.tunnel.endpoint())?;
    // A peer without a session is sent a handshake message now and then.
    if !shared.has_several_peers() || !state.tunnel.has_session() {
        return Some((sockets.towards(to.remote, peer.id)?, to));
    }
    let way = sockets.lane_towards(to, peer.id)?;
    if peer.is_removed() {
        sockets.close_lanes(peer.id);
    }
    Some(way)
}

fn note_sent(shared: &Shared, peer: &Peer, state: &mut PeerState, sent: Sent) {
    if sent.failed > 0 {
        shared.drops.send_failed.fetch_add(sent.failed, Ordering::Relaxed);
        state.tunnel.unsent(sent.failed_bytes);
    }
    if sent.local_address_is_stale {
        state.way.lose();
    }
    if sent.local_address_is_stale || state.way.is_to_be_asked(Instant::now()) {
        shared.network.ask(peer.id);
    }
}

/// What leaves goes this way.
struct Dispatch<'a> {
    socket: Option<(Arc<SendingSocket>, Endpoint)>,
    is_defended: bool,
    /// Whether datagrams leave whole, whatever the system takes the path for.
    leaves_whole: bool,
    offload: &'a mut Offload,
}

impl Dispatch<'_> {
    /// Sends what waits, then the batch. Returns what still waits, the first of the batch that does, and what became of
    /// the others.
    fn send(
        self,
        mut waiting: VecDeque<(Vec<u8>, Mark)>,
        out: &DatagramBatch,
    ) -> (VecDeque<(Vec<u8>, Mark)>, usize, Sent) {
        let mut sent = Sent::default();
        let Some((socket, to)) = self.socket else {
            let lengths = waiting.iter().map(|(datagram, _)| datagram.len()).chain(out.iter().map(<[u8]>::len));
            for length in lengths {
                sent.failed += 1;
                sent.failed_bytes += length as u64;
            }
            return (VecDeque::new(), out.len(), sent);
        };
        // The identifiers of IPv4 headers would show what was sent at once.
        let segmentation = match self.is_defended && to.remote.is_ipv4() {
            true => Segmentation::Sender,
            false => Segmentation::Kernel,
        };
        let mut send = |run: Run<'_>| {
            let cutting = if run.mark.is_whole || self.leaves_whole { Cutting::Never } else { Cutting::AsNeeded };
            socket.send(run, (segmentation, cutting), to, self.offload, &mut sent)
        };
        while let Some((datagram, mark)) = waiting.front() {
            if send(Run { contents: datagram, segment_size: datagram.len(), mark: *mark }) == 0 {
                return (waiting, 0, sent);
            }
            waiting.pop_front();
        }
        let mut first = 0;
        for run in out.runs(socket.max_segments()) {
            let taken = send(run);
            first += taken;
            if taken < run.datagrams().count() {
                break;
            }
        }
        (waiting, first, sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_a_socket_takes_nothing_the_more_rarely_it_is_tried() {
        let (mut outbox, start) = (Outbox::default(), Instant::now());
        let mut pauses = Vec::new();
        let mut now = start;
        while now < start + Duration::from_secs(1) {
            let next = outbox.retry(now);
            pauses.push(next - now);
            now = next;
        }
        assert_eq!((pauses[0], pauses.last()), (RETRY, Some(&LONGEST_RETRY)));
        assert!(pauses.is_sorted() && pauses.len() < 100, "{} times in a second", pauses.len());
        outbox.full_since = None;
        assert_eq!(outbox.retry(now), now + RETRY);
    }
}
