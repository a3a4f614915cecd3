//! What passed, in bins: all that a profile is derived from, in bounded memory.

use std::time::Duration;

use super::super::Direction;

/// Length of a bin.
pub const BIN: Duration = Duration::from_millis(10);

/// Longest time that is kept, from the first packet on; 17 MB of bins. Packets after it are left out.
pub const MOST_CAPTURED: Duration = Duration::from_secs(6 * 60 * 60);

/// Bytes in each direction, in bins of [`BIN`] from the first packet on.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    start: Option<Duration>,
    bins: Vec<[u32; 2]>,
    packets: u64,
    left_out: u64,
}

impl Traffic {
    /// Returns traffic in which nothing has passed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a packet at a time since any fixed one.
    ///
    /// Packets may come in any order, but one that was before the first to be counted is taken for one at its time. Bins hold
    /// 4 GiB at most, which is beyond every rate of a profile.
    pub fn add(&mut self, at: Duration, direction: Direction, bytes: u32) {
        let start = *self.start.get_or_insert(at);
        let elapsed = at.saturating_sub(start);
        if elapsed >= MOST_CAPTURED {
            self.left_out += 1;
            return;
        }
        let index = (elapsed.as_millis() / BIN.as_millis()) as usize;
        if index >= self.bins.len() {
            self.bins.resize(index + 1, [0; 2]);
        }
        let bin = &mut self.bins[index][direction as usize];
        *bin = bin.saturating_add(bytes);
        self.packets += 1;
    }

    /// Returns how many packets were counted.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Returns how many packets came [`MOST_CAPTURED`] after the first, or later.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Returns the time to the end of the last bin.
    pub fn duration(&self) -> Duration {
        // At most MOST_CAPTURED of them.
        BIN * self.bins.len() as u32
    }

    /// Returns the bytes that passed in a direction.
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.bins.iter().map(|bin| u64::from(bin[direction as usize])).sum()
    }

    /// Returns the bins: bytes by [`Direction`].
    pub(super) fn bins(&self) -> &[[u32; 2]] {
        &self.bins
    }
}
