//! What can be set on a device and read from it: the common tongue of configuration files, the UAPI and the driver.

mod counting;
mod defense;
mod ephemeral;
mod limits;

pub(crate) use defense::role_from_name;
pub use defense::{
    DefenseChange, DefenseSettings, DefenseStatus, Fraction, MAX_DEFENSE_NAME, NotAFraction, Role, is_defense_name,
};

pub(crate) use ephemeral::renewal;
pub use ephemeral::{
    Cause, EphemeralSettings, EpochStatus, MAX_RENEWAL, MIN_RENEWAL, NegotiationPolicy, NegotiationStatus, Protection,
    Strength, Tier, UnknownWord,
};
pub use limits::{DEFAULT_MAX_PADDING_RATE, Limits};

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;

use crate::keys::{PresharedKey, PrivateKey, PublicKey};

/// A change to a running device. Whatever is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// The new private key; `Some(None)` takes the key away, and with it every session.
    pub private_key: Option<Option<PrivateKey>>,
    /// The UDP port to listen on; 0 asks for any free one.
    pub listen_port: Option<u16>,
    /// The mark of outgoing datagrams (`SO_MARK` on Linux); 0 takes it away.
    pub fwmark: Option<u32>,
    /// Removes every peer first.
    pub replace_peers: bool,
    /// Changes to peers, in order.
    pub peers: Vec<PeerUpdate>,
}

/// A change to one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerUpdate {
    /// Names the peer.
    pub public_key: PublicKey,
    /// What becomes of the peer.
    pub action: PeerAction,
    /// The new preshared key; all zeros takes it away.
    pub preshared_key: Option<PresharedKey>,
    /// Where the peer is, until an authenticated packet says otherwise.
    pub endpoint: Option<SocketAddr>,
    /// Seconds of silence after which a keepalive is sent; 0 turns it off.
    pub persistent_keepalive: Option<u16>,
    /// Removes the peer's allowed IPs first.
    pub replace_allowed_ips: bool,
    /// Changes to the peer's allowed IPs, in order.
    pub allowed_ips: Vec<AllowedIpChange>,
    /// What becomes of the defense.
    pub defense: Option<DefenseChange>,
}

impl PeerUpdate {
    /// Returns a change that adds the peer if it is not there, and alters nothing else.
    pub fn new(public_key: PublicKey) -> Self {
        Self {
            public_key,
            action: PeerAction::AddOrUpdate,
            preshared_key: None,
            endpoint: None,
            persistent_keepalive: None,
            replace_allowed_ips: false,
            allowed_ips: Vec::new(),
            defense: None,
        }
    }
}

/// What an update does with its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerAction {
    /// Changes the peer, or adds it.
    AddOrUpdate,
    /// Changes the peer if it is there.
    UpdateOnly,
    /// Removes the peer if it is there.
    Remove,
}

/// One change to the allowed IPs of a peer. Host bits of the prefix are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllowedIpChange {
    /// Gives the prefix to the peer, taking it from whichever peer holds it.
    Add(IpNet),
    /// Takes exactly this prefix from the peer, if the peer holds it.
    Remove(IpNet),
}

/// The state of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// The private key, if one is set.
    pub private_key: Option<PrivateKey>,
    /// The UDP port listened on; 0 while no socket is open and none was asked for.
    pub listen_port: u16,
    /// Whether the user asked for that port, as far as the device says. One that the system chose is another on another
    /// network.
    pub is_port_fixed: bool,
    /// The mark of outgoing datagrams; 0 if none.
    pub fwmark: u32,
    /// Datagrams that belong to no peer, by reason.
    pub dropped: DeviceDrops,
    /// How the device stands with handshake messages; all zeros while it has no private key.
    pub handshakes: HandshakeLoad,
    /// The peers, in the order they were added.
    pub peers: Vec<PeerStatus>,
}

/// The state of one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// Names the peer.
    pub public_key: PublicKey,
    /// The preshared key, if one is set.
    pub preshared_key: Option<PresharedKey>,
    /// Where the peer was last heard from, or is configured to be.
    pub endpoint: Option<SocketAddr>,
    /// Seconds of silence after which a keepalive is sent; 0 if never.
    pub persistent_keepalive: u16,
    /// The peer's allowed IPs, in order of address.
    pub allowed_ips: Vec<IpNet>,
    /// When the last handshake completed (wall clock), if one ever did.
    pub last_handshake: Option<SystemTime>,
    /// How long ago the last handshake completed, if one ever did.
    pub last_handshake_age: Option<Duration>,
    /// What the tunnel has counted.
    pub statistics: Statistics,
    /// Which end we are: the client where the peer's endpoint was set, the relay where it was learnt; `None` if the
    /// device does not say.
    pub role: Option<Role>,
    /// The defense that runs, if one does.
    pub defense: Option<DefenseStatus>,
    /// How far the ends got with their agreement on a defense, if they were told to agree.
    pub negotiation: Option<NegotiationStatus>,
    /// How far the traffic is protected; `None` if the device does not say.
    pub protection: Option<Protection>,
    /// The largest IP packet that the peer is sent, in bytes, where the path takes less than the MTU asks for.
    pub path_mtu: Option<u32>,
}

impl PeerStatus {
    /// Tells whether nothing of the user's leaves because the defense that is required is not agreed on; `None` if the
    /// device does not say.
    pub fn holds_back(&self) -> Option<bool> {
        let policy = self.negotiation.as_ref().map(|negotiation| negotiation.settings.negotiation);
        Some(self.protection?.holds_back(policy))
    }
}

/// What one tunnel has counted since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Bytes of UDP payload received and authenticated: data, keepalives and handshake messages.
    pub received_bytes: u64,
    /// Bytes of UDP payload handed to the socket: data, keepalives and handshake messages.
    pub sent_bytes: u64,
    /// IP packets received from the peer and accepted.
    pub received_packets: u64,
    /// IP packets sealed for the peer.
    pub sent_packets: u64,
    /// Handshakes completed.
    pub handshakes: u64,
    /// IP packets and datagrams dropped, by reason.
    pub dropped: Drops,
}

/// Packets that a tunnel dropped, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drops {
    /// Outgoing IP packets that found the plaintext queue full.
    pub queue_full: u64,
    /// Outgoing IP packets given up because no handshake completed in time.
    pub no_session: u64,
    /// Outgoing IP packets for a peer whose endpoint is not known.
    pub no_endpoint: u64,
    /// Incoming IP packets whose inner source address is not among the peer's allowed IPs.
    pub source_not_allowed: u64,
    /// Incoming datagrams whose counter was seen before, or is too old to tell.
    pub replayed: u64,
    /// Incoming datagrams that did not authenticate, belong to no session, or came from port 0, to which nothing is answered.
    pub unauthenticated: u64,
    /// Incoming payloads that authenticated but are neither IP nor a frame; bundles and control frames that do not hold
    /// what they should.
    pub malformed: u64,
    /// Outgoing IP packets given up because the peer refused the defense that is required, or did not agree on it for 90 s.
    pub unprotected: u64,
}

/// Datagrams and packets that a device dropped before they reached a tunnel, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeviceDrops {
    /// Outgoing IP packets that no peer's allowed IPs cover, or that are not IP.
    pub no_route: u64,
    /// Incoming datagrams that are not WireGuard, or name no session or peer of ours; handshake messages from port 0.
    pub unknown: u64,
    /// Incoming handshake messages refused while under load: see [`HandshakeLoad`].
    pub rate_limited: u64,
    /// Outgoing datagrams that the socket refused.
    pub send_failed: u64,
    /// Incoming IP packets that the network marked for congestion and whose transport does not know the mark (RFC 6040).
    pub congested: u64,
    /// Outgoing datagrams of our own, and fragments of them, that the system routed back into the tunnel.
    pub came_back: u64,
}

/// What comes to a device of handshake messages, and what becomes of it. It counts anew with another private key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HandshakeLoad {
    /// Whether more came in the last second than the device takes from whomever they come.
    pub is_under_load: bool,
    /// Messages with a valid mac1 that came in a second: the last whole one, or this one if there are more in it.
    pub per_second: u64,
    /// Messages a second from which on the device is under load.
    pub max_per_second: u64,
    /// Messages refused under load, and answered by a cookie with which the sender may call again.
    pub cookies_sent: u64,
    /// Messages refused under load though they had a cookie: their source, or the network that it is in, sent too many.
    pub too_many: u64,
    /// Messages refused because they had no valid mac1: who sent them does not know the device's public key.
    pub invalid: u64,
}

/// What a defense has counted since it was first switched on for a tunnel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DefenseStatistics {
    /// Bytes of normal packets sealed, without what constant size added.
    pub normal_sent_bytes: u64,
    /// Bytes of normal packets received, without what constant size added.
    pub normal_received_bytes: u64,
    /// Bytes that constant size added to normal packets sealed.
    pub constant_size_sent_bytes: u64,
    /// Bytes that came with normal packets received, behind their end.
    pub constant_size_received_bytes: u64,
    /// Padding packets sealed, keepalives among them.
    pub padding_sent_packets: u64,
    /// Bytes of those, before sealing.
    pub padding_sent_bytes: u64,
    /// Padding packets received, and whatever else was no normal packet.
    pub padding_received_packets: u64,
    /// Bytes of those, after opening.
    pub padding_received_bytes: u64,
    /// Padding packets that were not sent, by cause.
    pub padding_dropped: PaddingDrops,
    /// Normal packets dropped because they were larger than the MTU.
    pub too_large: u64,
    /// Congestion marks on outer headers that were not passed inward: both ends run what they agreed on, so no router set them
    /// for our sake.
    pub marks_ignored: u64,
    /// Bundles sealed: datagrams with several normal packets.
    pub bundles_sent: u64,
    /// Normal packets in those.
    pub bundled_sent_packets: u64,
    /// Bundles received.
    pub bundles_received: u64,
    /// Normal packets in those.
    pub bundled_received_packets: u64,
    /// Padding actions that machines took.
    pub padding_actions: u64,
    /// Blocking actions that machines took.
    pub blocking_actions: u64,
    /// Actions that had to wait because machines took too many.
    pub actions_capped: u64,
    /// Time for which outgoing traffic was blocked, blocking in force included.
    pub blocked: Duration,
    /// Most normal packets that ever waited at once.
    pub queue_high_water: u64,
    /// Lateness of timers that half of them did not exceed.
    pub lateness_p50: Duration,
    /// Lateness of timers that 99 in 100 did not exceed.
    pub lateness_p99: Duration,
}

/// Padding packets that were not sent, by cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PaddingDrops {
    /// There was no session to seal it in.
    pub no_session: u64,
    /// Too many packets waited already.
    pub queue_full: u64,
    /// The socket was full.
    pub no_room: u64,
    /// It would have been more than [`Limits::max_padding_frac`].
    pub over_frac: u64,
    /// It would have been more than [`Limits::max_padding_rate`].
    pub over_rate: u64,
    /// It would have been more than what padding to all peers of the device may take together.
    pub over_device_rate: u64,
    /// The peer's address has not shown that it receives, and was sent three times what came from it.
    pub unproven: u64,
    /// Padding before it went unanswered, by anything at all, for [`MAX_SILENCE`](crate::tunnel::MAX_SILENCE).
    pub silent: u64,
}

impl PaddingDrops {
    /// Returns how many it were in all.
    pub fn total(self) -> u64 {
        let Self { no_session, queue_full, no_room, over_frac, over_rate, over_device_rate, unproven, silent } = self;
        no_session + queue_full + no_room + over_frac + over_rate + over_device_rate + unproven + silent
    }
}
