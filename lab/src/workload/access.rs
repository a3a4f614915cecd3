//! The network between a client and its relay.

use std::time::Duration;

use crate::virtual_network::Link;

/// What lies between a client and its relay; the server is beside the relay.
#[derive(Debug, Clone, PartialEq)]
pub struct Access {
    /// The round trip when nothing waits: half of it each way. 20 to 200 ms are usual.
    pub round_trip: Duration,
    /// Bits a second to the client, with headers. 5 to 200 Mbit/s are usual.
    pub down: u64,
    /// Bits a second from the client.
    pub up: u64,
    /// How long the last of a full queue waits, each way.
    pub queue: Duration,
    /// The most that a packet takes longer, each way.
    pub jitter: Duration,
    /// The probability that a packet is lost, each way.
    pub loss: f64,
    /// How many are lost in a row, on average; 1 is at random.
    pub loss_run: f64,
    /// Other rates, from some time after the start on.
    pub change: Option<RateChange>,
}

/// Rates that are others in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateChange {
    /// How long after the start.
    pub after: Duration,
    /// Bits a second to the client then.
    pub down: u64,
    /// Bits a second from the client then.
    pub up: u64,
}

impl Default for Access {
    /// Returns 100 Mbit/s down and 20 up, a round trip of 30 ms, and a queue of 100 ms.
    fn default() -> Self {
        Self {
            round_trip: Duration::from_millis(30),
            down: 100_000_000,
            up: 20_000_000,
            queue: Duration::from_millis(100),
            jitter: Duration::ZERO,
            loss: 0.0,
            loss_run: 1.0,
            change: None,
        }
    }
}

impl Access {
    /// Returns the links to the client and from it.
    pub fn links(&self) -> [Link; 2] {
        [self.down, self.up].map(|rate| self.link(rate))
    }

    /// Returns the same after the change of rates, if there is one.
    pub fn changed_links(&self) -> Option<(Duration, [Link; 2])> {
        self.change.map(|change| (change.after, [change.down, change.up].map(|rate| self.link(rate))))
    }

    fn link(&self, bits: u64) -> Link {
        let rate = (bits / 8).max(1);
        let queue = u128::from(rate) * self.queue.as_micros() / 1_000_000;
        Link {
            delay: self.round_trip / 2,
            jitter: self.jitter,
            rate: Some(rate),
            queue: usize::try_from(queue).unwrap_or(usize::MAX),
            loss: self.loss,
            loss_run: self.loss_run,
            ..Link::default()
        }
    }
}
