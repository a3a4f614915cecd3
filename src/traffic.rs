//! What passes through a tunnel, told once as it happens: to its counters, to the machines of a defense and whatever else
//! [controls](crate::defense::Controller) what leaves.
//!
//! There are two layers. A packet of the user's is told when the tunnel takes it, and when one comes out; a datagram when it is
//! sealed, and when one is opened. So a packet that waits is told as sent before the datagram that carries it. What is dropped is
//! told where it is, and why.

use std::time::Instant;

/// Bytes that sealing adds to a plaintext: type, receiver, counter (16) and tag (16).
pub const DATA_OVERHEAD: usize = 32;

/// Bytes of the headers around a datagram: IPv4 or IPv6 (without options), and UDP.
pub(crate) const V4_HEADERS: usize = 20 + 8;
pub(crate) const V6_HEADERS: usize = 40 + 8;

/// Where in the tunnel something passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// Inside: IP packets, and what comes in their place.
    Packet,
    /// Outside: the payloads of UDP datagrams.
    Datagram,
}

/// What passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Packets of the user's.
    Normal,
    /// Padding. As a datagram that is opened: whatever carries nothing that was asked for.
    Padding,
    /// A message of the negotiation, or a probe of the path.
    Control,
    /// A keepalive, bare or hidden among padding.
    Keepalive,
    /// A handshake message.
    Handshake,
    /// A datagram that could not be opened.
    Unknown,
}

/// Which way something passes, or that it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the peer. A packet may have to wait yet.
    Sent,
    /// From the peer.
    Received,
    /// Nowhere.
    Dropped(Drop),
}

/// Why something is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drop {
    /// Too much waits already.
    QueueFull,
    /// No handshake completed in time; of padding: there was no session.
    NoSession,
    /// It is not known where the peer is.
    NoEndpoint,
    /// The source of a packet is not among the peer's allowed IPs.
    SourceNotAllowed,
    /// Its counter was seen before, or is too old to tell.
    Replayed,
    /// It did not authenticate, or belongs to no session.
    Unauthenticated,
    /// It authenticated, and holds nothing that it should.
    Malformed,
    /// A defense is required, and the peer refused it or did not agree in time.
    Unprotected,
    /// It is larger than the one size.
    TooLarge,
    /// The socket had no room: later, padding would be at another instant.
    NoRoom,
    /// Padding would be more than a fraction of all packets.
    OverFrac,
    /// Padding would be more than its rate.
    OverRate,
    /// Padding would be more than the rate of all peers together.
    OverDeviceRate,
    /// The peer's address has not shown that it receives.
    Unproven,
    /// The peer is silent.
    Silent,
    /// Padding of machines would take the upload ratio out of its band, or makes what passes no more plausible.
    Suppressed,
    /// A gate would have held padding of masking.
    Gated,
    /// Padding of masking would be more than its budget.
    OverMaskingBudget,
    /// Padding would be more than the budget of all padding.
    OverPaddingBudget,
}

/// Something that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Where.
    pub layer: Layer,
    /// What.
    pub kind: Kind,
    /// Which way.
    pub direction: Direction,
    /// How many packets of the user's it is, or carries; of what is dropped, how many things.
    pub packets: usize,
    /// The bytes of those packets, without what constant size adds.
    pub normal_bytes: usize,
    /// Its bytes: of a packet the packet's, of a datagram the UDP payload's; 0 where that is not known of what is dropped.
    pub bytes: usize,
    /// When.
    pub at: Instant,
}

impl Traffic {
    /// Returns packets of the user's that pass the inside, `bytes` together.
    pub fn packets(direction: Direction, packets: usize, bytes: usize, at: Instant) -> Self {
        Self { layer: Layer::Packet, kind: Kind::Normal, direction, packets, normal_bytes: bytes, bytes, at }
    }

    /// Returns a datagram of `bytes` that passes the outside, and carries none of the user's packets.
    pub fn datagram(kind: Kind, direction: Direction, bytes: usize, at: Instant) -> Self {
        Self { layer: Layer::Datagram, kind, direction, packets: 0, normal_bytes: 0, bytes, at }
    }

    /// Returns the same, which carries so many of the user's packets, of these bytes together.
    #[must_use]
    pub fn carrying(self, packets: usize, normal_bytes: usize) -> Self {
        Self { packets, normal_bytes, ..self }
    }

    /// Returns so many things that are dropped.
    pub fn dropped(layer: Layer, kind: Kind, why: Drop, count: usize, at: Instant) -> Self {
        Self { layer, kind, direction: Direction::Dropped(why), packets: count, normal_bytes: 0, bytes: 0, at }
    }

    /// Tells whether it is data of a session, and no handshake message.
    pub fn is_data(&self) -> bool {
        !matches!(self.kind, Kind::Handshake | Kind::Unknown)
    }
}
