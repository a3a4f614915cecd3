//! What a sender does about losses: how much it sends meanwhile, and whether there was none after all.

use super::super::packet::Place;

/// Whether there are losses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// None that is known.
    Open,
    /// Some, until all that was sent by then is acknowledged.
    Recovery(Reduction),
    /// Nothing came for so long that all is taken for lost, until this is acknowledged.
    Loss { until: Place },
}

/// The window's way down, by what arrives meanwhile (PRR, RFC 6937, as Linux has it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reduction {
    pub(super) until: Place,
    /// The window before.
    pub(super) from: u32,
    /// Segments that have arrived since, and that were sent.
    pub(super) arrived: u32,
    pub(super) sent: u32,
}

impl Reduction {
    /// Takes an acknowledgement: so many segments have arrived, and with what is lost so many are under way. Returns the window.
    pub(super) fn take(&mut self, arrived: u32, in_flight: u32, threshold: u32, is_progress: bool) -> u32 {
        self.arrived += arrived;
        let more = if in_flight > threshold {
            let share = u64::from(threshold) * u64::from(self.arrived);
            let share = share.div_ceil(self.from.max(1).into()) as u32;
            share.saturating_sub(self.sent)
        } else {
            let more = self.arrived.saturating_sub(self.sent).max(arrived) + u32::from(is_progress);
            more.min(threshold - in_flight)
        };
        // The first that is lost is sent again at once.
        in_flight + more.max(u32::from(self.sent == 0))
    }
}

/// What is taken back when what was taken for lost had only been late (RFC 3522).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Undo {
    pub(super) window: u32,
    pub(super) threshold: u32,
    /// The time stamp of the first that was sent again.
    pub(super) repeated: Option<u32>,
}

impl Undo {
    /// Tells whether progress with this echo came of what was sent at first.
    pub(super) fn is_due(&self, echo: Option<u32>) -> bool {
        let (Some(repeated), Some(echo)) = (self.repeated, echo) else { return false };
        (echo.wrapping_sub(repeated) as i32) < 0
    }
}
