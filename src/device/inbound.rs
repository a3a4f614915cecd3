//! From the network to the TUN device.

use std::io::{self, IoSliceMut};
use std::sync::Arc;
use std::time::Instant;

use boringtun::noise::{Packet, Tunn};
use maybetun_tun::{PacketBatch, Tun};
use quinn_udp::RecvMeta;

use super::departing::{Turn, depart};
use super::handshakes::{COOKIE_REPLY, Verdict};
use super::mss;
use super::outbound::Outbound;
use super::registry::{Identity, Peer, Registry};
use super::shared::{Shared, count};
use super::sockets::{BoundSocket, Place, Sockets};
use crate::tunnel::{DatagramBatch, Ecn, Endpoint, IpHeader, MAX_BUNDLED, packets};

/// Buffers that one system call may fill; with receive offload each may bring dozens of datagrams.
const BUFFERS: usize = 8;

/// Size of each buffer, in bytes: the largest that receive offload fills.
const BUFFER_SIZE: usize = 1 << 16;

const _: () = assert!(BUFFERS <= quinn_udp::BATCH_SIZE || quinn_udp::BATCH_SIZE == 1);

/// One datagram and where it came from.
#[derive(Clone, Copy)]
struct Datagram<'a> {
    bytes: &'a [u8],
    from: Endpoint,
    /// What the network marked it with.
    mark: Ecn,
}

/// Receives datagrams on the sockets of one place, as they come and go, until the TUN device fails.
pub(super) async fn run<T: Tun>(tun: &T, answers: &Outbound<T>, shared: &Shared, place: Place) -> io::Error {
    let mut changes = shared.sockets.subscribe();
    let mut buffers = Buffers::new();
    loop {
        let sockets = changes.borrow_and_update().clone();
        let changed = match sockets.as_ref().and_then(|sockets| Some((sockets, sockets.at(place)?))) {
            None => changes.changed().await,
            Some((sockets, socket)) => tokio::select! {
                changed = changes.changed() => changed,
                error = receive_on(tun, answers, shared, sockets, socket, &mut buffers) => return error,
            },
        };
        if changed.is_err() {
            return io::ErrorKind::BrokenPipe.into();
        }
    }
}

/// What is received into, and what comes of it; kept for the life of a device.
struct Buffers {
    storage: Box<[u8]>,
    packets: PacketBatch,
    out: DatagramBatch,
}

impl Buffers {
    fn new() -> Self {
        let storage = vec![0; BUFFERS * BUFFER_SIZE].into_boxed_slice();
        Self { storage, packets: PacketBatch::new(), out: DatagramBatch::new() }
    }
}

/// Receives datagrams on one socket until the TUN device fails.
async fn receive_on<T: Tun>(
    tun: &T,
    answers: &Outbound<T>,
    shared: &Shared,
    sockets: &Sockets,
    socket: &BoundSocket,
    buffers: &mut Buffers,
) -> io::Error {
    let receiver = match socket.receiver() {
        Ok(receiver) => receiver,
        Err(error) => return error,
    };
    let Buffers { storage, packets, out } = buffers;
    packets.clear();
    out.clear();
    let mut meta = [RecvMeta::default(); BUFFERS];
    loop {
        let filled = {
            let mut chunks = storage.chunks_mut(BUFFER_SIZE);
            let mut slices =
                std::array::from_fn::<_, BUFFERS, _>(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
            receiver.receive(&mut slices, &mut meta).await
        };
        // One allocation for up to 512 datagrams.
        let datagrams: Vec<_> = storage.chunks(BUFFER_SIZE).zip(&meta[..filled]).flat_map(split).collect();
        let mut rest = &datagrams[..];
        while let Some(first) = rest.first() {
            let Some(peer) = find_peer(shared, sockets, first) else {
                rest = &rest[1..];
                continue;
            };
            let taken = open_run(shared, &peer, rest, packets, out);
            rest = &rest[taken..];
            if !packets.has_room_for(MAX_BUNDLED)
                && let Err(error) = tun.send(packets).await
            {
                return error;
            }
        }
        if packets.is_empty() {
            continue;
        }
        if let Err(error) = tun.send(packets).await {
            return error;
        }
        if let Err(error) = answers.answer(shared) {
            return error;
        }
    }
}

/// Splits what receive offload brought into datagrams.
fn split<'a>((buffer, meta): (&'a [u8], &RecvMeta)) -> impl Iterator<Item = Datagram<'a>> + use<'a> {
    let from = Endpoint { remote: meta.addr, local: meta.dst_ip };
    let mark = meta.ecn.map_or(Ecn::NotCapable, |ecn| Ecn::from_bits(ecn as u8));
    let length = meta.len.min(buffer.len());
    buffer[..length].chunks(meta.stride.max(1)).map(move |bytes| Datagram { bytes, from, mark })
}

/// Finds the peer that a datagram claims to be from; handshake messages pass the flood guard first.
fn find_peer(shared: &Shared, sockets: &Sockets, datagram: &Datagram<'_>) -> Option<Arc<Peer>> {
    let registry = shared.registry.read();
    let peer = match Tunn::parse_incoming_packet(datagram.bytes) {
        Ok(Packet::PacketData(data)) => registry.by_session(data.receiver_idx),
        Ok(Packet::PacketCookieReply(cookie)) => registry.by_session(cookie.receiver_idx),
        Ok(Packet::HandshakeInit(_) | Packet::HandshakeResponse(_)) => {
            return peer_of_handshake(shared, sockets, &registry, datagram);
        }
        Err(_) => None,
    };
    if peer.is_none() {
        count(&shared.drops.unknown);
    }
    peer.cloned()
}

fn peer_of_handshake(
    shared: &Shared,
    sockets: &Sockets,
    registry: &Registry,
    datagram: &Datagram<'_>,
) -> Option<Arc<Peer>> {
    let identity = registry.identity()?;
    if datagram.from.is_nowhere() {
        count(&shared.drops.unknown);
        return None;
    }
    let mut reply = [0; COOKIE_REPLY];
    match identity.limiter.judge(datagram.bytes, datagram.from.remote, registry.len(), Instant::now(), &mut reply) {
        Verdict::Accept(message) => {
            let peer = peer_named_by(identity, registry, &message);
            if peer.is_none() {
                count(&shared.drops.unknown);
            }
            peer.cloned()
        }
        Verdict::SendCookie => {
            count(&shared.drops.rate_limited);
            // Whoever asks may have forged his address: the reply must not depend on whose it is, or what that one does.
            if sockets.answer_stranger(&reply, datagram.from).is_err() {
                count(&shared.drops.send_failed);
            }
            None
        }
        Verdict::TooMany => {
            count(&shared.drops.rate_limited);
            None
        }
        Verdict::Invalid => {
            count(&shared.drops.unknown);
            None
        }
    }
}

fn peer_named_by<'a>(identity: &Identity, registry: &'a Registry, message: &Packet<'_>) -> Option<&'a Arc<Peer>> {
    match message {
        Packet::HandshakeInit(initiation) => registry.by_key(&identity.open(initiation)?),
        Packet::HandshakeResponse(response) => registry.by_session(response.receiver_idx),
        Packet::PacketCookieReply(_) | Packet::PacketData(_) => None,
    }
}

/// Gives the first datagram to `peer`, and those behind it as long as they are data for the same session index and
/// there is room, and sends what comes of it. Returns how many were taken.
fn open_run(
    shared: &Shared,
    peer: &Arc<Peer>,
    datagrams: &[Datagram<'_>],
    packets: &mut PacketBatch,
    out: &mut DatagramBatch,
) -> usize {
    let registry = shared.registry.read();
    // Most packets of a run come from one address: the last answer is kept.
    let mut last = None;
    let mut is_allowed = |source| match last {
        Some((address, is_allowed)) if address == source => is_allowed,
        _ => {
            let is_allowed = registry.allowed_ips.owner_of(source) == Some(peer.id);
            last = Some((source, is_allowed));
            is_allowed
        }
    };
    depart(shared, peer, out, Turn::Any, |state, now, out| {
        let mut taken = 0;
        let session = datagrams.first().and_then(|first| data_receiver(first.bytes));
        for datagram in datagrams {
            let is_for_peer = taken == 0 || (session.is_some() && data_receiver(datagram.bytes) == session);
            if !is_for_peer || !packets.has_room_for(MAX_BUNDLED) || out.is_full() {
                break;
            }
            taken += 1;
            let packet = packets.space();
            let length = state.tunnel.receive(datagram.bytes, datagram.from, now, &mut is_allowed, packet, out);
            if let Some(length) = length {
                let mark = state.tunnel.pass_mark(datagram.mark);
                commit(shared, packets, length, mark, state.tunnel.largest_packet());
            }
        }
        taken
    })
}

/// Takes the first `length` bytes of the batch's space: one IP packet, or those of a bundle. What is sent back has at most
/// `most` bytes.
fn commit(shared: &Shared, batch: &mut PacketBatch, length: usize, mark: Ecn, most: Option<usize>) {
    let first = IpHeader::parse(&batch.space()[..length]).map_or(length, |header| header.length);
    let behind = batch.space()[first..length].to_vec();
    let commit_one = |length: usize, batch: &mut PacketBatch| {
        if let Some(most) = most {
            mss::clamp(&mut batch.space()[..length], most);
        }
        if mark.pass_inward(&mut batch.space()[..length]) {
            batch.commit(length);
        } else {
            count(&shared.drops.congested);
        }
    };
    commit_one(first, batch);
    for packet in packets(&behind) {
        batch.space()[..packet.len()].copy_from_slice(packet);
        commit_one(packet.len(), batch);
    }
}

/// Returns the receiver index of a transport data message.
fn data_receiver(datagram: &[u8]) -> Option<u32> {
    let (header, _) = datagram.split_first_chunk::<8>()?;
    let is_data = header[..4] == [4, 0, 0, 0];
    is_data.then(|| u32::from_le_bytes([header[4], header[5], header[6], header[7]]))
}
