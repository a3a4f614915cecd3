//! To agree anew before it is due. Only a client begins an exchange; a relay asks it to.

use std::time::Duration;

/// How often the relay's word has a client begin an exchange, at most: that it is to agree anew, or that what runs is
/// unknown, or that it may be called. More of it is put off, so a relay cannot have seeds derived without end.
pub(super) const WORD_PAUSE: Duration = Duration::from_secs(10);

/// Why nothing is agreed on anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RenewError {
    /// This end was not told to agree with the peer on anything.
    #[error("the peer is not asked to agree on a defense")]
    NotAsked,
    /// This end is the relay, and nothing is in force that could be renewed. The client asks when it wants to.
    #[error("nothing is agreed on with the peer, and only the client can begin")]
    NothingAgreed,
    /// This end is the relay, and the client is of a version that cannot be asked.
    #[error("the peer's version does not know how to be asked for it: renew at the client")]
    Unsupported,
}

impl RenewError {
    /// Every error.
    pub const ALL: [Self; 3] = [Self::NotAsked, Self::NothingAgreed, Self::Unsupported];
}
