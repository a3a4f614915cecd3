//! Datagrams of our own that the system routes back into the tunnel: sealed again, each would come back for ever.
//!
//! That happens where the endpoint of a peer is routed into the tunnel: of one that is there itself, or of several, each by
//! way of the next. The kernel's WireGuard drops whatever would come back to its own interface (`-ELOOP`,
//! `drivers/net/wireguard/socket.c`). Here is dropped, with its fragments, what left an address of ours from our port for the
//! endpoint of a peer, in a session with that peer, and is routed to the same peer, or to one whose own datagrams go by way of
//! it. So what others send to the same endpoint from the same port passes, and so do the datagrams for one peer that
//! go by way of another.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::endpoints::Endpoints;
use super::path;
use super::registry::{Peer, PeerState, Registry};
use crate::tunnel::{FRAGMENT_OFFSET, IpHeader, MORE_FRAGMENTS};

const UDP: u8 = 17;
const UDP_HEADER: usize = 8;

/// IPv6's fragment header (RFC 8200, section 4.5), and where a fragment belongs in it.
const FRAGMENT: u8 = 44;
const FRAGMENT_HEADER: usize = 8;
const V6_HEADER: usize = 40;
const V6_OFFSET: u16 = 0xfff8;

/// Types of WireGuard's messages (whitepaper, section 5.4), with the zeros behind them.
const INITIATION: [u8; 4] = [1, 0, 0, 0];
const RESPONSE: [u8; 4] = [2, 0, 0, 0];
const DATA: [u8; 4] = [4, 0, 0, 0];

/// How long the other fragments of a datagram are looked for, and of how many datagrams: they follow at once.
const FRAGMENTS_LIFE: Duration = Duration::from_secs(1);
const MAX_FRAGMENTED: usize = 32;

/// How long it counts that datagrams for one peer went by way of another: in a loop they go round in less.
const WAY_LIFE: Duration = Duration::from_secs(1);

/// Most peers by way of which datagrams for one go.
const MAX_WAYS: usize = 8;

/// How long nothing is said again of the same endpoint.
const REMINDER: Duration = Duration::from_secs(600);

/// What is known of the datagrams to one peer that came back.
#[derive(Debug, Default)]
pub(super) struct CameBack {
    /// Those of which the first fragment was dropped: our address, the identification, and when; the newest last.
    fragmented: VecDeque<(IpAddr, u32, Instant)>,
    /// By way of which peer the last of them went, and when.
    way: Option<(u32, Instant)>,
    /// The address that the user was warned of, and when.
    warned: Option<(IpAddr, Instant)>,
}

impl CameBack {
    fn note_fragmented(&mut self, source: IpAddr, identification: u32, now: Instant) {
        if self.fragmented.len() == MAX_FRAGMENTED {
            self.fragmented.pop_front();
        }
        self.fragmented.push_back((source, identification, now));
    }

    fn is_fragmented(&self, source: IpAddr, identification: u32, now: Instant) -> bool {
        self.fragmented.iter().any(|(of, id, at)| {
            (*of, *id) == (source, identification) && now.saturating_duration_since(*at) < FRAGMENTS_LIFE
        })
    }

    /// Returns the peer by way of which datagrams go now, if they do.
    fn way(&self, now: Instant) -> Option<u32> {
        self.way.filter(|(_, at)| now.saturating_duration_since(*at) < WAY_LIFE).map(|(peer, _)| peer)
    }

    /// Tells whether the user is to be warned of this endpoint's address now.
    fn is_news(&mut self, address: IpAddr, now: Instant) -> bool {
        let is_known =
            self.warned.is_some_and(|(of, at)| of == address && now.saturating_duration_since(at) < REMINDER);
        if !is_known {
            self.warned = Some((address, now));
        }
        !is_known
    }
}

/// A datagram of UDP, or a fragment of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<'a> {
    /// One with its header: whole, or the first fragment.
    First { datagram: &'a [u8], identification: Option<u32> },
    /// A later fragment.
    Later { identification: u32 },
}

impl<'a> Piece<'a> {
    /// Reads a packet whose IP header is right; `None` if it is not of UDP, or has other headers than those that the system
    /// gives datagrams of ours.
    fn of(packet: &'a [u8]) -> Option<Self> {
        let is_v4 = packet[0] >> 4 == 4;
        match if is_v4 { packet[9] } else { packet[6] } {
            UDP if is_v4 => {
                let [field, identification] = [u16_at(packet, 6)?, u16_at(packet, 4)?];
                let identification = (field & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0).then(|| identification.into());
                let datagram = packet.get(usize::from(packet[0] & 0x0f) * 4..)?;
                Some(Self::new(datagram, field & FRAGMENT_OFFSET, identification))
            }
            UDP => Some(Self::new(packet.get(V6_HEADER..)?, 0, None)),
            FRAGMENT if !is_v4 => {
                let (header, datagram) = packet.get(V6_HEADER..)?.split_first_chunk::<FRAGMENT_HEADER>()?;
                let [next, _, high, low, identification @ ..] = *header;
                let offset = u16::from_be_bytes([high, low]) & V6_OFFSET;
                (next == UDP).then(|| Self::new(datagram, offset, Some(u32::from_be_bytes(identification))))
            }
            _ => None,
        }
    }

    fn new(datagram: &'a [u8], offset: u16, identification: Option<u32>) -> Self {
        match identification {
            Some(identification) if offset != 0 => Self::Later { identification },
            identification => Self::First { datagram, identification },
        }
    }
}

/// Tells whether `packet`, which came from the TUN device `tun` and is routed to the peer `next`, left our port `port` for
/// that peer before, or for one that leads there; then the user is warned, but not again and again.
pub(super) fn came_back(
    packet: &[u8],
    header: &IpHeader,
    (next, registry, endpoints): (&Peer, &Registry, &Endpoints),
    port: u16,
    tun: &str,
) -> bool {
    let Some(piece) = Piece::of(packet) else { return false };
    if let Piece::First { datagram, .. } = piece
        && u16_at(datagram, 0) != Some(port)
    {
        return false;
    }
    let now = Instant::now();
    let peers = endpoints.at(header.destination);
    peers.into_iter().filter_map(|peer| registry.by_id(peer)).any(|peer| match piece {
        Piece::First { datagram, identification } => {
            let is_loop = is_of_peer(datagram, header, peer, registry) && !leads_elsewhere(next, peer, registry, now);
            if is_loop {
                note_loop((peer, header.source), identification, tun, now);
            }
            is_loop
        }
        Piece::Later { identification } => {
            peer.state.lock().came_back.is_fragmented(header.source, identification, now)
        }
    })
}

/// Tells whether a datagram was sent to the peer, which is at its destination.
fn is_of_peer(datagram: &[u8], header: &IpHeader, peer: &Peer, registry: &Registry) -> bool {
    let state = peer.state.lock();
    let Some(endpoint) = state.tunnel.endpoint().map(|endpoint| endpoint.remote) else { return false };
    let is_for_endpoint = u16_at(datagram, 2) == Some(endpoint.port());
    let message = datagram.get(UDP_HEADER..).unwrap_or_default();
    let source = path::on_link(header.source, endpoint);
    is_for_endpoint && is_of_session(message, peer, &state, registry) && !path::is_foreign(source)
}

/// Tells whether datagrams for `peer` may go by way of `next`: those for that one do not come back to `peer`. Notes the way.
fn leads_elsewhere(next: &Peer, peer: &Peer, registry: &Registry, now: Instant) -> bool {
    let mut at = Some(next.id);
    for _ in 0..MAX_WAYS {
        let Some(id) = at.filter(|id| *id != peer.id) else { break };
        at = registry.by_id(id).and_then(|peer| peer.state.lock().came_back.way(now));
    }
    if at.is_some() {
        return false;
    }
    peer.state.lock().came_back.way = Some((next.id, now));
    true
}

/// Notes that a datagram of the peer's from `source` came back.
fn note_loop((peer, source): (&Peer, IpAddr), identification: Option<u32>, tun: &str, now: Instant) {
    let mut state = peer.state.lock();
    if let Some(identification) = identification {
        state.came_back.note_fragmented(source, identification, now);
    }
    let Some(endpoint) = state.tunnel.endpoint().map(|endpoint| endpoint.remote) else { return };
    let address = endpoint.ip();
    if state.came_back.is_news(address, now) {
        let text = format!(
            "a routing loop: datagrams to the endpoint of this peer are routed into {tun} itself, and dropped; take its address \
             out of all AllowedIPs, or route it past {tun}, by a route of its own or by FwMark and a rule"
        );
        state.log.warn(peer.public_key, &text, now);
        tracing::debug!(peer = ?peer.public_key, %endpoint, "a routing loop");
    }
}

/// Tells whether a message of WireGuard's is of a session with `peer`, by the index in clear: of a handshake our own, of data
/// the peer's.
fn is_of_session(message: &[u8], peer: &Peer, state: &PeerState, registry: &Registry) -> bool {
    let Some(([kind @ .., a, b, c, d], _)) = message.split_first_chunk::<8>() else { return false };
    let index = u32::from_le_bytes([*a, *b, *c, *d]);
    match *kind {
        INITIATION | RESPONSE => registry.by_session(index).is_some_and(|owner| owner.id == peer.id),
        DATA => state.tunnel.seals_for(index),
        _ => false,
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::ip_tests::ipv4;

    const OURS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    #[test]
    fn pieces_are_told_apart() {
        let mut packet = ipv4([10, 0, 0, 1], [10, 0, 0, 2], b"datagram");
        assert_eq!(Piece::of(&packet), None, "not UDP");
        packet[9] = UDP;
        packet[4..6].copy_from_slice(&[1, 2]);
        assert_eq!(Piece::of(&packet), Some(Piece::First { datagram: b"datagram", identification: None }));
        packet[6] = 0x20;
        assert_eq!(Piece::of(&packet), Some(Piece::First { datagram: b"datagram", identification: Some(0x102) }));
        packet[6..8].copy_from_slice(&[0, 9]);
        assert_eq!(Piece::of(&packet), Some(Piece::Later { identification: 0x102 }));

        let v6 = |next: u8, rest: &[u8]| [&[0x60, 0, 0, 0, 0, rest.len() as u8, next, 64], &[0; 32][..], rest].concat();
        assert_eq!(
            Piece::of(&v6(UDP, b"datagram")),
            Some(Piece::First { datagram: b"datagram", identification: None })
        );
        let first = v6(FRAGMENT, &[UDP, 0, 0, 1, 0, 0, 1, 2, 7, 7]);
        assert_eq!(Piece::of(&first), Some(Piece::First { datagram: &[7, 7], identification: Some(0x102) }));
        let later = v6(FRAGMENT, &[UDP, 0, 0, 8, 0, 0, 1, 2, 7, 7]);
        assert_eq!(Piece::of(&later), Some(Piece::Later { identification: 0x102 }));
        assert_eq!(Piece::of(&v6(FRAGMENT, &[6, 0, 0, 8, 0, 0, 1, 2, 7, 7])), None, "a fragment of TCP");
        assert_eq!(Piece::of(&v6(FRAGMENT, &[UDP, 0, 0])), None, "cut off");
    }

    #[test]
    fn fragments_are_known_for_a_time_and_only_the_latest() {
        let (mut came_back, start) = (CameBack::default(), Instant::now());
        came_back.note_fragmented(OURS, 5, start);
        assert!(came_back.is_fragmented(OURS, 5, start));
        assert!(!came_back.is_fragmented(OURS, 6, start));
        assert!(!came_back.is_fragmented(IpAddr::from([10, 0, 0, 9]), 5, start));
        assert!(!came_back.is_fragmented(OURS, 5, start + FRAGMENTS_LIFE));
        for identification in 0..MAX_FRAGMENTED as u32 {
            came_back.note_fragmented(OURS, 100 + identification, start);
        }
        assert!(!came_back.is_fragmented(OURS, 5, start));
        assert_eq!(came_back.fragmented.len(), MAX_FRAGMENTED);
    }

    #[test]
    fn an_endpoint_is_news_once_and_after_a_long_time_again() {
        let (mut came_back, start) = (CameBack::default(), Instant::now());
        let [endpoint, other] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
        let looks = [(endpoint, 0), (endpoint, 599), (endpoint, 600), (other, 601), (other, 602)];
        let news = looks.map(|(of, seconds)| came_back.is_news(of, start + Duration::from_secs(seconds)));
        assert_eq!(news, [true, false, true, true, false]);
    }
}
