//! What can be set on a device and read from it: the common tongue of configuration files, the UAPI and the driver.

mod counter;
mod defense;
mod ephemeral;
mod options;
mod statistics;
mod status;
mod value;

pub use counter::{Counter, Counters, Told};
pub(crate) use defense::role_from_name;
pub use defense::{
    DefenseChange, DefenseSettings, DefenseStatus, Fraction, MAX_DEFENSE_NAME, NotAFraction, Role, is_defense_name,
};

pub use ephemeral::{
    Cause, EpochStatus, MAX_RENEWAL, MIN_RENEWAL, NegotiationPolicy, NegotiationStatus, Protection, Strength, Tier,
    UnknownWord,
};
pub use options::{
    DEFAULT_MAX_PADDING_RATE, DefenseOptions, EphemeralSettings, Limits, MaskingSettings, Scope, Setting, SettingTold,
};
pub use statistics::{DefenseStatistics, DeviceDrops, Drops, HandshakeLoad, PaddingDrops, Statistics};
pub use status::{PeerStatus, Status};
pub use value::{Spelling, Value};

pub use crate::masking::{Allowance, Band, MaskingMode, MaskingStatus};

use std::net::SocketAddr;

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
