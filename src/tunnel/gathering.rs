//! Small packets that wait for one another while a download is under way.
//!
//! At one size a lone acknowledgement costs as much as a full packet. So where masking is on, small packets wait until what has come
//! down pays for a datagram, or there is a whole bundle of them, or for a part of a round trip: see [`Masking::gathering`]. A gate that
//! is closed holds them longer; nothing else does.
//!
//! [`Masking::gathering`]: crate::masking::Masking::gathering

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::frame::HEADER;
use super::{DatagramBatch, IpHeader, MAX_BUNDLED, Tunnel, packets};

/// Most connections whose answer is awaited, and most round trips that are kept; the oldest go first.
const MAX_AWAITED: usize = 32;
const MAX_MEASURED: usize = 16;

/// How long an answer is awaited.
const AWAITED: Duration = Duration::from_secs(3);

/// IP protocol numbers (IANA).
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The flags of TCP that begin a connection (RFC 9293, section 3.1).
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// The bits that QUIC's long header begins with (RFC 9000, section 17.2).
const QUIC_LONG: u8 = 0xc0;

/// What waits for others, and the round trips that bound how long.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// Until when the packets that wait do so.
    until: Option<Instant>,
    /// Connections that were begun, and when.
    awaited: VecDeque<(Connection, Instant)>,
    /// How long the last answers took: they hold until there are others, for a connection may last.
    measured: VecDeque<Duration>,
}

/// The ends of a connection: ours first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Connection {
    protocol: u8,
    ends: [(IpAddr, u16); 2],
}

/// What a packet may be of a connection that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beginning {
    Call,
    Answer,
}

impl Gathering {
    /// Notes a packet that is sent.
    fn sent(&mut self, packet: &[u8], now: Instant) {
        let Some((connection, Beginning::Call)) = beginning(packet) else { return };
        if self.awaited.iter().all(|(awaited, _)| *awaited != connection) {
            if self.awaited.len() == MAX_AWAITED {
                self.awaited.pop_front();
            }
            self.awaited.push_back((connection, now));
        }
    }

    /// Notes packets that came.
    fn received(&mut self, bytes: &[u8], now: Instant) {
        self.awaited.retain(|(_, since)| now.saturating_duration_since(*since) < AWAITED);
        if self.awaited.is_empty() {
            return;
        }
        for packet in packets(bytes) {
            // Both ends of QUIC begin with a long header.
            let is_answer =
                |(connection, what): &(Connection, Beginning)| *what == Beginning::Answer || connection.protocol == UDP;
            let Some((Connection { protocol, ends: [theirs, ours] }, _)) = beginning(packet).filter(is_answer) else {
                continue;
            };
            let answered = Connection { protocol, ends: [ours, theirs] };
            if let Some(at) = self.awaited.iter().position(|(awaited, _)| *awaited == answered)
                && let Some((_, since)) = self.awaited.remove(at)
            {
                if self.measured.len() == MAX_MEASURED {
                    self.measured.pop_front();
                }
                self.measured.push_back(now.saturating_duration_since(since));
            }
        }
    }

    /// Returns the shortest of the round trips that were measured last.
    fn round_trip(&self) -> Option<Duration> {
        self.measured.iter().copied().min()
    }
}

/// Returns the connection that a packet is of, its source first, and whether it begins or answers one; `None` of other packets.
fn beginning(packet: &[u8]) -> Option<(Connection, Beginning)> {
    let header = IpHeader::parse(packet)?;
    // Options of IPv6 are rare, and say nothing here.
    let (protocol, start) = match packet.first()? >> 4 {
        4 => (*packet.get(9)?, usize::from(packet.first()? & 0x0f) * 4),
        _ => (*packet.get(6)?, 40),
    };
    let transport = packet.get(start..header.length)?;
    let (source, rest) = transport.split_first_chunk::<2>()?;
    let port = |bytes: [u8; 2]| u16::from_be_bytes(bytes);
    let destination = *rest.first_chunk::<2>()?;
    let what = match protocol {
        TCP => match transport.get(13)? & (SYN | ACK) {
            SYN => Beginning::Call,
            flags if flags == SYN | ACK => Beginning::Answer,
            _ => return None,
        },
        UDP if transport.get(8).is_some_and(|first| first & QUIC_LONG == QUIC_LONG) => Beginning::Call,
        _ => return None,
    };
    let ends = [(header.source, port(*source)), (header.destination, port(destination))];
    Some((Connection { protocol, ends }, what))
}

impl Tunnel {
    /// Notes a packet of the user's that is sent, for the sake of the round trip.
    pub(super) fn note_sent_packet(&mut self, packet: &[u8], now: Instant) {
        if let Some(defended) = self.defended.as_mut().filter(|defended| defended.gathers()) {
            defended.gathering.sent(packet, now);
        }
    }

    /// Notes packets of the user's that came, one behind the other.
    pub(super) fn note_received_packets(&mut self, packets: &[u8], now: Instant) {
        if let Some(defended) = self.defended.as_mut().filter(|defended| defended.gathers()) {
            defended.gathering.received(packets, now);
        }
    }

    /// Has the small packet that was queued last wait for others, if it may.
    pub(super) fn gather(&mut self, now: Instant) {
        let Some(defended) = &mut self.defended else { return };
        // The first that waits says until when all do.
        if self.queue.packets() == 1 {
            let round_trip = defended.gathering.round_trip();
            let masking = defended.controllers.masking();
            let wait = masking.and_then(|masking| masking.gathering(round_trip, now));
            defended.gathering.until = wait.map(|wait| now + wait);
        }
    }

    /// Tells whether what waits does so for others: it is no whole bundle yet, and not paid for.
    pub(super) fn is_gathering(&self) -> bool {
        let Some(defended) = self.defended.as_ref().filter(|defended| defended.gathering.until.is_some()) else {
            return false;
        };
        let is_paid = defended.controllers.masking().is_none_or(|masking| masking.is_paid());
        let room = self.size().saturating_sub(HEADER);
        !is_paid && self.queue.fits_whole(room, MAX_BUNDLED)
    }

    /// Has what waits for others wait no more.
    pub(super) fn stop_gathering(&mut self) {
        if let Some(defended) = &mut self.defended {
            defended.gathering.until = None;
        }
    }

    /// Returns until when packets wait for others.
    pub(super) fn gathering_timeout(&self) -> Option<Instant> {
        self.defended.as_ref().and_then(|defended| defended.gathering.until)
    }

    /// Lets go what has waited long enough.
    pub(super) fn run_gathering(&mut self, now: Instant, out: &mut DatagramBatch) {
        if self.gathering_timeout().is_some_and(|until| until <= now) {
            self.stop_gathering();
            self.flush_queue(now, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ip::tests::ipv4;
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const HERE: [u8; 4] = [10, 0, 0, 1];
    const THERE: [u8; 4] = [192, 0, 2, 1];

    fn packet(from: ([u8; 4], u16), to: ([u8; 4], u16), protocol: u8, rest: &[u8]) -> Vec<u8> {
        let ports = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
        let mut packet = ipv4(from.0, to.0, &[&ports, rest].concat());
        packet[9] = protocol;
        packet
    }

    fn tcp(from: ([u8; 4], u16), to: ([u8; 4], u16), flags: u8) -> Vec<u8> {
        let mut rest = [0; 16];
        rest[9] = flags;
        packet(from, to, TCP, &rest)
    }

    #[test]
    fn the_shortest_time_from_a_call_to_its_answer_counts() {
        let (mut gathering, start) = (Gathering::default(), Instant::now());
        assert_eq!(gathering.round_trip(), None);
        let (server, quic) = ((THERE, 443), packet((HERE, 5), (THERE, 443), UDP, &[0, 0, 0, 0, QUIC_LONG | 3]));
        gathering.sent(&tcp((HERE, 1), server, SYN), start);
        gathering.sent(&tcp((HERE, 1), server, SYN), start + 10 * MS);
        gathering.sent(&tcp((HERE, 2), server, ACK), start);
        gathering.received(&tcp(server, (HERE, 2), SYN | ACK), start + 15 * MS);
        gathering.received(&tcp(server, (HERE, 1), ACK), start + 16 * MS);
        assert_eq!(gathering.round_trip(), None);
        gathering.received(&tcp(server, (HERE, 1), SYN | ACK), start + 40 * MS);
        assert_eq!(gathering.round_trip(), Some(40 * MS), "the first call counts");
        gathering.sent(&quic, start + 50 * MS);
        gathering.received(&packet(server, (HERE, 5), UDP, &[0, 0, 0, 0, QUIC_LONG]), start + 80 * MS);
        assert_eq!(gathering.round_trip(), Some(30 * MS));
    }

    #[test]
    fn who_calls_without_end_is_bounded() {
        let (mut gathering, start) = (Gathering::default(), Instant::now());
        for port in 0..1_000 {
            gathering.sent(&tcp((HERE, port), (THERE, 443), SYN), start);
        }
        assert_eq!(gathering.awaited.len(), MAX_AWAITED);
        for port in 0..1_000 {
            gathering.received(&tcp((THERE, 443), (HERE, port), SYN | ACK), start + MS);
        }
        assert_eq!((gathering.awaited.len(), gathering.measured.len()), (0, MAX_MEASURED));
        gathering.sent(&tcp((HERE, 1), (THERE, 443), SYN), start);
        gathering.received(&[], start + AWAITED);
        assert!(gathering.awaited.is_empty(), "an answer that late is none");
    }
}
