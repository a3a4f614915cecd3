//! What a tunnel is made of.

use super::{DEFAULT_MTU, PaddingRate, SessionIndices};
use crate::keys::{PresharedKey, PrivateKey, PublicKey};

/// What a tunnel is made of.
pub struct TunnelConfig<'a> {
    /// Our private key.
    pub private_key: &'a PrivateKey,
    /// The peer's public key.
    pub peer: PublicKey,
    /// A key that both hold beside their key pairs.
    pub preshared_key: Option<&'a PresharedKey>,
    /// Seconds of silence after which a keepalive is sent; 0 turns it off.
    pub persistent_keepalive: u16,
    /// MTU of the TUN device, in bytes.
    pub mtu: u16,
    /// 32 random bytes that nobody else knows: session indices, delays and jitter are drawn from them.
    pub seed: [u8; 32],
    /// The table of session indices that the tunnel shares with others.
    pub indices: SessionIndices,
    /// What the table knows the tunnel by.
    pub owner: u32,
    /// What padding may take that this tunnel and others send together.
    pub padding_rate: PaddingRate,
}

impl std::fmt::Debug for TunnelConfig<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TunnelConfig").field("peer", &self.peer).field("mtu", &self.mtu).finish_non_exhaustive()
    }
}

impl<'a> TunnelConfig<'a> {
    /// Returns a configuration without a preshared key or keepalives, at the default MTU, that shares its session indices
    /// and its padding's rate with no other tunnel. `seed` is random, and known to nobody else.
    pub fn new(private_key: &'a PrivateKey, peer: PublicKey, seed: [u8; 32]) -> Self {
        Self {
            private_key,
            peer,
            preshared_key: None,
            persistent_keepalive: 0,
            mtu: DEFAULT_MTU,
            seed,
            indices: SessionIndices::default(),
            owner: 0,
            padding_rate: PaddingRate::default(),
        }
    }
}
