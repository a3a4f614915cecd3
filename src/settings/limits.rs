//! What a user lets a defense cost.

use super::Fraction;

/// Bytes a second that padding to one peer may take, unless the user says otherwise: IP packets with all their headers.
/// Twice what any of 1,680 draws had sent in a second of a page load or a fast transfer: 6,270 packets
/// (`maybetun-machines`, example `measure-rates`).
pub const DEFAULT_MAX_PADDING_RATE: u64 = 16 << 20;

/// Limits that hold for all that pads or blocks together, whatever machines ask for and whoever sent them, across epochs.
///
/// They come on top of a defense's own limits, which leave each machine an allowance of its own first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Padding sent, as a fraction of all packets sent: at no instant is it more. 0 is no limit.
    pub max_padding_frac: Option<Fraction>,
    /// Time for which outgoing traffic was blocked, as a fraction of all time since the defense was set: at no instant is
    /// it more. 0 is no limit.
    pub max_blocking_frac: Option<Fraction>,
    /// Bytes a second that padding may take, counted as IP packets with all their headers when it leaves or begins to wait:
    /// in any second at most twice as many. 0 is no limit; `None` is [`DEFAULT_MAX_PADDING_RATE`].
    pub max_padding_rate: Option<u64>,
}

impl Limits {
    /// Returns the bytes a second in force; 0 is no limit.
    pub fn padding_rate(self) -> u64 {
        self.max_padding_rate.unwrap_or(DEFAULT_MAX_PADDING_RATE)
    }
}
