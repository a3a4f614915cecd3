//! What can be read from a device: its state, and that of its peers.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;

use super::{
    DefenseStatus, DeviceDrops, HandshakeLoad, MaskingStatus, NegotiationStatus, Protection, Role, Statistics,
};
use crate::keys::{PresharedKey, PrivateKey, PublicKey};

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
    /// How far masking got; `None` if nothing masks.
    pub masking: Option<MaskingStatus>,
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
