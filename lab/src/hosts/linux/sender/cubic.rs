//! How many segments may be under way: Cubic (RFC 9438) in the form of Linux's `net/ipv4/tcp_cubic.c`, in segments.

use std::time::{Duration, Instant};

use super::hystart::{Acknowledged, HyStart};

/// The window at first (RFC 6928), and the least after a loss.
pub(super) const INITIAL_WINDOW: u32 = 10;
const LEAST_WINDOW: u32 = 2;

/// What a loss leaves of the window, and how fast it grows.
const BETA: f64 = 717.0 / 1_024.0;
const C: f64 = 0.4;

/// Segments to be acknowledged, at most, for one more while no loss has shown a limit.
const UNKNOWN_LIMIT: f64 = 20.0;

#[derive(Debug, Clone)]
pub(super) struct Cubic {
    window: u32,
    /// Below it, slow start.
    threshold: u32,
    /// Acknowledged segments that have not made the window larger.
    spare: f64,
    /// The window at the last loss; 0 before one.
    last_max: f64,
    epoch: Option<Epoch>,
    least_round_trip: Option<Duration>,
    hystart: HyStart,
}

/// Since the last loss.
#[derive(Debug, Clone, Copy)]
struct Epoch {
    start: Instant,
    /// When the window is at `origin`, in seconds.
    k: f64,
    origin: f64,
    /// What Reno would have.
    reno: f64,
}

impl Default for Cubic {
    fn default() -> Self {
        Self {
            window: INITIAL_WINDOW,
            threshold: u32::MAX,
            spare: 0.0,
            last_max: 0.0,
            epoch: None,
            least_round_trip: None,
            hystart: HyStart::default(),
        }
    }
}

impl Cubic {
    pub(super) fn window(&self) -> u32 {
        self.window
    }

    pub(super) fn set_window(&mut self, window: u32) {
        self.window = window.max(1);
    }

    pub(super) fn threshold(&self) -> u32 {
        self.threshold
    }

    pub(super) fn is_in_slow_start(&self) -> bool {
        self.window < self.threshold
    }

    /// Takes a round trip that was measured.
    pub(super) fn measure(&mut self, ack: &Acknowledged) {
        // The queue of before the loss is still there.
        if self.epoch.is_some_and(|epoch| ack.now - epoch.start < Duration::from_secs(1)) {
            return;
        }
        let least = self.least_round_trip.map_or(ack.round_trip, |least| least.min(ack.round_trip));
        self.least_round_trip = Some(least);
        if self.is_in_slow_start() && self.hystart.take(ack, self.window, least) {
            self.threshold = self.window;
        }
    }

    /// Grows by segments that were acknowledged.
    pub(super) fn grow(&mut self, now: Instant, acknowledged: u32) {
        let mut acknowledged = acknowledged;
        if self.is_in_slow_start() {
            let grown = self.window.saturating_add(acknowledged).min(self.threshold);
            acknowledged -= grown - self.window;
            self.window = grown;
        }
        if acknowledged == 0 {
            return;
        }
        let per_segment = self.per_segment(now, acknowledged.into());
        if self.spare >= per_segment {
            self.spare = 0.0;
            self.window += 1;
        }
        self.spare += f64::from(acknowledged);
        if self.spare >= per_segment {
            let more = (self.spare / per_segment).floor();
            self.spare -= more * per_segment;
            self.window = self.window.saturating_add(more as u32);
        }
    }

    /// Returns how many segments are acknowledged until the window grows by one.
    fn per_segment(&mut self, now: Instant, acknowledged: f64) -> f64 {
        let window = f64::from(self.window);
        let last_max = self.last_max;
        let epoch = self.epoch.get_or_insert_with(|| {
            let below = (last_max - window).max(0.0);
            Epoch { start: now, k: cube_root(below / C), origin: last_max.max(window), reno: window }
        });
        let passed = now.saturating_duration_since(epoch.start) + self.least_round_trip.unwrap_or_default();
        let ahead = passed.as_secs_f64() - epoch.k;
        let target = epoch.origin + C * ahead * ahead * ahead;
        let mut count = if target > window { window / (target - window) } else { 100.0 * window };
        if last_max == 0.0 {
            count = count.min(UNKNOWN_LIMIT);
        }
        // RFC 9438, section 4.3: as fast as Reno at the least.
        epoch.reno += 3.0 * (1.0 - BETA) / (1.0 + BETA) * acknowledged / window;
        if epoch.reno >= window + 1.0 {
            count = count.min(window / (epoch.reno - window));
        }
        count.max(2.0)
    }

    /// Takes a loss: from now on the threshold is what the window becomes.
    pub(super) fn lose(&mut self) {
        let window = f64::from(self.window);
        self.epoch = None;
        // Who has less than at the last loss leaves room for others.
        self.last_max = if window < self.last_max { window * (1.0 + BETA) / 2.0 } else { window };
        self.threshold = ((window * BETA) as u32).max(LEAST_WINDOW);
    }

    /// Takes a loss of all: what was learnt is forgotten.
    pub(super) fn lose_all(&mut self) {
        self.lose();
        self.forget();
    }

    /// Forgets all but the threshold.
    pub(super) fn forget(&mut self) {
        *self = Self { window: 1, threshold: self.threshold, ..Self::default() };
    }

    /// Takes back what a loss has changed that was none.
    pub(super) fn undo(&mut self, window: u32, threshold: u32) {
        self.window = self.window.max(window);
        self.threshold = self.threshold.max(threshold);
        self.epoch = None;
    }

    /// Goes on after a time in which nothing was sent: half the window for each `timeout` of it (`tcp_slow_start_after_idle`).
    pub(super) fn idle(&mut self, idle: Duration, timeout: Duration) {
        if idle > timeout {
            let halves = (idle.as_micros() / timeout.as_micros().max(1)).min(31) as u32;
            self.threshold = self.threshold.max(self.window / 4 * 3);
            self.window = (self.window >> halves).max(self.window.min(INITIAL_WINDOW));
            self.spare = 0.0;
        }
        // The time did not make the window larger.
        if let Some(epoch) = &mut self.epoch {
            epoch.start += idle;
        }
    }

    /// Takes that only so much of the window was used.
    pub(super) fn use_less(&mut self, used: u32) {
        let used = used.max(INITIAL_WINDOW);
        if used < self.window {
            self.threshold = self.threshold.max(self.window / 4 * 3);
            self.window = self.window.midpoint(used);
        }
    }
}

/// Newton's; the same on every machine, as the system's need not be.
fn cube_root(of: f64) -> f64 {
    if of <= 0.0 {
        return 0.0;
    }
    let mut root = of.max(1.0);
    for _ in 0..100 {
        let next = (2.0 * root + of / (root * root)) / 3.0;
        if (next - root).abs() <= 1e-9 * root {
            break;
        }
        root = next;
    }
    root
}
